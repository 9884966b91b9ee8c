"""Compiled parts of `pysig.signatures`."""
