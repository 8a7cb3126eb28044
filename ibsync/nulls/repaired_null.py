"""The partner re-pairing null: who may be paired with whom, in which order, and the values of all pairs.

The hypothesis is that nothing ties a person to *their own* partner beyond what ties them to any partner of the same
role in the same paradigm. One permutation of the partners is drawn per draw and used for every session, epoch, band
and channel pair; fixed points are allowed, because the permutations without them are not a group and reject too often.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .draws import Draws, Indices, Integers
from .random_streams import Purpose
from .repairing import Repairing

Floats = NDArray[np.float64]

MOMENT_DRAWS = 4096
"""Independent draws behind a null mean and standard deviation that have no closed form."""


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
        member = (group[:, None] == np.arange(n_groups)).astype(np.float64)
        return PairSums(self.sums @ member, self.counts @ member)


@dataclass(frozen=True, repr=False)
class RepairedNull:
    """
    Values of every permitted pair, from which the re-pairing distribution of a group mean follows.

    Parameters
    ----------
    pair_values : float32 or float64 [session, person_a, person_b, task x feature of a recording]
        Statistic of first person i with second person j, both in the order of the design's dyads; the diagonal holds
        the real dyads. With `Matchings` both axes hold everybody, first persons before second ones. NaN where a
        session or channel is missing. Pairs across blocks are never read.
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
    """

    pair_values: NDArray[np.floating]
    draws: Draws[Repairing]
    sessions: tuple[str, ...]
    kind: str = "repair"
    attrs: Mapping[str, object] = field(default_factory=dict)
    valid_fraction: Floats | None = None
    tasks: tuple[str, ...] = ("",)

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
        values = self.by_task[sessions, dyads, self.design.real[dyads], tasks].astype(np.float64)
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

    def pair_sums(self, features: Integers | None = None) -> PairSums:
        """
        Sums over sessions for some features, in float64 and in session order.

        Where pairs differ in the number of sessions, a session that is higher for everybody would weigh more in the
        real pairing, in which most values exist, than in others. There each session's values are taken from the
        session's own mean over the pairs of a block, and the mean of the real pairing is added again.

        Parameters
        ----------
        features : int64 [feature], optional
            Feature indices in the order wanted; default all.
        """
        wanted = np.arange(self.n_features) if features is None else features
        sums, counts = self._summed(wanted, None)
        unlike = counts.min(axis=0, initial=np.inf) != counts.max(axis=0, initial=0)
        if len(self.sessions) > 1 and unlike.any():
            sums[:, unlike] = self._summed(wanted[unlike], self._levels(wanted[unlike]))[0]
        return PairSums(sums, counts)

    def _values(self, session: int, wanted: Integers) -> Floats:
        """Values of one session, float64 [pair, feature]."""
        first, second = self.design.pairs.T
        chosen = self.pair_values[session][first[:, None], second[:, None], wanted[None, :]]
        return np.asarray(chosen, np.float64)

    def _summed(self, wanted: Integers, levels: Floats | None) -> tuple[Floats, Floats]:
        """Sums and counts over sessions, less the levels [session, block, feature] where given: [pair, feature]."""
        sums, counts = np.zeros((2, len(self.design.pairs), len(wanted)))
        for session in range(len(self.sessions)):
            values = self._values(session, wanted)
            if levels is not None:
                values = values - levels[session][self.design.block_of_pair]
            present = np.isfinite(values)
            sums += np.where(present, values, 0.0)
            counts += present
        return sums, counts

    def _levels(self, wanted: Integers) -> Floats:
        """Mean of each session over the pairs of a block, less that of the real pairing: [session, block, feature]."""
        block_of = self.design.block_of_pair
        real = np.isin(np.arange(len(block_of)), self.design.real_pairs)
        levels = np.zeros((len(self.sessions), len(self.design.blocks), len(wanted)))
        total, n_real = np.zeros((2, len(wanted)))
        for session in range(len(self.sessions)):
            values = self._values(session, wanted)
            present = np.isfinite(values)
            filled = np.where(present, values, 0.0)
            for block in range(len(self.design.blocks)):
                members = block_of == block
                count = present[members].sum(axis=0)
                np.divide(filled[members].sum(axis=0), count, out=levels[session, block], where=count > 0)
                n = present[members & real].sum(axis=0)
                total += levels[session, block] * n
                n_real += n
        return levels - np.divide(total, n_real, out=np.zeros_like(total), where=n_real > 0)


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
    counts = sum_pairs(chosen, pairs.counts)
    means = np.full_like(counts, np.nan)
    np.divide(sum_pairs(chosen, pairs.sums), counts, out=means, where=counts > 0)
    return means


@dataclass(frozen=True)
class GroupMoments:
    """
    Mean and standard deviation of the group statistic over the re-pairings.

    Parameters
    ----------
    mean, sd : float64 [feature]
        NaN for a feature without values.
    closed : bool [feature]
        Whether the closed form holds: every re-pairing averages the same number of values.
    """

    mean: Floats
    sd: Floats
    closed: NDArray[np.bool_]


def group_moments(pairs: PairSums, draws: Draws[Repairing]) -> GroupMoments:
    """
    Null mean and standard deviation of the group statistic.

    Where every re-pairing averages the same number n of values: the mean is the sum over pairs of the pair sums over
    `Repairing.n_choices`, divided by n, and the variance is the sum of d**2 over `Repairing.degrees_of_freedom`,
    divided by n**2, with d the centred pair sums (Hoeffding 1951, *A combinatorial central limit theorem*). Elsewhere
    both come from all re-pairings if they are few, else from `MOMENT_DRAWS` draws of a stream of their own. Either way
    they do not depend on which pairing is the real one, which keeps a test that standardises with them exact.
    """
    design = draws.design
    closed = ~np.any(np.abs(design.centred(pairs.counts)) > 1e-9, axis=0) & (pairs.counts.sum(axis=0) > 0)
    mean, sd = np.full((2, pairs.sums.shape[1]), np.nan)
    mean[closed], sd[closed] = _closed_moments(PairSums(pairs.sums[:, closed], pairs.counts[:, closed]), design)
    if not closed.all():
        rest = PairSums(pairs.sums[:, ~closed], pairs.counts[:, ~closed])
        mean[~closed], sd[~closed] = _drawn_moments(rest, draws)
    return GroupMoments(mean, sd, closed)


def _closed_moments(pairs: PairSums, design: Repairing) -> tuple[Floats, Floats]:
    n_choices = design.n_choices[:, None]
    n_values = (pairs.counts / n_choices).sum(axis=0)
    mean = (pairs.sums / n_choices).sum(axis=0) / n_values
    deviation = design.centred(pairs.sums) / np.sqrt(design.degrees_of_freedom)[:, None]
    return mean, np.sqrt((deviation**2).sum(axis=0)) / n_values


def _drawn_moments(pairs: PairSums, draws: Draws[Repairing]) -> tuple[Floats, Floats]:
    """Moments over the draws that have a value, NaN where none has."""
    design = draws.design
    if design.n_ways <= MOMENT_DRAWS:
        partners = design.listed(np.arange(design.n_ways))
    else:
        partners = design.drawn(np.arange(1, MOMENT_DRAWS + 1), draws.seed, Purpose.REPAIR_MOMENTS)
    means = group_means(pairs, design.pairs_of(partners))
    present = np.isfinite(means)
    n = present.sum(axis=0)
    total = np.where(present, means, 0.0).sum(axis=0)
    mean = np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)
    squares = np.where(present, (means - mean) ** 2, 0.0).sum(axis=0)
    sd = np.sqrt(np.divide(squares, n, out=np.full_like(total, np.nan), where=n > 0))
    return mean, sd
