"""Imported first: benchmarks measure this checkout, whatever is installed, or that of run.py --before."""

import os
import sys
from pathlib import Path

VARIABLE = "IBSYNC_BENCH_CHECKOUT"
REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, os.environ.get(VARIABLE, str(REPOSITORY)))
