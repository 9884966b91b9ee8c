"""Plain, slow and independent versions of what the library computes."""
