"""Print requirements of pyproject.toml: `project`, `build-system`, or the name of an extra."""

import sys
import tomllib
from pathlib import Path

configuration = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())
requirements = {
    "build-system": configuration["build-system"]["requires"],
    "project": configuration["project"]["dependencies"],
    **configuration["project"]["optional-dependencies"],
}
for name in sys.argv[1:]:
    print(*requirements[name], sep="\n")
