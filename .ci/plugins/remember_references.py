"""A plugin for pytest: results of the slow references are kept in a folder, for later runs.

    PYSIG_REFERENCES=FOLDER PYTHONPATH=.ci/plugins python -m pytest -p remember_references

The tests are run on many builds, and what they compare with is the same each time, as all inputs
are; to compute it takes most of the time. The public functions of tests/reference/*_reference.py
are functions of their arguments alone. The folder serves one state of these files: .ci/run makes a
new one each time it runs.
"""

import functools
import hashlib
import importlib
import inspect
import io
import os
import pickle
import time
from pathlib import Path

import numpy as np

FOLDER = Path(os.environ["PYSIG_REFERENCES"])
LEAST_SECONDS = 0.005  # what is computed faster is not kept
# Of an extended number on x86, 10 bytes are used; the others may hold anything.
LONG_BYTES = np.longdouble().itemsize
USED_BYTES = 10 if np.finfo(np.longdouble).nmant == 63 else LONG_BYTES


class ArgumentPickler(pickle.Pickler):
    """Makes the same bytes of the same arguments."""

    def reducer_override(self, value):
        """Leave out the bytes of extended numbers that are not used."""
        if isinstance(value, (np.random.Generator, np.random.BitGenerator)):
            raise pickle.PicklingError("the call would change it")
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype.char in "gG":
            numbers = np.ascontiguousarray(value).view(np.uint8).reshape(-1, LONG_BYTES)
            what = f"{value.dtype.char}{value.shape}".encode()
            return bytes, (what + numbers[:, :USED_BYTES].tobytes(),)
        return NotImplemented


class Remembered:
    """A function whose results are kept."""

    running = False  # whether one of them computes: what it calls is a part of its result

    def __init__(self, function):
        self.function = function
        functools.update_wrapper(self, function)

    def __call__(self, *args, **kwargs):
        """Return the result that is kept, or else compute it."""
        file = None if Remembered.running else self.file(args, kwargs)
        if file is None:
            return self.function(*args, **kwargs)
        if file.exists():
            return pickle.loads(file.read_bytes())
        started = time.perf_counter()
        Remembered.running = True
        try:
            result = self.function(*args, **kwargs)
        finally:
            Remembered.running = False
        if time.perf_counter() - started > LEAST_SECONDS:
            keep(result, file)
        return result

    def file(self, args, kwargs):
        """Return where the result of a call is kept, or None if the arguments have no bytes."""
        content = io.BytesIO()
        call = self.__module__, self.__qualname__, args, sorted(kwargs.items())
        try:
            ArgumentPickler(content, 5).dump(call)
        except (pickle.PicklingError, TypeError, AttributeError):
            return None
        return FOLDER / hashlib.sha256(content.getbuffer()).hexdigest()


def keep(result, file):
    """Write a result, all of it at once: other processes may be reading."""
    try:
        content = pickle.dumps(result, 5)
    except (pickle.PicklingError, TypeError, AttributeError):
        return
    own = file.with_suffix(f".{os.getpid()}")
    own.write_bytes(content)
    own.replace(file)


def pytest_configure(config):
    """Replace the functions, before test modules take them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in sorted((config.rootpath / "tests" / "reference").glob("*_reference.py")):
        if path.name.startswith("test_"):
            continue
        module = importlib.import_module(f"reference.{path.stem}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                setattr(module, name, Remembered(function))
