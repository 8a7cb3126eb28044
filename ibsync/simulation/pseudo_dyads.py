"""People who never met, cast as the dyads of a study, with coupling put into their recordings where asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from ..coupling.spec import Band
from ..coupling.transform.signals import FINE, prepare
from ..errors import PlanError
from ..nulls.random_streams import Purpose, entity_id, permutations, purpose_word, stream
from ..recordings.recording import DyadRow, Recording
from ..recordings.study_file import StudyFile
from ..study.rows import Occasion, occasions_of
from ..study.study import Study

Signals = NDArray[np.float32]
Pair = tuple[str, str]

LEVEL_BINS = 9
"""Frequencies over which a power spectrum is smoothed to tell its level."""

# Variants of the stream of simulations: what a random number decides.
ORDER, SHIFT, PAIRS, LATENT, SEED, HALVES = range(6)


@dataclass(frozen=True)
class Cast(Study):
    """
    A study whose dyads are put together from other people's recordings.

    Parameters
    ----------
    give : mapping of recording id to function
        Signals of each recording, float32 [channel, sample].
    """

    give: Mapping[str, Callable[[], Signals]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, study: StudyFile, rows: Iterable[tuple[DyadRow, Mapping[str, Callable[[], Signals]]]]) -> Cast:
        """Rows with the signals of their two recordings."""
        made = list(rows)
        give = {name: function for _, mine in made for name, function in mine.items()}
        return cls(study.path, (), {}, tuple(row for row, _ in made), {}, give)

    @cached_property
    def sha256(self) -> str:
        """Nothing: such a study is in no file."""
        return ""

    def signals(self, recording: Recording | str, signal: str = "hbo") -> Signals:
        """Signals of one recording, of the signal that the cast was made of: float32 [channel, sample]."""
        del signal
        return self.give[recording if isinstance(recording, str) else recording.id]()


@dataclass(frozen=True)
class Injection:
    """
    What two people are given in common.

    Parameters
    ----------
    coupling : float
        Coherency g that the two have in every band, 0 to 1.
    bands : tuple of Band
    seed, draw, entity : int
        Where the random numbers of the shared component come from.
    """

    coupling: float
    bands: tuple[Band, ...]
    seed: int
    draw: int
    entity: int

    def into(self, x: Signals, sfreq: float) -> Signals:
        """
        A channel that keeps its spectrum and its gaps, and holds the shared component.

        In every band ``sqrt(1 - g) own + sqrt(g) level z``, with z complex Gaussian noise that both people get and
        level the root of the channel's own smoothed power spectrum; nothing is changed outside the bands.

        Parameters
        ----------
        x : float32 [sample]
        sfreq : float
            Hz.

        Returns
        -------
        float32 [sample]
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


class Casting:
    """
    Makes dyad rows of a first person and somebody else's second person.

    Channel pair k of those asked for stands in slot k: both people then have a channel of that name, and "same" is the
    word for the pairs.

    Parameters
    ----------
    study : StudyFile
    signal : str

    Attributes
    ----------
    occasions : list of Occasion
        Sessions and tasks, each at its common length.
    """

    def __init__(self, study: StudyFile, signal: str) -> None:
        self.study = study
        self._read = lru_cache(maxsize=256)(lambda name: study.signals(name, signal))
        self.occasions = occasions_of(study.dyads, "common", one_rate=True)
        self._n_samples = {id(row): occasion.n_samples for occasion in self.occasions for row in occasion.rows}

    def row(
        self, name: str, first: DyadRow, second: DyadRow, pairs: Sequence[Pair], injection: Injection | None = None
    ) -> tuple[DyadRow, dict[str, Callable[[], Signals]]]:
        """
        The first person of one row with the second person of another.

        Parameters
        ----------
        name : str
            Label of the pseudo-dyad; also keeps its random numbers apart from those of others.
        first, second : DyadRow
        pairs : sequence of (channel_a, channel_b)
            Slots.
        injection : Injection, optional
            Put into the first slot of both.

        Returns
        -------
        DyadRow
        dict
            Signals of its two recordings, for `Cast.of`.
        """
        length = self._n_samples[id(first)]
        give: dict[str, Callable[[], Signals]] = {}
        made = []
        for recording, side in ((first.recording_a, 0), (second.recording_b, 1)):
            channels = tuple(pair[side] for pair in pairs)
            entry = replace(
                recording, id=f"{name} {first.session} {first.task} {'ab'[side]}", n_samples=length,
                channels=slots(len(pairs)), good=(True,) * len(pairs),
            )  # fmt: skip
            give[entry.id] = partial(self._signals, recording, channels, length, injection)
            made.append(entry)
        row = replace(
            first, dyad=name, recording_a=made[0], recording_b=made[1],
            person_a=f"{first.person_a} ({name})", person_b=f"{second.person_b} ({name})",
        )  # fmt: skip
        return row, give

    def _signals(self, recording: Recording, channels: Sequence[str], n: int, injection: Injection | None) -> Signals:
        given = self._read(recording.id)
        place = {name: k for k, (name, good) in enumerate(zip(recording.channels, recording.good, strict=True)) if good}
        out = np.full((len(channels), n), np.nan, np.float32)
        for slot, name in enumerate(channels):
            if name in place:
                out[slot] = given[place[name], :n]
        if injection is not None:
            out[0] = injection.into(out[0], recording.sfreq)
        return out


def slots(n: int) -> tuple[str, ...]:
    """Names of the slots."""
    return tuple(f"pair {k + 1}" for k in range(n))


def drawn_order(n: int, seed: int, draw: int, label: str, variant: int) -> NDArray[np.int64]:
    """Random order of n things; `draw` counts from 0."""
    purpose = purpose_word(Purpose.SIMULATION, variant)
    found = permutations(seed, np.array([draw + 1]), n, entity=entity_id(label), purpose=purpose)[0]
    return np.asarray(found, np.int64)


def drawn_seed(seed: int, draw: int) -> int:
    """Seed of one simulation."""
    words = stream(seed, np.array([draw + 1]), 2, entity=0, purpose=purpose_word(Purpose.SIMULATION, SEED))[:, 0]
    return int(words[0]) | int(words[1]) << 32


def pseudo_dyads(
    rows: Sequence[DyadRow], occasions: Sequence[Occasion], within: Sequence[str], seed: int
) -> list[tuple[DyadRow, DyadRow]]:
    """
    All pairs of a first and a second person who never met, of one session and task, in a random order.

    The order goes round by round: within a round of a session everybody occurs once, so that the first pairs share as
    few people as can be.

    Parameters
    ----------
    rows : sequence of DyadRow
        Who met whom.
    occasions : sequence of Occasion
    within : sequence of str
        With "group" people of one group only are put together.
    seed : int

    Returns
    -------
    list of (DyadRow, DyadRow)
        The row of the first person and that of the second.

    Raises
    ------
    PlanError
        If everybody of a session met everybody.
    """
    met = {frozenset((row.person_a, row.person_b)) for row in rows}
    rounds = []
    for occasion in occasions:
        for label in sorted({row.group for row in occasion.rows} if "group" in within else {""}):
            members = [row for row in occasion.rows if "group" not in within or row.group == label]
            rounds.append(list(_rounds(members, f"{occasion.label} | {label}", seed)))
    found = [
        (first, second)
        for together in zip_longest(*rounds, fillvalue=())
        for one in together
        for first, second in one
        if first.person_a != second.person_b and frozenset((first.person_a, second.person_b)) not in met
    ]
    if not found:
        raise PlanError(
            "calibration needs people who never met, recorded in one session and task: there is no such pair here; "
            "use a study of at least two dyads"
        )
    return found


def _rounds(members: Sequence[DyadRow], label: str, seed: int) -> Iterator[list[tuple[DyadRow, DyadRow]]]:
    n = len(members)
    if n < 2:
        return
    order = drawn_order(n, seed, 0, label, ORDER)
    for shift in 1 + drawn_order(n - 1, seed, 0, label, SHIFT):
        yield [(members[order[k]], members[order[(k + shift) % n]]) for k in range(n)]
