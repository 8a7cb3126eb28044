"""One module for each file format that recordings come in."""
