"""Path signatures: the public functions, one operation a file."""
