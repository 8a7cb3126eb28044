"""What recordings have in common though people do not interact: bursts of power, groups, physiology."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..coupling.band_spec import Spec
from ..coupling.spec import Band
from ..coupling.transform.signals import FINE, prepare
from ..errors import InputError
from ..inference.p_values import p_value
from ..inference.repaired_test import repair_test
from ..inference.settings import TestSettings
from ..nulls.random_streams import Purpose, entity_id, integers, purpose_word, stream
from ..nulls.repaired_null import RepairedNull
from ..recordings.recording import DyadRow
from ..study.rows import Occasion, occasions_of, signals_of
from ..study.study import Study
from .pseudo_dyads import PseudoStudy, pair_names

Floats = NDArray[np.float64]

N_DRAWS = 999
FEWEST_BINS = 16
"""An envelope of fewer values says nothing."""

_TURN = 16  # variant of the stream of simulations


def common_bursts(study: Study, bands: Mapping[str, Band], signal: str, seed: int) -> dict[str, tuple[float, float]]:
    """
    Whether the power of people who never met rises and falls together.

    For each band the statistic is the mean correlation of the log power envelopes (mean over channels) of first and
    second persons of different dyads in one session. Under the hypothesis that envelopes of people who never met are
    independent and stationary, each second person's may be shifted in time, by any amount, on a circle. Returns mean
    correlation and p by band; bands whose recordings are too short for an envelope are left out.
    """
    out = {}
    for name, band in bands.items():
        shifted = (_shifted(study, occasion, band, signal) for occasion in occasions_of(study.dyads))
        parts = [part for part in shifted if part is not None]
        n_pairs = sum(n for _, n in parts)
        if not n_pairs:
            continue
        observed, drawn = 0.0, np.zeros(N_DRAWS)
        for number, (by_shift, _) in enumerate(parts):
            observed += by_shift[:, 0].sum()
            drawn += _turned(by_shift, seed, entity_id(f"{name} | {number}"))
        b = np.array((drawn >= observed - 1e-12).sum())
        out[name] = float(observed / n_pairs), float(p_value(b, N_DRAWS))
    return out


def _turned(by_shift: Floats, seed: int, entity: int) -> Floats:
    """Sum over second persons, each at a shift of its own, float64 [draw]."""
    n_people, n = by_shift.shape
    purpose = purpose_word(Purpose.SIMULATION, _TURN)
    words = stream(seed, np.arange(1, N_DRAWS + 1), n_people, entity=entity, purpose=purpose)
    return np.asarray(by_shift[np.arange(n_people)[:, None], integers(words, n)].sum(axis=0))


def _shifted(study: Study, occasion: Occasion, band: Band, signal: str) -> tuple[Floats, int] | None:
    """Sum of correlations with first persons never met, by the shift of each second person: [person, shift]; pairs."""
    make = partial(_envelope, study, occasion, band, signal)
    first, second = [make(row, 0) for row in occasion.rows], [make(row, 1) for row in occasion.rows]
    met = {frozenset((row.person_a, row.person_b)) for row in study.all_dyads}
    sums, n_pairs = [], 0
    for y, row in zip(second, occasion.rows, strict=True):
        usable = [
            x
            for x, other in zip(first, occasion.rows, strict=True)
            if other.person_a != row.person_b and frozenset((other.person_a, row.person_b)) not in met and x is not None
        ]
        if y is None or not usable:
            continue
        crossed = np.fft.irfft(np.fft.rfft(np.sum(usable, axis=0)) * np.conj(np.fft.rfft(y)), y.size)
        sums.append(crossed)
        n_pairs += len(usable)
    return (np.array(sums), n_pairs) if sums else None


def _envelope(study: Study, occasion: Occasion, band: Band, signal: str, row: DyadRow, side: int) -> Floats | None:
    """Log power in a band, mean over channels, of zero mean and unit norm, at twice its bandwidth."""
    recording = (row.recording_a, row.recording_b)[side]
    x = prepare(signals_of(study, recording, signal, recording.channels, occasion.n_samples))
    fine = x.status == FINE
    step = max(1, round(occasion.sfreq / (2 * (band.high_hz - band.low_hz))))
    # The ends of a drifting recording ring: a cycle is left out there.
    edge = round(occasion.sfreq / band.low_hz)
    n_bins = (x.n_samples - 2 * edge) // step
    if not fine.any() or n_bins < FEWEST_BINS:
        return None
    spectrum = np.fft.fft(_level(x.x[fine]))
    frequency = np.asarray(np.fft.fftfreq(x.n_samples, 1 / occasion.sfreq), np.float64)
    power = np.abs(np.fft.ifft(spectrum * band.contains(frequency))) ** 2
    power /= power.mean(axis=1, keepdims=True)
    course = power.mean(axis=0)[edge : edge + n_bins * step].reshape(n_bins, step).mean(axis=1)
    log = np.log(np.maximum(course, 1e-12))
    log -= log.mean()
    norm = float(np.linalg.norm(log))
    return log / norm if norm > 0 else None


def _level(x: NDArray[np.floating]) -> Floats:
    """Channels less the straight line between their ends, which keeps drift out of the bands."""
    line = np.linspace(x[:, 0].astype(np.float64), x[:, -1].astype(np.float64), x.shape[1], axis=1)
    return np.asarray(x - line)


def shared_physiology(
    study: Study,
    physiology: Mapping[str, ArrayLike],
    spec: Spec,
    *,
    epochs: Any,
    within: Sequence[str] | None,
    seed: int,
    backend: str,
) -> float:
    """
    Family-wise p of the re-pairing test on an auxiliary signal, such as pulse or breathing, of every recording by id.

    Raises
    ------
    InputError
        If a recording has no such signal, or one of another length.
    """
    rows = []
    for row in study.dyads:
        give: dict[str, Callable[[], NDArray[np.float32]]] = {}
        recordings = []
        for recording in (row.recording_a, row.recording_b):
            signal = _auxiliary(physiology, recording.id, recording.n_samples)
            give[recording.id] = partial(np.asarray, signal[None])
            recordings.append(replace(recording, channels=pair_names(1), good=(True,)))
        rows.append((replace(row, recording_a=recordings[0], recording_b=recordings[1]), give))
    null = PseudoStudy.of(study, rows).null(
        spec, kind="repair", n=N_DRAWS, within=within, seed=seed, epochs=epochs, backend=backend
    )
    assert isinstance(null, RepairedNull)
    return float(np.nanmin(repair_test(null, TestSettings(tail="greater", correct=("max",)))["p_max_single"]))


def _auxiliary(physiology: Mapping[str, ArrayLike], name: str, n_samples: int) -> NDArray[np.float32]:
    if name not in physiology:
        raise InputError(f"physiology has no signal for recording {name!r}: give one for every recording in use")
    signal = np.asarray(physiology[name], np.float32)
    if signal.shape != (n_samples,):
        raise InputError(
            f"physiology of recording {name!r} has shape {signal.shape}, the recording {n_samples} samples: bring it "
            "to the rate and length of the recording"
        )
    return signal
