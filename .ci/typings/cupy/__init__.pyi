# CuPy is not installed where types are checked, and its own annotations do not cover enough of it.
from typing import Any

def __getattr__(name: str) -> Any: ...
