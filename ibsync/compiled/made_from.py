"""Names of the compiled library, and what it is known by. Nothing but Python's own: `hatch_build.py` reads it too."""

import hashlib
from pathlib import Path

BUILDS = ("avx512", "avx2", "neon")
"""Sets of instructions, the best first."""
LIBRARY = "libloops.so"
"""The library, in this folder or in a checkout's `build`."""
REASON = "libloops.txt"
"""What lies there instead where it could not be compiled: why."""


def digest(sources: Path) -> str:
    """What a library is known by: of all texts that it is compiled from, 16 hexadecimal digits."""
    texts = (path.name.encode() + b"\n" + path.read_bytes() for path in sorted(sources.glob("*.[ch]")))
    return hashlib.sha256(b"\n".join(texts)).hexdigest()[:16]
