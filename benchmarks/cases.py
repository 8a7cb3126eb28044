"""The dyad on which programs are compared, and files of signals that every contender reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import checkout  # noqa: F401
import numpy as np
from numpy.typing import NDArray

from ibsync.commands.workloads import (
    COUPLED_SHARE,
    COUPLING,
    PERIODS_S,
    VOICES,
    WORKLOADS,
    Workload,
    write_workload,
)

__all__ = [
    "DYAD_CHANNELS",
    "DYAD_DURATION_S",
    "DYAD_SFREQ_HZ",
    "GROWTH",
    "PERIODS_S",
    "SMALL",
    "SMALL_BANDS_HZ",
    "VOICES",
    "WORKLOADS",
    "Workload",
    "dyad_signals",
    "scratch",
    "session_signals",
    "write_one_dyad",
    "write_workload",
]  # fmt: skip

# The cost of one map is compared on this dyad.
DYAD_CHANNELS, DYAD_DURATION_S, DYAD_SFREQ_HZ = 20, 600.0, 10.0
_DYAD = Workload(1, 1, DYAD_CHANNELS, DYAD_DURATION_S, DYAD_SFREQ_HZ, 0, "none")


# What a lab with few channels has, where the fixed cost of a call counts most.
SMALL = Workload(10, 2, 4, 120.0, 8.333, 0, "none", periods_s=(1 / 0.9, 1 / 0.05))
SMALL_BANDS_HZ = {"low": (0.05, 0.15), "middle": (0.15, 0.4), "high": (0.4, 0.9)}


GROWTH = {
    "samples": (1500, 3000, 6000, 12000, 24000),
    "channels": (2, 4, 8, 16, 32, 64),
    "dyads": (2, 4, 8, 16, 32),
    "draws": (1000, 10_000, 100_000, 1_000_000),
}
"""Along which the growth of cost is followed."""


def session_signals(workload: Workload) -> NDArray[np.float32]:
    """One session of a workload: float32 [dyad, person, channel, sample], micromol/L."""
    from ibsync.simulation.simulate import simulate

    made = simulate(
        n_dyads=workload.n_dyads, n_channels=workload.n_channels, duration=workload.duration_s,
        sfreq=workload.sfreq_hz, coupling=COUPLING, coupled_pairs=COUPLED_SHARE, seed=workload.seed,
    )  # fmt: skip
    return np.ascontiguousarray(made.hbo[:, 0] * np.float32(1e6))


def dyad_signals() -> NDArray[np.float32]:
    """The dyad on which programs are compared: float32 [person, channel, sample], arbitrary units."""
    return session_signals(_DYAD)[0]


def write_one_dyad(path: Path) -> None:
    """Write a study file of the dyad on which programs are compared."""
    write_workload(_DYAD, path)


def scratch(folder: Path, name: str, make: Callable[[], NDArray[np.float32]]) -> Path:
    """Signals in a file that every contender reads, made at the first call."""
    path = folder / f"{name}.npy"
    if not path.exists():
        np.save(path, make())
    return path
