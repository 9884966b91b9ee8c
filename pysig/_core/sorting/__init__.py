"""Compiled parts of `pysig.sorting`."""
