"""Check what the source archive and the wheel contain: python check_archives.py ARCHIVE ..."""

import sys
import tarfile
import zipfile
from pathlib import Path

WHEEL_TAG = "-cp311-abi3-"
SOURCES = (".pyx", ".pxd", ".pxi", ".pyi", ".h", ".cu", ".cuh")
# What type checkers read, and what CuPy compiles: the CUDA sources with all they may include.
USED_AT_RUN_TIME = (".pyi", ".h", ".cu", ".cuh")


def names(archive):
    """Return the names of the files of a .tar.gz or a .whl."""
    if archive.endswith(".whl"):
        return set(zipfile.ZipFile(archive).namelist())
    with tarfile.open(archive) as members:
        return {member.name.partition("/")[2] for member in members if member.isfile()}


def problems(archive):
    """Yield what is wrong with the archive."""
    content = names(archive)
    sources = {path.as_posix() for path in Path("pysig").rglob("*") if path.suffix in SOURCES}
    python = {path.as_posix() for path in Path("pysig").rglob("*.py")}
    data = {path.as_posix() for path in Path("pysig/data").iterdir() if path.is_file()}
    required = python | data
    if archive.endswith(".whl"):
        if WHEEL_TAG not in archive:
            yield f"the tag is not {WHEEL_TAG}"
        required |= {path for path in sources if path.endswith(USED_AT_RUN_TIME)}
        required |= {path[: -len("pyx")] + "abi3.so" for path in sources if path.endswith(".pyx")}
        strays = {name for name in content if not name.startswith(("pysig/", "pysig-"))}
    else:
        tests = {
            path.as_posix()
            for path in Path("tests").rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }
        required |= sources | tests | {"README.md", "LICENSE", "setup.py", "pyproject.toml"}
        strays = {name for name in content if name.endswith((".c", ".so", ".pyc"))}
    yield from (f"{name} is missing" for name in sorted(required - content))
    yield from (f"{name} does not belong there" for name in sorted(strays))


found = [f"{Path(name).name}: {problem}" for name in sys.argv[1:] for problem in problems(name)]
print("\n".join(found) or "the archives contain what they should")
sys.exit(bool(found))
