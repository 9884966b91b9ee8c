"""Neural SDE numerics: the public functions, one family a file."""
