"""The CPU quota of the control group (cgroup) this process runs in, on Linux.

Containers are given "1.5 CPUs" in this way: the affinity mask still shows every CPU of the machine,
but the process is stopped for the rest of a period once it has used its share of CPU time.
Groups are nested, and the tightest quota from the process's group up to the root applies.
Version 1 has a hierarchy of its own for the controller "cpu", version 2 one for all controllers;
``/proc/self/cgroup`` names the group in each, ``/proc/self/mountinfo`` where each is mounted.
"""

import math
import os
from collections.abc import Iterator
from typing import NamedTuple


class Mount(NamedTuple):
    """A mounted control group hierarchy, of which `root` is the group that the mount shows."""

    version: int
    root: str
    point: str


def cpu_quota(filesystem: str = "/") -> int | None:
    """
    Return the number of CPUs' worth of time granted to this process, rounded up.

    Parameters
    ----------
    filesystem : str, optional
        The folder in which ``proc`` and the mount points are looked up.

    Returns
    -------
    int or None
        At least 1, or None where there is no quota, or none that can be found out.
    """
    try:
        mounts = _cpu_mounts(_lines(filesystem, "/proc/self/mountinfo"))
        groups = _cpu_groups(_lines(filesystem, "/proc/self/cgroup"))
        quotas = [
            _quota(filesystem, folder, mount.version)
            for mount in mounts
            if mount.version in groups
            for folder in _folders(mount, groups[mount.version])
        ]
    except (OSError, ValueError, LookupError):
        return None
    quota = min(quotas, default=math.inf)
    return None if quota == math.inf else max(1, math.ceil(quota))


def _lines(filesystem: str, path: str) -> list[str]:
    with open(os.path.join(filesystem, path.lstrip("/")), encoding="utf-8") as file:
        return file.read().splitlines()


def _cpu_mounts(mountinfo: list[str]) -> list[Mount]:
    """Find the hierarchies that can hold a CPU quota; see proc(5) for the fields of a line."""
    mounts = []
    for line in mountinfo:
        fields, _, rest = line.partition(" - ")
        root, point = fields.split()[3:5]
        kind, _, options = rest.split(maxsplit=2)
        if kind == "cgroup2":
            mounts.append(Mount(2, root, point))
        elif kind == "cgroup" and "cpu" in options.split(","):
            mounts.append(Mount(1, root, point))
    return mounts


def _cpu_groups(cgroup: list[str]) -> dict[int, str]:
    """Map the version of the hierarchy to the path of this process's group in it."""
    groups = {}
    for line in cgroup:
        _, controllers, path = line.split(":", maxsplit=2)
        if not controllers:
            groups[2] = path
        elif "cpu" in controllers.split(","):
            groups[1] = path
    return groups


def _folders(mount: Mount, group: str) -> Iterator[str]:
    """Yield the folders of `group` and of the groups around it, as far as the mount shows them."""
    relative = os.path.relpath(group, mount.root)
    # In a container the mount may show only the container's own group, under another name.
    folder = mount.point if relative.startswith("..") else os.path.join(mount.point, relative)
    folder = os.path.normpath(folder)
    yield folder
    while folder != mount.point and folder != "/":
        folder = os.path.dirname(folder)
        yield folder


def _quota(filesystem: str, folder: str, version: int) -> float:
    """Read the quota of one group, in CPUs; infinite where it is not limited."""
    try:
        if version == 2:
            quota, period = _lines(filesystem, f"{folder}/cpu.max")[0].split()
        else:
            quota = _lines(filesystem, f"{folder}/cpu.cfs_quota_us")[0]
            period = _lines(filesystem, f"{folder}/cpu.cfs_period_us")[0]
    except FileNotFoundError:  # the root group has no quota
        return math.inf
    unlimited = quota == "max" or int(quota) < 0
    return math.inf if unlimited else int(quota) / int(period)
