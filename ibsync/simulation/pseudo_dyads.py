"""Pseudo-dyads: people who never met as the dyads of a study, with coupling put into their recordings where asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from ..coupling.spec import Band
from ..coupling.transform.signals import FINE, prepare
from ..errors import PlanError
from ..nulls.random_streams import Purpose, entity_id, permutations, purpose_word, stream
from ..recordings.recording import DyadRow, Recording
from ..recordings.study_file import StudyFile
from ..study.controls import Controls
from ..study.rows import Occasion, occasions_of
from ..study.study import Study

Signals = NDArray[np.float32]
Pair = tuple[str, str]
PseudoRow = tuple[DyadRow, Mapping[str, Callable[[], Signals]]]
"""A dyad, and the signals of its two recordings by their ids."""

CONTROLS_OF = "controls of "
"""Before the id of a recording: its controls."""

LEVEL_BINS = 9
"""Frequencies over which a power spectrum is smoothed to tell its level."""

# Variants of the stream of simulations: what a random number decides.
ORDER, SHIFT, PAIRS, LATENT, SEED, HALVES = range(6)


@dataclass(frozen=True)
class PseudoStudy(Study):
    """A study of recordings that functions give, by id and as float32 [channel, sample], and no file holds."""

    give: Mapping[str, Callable[[], Signals]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, study: StudyFile, rows: Iterable[PseudoRow]) -> PseudoStudy:
        """The study of some rows."""
        pairs = list(rows)
        give = {name: function for _, functions in pairs for name, function in functions.items()}
        return cls(study.path, (), {}, tuple(row for row, _ in pairs), {}, give=give)

    def signals(self, recording: Recording | str, signal: str = "hbo") -> Signals:
        """Signals of one recording, of the one signal that there is: float32 [channel, sample]."""
        del signal
        return self.give[recording if isinstance(recording, str) else recording.id]()

    def auxiliary(self, recording: Recording | str) -> Signals:
        """Controls of one recording: float32 [control, sample]."""
        return self.give[CONTROLS_OF + (recording if isinstance(recording, str) else recording.id)]()


@dataclass(frozen=True)
class Injection:
    """What two people are given in common: coherency `coupling` in every band, by the random numbers of an entity."""

    coupling: float
    bands: tuple[Band, ...]
    seed: int
    draw: int
    entity: int

    def into(self, x: Signals, sfreq: float) -> Signals:
        """
        A channel, float32 [sample], that keeps its spectrum and its gaps, and holds the shared component.

        In every band ``sqrt(1 - g) own + sqrt(g) level z`` with coherency g, z complex Gaussian noise that both people
        get, and level the root of the channel's own smoothed power spectrum; nothing is changed outside the bands.
        """
        from scipy.ndimage import uniform_filter1d

        filled = prepare(x[None])
        if filled.status[0] != FINE:
            return x
        centred = filled.x[0].astype(np.float64) - filled.mean[0]
        frequency = np.asarray(np.fft.rfftfreq(x.size, 1 / sfreq), np.float64)
        inside = np.any([band.contains(frequency) for band in self.bands], axis=0)
        own = np.fft.rfft(centred)
        level = np.sqrt(uniform_filter1d(np.abs(own[inside]) ** 2, LEVEL_BINS, mode="reflect"))
        change = np.zeros_like(own)
        change[inside] = (np.sqrt(1 - self.coupling) - 1) * own[inside]
        change[inside] += np.sqrt(self.coupling) * level * self._noise(int(inside.sum()))
        out = filled.x[0] + np.fft.irfft(change, x.size)
        return np.where(np.isnan(x), np.nan, out).astype(np.float32)

    def _noise(self, n: int) -> NDArray[np.complex128]:
        """Complex Gaussian noise of unit power (Box and Muller 1958)."""
        purpose = purpose_word(Purpose.SIMULATION, LATENT)
        words = stream(self.seed, np.array([self.draw]), 2 * n, entity=self.entity, purpose=purpose)[:, 0]
        radius = np.sqrt(-np.log((words[0::2] + 1.0) / 2**32))
        return np.asarray(radius * np.exp(2j * np.pi * words[1::2] / 2**32))


class PseudoDyads:
    """
    Dyads of a first person and somebody else's second person, at the common length of their session and task.

    Both people have the channels "pair 1", "pair 2", ... of the channel pairs asked for; "same" is then the word for
    the pairs.

    Parameters
    ----------
    study : StudyFile
    signal : str
    controls : Controls, optional
        As the study has them. Both people have them as the auxiliary signals "control_1", "control_2", ...
    """

    def __init__(self, study: StudyFile, signal: str, controls: Controls | None = None) -> None:
        self.study, self._signal, self._controls = study, signal, controls
        names = () if controls is None else tuple(f"control_{k + 1}" for k in range(controls.n_common))
        self.pseudo_controls = None if controls is None else Controls(names, controls.how)
        self._read = lru_cache(maxsize=256)(lambda name: study.signals(name, signal))
        self.occasions = occasions_of(study.dyads, one_rate=True)
        self._n_samples = {id(row): occasion.n_samples for occasion in self.occasions for row in occasion.rows}

    def row(
        self, name: str, first: DyadRow, second: DyadRow, pairs: Sequence[Pair], injection: Injection | None = None
    ) -> PseudoRow:
        """The first person of one row with the second person of another; an injection goes into the first pair.

        The name keeps random numbers of the pseudo-dyad apart from those of others.
        """
        length = self._n_samples[id(first)]
        give: dict[str, Callable[[], Signals]] = {}
        recordings = []
        for recording, side in ((first.recording_a, 0), (second.recording_b, 1)):
            channels = tuple(pair[side] for pair in pairs)
            pseudo = replace(
                recording, id=f"{name} {first.session} {first.task} {'ab'[side]}", n_samples=length,
                channels=pair_names(len(pairs)), good=(True,) * len(pairs), short=(), optodes_mm=(),
                auxiliary=() if self.pseudo_controls is None else self.pseudo_controls.names,
            )  # fmt: skip
            give[pseudo.id] = partial(self._signals, recording, channels, length, injection)
            if self._controls is not None:
                give[CONTROLS_OF + pseudo.id] = partial(self._of_controls, self._controls, recording, length)
            recordings.append(pseudo)
        row = replace(
            first, dyad=name, recording_a=recordings[0], recording_b=recordings[1],
            person_a=f"{first.person_a} ({name})", person_b=f"{second.person_b} ({name})",
        )  # fmt: skip
        return row, give

    def _of_controls(self, controls: Controls, recording: Recording, n: int) -> Signals:
        return controls.common(self.study, recording, self._signal, n).astype(np.float32)

    def _signals(self, recording: Recording, channels: Sequence[str], n: int, injection: Injection | None) -> Signals:
        signals = self._read(recording.id)
        place = {name: k for k, (name, good) in enumerate(zip(recording.channels, recording.good, strict=True)) if good}
        out = np.full((len(channels), n), np.nan, np.float32)
        for pair, name in enumerate(channels):
            if name in place:
                out[pair] = signals[place[name], :n]
        if injection is not None:
            out[0] = injection.into(out[0], recording.sfreq)
        return out


def pair_names(n: int) -> tuple[str, ...]:
    """Names of the channels that stand for channel pairs."""
    return tuple(f"pair {k + 1}" for k in range(n))


def drawn_order(n: int, seed: int, draw: int, label: str, variant: int) -> NDArray[np.int64]:
    """Random order of n things; `draw` counts from 0."""
    purpose = purpose_word(Purpose.SIMULATION, variant)
    order = permutations(seed, np.array([draw + 1]), n, entity=entity_id(label), purpose=purpose)[0]
    return np.asarray(order, np.int64)


def drawn_seed(seed: int, draw: int) -> int:
    """Seed of one simulation."""
    words = stream(seed, np.array([draw + 1]), 2, entity=0, purpose=purpose_word(Purpose.SIMULATION, SEED))[:, 0]
    return int(words[0]) | int(words[1]) << 32


def pseudo_dyads(
    rows: Sequence[DyadRow], occasions: Sequence[Occasion], within: Sequence[str] | None, seed: int
) -> list[tuple[DyadRow, DyadRow]]:
    """
    All first and second persons who never met, by their rows, of one session and task; with "group" of one group only.

    The order is random, and goes round by round: within a round of a session everybody occurs once, so that the first
    pairs share as few people as can be.

    Raises
    ------
    PlanError
        If everybody of a session met everybody.
    """
    by_group = "group" in (within or ())
    met = {frozenset((row.person_a, row.person_b)) for row in rows}
    rounds = []
    for occasion in occasions:
        for label in sorted({row.group for row in occasion.rows} if by_group else {""}):
            members = [row for row in occasion.rows if not by_group or row.group == label]
            rounds.append(list(_rounds(members, f"{occasion.label} | {label}", seed)))
    pairs = [
        (first, second)
        for together in zip_longest(*rounds, fillvalue=())
        for one in together
        for first, second in one
        if first.person_a != second.person_b and frozenset((first.person_a, second.person_b)) not in met
    ]
    if not pairs:
        raise PlanError(
            "calibration needs people who never met, recorded in one session and task: there is no such pair here; "
            "use a study of at least two dyads"
        )
    return pairs


def _rounds(members: Sequence[DyadRow], label: str, seed: int) -> Iterator[list[tuple[DyadRow, DyadRow]]]:
    n = len(members)
    if n < 2:
        return
    order = drawn_order(n, seed, 0, label, ORDER)
    for shift in 1 + drawn_order(n - 1, seed, 0, label, SHIFT):
        yield [(members[order[k]], members[order[(k + shift) % n]]) for k in range(n)]
