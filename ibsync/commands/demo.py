"""A small study made on the spot, with the whole main job on it: what was simulated, what was found."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..recordings.whole_files import Kind, Output, check_writable, write_together
from ..results.findings import Criterion
from ..simulation.simulate import simulate
from .run import run_plan

if TYPE_CHECKING:
    import xarray as xr

N_DYADS, N_CHANNELS, DURATION_S, SFREQ_HZ, SEED = 8, 6, 300.0, 5.0, 2
COUPLING, COUPLED_FRACTION, BAND_HZ, OTHER_HZ = 0.8, 0.5, (0.04, 0.1), (0.15, 0.25)
TALK, REST = "talk", "rest"
EPOCHS = ((REST, 0.0, 120.0), (TALK, 120.0, 300.0))

STUDY, PLAN, RESULT, REPORT = "study.h5", "plan.toml", "result.h5", "report.html"
FILES = (PLAN, STUDY, RESULT, REPORT)  # the plan first: it says that the others are a demo's
MARK = "# Made by `ibsync demo`."
PLAN_TEXT = f"""{MARK} Run it again with: ibsync run plan.toml
study = "{STUDY}"
output = "{RESULT}"
report = "{REPORT}"

[wtc]
bands = {{ coupled = {list(BAND_HZ)}, other = {list(OTHER_HZ)} }}

[synchrony]
signal = "hbo"
pairs = "all"
epochs = ["{TALK}", "{REST}"]

[null]
kind = "repair"
n = 10000
seed = {SEED}

[test]
correct = ["fdr", "max"]
tail = "greater"
"""


@dataclass(frozen=True)
class DemoOutcome:
    """What a demo simulated, found and wrote.

    Attributes
    ----------
    folder : Path
        Where the files are.
    backend : str
        Which device computed.
    coupled_channels : tuple of str
        Channels that were coupled with the partner's channel of the same name.
    n_hits : int
        Coupled features that were found.
    n_false : int
        Features found where nothing was coupled.
    n_features : int
        Features tested.
    alpha : float
        Level of the test.
    seconds : float
        Time for everything.
    """

    folder: Path
    backend: str
    coupled_channels: tuple[str, ...]
    n_hits: int
    n_false: int
    n_features: int
    alpha: float
    seconds: float

    @property
    def python(self) -> str:
        """Three lines of Python that give the same result."""
        epochs = [TALK, REST]
        return (
            f'study = ibs.Study.open("{(self.folder / STUDY).as_posix()}")\n'
            f'spec = ibs.WTC(bands={{"coupled": {BAND_HZ}, "other": {OTHER_HZ}}})\n'
            f"result = ibs.test(study.synchrony(spec, epochs={epochs}), study.null(spec, epochs={epochs}, seed={SEED}))"
        )

    def __str__(self) -> str:
        n_coupled = len(self.coupled_channels)
        coupled = f"{self.coupled_channels[0]} to {self.coupled_channels[-1]}"
        lines = [
            f"Simulated: {N_DYADS} dyads; partners share {BAND_HZ[0]:g} to {BAND_HZ[1]:g} Hz with correlation "
            f"{COUPLING:g} in channels {coupled}, while they {TALK}, not while they {REST}.",
            f"Found:     {self.n_hits} of {n_coupled} coupled channel pairs, and {self.n_false} of "
            f"{self.n_features - n_coupled} others, at p <= {self.alpha:g} corrected for all {self.n_features} "
            f"(re-pairing of partners, maximum statistic).",
            f"Backend:   {self.backend}; {self.seconds:.1f} s in all.",
            "",
            "Files:",
            *(f"  {self.folder / name}" for name in FILES),
            "",
            "The same in Python, after `import ibsync as ibs`:",
            *(f"  {line}" for line in self.python.splitlines()),
        ]
        return "\n".join(lines)


def run_demo(
    folder: str | Path = "ibsync-demo", *, overwrite: bool = False, backend: str = "auto", progress: bool = False
) -> DemoOutcome:
    """Simulate a small study, run the main job on it, and return what was simulated and what was found.

    Parameters
    ----------
    folder : str or Path
        Folder for the study, the plan, the result and the report; made if it is missing. Its files appear together,
        at the end.
    overwrite : bool
        Whether to replace files of these names that are not an earlier demo's.
    backend : {"auto", "numpy", "cuda"}
        Where to compute.
    progress : bool
        Whether to show progress on standard error.

    Returns
    -------
    DemoOutcome
        Its text is what `ibsync demo` prints.

    Raises
    ------
    InputError
        If the folder cannot be written or holds files that are not a demo's.
    """
    started = time.perf_counter()
    folder = Path(folder)
    outputs = [Output(folder / name, _OF_A_DEMO, overwrite=overwrite) for name in FILES]
    _check(folder, outputs)
    with tempfile.TemporaryDirectory(prefix="ibsync-demo-") as name:
        scratch = Path(name)
        coupled = _simulated(scratch / STUDY)
        (scratch / PLAN).write_text(PLAN_TEXT, encoding="utf-8")
        (outcome,) = run_plan(scratch / PLAN, backend=backend, progress=progress)
        folder.mkdir(exist_ok=True)
        write_together([(output, (scratch / output.path.name).read_bytes()) for output in outputs])
    dataset = outcome.result.dataset
    n_hits, n_false = _count(dataset, coupled)
    return DemoOutcome(
        folder=folder,
        backend=str(dataset.attrs["backend"]),
        coupled_channels=coupled,
        n_hits=n_hits,
        n_false=n_false,
        n_features=int(dataset["p_max"].size),
        alpha=float(dataset.attrs["alpha"]),
        seconds=time.perf_counter() - started,
    )


def _check(folder: Path, outputs: Sequence[Output]) -> None:
    """Refuse a folder that cannot be used, before the work."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder with -o")
    if folder.is_dir():
        for output in outputs:
            output.check()
    else:
        check_writable(folder)


def _is_demo(path: Path) -> bool:
    """Whether a file lies beside the plan of a demo."""
    return path.with_name(PLAN).read_text(encoding="utf-8", errors="replace").startswith(MARK)


_OF_A_DEMO = Kind("a demo's", _is_demo)


def _simulated(path: Path) -> tuple[str, ...]:
    """Write the study; returns the coupled channels."""
    study = simulate(
        path,
        n_dyads=N_DYADS,
        n_channels=N_CHANNELS,
        duration=DURATION_S,
        sfreq=SFREQ_HZ,
        coupling={TALK: COUPLING},
        coupled_band=BAND_HZ,
        coupled_pairs=COUPLED_FRACTION,
        epochs=EPOCHS,
        seed=SEED,
    )
    return study.recordings[0].channels[: round(COUPLED_FRACTION * N_CHANNELS)]


def _count(dataset: xr.Dataset, coupled: tuple[str, ...]) -> tuple[int, int]:
    """How many of the coupled features, and how many others, pass the test."""
    found = Criterion.of(dataset).passed(dataset)
    coupled_band = found.sel(epoch=TALK, band="coupled")
    n_hits = sum(bool(coupled_band.sel(channel_a=channel, channel_b=channel)) for channel in coupled)
    return n_hits, int(found.sum()) - n_hits
