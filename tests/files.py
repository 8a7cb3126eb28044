"""Where the files lie that tests read."""

from pathlib import Path

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[1].parent / "shared"
