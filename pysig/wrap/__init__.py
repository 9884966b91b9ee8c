"""Thin adapters to other libraries, which are imported only where they are used."""
