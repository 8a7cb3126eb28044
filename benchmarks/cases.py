"""The workloads, and signals for them.

A *map* is one channel pair over one recording, periods 5-50 s, 12 voices per octave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PERIODS_S = (5.0, 50.0)
VOICES = 12


@dataclass(frozen=True)
class Workload:
    """A study and its null distribution.

    Attributes
    ----------
    n_dyads : int
    n_occasions : int
        Dyad x session combinations recorded.
    n_channels : int
        Of each person.
    duration_s, sfreq_hz : float
    n_null_maps : int
        Maps of the re-pairings, or of the surrogates.
    n_draws : int
        Permutations, or surrogates per pair.
    null : str
        The null distribution in words.
    n_chromas : int
        Signals of each channel, such as HbO and HbR.
    """

    n_dyads: int
    n_occasions: int
    n_channels: int
    duration_s: float
    sfreq_hz: float
    n_null_maps: int
    n_draws: int
    null: str
    n_chromas: int = 1

    @property
    def n_samples(self) -> int:
        """Length of a recording."""
        return round(self.duration_s * self.sfreq_hz)

    @property
    def n_sessions(self) -> int:
        """Sessions of each dyad, where all have the same number."""
        return self.n_occasions // self.n_dyads

    @property
    def n_maps(self) -> int:
        """Maps of the real dyads."""
        return self.n_occasions * self.n_channels**2 * self.n_chromas


def _repairings(n_dyads: int, n_sessions: int, n_channels: int, n_chromas: int = 1) -> int:
    return n_sessions * n_dyads * (n_dyads - 1) * n_channels**2 * n_chromas


WORKLOADS = {
    "tiny": Workload(3, 6, 4, 120, 5.0, _repairings(3, 2, 4), 200, "all re-pairings, 200 permutations"),
    "small": Workload(8, 18, 20, 2700, 10.0, 18 * 20 * 1000, 1000, "1000 phase surrogates of 20 same-channel pairs"),
    "typical": Workload(20, 20, 22, 600, 10.0, _repairings(20, 1, 22), 10_000, "all re-pairings, 10 000 permutations"),
    "plasticity": Workload(
        40, 240, 20, 2700, 10.0, _repairings(40, 6, 20, 2), 10_000,
        "re-pairings within session, 10 000 permutations of pairing and of slope signs", n_chromas=2,
    ),
    "large": Workload(
        100, 100, 46, 600, 10.0, _repairings(100, 1, 46), 1000, "all re-pairings; 1000 phase surrogates besides"
    ),
}  # fmt: skip

# The cost of one map is compared on this dyad.
DYAD_CHANNELS, DYAD_DURATION_S, DYAD_SFREQ_HZ = 20, 600.0, 10.0

SEED = 1


def dyad_signals() -> NDArray[np.float32]:
    """The dyad on which programs are compared: float32 [person, channel, sample], arbitrary units."""
    return _signals(1, DYAD_CHANNELS, DYAD_DURATION_S, DYAD_SFREQ_HZ)[0]


def workload_signals(workload: Workload) -> NDArray[np.float32]:
    """One session of a workload: float32 [dyad, person, channel, sample]."""
    return _signals(workload.n_dyads, workload.n_channels, workload.duration_s, workload.sfreq_hz)


def _signals(n_dyads: int, n_channels: int, duration_s: float, sfreq_hz: float) -> NDArray[np.float32]:
    from ibsync.simulation import simulate

    made = simulate(
        n_dyads=n_dyads, n_channels=n_channels, duration=duration_s, sfreq=sfreq_hz, coupling=0.6,
        coupled_pairs=0.5, seed=SEED,
    )  # fmt: skip
    return np.ascontiguousarray(made.hbo[:, 0] * np.float32(1e6))  # micromol/L


def write_study(workload: Workload, path: Path) -> None:
    """Write a workload's study file."""
    from ibsync.simulation import simulate

    if workload.n_sessions * workload.n_dyads != workload.n_occasions:
        raise ValueError("this workload's dyads differ in sessions; no study file is made of it")
    simulate(
        path, n_dyads=workload.n_dyads, n_sessions=workload.n_sessions, n_channels=workload.n_channels,
        duration=workload.duration_s, sfreq=workload.sfreq_hz, coupling=0.6, coupled_pairs=0.5, seed=SEED,
    )  # fmt: skip


def write_one_dyad(path: Path) -> None:
    """Write a study file of the dyad on which programs are compared."""
    from ibsync.simulation import simulate

    simulate(
        path, n_dyads=1, n_channels=DYAD_CHANNELS, duration=DYAD_DURATION_S, sfreq=DYAD_SFREQ_HZ, coupling=0.6,
        coupled_pairs=0.5, seed=SEED,
    )  # fmt: skip


def scratch(folder: Path, name: str, make: Callable[[], NDArray[np.float32]]) -> Path:
    """Signals in a file that every contender reads, made at the first call."""
    path = folder / f"{name}.npy"
    if not path.exists():
        np.save(path, make())
    return path
