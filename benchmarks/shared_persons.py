"""How often re-pairing rejects where a person is in many dyads or sessions are missed: prints a table, writes JSON.

python benchmarks/shared_persons.py [--studies 4000] [--out benchmarks/results/shared-persons.json]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rates import Rates, asked, write

from ibsync.inference.alike import alike_within_persons
from ibsync.inference.repaired_test import repair_test
from ibsync.inference.settings import TestSettings
from ibsync.nulls.draws import Draws
from ibsync.nulls.repaired_null import PairSums, RepairedNull, group_means
from ibsync.nulls.repairing import Repairing

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEVEL, SELDOM, DRAWS, PATTERNS = 0.05, 0.01, 999, 20
ONE = TestSettings(tail="greater", correct=())


@dataclass(frozen=True)
class Made:
    """
    How pair values come about: additive and multiplicative parts of persons and recordings, and noise.

    Parameters
    ----------
    staying : float
        How much higher clients are who attended one deviation more of the sessions.
    alike : float
        How much higher a therapist's meetings are with clients of the same therapist.
    meeting : float
        How much higher the two recordings of one meeting are: what is to be found.
    """

    staying: float = 0.0
    alike: float = 0.0
    meeting: float = 0.0

    def values(self, therapists: Sequence[str], there: Bools, n: int, rng: np.random.Generator) -> Floats:
        """Values of `n` studies, float32 [session, meeting, client, study], of who was there, bool [session, dyad]."""
        n_sessions, n_dyads = there.shape
        number = np.unique(therapists, return_inverse=True)[1]
        attended = there.sum(axis=0)
        stays = (attended - attended.mean()) / max(attended.std(), 1e-9)
        client = rng.standard_normal((n_dyads, n)) + self.staying * stays[:, None]
        therapist = rng.standard_normal((number.max() + 1, n))[number]
        a = therapist + 0.5 * rng.standard_normal((n_sessions, n_dyads, n))
        b = client + 0.5 * rng.standard_normal((n_sessions, n_dyads, n))
        session = rng.standard_normal((n_sessions, 1, 1, n))
        values = session + a[:, :, None] + b[:, None] + 0.5 * a[:, :, None] * b[:, None]
        values += rng.standard_normal(values.shape)
        values += self.alike * (number[:, None] == number)[None, :, :, None]
        values += self.meeting * np.eye(n_dyads)[None, :, :, None]
        values[~(there[:, :, None] & there[:, None])] = np.nan
        return values.astype(np.float32)


def null_of(design: Repairing, values: Floats, seed: int) -> RepairedNull:
    draws = Draws.plan(design, DRAWS, seed, list_up_to=0)
    return RepairedNull(values, draws, tuple(str(k) for k in range(len(values))))


def design_of(therapists: Sequence[str], within: Sequence[str], there: Bools) -> Repairing:
    """One dyad a client; the therapist is the first person."""
    dyads = [f"d{k:02d}" for k in range(len(therapists))]
    attendance = ["".join(map(str, column.astype(int))) for column in there.T]
    columns = {"person": list(therapists), "attendance": attendance}
    people = ([f"{d}-client" for d in dyads], {name: columns[name] for name in within})
    return Repairing.of(dyads, therapists, *people, attendance=attendance)


def stopping(counts: Sequence[int], rng: np.random.Generator) -> Bools:
    """Clients who come to so many of the first sessions, in random order: bool [session, dyad]."""
    return np.arange(max(counts))[:, None] < rng.permutation(counts)


def missing(counts: Sequence[int], rng: np.random.Generator) -> Bools:
    """The same, of any sessions."""
    return rng.permuted(stopping(counts, rng), axis=0)


def by_chance(counts: tuple[int, int], share: float, rng: np.random.Generator) -> Bools:
    """Sessions and dyads of which a share is missed at random, though everybody comes once."""
    while True:
        there = rng.random(counts) >= share
        if there.any(axis=0).all():
            return there


def tested(null: RepairedNull) -> Floats:
    """p of each study, as ibsync tests."""
    return np.asarray(repair_test(null, ONE)["p"])


def of_plain_means(null: RepairedNull) -> Floats:
    """p of the mean of values less their session's mean, people left in."""
    first, second = null.design.pairs.T
    values = null.pair_values.astype(np.float64)[:, first, second]
    values -= np.nanmean(values, axis=1, keepdims=True)
    pairs = PairSums(np.nansum(values, axis=0), np.isfinite(values).sum(axis=0).astype(np.float64))
    means = group_means(pairs, null.design.pairs_of(null.draws.take(0, null.draws.n + 1)))
    return np.asarray(((means[1:] >= means[0] - 1e-9).sum(axis=0) + 1) / len(means))


def exchange(
    rates: Rates, name: str, patterns: Iterable[Bools], therapists: Sequence[str], within: Sequence[str], made: Made,
    n: int, *, holds: bool, p_of: Callable[[RepairedNull], Floats] = tested,
) -> None:  # fmt: skip
    """Add rejections over patterns of attendance; within each, studies share their draws."""
    rejected = []
    for seed, there in enumerate(patterns):
        values = made.values(therapists, there, n // PATTERNS, np.random.default_rng([2, seed]))
        rejected.append(p_of(null_of(design_of(therapists, within, there), values, seed)) <= LEVEL)
    exchanged = (" and ".join(within) or "all") + ", plain means" * (p_of is of_plain_means)
    rates.add(name, exchanged, np.concatenate(rejected), holds=holds)


def warned(rates: Rates, name: str, therapists: Sequence[str], made: Made, n: int) -> None:
    """Add how often `ibs.test` warns that clients of one therapist are more alike."""
    there = np.ones((3, len(therapists)), bool)
    design = design_of(therapists, (), there)
    values = made.values(therapists, there, n, np.random.default_rng(9))
    p = [alike_within_persons(null_of(design, values[..., k : k + 1], 0)) for k in range(n)]
    rates.add(name, "warning", np.array(p) <= SELDOM, holds=made.alike == 0)


def table(n: int) -> Rates:
    """All designs."""
    one, four = ["t"] * 8, [f"t{k // 4}" for k in range(16)]
    rngs = [np.random.default_rng([1, pattern]) for pattern in range(PATTERNS)]
    any_missed = [missing((4, 3, 3, 2, 2, 2, 1, 1), rng) for rng in rngs]
    early = [stopping((4, 3, 3, 2, 2, 2, 1, 1), rng) for rng in rngs]
    in_pairs = [stopping((3, 3, 3, 3, 2, 2, 1, 1), rng) for rng in rngs]
    full = [np.ones((3, 16), bool)] * PATTERNS
    plain, staying, alike, tied = Made(), Made(staying=1.0), Made(alike=0.5), Made(meeting=0.5)
    rates = Rates(82, 24)
    person, exact = ("person",), ("person", "attendance")
    for words, patterns, within in (
        ("any sessions missed", any_missed, person), ("clients stop early", early, person),
        ("clients stop early, some alike", in_pairs, exact),
    ):  # fmt: skip
        name = f"1 therapist, 8 clients, 18 recordings, {words}"
        exchange(rates, name, patterns, one, within, plain, n, holds=within == exact)
        exchange(rates, f"{name}; higher, who stays", patterns, one, within, staying, n, holds=within == exact)
        exchange(rates, f"{name}; tie", patterns, one, within, tied, n, holds=False)
    apart = [f"t{k:02d}" for k in range(12)]
    missed = {
        "1 therapist, 8 clients, 18 recordings, any sessions missed": (any_missed, one, person),
        "1 therapist, 8 clients, 18 recordings, clients stop early": (early, one, person),
        "10 dyads, 5 sessions, 30 % missed": ([by_chance((5, 10), 0.3, rng) for rng in rngs], apart[:10], ()),
        "12 dyads of 1 to 12 sessions, stop early": ([stopping(range(1, 13), rng) for rng in rngs], apart, ()),
    }
    for name, (patterns, therapists, within) in missed.items():
        for p_of in (tested, of_plain_means) if within == () else (of_plain_means,):
            for word, made in (("", plain), ("; higher, who stays", staying), ("; tie", tied)):
                exchange(rates, name + word, patterns, therapists, within, made, n, holds=False, p_of=p_of)
    clinic = "4 therapists, 4 clients each, 3 sessions"
    for within in (person, ()):
        exchange(rates, clinic, full, four, within, plain, n, holds=True)
        exchange(rates, f"{clinic}; clients like theirs", full, four, within, alike, n, holds=within == person)
        exchange(rates, f"{clinic}; tie", full, four, within, tied, n, holds=False)
    warned(rates, clinic, four, plain, n // 4)
    warned(rates, f"{clinic}; clients like theirs", four, alike, n // 4)
    return rates


def main() -> None:
    words = asked(__doc__, studies=4000)
    rates = table(words.studies)
    how = (
        f"pair values with parts of persons, recordings and sessions, added and multiplied, and noise; share of "
        f"{words.studies} studies with p <= {LEVEL:g}, upper tail, {DRAWS} draws, over {PATTERNS} orders of who came "
        f"how often; warning: share of {words.studies // 4} studies with p <= {SELDOM:g}"
    )
    write(words.out, how, rows=rates.rows)


if __name__ == "__main__":
    main()
