"""Studies of named sizes, on which speed is measured.

A *map* is one channel pair over one recording, periods 5-50 s, 12 voices per octave; of the workload `tiny`, whose two
minutes are too short for that, periods 5-30 s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import PlanError

PERIODS_S = (5.0, 50.0)
VOICES = 12
COUPLING, COUPLED_SHARE = 0.6, 0.5
_LEAST_DYADS = 2
_BYTES_PER_SAMPLE = 8  # HbO and HbR in float32


@dataclass(frozen=True)
class Workload:
    """A study and its null distribution.

    `n_sessions` are those of the dyad with most, of which a share is `missing` and `n_attended` dyad x session
    combinations are left (all by default). `n_draws` are permutations, or surrogates per pair. With `growth` change
    over the sessions is tested too, with `n_surrogates` each dyad against as many of its own, over all channel pairs.
    """

    n_dyads: int
    n_sessions: int
    n_channels: int
    duration_s: float
    sfreq_hz: float
    n_draws: int
    null: str
    kind: str = "repair"
    n_signals: int = 1
    growth: bool = False
    missing: float = 0.0
    n_attended: int | None = None
    n_surrogates: int = 0
    periods_s: tuple[float, float] = PERIODS_S
    seed: int = 1

    @property
    def n_samples(self) -> int:
        """Length of a recording."""
        return round(self.duration_s * self.sfreq_hz)

    @property
    def n_occasions(self) -> int:
        """Dyad x session combinations recorded."""
        return self.n_dyads * self.n_sessions if self.n_attended is None else self.n_attended

    @property
    def n_maps(self) -> int:
        """Maps of the real dyads."""
        return self.n_occasions * self.n_channels**2 * self.n_signals

    @property
    def n_null_maps(self) -> int:
        """Maps of the re-pairings, all channel pairs; or of the surrogates, of same-channel pairs."""
        if self.kind == "repair":
            return self.n_sessions * self.n_dyads * (self.n_dyads - 1) * self.n_channels**2 * self.n_signals
        return self.n_occasions * self.n_channels * self.n_draws * self.n_signals

    @property
    def n_surrogate_maps(self) -> int:
        """Maps of the phase surrogates that are computed besides."""
        return self.n_surrogates * self.n_maps

    @property
    def pairs(self) -> Literal["all", "same"]:
        """Channel pairs of the null, in the word of `Study.null`."""
        return "all" if self.kind == "repair" else "same"

    @property
    def signal_names(self) -> tuple[str, ...]:
        """Signals that are analysed."""
        return ("hbo", "hbr")[: self.n_signals]

    @property
    def n_file_bytes(self) -> int:
        """Size of the study file, about."""
        return self.n_occasions * 2 * self.n_channels * self.n_samples * _BYTES_PER_SAMPLE

    def part(self, share: float) -> Workload:
        """The same with a share of the dyads, at least two.

        Raises
        ------
        PlanError
            If the share does not lie in (0, 1].
        """
        if not 0 < share <= 1:
            raise PlanError(f"share must be above 0 and at most 1, got {share:g}")
        if share == 1:
            return self
        n_sessions = round(self.n_occasions / self.n_dyads)
        n_dyads = max(_LEAST_DYADS, round(share * self.n_dyads))
        return replace(self, n_dyads=n_dyads, n_sessions=n_sessions, missing=0.0, n_attended=None)


WORKLOADS = {
    "tiny": Workload(3, 2, 4, 120, 5.0, 200, "all re-pairings, 200 permutations", periods_s=(5.0, 30.0)),
    "small": Workload(
        8, 3, 20, 2700, 10.0, 1000, "1000 phase surrogates of 20 same-channel pairs", kind="phase", missing=0.25,
        n_attended=18, seed=8,
    ),
    "typical": Workload(20, 1, 22, 600, 10.0, 10_000, "all re-pairings, 10 000 permutations"),
    "plasticity": Workload(
        40, 6, 20, 2700, 10.0, 10_000,
        "re-pairings within session, 10 000 permutations of pairing and of slope signs", n_signals=2, growth=True,
    ),
    "large": Workload(
        100, 1, 46, 600, 10.0, 1000, "all re-pairings; 1000 phase surrogates besides", n_surrogates=1000
    ),
}  # fmt: skip


def write_workload(workload: Workload, path: Path) -> None:
    """Write a workload's study file."""
    from ..simulation.simulate import simulate

    simulate(
        path, n_dyads=workload.n_dyads, n_sessions=workload.n_sessions, n_channels=workload.n_channels,
        duration=workload.duration_s, sfreq=workload.sfreq_hz, coupling=COUPLING, coupled_pairs=COUPLED_SHARE,
        missing=workload.missing, seed=workload.seed,
    )  # fmt: skip
