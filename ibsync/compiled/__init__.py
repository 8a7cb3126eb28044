"""Loops in C that stand beside the same in NumPy."""
