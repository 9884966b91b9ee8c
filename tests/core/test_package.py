"""The package as a whole: what an import costs and changes, versions, documentation."""

import doctest
import importlib
import importlib.metadata
import inspect
import json
import pkgutil
import subprocess
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec

import numpy as np
import pytest

import pysig
import pysig._core


def compiled_modules():
    """Return the names of all compiled modules."""
    modules = pkgutil.walk_packages(pysig._core.__path__, "pysig._core.")
    loaders = {module.name: getattr(find_spec(module.name), "loader", None) for module in modules}
    return [name for name, loader in loaders.items() if isinstance(loader, ExtensionFileLoader)]


def public_functions():
    return [name for name in pysig.__all__ if inspect.isroutine(getattr(pysig, name))]


def test_version():
    assert pysig.__version__ == importlib.metadata.version("pysig")


def packages_after(program):
    """Return the top-level names of the modules that the program has loaded."""
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{program}; import json, sys; print(json.dumps(list(sys.modules)))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in json.loads(process.stdout)}


def test_import_pulls_in_nothing_beyond_numpy():
    new = packages_after("import pysig") - packages_after("import numpy")
    new -= sys.stdlib_module_names
    # Cython enters its shared types as modules.
    assert {name for name in new if "cython" not in name} == {"pysig"}


def test_subnormal_numbers_survive_the_import():
    smallest = np.nextafter(np.array([0.0]), 1.0)
    assert (smallest * 1.0 > 0).all()


def test_all_is_complete():
    assert len(pysig.__all__) == len(set(pysig.__all__))
    for name in pysig.__all__:
        assert hasattr(pysig, name)


@pytest.mark.parametrize("name", public_functions())
def test_public_functions_have_an_example(name):
    documentation = inspect.getdoc(getattr(pysig, name)) or ""
    assert "\nExamples\n--------\n" in documentation
    # The example of a pair of functions stands with one of them.
    examples = [inspect.getdoc(getattr(pysig, other)) or "" for other in public_functions()]
    assert any(f"pysig.{name}(" in line for text in examples for line in text.split(">>>")[1:])


@pytest.mark.parametrize("name", compiled_modules())
def test_doctests_of_compiled_modules(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


def test_compiled_modules_are_found():
    assert "pysig._core.threads" in compiled_modules()
