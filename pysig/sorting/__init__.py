"""Soft sorting and ranking: the public functions, one family a file."""
