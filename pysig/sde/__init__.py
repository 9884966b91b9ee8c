"""Neural SDE numerics: the public functions, one family a file."""

from pysig.sde import fields

__all__ = ["fields"]
