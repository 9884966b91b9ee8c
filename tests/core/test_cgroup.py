"""CPU quotas, read from folders that look like the /proc and /sys/fs/cgroup of a machine."""

import pytest

from pysig._core.cgroup import cpu_quota

UNIFIED = "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
LEGACY = "33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct"
OTHER = "36 31 0:33 / /sys/fs/cgroup/memory rw shared:12 - cgroup cgroup rw,memory"
DISK = "24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw"


@pytest.fixture
def machine(tmp_path):
    """Return a function that writes the files of a machine and returns its quota."""

    def quota(mounts, groups, files):
        content = {
            "proc/self/mountinfo": "".join(f"{line}\n" for line in mounts),
            "proc/self/cgroup": "".join(f"{line}\n" for line in groups),
            **{name: f"{text}\n" for name, text in files.items()},
        }
        for name, text in content.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return cpu_quota(str(tmp_path))

    return quota


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000", None),
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("200000 100000", 2),
        ("1000 100000", 1),
        ("800000 50000", 16),
    ],
)
def test_version_2_rounds_up(machine, text, expected):
    files = {"sys/fs/cgroup/user/session/cpu.max": text}
    assert machine([DISK, UNIFIED], ["0::/user/session"], files) == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"), [("-1", "100000", None), ("250000", "100000", 3)]
)
def test_version_1(machine, quota, period, expected):
    folder = "sys/fs/cgroup/cpu,cpuacct/job"
    files = {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period}
    groups = ["4:cpu,cpuacct:/job", "9:memory:/elsewhere", "0::/"]
    assert machine([DISK, UNIFIED, LEGACY, OTHER], groups, files) == expected


def test_the_tightest_group_counts(machine):
    files = {
        "sys/fs/cgroup/cpu.max": "max 100000",
        "sys/fs/cgroup/a/cpu.max": "300000 100000",
        "sys/fs/cgroup/a/b/cpu.max": "max 100000",
        "sys/fs/cgroup/a/b/c/cpu.max": "700000 100000",
    }
    assert machine([UNIFIED], ["0::/a/b/c"], files) == 3


def test_mount_that_shows_the_container_only(machine):
    mount = UNIFIED.replace("0:27 / ", "0:27 /docker/7f3a ")
    files = {"sys/fs/cgroup/cpu.max": "200000 100000"}
    assert machine([mount], ["0::/docker/7f3a"], files) == 2


def test_group_outside_of_the_mount(machine):
    mount = UNIFIED.replace("0:27 / ", "0:27 /docker/7f3a ")
    files = {"sys/fs/cgroup/cpu.max": "200000 100000"}
    assert machine([mount], ["0::/docker/other"], files) == 2


def test_without_quota_files(machine):
    assert machine([DISK, UNIFIED, LEGACY], ["1:cpu:/", "0::/"], {}) is None


def test_without_control_groups(machine):
    assert machine([DISK], [], {}) is None


def test_without_proc(tmp_path):
    assert cpu_quota(str(tmp_path)) is None


@pytest.mark.parametrize("text", ["", "many", "100000", "a b"])
def test_unknown_format_is_no_quota(machine, text):
    assert machine([UNIFIED], ["0::/"], {"sys/fs/cgroup/cpu.max": text}) is None
    assert machine(["a line"], ["0::/"], {}) is None
    assert machine([UNIFIED], ["a line"], {}) is None
