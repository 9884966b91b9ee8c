"""Compiled parts of `pysig.sde`."""
