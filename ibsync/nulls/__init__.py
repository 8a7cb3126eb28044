"""Null distributions and tests, on host arrays."""
