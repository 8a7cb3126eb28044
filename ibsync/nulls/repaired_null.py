"""The partner re-pairing null: who may be paired with whom, in which order, and the values of all pairs.

The hypothesis is that real partners are like pseudo-dyads of the same roles in the same paradigm. One permutation of
partners is drawn per draw and used for every session, epoch, band and channel pair; fixed points are allowed, because
the permutations without them are not a group and reject too often.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..recordings.memory import array_as, release
from ..recordings.notebook import labels_in, table_html
from .draws import Draws, Indices, Integers
from .repairing import Repairing

Floats = NDArray[np.float64]

_PART_VALUES = 1 << 20


@dataclass(frozen=True)
class PairSums:
    """
    Sums over sessions of the pair values of some features, and how many sessions stand behind each.

    Parameters
    ----------
    sums : float64 [pair, feature]
        Sum over the sessions in which the pair has a value.
    counts : float64 [pair, feature]
        Number of those sessions.
    """

    sums: Floats
    counts: Floats

    def pooled(self, group: Integers, n_groups: int) -> "PairSums":
        """Sums and counts of groups of features, from the group number of each feature, int [feature]."""
        pooled = np.empty((2, len(self.sums), n_groups))
        for number in range(n_groups):
            for out, table in zip(pooled, (self.sums, self.counts), strict=True):
                out[:, number] = table[:, group == number].sum(axis=1)
        return PairSums(*pooled)


@dataclass(frozen=True, repr=False)
class RepairedNull:
    """
    Values of every permitted pair, from which the re-pairing distribution of a group mean follows.

    Parameters
    ----------
    pair_values : float32 or float64 [session, person_a, person_b, task x feature of a recording]
        Statistic of first person i with second person j, both in the order of the design's dyads; the diagonal holds
        the real dyads. With `Matchings` both axes hold everybody, first persons before second ones. NaN where a
        session or channel is missing. Pairs across blocks are never read. They may lie in a file (`memory.Budget`).
    draws : Draws
        The re-pairings, with the design and the seed.
    sessions : tuple of str
        Label of each session.
    kind : str
        Family of the null, "repair".
    attrs : mapping
        Whatever the maker wants carried along: labels of the features, spec, accuracy, backend, study hash.
    valid_fraction : float [session, dyad, task x feature of a recording], optional
        Share of the cells behind the value of each real dyad whose recording was cut to those of its partners; NaN for
        those that were used in full.
    tasks : tuple of str
        Label of each task; a task is a condition, whose features are tested apart.
    real_means : mapping
        Means of the real dyads that came with the pair values, for `Study.synchrony` of the same request. They are not
        saved.
    """

    pair_values: NDArray[np.floating]
    draws: Draws[Repairing]
    sessions: tuple[str, ...]
    kind: str = "repair"
    attrs: Mapping[str, object] = field(default_factory=dict)
    valid_fraction: Floats | None = None
    tasks: tuple[str, ...] = ("",)
    real_means: Mapping[Any, Any] = field(default_factory=dict, kw_only=True, compare=False)

    def __post_init__(self) -> None:
        n_people = self.draws.design.n_people
        expected = (len(self.sessions), n_people, n_people)
        if self.pair_values.ndim != 4 or self.pair_values.shape[:3] != expected:
            raise PlanError(
                f"pair values have shape {self.pair_values.shape}; "
                f"expected {expected} for sessions, first and second persons, and a fourth axis of features"
            )

    def __repr__(self) -> str:
        names = f"{len(self.design)} dyads, {len(self.sessions)} sessions, {self.n_features} features"
        every = "all " if self.draws.listed else ""
        return f"RepairedNull({every}{self.draws.n} {self.design.noun} of {names}, seed {self.draws.seed})"

    def _repr_html_(self) -> str:
        return table_html(repr(self), labels_in(self.attrs))

    @property
    def by_task(self) -> NDArray[np.floating]:
        """The pair values as a view [session, person_a, person_b, task, feature of a recording]."""
        return self.pair_values.reshape(*self.pair_values.shape[:3], len(self.tasks), -1)

    def of_rows(self, values: Floats, sessions: Integers, dyads: Integers, tasks: Integers) -> Floats:
        """Of values [session, dyad, task x feature] those of some recordings: float64 [row, feature]."""
        return values.reshape(*values.shape[:2], len(self.tasks), -1)[sessions, dyads, tasks]

    def real_pairs(self, sessions: Integers, dyads: Integers, tasks: Integers) -> tuple[Floats, Floats | None]:
        """
        Values of real dyads, and the share of cells behind those that were cut.

        Parameters
        ----------
        sessions, dyads, tasks : int64 [row]

        Returns
        -------
        float64 [row, feature], and float64 [row, feature] or None
        """
        n_features = self.n_features // len(self.tasks)
        values, real = np.empty((len(sessions), n_features)), self.design.real[dyads]
        for part in self.parts(n_features):
            values[:, part] = self.by_task[..., part][sessions, dyads, real, tasks]
        if self.valid_fraction is None:
            return values, None
        return values, self.of_rows(self.valid_fraction, sessions, dyads, tasks)

    @property
    def design(self) -> Repairing:
        """Who may be paired with whom."""
        return self.draws.design

    @property
    def exact(self) -> bool:
        """Whether all re-pairings are listed, of people who were recorded on the same occasions."""
        return self.draws.listed and self.design.same_attendance

    @property
    def n_features(self) -> int:
        """Number of features tested together."""
        return int(self.pair_values.shape[3])

    @property
    def n_tested(self) -> int:
        """Number of features with a value of any pair."""
        return sum(int(np.isfinite(self.pair_values[..., part]).any(axis=(0, 1, 2)).sum()) for part in self.parts())

    def parts(self, n_features: int | None = None) -> Iterator[slice]:
        """Some of the features at a time, so that no array of all values is made, nor held if they lie in a file."""
        stop = self.n_features if n_features is None else n_features
        step = max(2, _PART_VALUES // max(1, prod(self.pair_values.shape[:3])))
        for start in range(0, stop, step):
            yield slice(start, min(start + step, stop))
            release(self.pair_values)

    def room(self, n_sessions: int, n_people: int, n_features: int) -> NDArray[Any]:
        """Room for other pair values [session, person_a, person_b, feature], in a file if these lie in one."""
        shape = (n_features, n_sessions, n_people, n_people)
        return np.moveaxis(array_as(self.pair_values, shape, self.pair_values.dtype), 0, -1)

    def pair_sums(self, features: Integers | None = None) -> PairSums:
        """
        Sums over sessions for some features, in float64 and in session order.

        Where pairs differ in the number of sessions, the real pairing holds other people and sessions than others do:
        most values exist there. So an additive fit of first persons, second persons and sessions, to all pairs alike,
        is taken out, and its mean over the real pairs is added again.

        Parameters
        ----------
        features : int64 [feature], optional
            Feature indices in the order wanted; default all.
        """
        wanted = np.arange(self.n_features) if features is None else features
        sums, counts = np.zeros((2, len(self.design.pairs), len(wanted)))
        for session in range(len(self.sessions)):
            values = self._values(session, wanted)
            present = np.isfinite(values)
            sums += np.where(present, values, 0.0)
            counts += present
        unlike = counts.min(axis=0, initial=np.inf) != counts.max(axis=0, initial=0)
        if unlike.any():
            sums[:, unlike] = self._adjusted_sums(wanted[unlike])
        release(self.pair_values)
        return PairSums(sums, counts)

    def _values(self, session: int, wanted: Integers) -> Floats:
        """Values of one session, float64 [pair, feature]."""
        first, second = self.design.pairs.T
        chosen = self.pair_values[session][first[:, None], second[:, None], wanted[None, :]]
        return np.ascontiguousarray(chosen, np.float64)

    def _adjusted_sums(self, wanted: Integers) -> Floats:
        """Sums over sessions without people and sessions, whose fit depends on who was there: [pair, feature]."""
        by_label = np.argsort(self.sessions)  # sums round alike in whatever order sessions come
        values = np.stack([self._values(session, wanted) for session in by_label])
        present = np.isfinite(values)
        patterns, pattern_of = distinct_columns(present.reshape(-1, len(wanted)))
        sums = np.empty(values.shape[1:])
        for number, pattern in enumerate(patterns.T.reshape(-1, *values.shape[:2])):
            members = pattern_of == number
            sums[:, members] = _adjusted_sums(values[..., members], pattern, self.design)
        return sums


def _adjusted_sums(values: Floats, present: NDArray[np.bool_], design: Repairing) -> Floats:
    """
    Sums over sessions of values less their additive fit, plus the mean of the fit over the real pairs.

    Parameters
    ----------
    values : float64 [session, pair, feature]
    present : bool [session, pair]
        Which of them exist.
    design : Repairing

    Returns
    -------
    float64 [pair, feature]
    """
    from scipy.sparse import csr_array

    session, pair = np.nonzero(present)
    blocks, place = len(design.blocks), np.arange(len(session))
    of_session = design.effects.max() + 1 + session * blocks + design.block_of_pair[pair]
    effects = np.column_stack([design.effects[pair], of_session])
    rows = csr_array((np.ones(effects.size), (np.repeat(place, 3), effects.reshape(-1))))
    # Persons and sessions overlap, hence the pseudo-inverse; entries of the product are counts, far from rounding.
    inverse = np.linalg.pinv((rows.T @ rows).toarray(), rcond=1e-10, hermitian=True)
    own, real = values[session, pair], np.isin(pair, design.real_pairs)
    # Sparse products all: they add in one order, however many features there are.
    fit = rows @ (csr_array(inverse) @ (rows.T @ own))
    mean = csr_array(real[None] / max(1, real.sum())) @ fit
    in_pair = csr_array((np.ones(len(pair)), (pair, place)), shape=(values.shape[1], len(pair)))
    return np.asarray(in_pair @ (own - fit + mean))


def distinct_columns(table: NDArray[Any]) -> tuple[NDArray[Any], Integers]:
    """Distinct columns of [row, column], as [row, pattern], and which of them each column is, [column]."""
    number: dict[bytes, int] = {}
    pattern_of = np.array([number.setdefault(column.tobytes(), len(number)) for column in table.T], dtype=np.int64)
    return table[:, np.unique(pattern_of, return_index=True)[1]], pattern_of


def sum_pairs(chosen: Indices, table: Floats) -> Floats:
    """
    Sum of a table's rows over the pairs of each draw, added in dyad order.

    The order of the additions depends on nothing but the draw, so the result is the same to the last bit
    however draws and features are split into batches; a matrix product would not promise that.

    Parameters
    ----------
    chosen : int32 [draw, dyad]
        From `Repairing.pairs_of`.
    table : float64 [pair, feature]

    Returns
    -------
    float64 [draw, feature]
    """
    from scipy.sparse import csr_array

    n_draws, n_dyads = chosen.shape
    ends = np.arange(0, chosen.size + 1, n_dyads, dtype=np.int32)
    weights = csr_array((np.ones(chosen.size), chosen.reshape(-1), ends), shape=(n_draws, len(table)))
    return np.asarray(weights @ table)


def group_means(pairs: PairSums, chosen: Indices) -> Floats:
    """
    Group statistic of each draw: the mean over sessions and dyads of the values that exist.

    ``T(sigma) = mean over (s, i) of C_s[i, sigma(i)]``, in float64 and a fixed order; NaN where a draw has no value.

    Parameters
    ----------
    pairs : PairSums
    chosen : int32 [draw, dyad]
        From `Repairing.pairs_of`.

    Returns
    -------
    float64 [draw, feature]
    """
    sums, counts = _sums_of(pairs, chosen)
    return np.asarray(sums / counts)


def root_means(pairs: PairSums, chosen: Indices) -> Floats:
    """The same sums over the root of the number of values, of like spread in all draws: float64 [draw, feature]."""
    sums, counts = _sums_of(pairs, chosen)
    return np.asarray(sums / np.sqrt(counts))


def _sums_of(pairs: PairSums, chosen: Indices) -> tuple[Floats, Floats]:
    """Sum and number of the values of each draw, NaN for none: float64 [draw, feature] each."""
    counts = sum_pairs(chosen, pairs.counts)
    counts[counts == 0] = np.nan
    return sum_pairs(chosen, pairs.sums), counts


def closed_moments(pairs: PairSums, design: Repairing) -> tuple[Floats, Floats]:
    """
    Mean and standard deviation of the group mean over all re-pairings, where these average the same number of values.

    With n values in each: the mean is the sum over pairs of the pair sums over `Repairing.n_choices`, divided by n, and
    the variance is the sum of d**2 over `Repairing.degrees_of_freedom`, divided by n**2, with d the centred pair sums
    (Hoeffding 1951, *A combinatorial central limit theorem*). Neither depends on which pairing is the real one, which
    keeps a test that standardises with them exact.

    Returns
    -------
    mean, sd : float64 [feature]
        NaN where re-pairings average different numbers of values, or none.
    """
    even = ~np.any(np.abs(design.centred(pairs.counts)) > 1e-9, axis=0) & (pairs.counts.sum(axis=0) > 0)
    n_choices = design.n_choices[:, None]
    n_values = np.where(even, (pairs.counts / n_choices).sum(axis=0), np.nan)
    mean = (pairs.sums / n_choices).sum(axis=0) / n_values
    deviation = design.centred(pairs.sums) / np.sqrt(design.degrees_of_freedom)[:, None]
    return mean, np.sqrt((deviation**2).sum(axis=0)) / n_values
