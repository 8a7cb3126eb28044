"""How often tests of change over sessions and of outcomes reject when there is nothing, and find what was simulated.

python benchmarks/longitudinal.py [--sims 1000] [--only SECTION ...] [--out benchmarks/results/NAME.json]

Beside ibsync's tests stand habits of the field: a mixed model with an intercept per dyad only, a t-test of real against
pooled pseudo-dyads, correlations that ignore a covariate or count sessions as independent. Needs statsmodels.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from calibration import aligned, rate_table
from measure import provenance
from model_null import study_and_null
from numpy.typing import NDArray
from rates import rate_row

import ibsync as ibs
from ibsync import Growth, SynchronyModel
from ibsync.coupling.engine import Engine
from ibsync.inference.p_values import clopper_pearson
from ibsync.nulls.repaired_null import RepairedNull

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Study = tuple[Any, RepairedNull | None]

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("ibsync", "numpy", "scipy", "statsmodels")
LEVEL, N_PERM = 0.05, 999
N_DYADS, N_SESSIONS = 14, 4
N_PAIRS = 100
"""Studies that are tested in one call, as channel pairs that know nothing of each other."""
SLOW_SHARE = 4
"""One study in so many is tested where a test takes long."""


@dataclass(frozen=True)
class Settings:
    """Size of a run."""

    sims: int
    seed: int

    def seeds(self, per_call: int, share: int = 1) -> Iterator[tuple[int, int]]:
        """A seed for each call that tests so many studies."""
        for call in range(max(1, -(-self.sims // (share * per_call)))):
            yield self.seed, call


# --- change over sessions ---------------------------------------------------------------------------------------------


SCENARIOS: dict[str, SynchronyModel] = {
    "independent sessions": SynchronyModel(growth=Growth(level_sd=0.03)),
    "slopes of their own": SynchronyModel(growth=Growth(sd=0.02, level_sd=0.03)),
    "people change": SynchronyModel(person_sd=0.02, person_growth_sd=0.015),
    "AR(1) 0.7": SynchronyModel(growth=Growth(session_sd=0.04, session_ar=0.7), noise_sd=0.01),
    "unequal lengths": SynchronyModel(growth=Growth(sd=0.01, level_sd=0.03), shortest=0.2),
    "missing sessions": SynchronyModel(growth=Growth(sd=0.01, level_sd=0.03), missing=0.3),
    "therapists": SynchronyModel(
        growth=Growth(sd=0.01, level_sd=0.03, therapist_sd=0.03, therapist_growth_sd=0.02), therapists=7
    ),
}
"""Studies in which synchrony changes from session to session, but not on average."""


def _p(found: ibs.Result) -> Floats:
    """The p of every channel pair, float64 [pair]."""
    return np.asarray(found.dataset["p"].to_numpy().reshape(-1))


def flipped(real: Any, null: RepairedNull | None, seed: int) -> Floats:
    """Signs of slopes, `ibs.plasticity(real)`."""
    del null
    return _p(ibs.plasticity(real, correct=[], n=N_PERM, seed=seed))


def as_independent(real: Any, null: RepairedNull | None, seed: int) -> Floats:
    """The same where nobody told that clients share a therapist."""
    return flipped(real.drop_vars(["person_a", "person_b"]), null, seed)


def repartnered(real: Any, null: RepairedNull | None, seed: int) -> Floats:
    """Slopes of real against re-paired partners, `ibs.plasticity(real, null=null)`."""
    del seed
    return _p(ibs.plasticity(real, null=null, correct=[]))


def regrouped(real: Any, null: RepairedNull | None, seed: int) -> Floats:
    """Difference of two groups, `ibs.plasticity(real, between="group")`."""
    del null
    return _p(ibs.plasticity(real, between="group", correct=[], n=N_PERM, seed=seed))


def reordered(real: Any, null: RepairedNull | None, seed: int) -> Floats:
    """Order of sessions within dyads, `ibs.plasticity(real, kind="session_order")`."""
    del null
    return _p(ibs.plasticity(real, kind="session_order", correct=[], n=N_PERM, seed=seed))


def mixed_intercept(real: Any, null: RepairedNull | None, seed: int) -> Floats:
    """Wald p of the session in a linear mixed model with an intercept per dyad and no slope (statsmodels)."""
    import pandas as pd
    import statsmodels.formula.api as formulas

    del null, seed
    frame = pd.DataFrame({"dyad": real["dyad"].values, "session": real["session"].values.astype(float)})
    values = real["coherence"].to_numpy().reshape(len(frame), -1)
    found = []
    for column in values.T[::SLOW_SHARE]:
        frame["coherence"] = 100 * column
        found.append(formulas.mixedlm("coherence ~ session", frame, groups="dyad").fit().pvalues["session"])
    return np.array(found)


CHANGE: dict[str, Callable[[Any, RepairedNull | None, int], Floats]] = {
    "signs": flipped,
    "partners": repartnered,
    "groups": regrouped,
    "order": reordered,
    "mixed model, intercept per dyad": mixed_intercept,
    "signs, clients as independent": as_independent,
}
WITH_THERAPISTS = ("signs", "signs, clients as independent", "mixed model, intercept per dyad")
"""Partners and orders cannot be exchanged where a person is in several dyads."""
HOLDS = {
    "signs": tuple(SCENARIOS),
    "partners": ("independent sessions", "people change"),
    "groups": tuple(name for name in SCENARIOS if name != "therapists"),
    "order": ("independent sessions",),
}
"""Scenarios that fulfil the hypothesis of each test. With `partners` and `order` it is that nobody changes alone."""


def measure_change(settings: Settings) -> dict[str, Any]:
    """Every test of change in every scenario without change on average."""
    rows = []
    for scenario, model in SCENARIOS.items():
        model = replace(model, n_pairs=N_PAIRS, groups=("training", "waiting"))
        rejected: dict[str, list[Bools]] = {}
        for seed in settings.seeds(N_PAIRS):
            real, null = _drawn(model, seed)
            for test in _tests_of(scenario):
                rejected.setdefault(test, []).append(_quietly(CHANGE[test], real, null, seed[1]) <= LEVEL)
        rows += [
            rate_row(scenario, test, np.concatenate(parts), holds=scenario in HOLDS.get(test, ()))
            for test, parts in rejected.items()
        ]
    return {
        "how": f"coherence of {N_DYADS} dyads in {N_SESSIONS} sessions, in numbers, which does not change on average; "
        f"share of studies with p <= {LEVEL:g}, both tails, {N_PERM} draws where not all are listed; "
        f"{N_PAIRS} studies share one pattern of missing sessions and one length of recordings; mixed models for one "
        f"study in {SLOW_SHARE}",
        "models": {name: asdict(model) for name, model in SCENARIOS.items()},
        "rows": rows,
    }


def _tests_of(scenario: str) -> tuple[str, ...]:
    return WITH_THERAPISTS if scenario == "therapists" else tuple(test for test in CHANGE if test != WITH_THERAPISTS[1])


def _drawn(model: SynchronyModel, seed: tuple[int, ...]) -> Study:
    """A study far from 0 and 1, with its null where partners may be exchanged."""
    model = replace(model, level=0.5)
    if model.therapists:
        return model.study(N_DYADS, N_SESSIONS, seed), None
    return study_and_null(model, N_DYADS, N_SESSIONS, seed, n=N_PERM)


def _quietly(test: Callable[..., Floats], *words: Any) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return test(*words)


# --- real against pooled pseudo-dyads ---------------------------------------------------------------------------------


def repaired(real: Any, null: RepairedNull) -> Floats:
    """Real against re-paired partners, `ibs.test`, which warns where dyads differ among themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return _p(ibs.test(real, null, tail="two-sided", correct=[]))


def pooled(real: Any, null: RepairedNull) -> Floats:
    """Welch's t of all sessions of real dyads against all of all pseudo-dyads, as if these were independent."""
    from scipy.stats import ttest_ind

    values = real["coherence"].to_numpy().reshape(real.sizes["dyad"], -1)
    pseudo_dyads = null.pair_values[:, ~np.eye(N_DYADS, dtype=bool)].reshape(-1, values.shape[1])
    return np.asarray(ttest_ind(values, pseudo_dyads, axis=0, equal_var=False).pvalue)


PEOPLE: dict[str, SynchronyModel] = {
    "nothing differs": SynchronyModel(),
    "people differ": SynchronyModel(person_sd=0.03),
    "dyads differ": SynchronyModel(growth=Growth(level_sd=0.03)),
}
AGAINST_PSEUDO: dict[str, Callable[[Any, RepairedNull], Floats]] = {
    "re-pairing": repaired,
    "t, pooled pseudo-dyads": pooled,
}


def measure_pseudo(settings: Settings) -> dict[str, Any]:
    """Partners who are on average not more coherent than pseudo-dyads."""
    rows = []
    for scenario, model in PEOPLE.items():
        rejected: dict[str, list[Bools]] = {}
        for seed in settings.seeds(N_PAIRS):
            real, null = study_and_null(replace(model, n_pairs=N_PAIRS), N_DYADS, N_SESSIONS, seed, n=N_PERM)
            for test, p in AGAINST_PSEUDO.items():
                rejected.setdefault(test, []).append(p(real, null) <= LEVEL)
        holds = scenario != "dyads differ"
        rows += [
            rate_row(scenario, test, np.concatenate(parts), holds=holds and test == "re-pairing")
            for test, parts in rejected.items()
        ]
    return {
        "how": f"coherence of {N_DYADS} dyads in {N_SESSIONS} sessions, in numbers; partners are on average as "
        f"coherent as pseudo-dyads; share of studies with p <= {LEVEL:g}, both tails. Where dyads differ each dyad has "
        "a level of its own, and so partners do not match pseudo-dyads in spread",
        "rows": rows,
    }


# --- outcomes ---------------------------------------------------------------------------------------------------------


OUTCOMES: dict[str, SynchronyModel] = {
    "no tie": SynchronyModel(growth=Growth(sd=0.01, level_sd=0.04), outcomes={"symptoms": None}),
    "tied through age": SynchronyModel(
        growth=Growth(sd=0.01, level_sd=0.04), outcomes={"age": ("level", 0.7), "symptoms": ("age", 0.7)}
    ),
    "no tie, missing sessions": SynchronyModel(
        growth=Growth(sd=0.01, level_sd=0.04), outcomes={"symptoms": None}, missing=0.3
    ),
    "no tie, therapists": SynchronyModel(
        growth=Growth(sd=0.01, level_sd=0.02, therapist_sd=0.04), outcomes={"symptoms": None}, therapists=4
    ),
}


def related(real: Any, seed: int) -> float:
    """`ibs.outcome`, with age as a covariate where it is known."""
    covariates = ["age"] if "outcome_age" in real.coords else []
    return _one(ibs.outcome(real, "symptoms", covariates=covariates, correct=[], n=N_PERM, seed=seed))


def slopes_related(real: Any, seed: int) -> float:
    """`ibs.outcome(level="slope")`, with age as a covariate where it is known."""
    covariates = ["age"] if "outcome_age" in real.coords else []
    words: dict[str, Any] = {"covariates": covariates, "correct": [], "n": N_PERM, "seed": seed}
    return _one(ibs.outcome(real, "symptoms", level="slope", **words))


def raw_correlation(real: Any, seed: int) -> float:
    """Pearson's r of the dyads' means, whatever else goes with both."""
    from scipy.stats import pearsonr

    del seed
    of_dyads = real["dyad"].to_numpy()
    names = np.unique(of_dyads)
    means = [
        [values[of_dyads == name].mean() for name in names]
        for values in (real["coherence"].to_numpy().reshape(-1), real["outcome_symptoms"].to_numpy())
    ]
    return float(pearsonr(*means).pvalue)


def pooled_correlation(real: Any, seed: int) -> float:
    """Pearson's r over all sessions of all dyads, as if these were independent."""
    from scipy.stats import pearsonr

    del seed
    return float(pearsonr(real["coherence"].to_numpy().reshape(-1), real["outcome_symptoms"].to_numpy()).pvalue)


def _one(found: ibs.Result) -> float:
    return float(_p(found)[0])


ASSOCIATION: dict[str, Callable[[Any, int], float]] = {
    "outcome": related,
    "outcome, slopes": slopes_related,
    "raw correlation": raw_correlation,
    "correlation over sessions": pooled_correlation,
}
N_OUTCOME = 20


def measure_outcomes(settings: Settings) -> dict[str, Any]:
    """Every test of an association in every scenario without one of its own."""
    rows = []
    for scenario, model in OUTCOMES.items():
        rejected: dict[str, list[bool]] = {test: [] for test in ASSOCIATION}
        for seed in settings.seeds(1):
            real = model.study(N_OUTCOME, N_SESSIONS, seed)
            for test, p in ASSOCIATION.items():
                rejected[test].append(bool(_quietly(p, real, seed[1]) <= LEVEL))
        rows += [
            rate_row(scenario, test, np.array(found), holds=test.startswith("outcome"))
            for test, found in rejected.items()
        ]
    return {
        "how": f"{N_OUTCOME} dyads in {N_SESSIONS} sessions, in numbers, and symptoms that synchrony has no part in; "
        f"share of studies with p <= {LEVEL:g}, both tails, {N_PERM} permutations. `outcome` is ibsync's, given age",
        "models": {name: asdict(model) for name, model in OUTCOMES.items()},
        "rows": rows,
    }


# --- sessions of unlike length, from signals --------------------------------------------------------------------------


BAND_HZ, SFREQ_HZ = (0.08, 0.2), 1.0
DURATIONS_S = (40.0, 60.0, 90.0, 150.0, 300.0)
CONES = ("recording", "none")


@cache
def engine(duration_s: float, coi: str) -> Engine:
    """Plan of a session."""
    spec = ibs.WTC(bands={"tested": BAND_HZ}, accuracy="fast", coi=coi, min_valid=0.0)
    return Engine(round(duration_s * SFREQ_HZ), SFREQ_HZ, spec, backend="numpy")


def of_lengths(coi: str, seed: tuple[int, int]) -> Study:
    """Pseudo-dyads who are recorded longer from session to session, and their null, computed from signals."""
    n = len(DURATIONS_S)
    made = ibs.simulate(
        n_dyads=N_DYADS, n_sessions=n, n_channels=1, duration=DURATIONS_S, sfreq=SFREQ_HZ, coupled_band=BAND_HZ,
        coupling=0.0, seed=1000 * seed[0] + seed[1],
    )  # fmt: skip
    real, null = study_and_null(SynchronyModel(), N_DYADS, n, seed, n=N_PERM)
    tables = []
    for session, seconds in enumerate(DURATIONS_S):
        here, n_samples = engine(seconds, coi), round(seconds * SFREQ_HZ)
        people = (here.features(made.hbo[:, session, person, 0, :n_samples]) for person in range(2))
        tables.append(here.coherence(*people).coherence[..., 0, 0])
    values = np.array(tables)[..., None]
    own = np.arange(N_DYADS)
    real["coherence"].values[:] = values[:, own, own].reshape(-1, 1, 1, 1, 1)
    return real, replace(null, pair_values=values)


def less_null(real: Any, null: RepairedNull | None, seed: int) -> Floats:
    """Signs of slopes of what is left after the null, `ibs.plasticity(ibs.test(real, null))`."""
    assert null is not None
    return flipped(ibs.test(real, null, correct=[]), None, seed)


def measure_lengths(settings: Settings) -> dict[str, Any]:
    """Raw and corrected coherence of people who share nothing, in sessions that get longer."""
    tests = {"signs, raw": flipped, "signs, less the null": less_null, "partners": repartnered}
    rows, means = [], {}
    for coi in CONES:
        rejected: dict[str, list[Bools]] = {test: [] for test in tests}
        levels = []
        for seed in settings.seeds(1, SLOW_SHARE):
            real, null = of_lengths(coi, seed)
            assert null is not None
            levels.append(null.pair_values.mean(axis=(1, 2, 3)))
            for test, run in tests.items():
                rejected[test].append(_quietly(run, real, null, seed[1]) <= LEVEL)
        means[coi] = np.mean(levels, axis=0).round(4).tolist()
        name = f"cone: {coi}"
        rows += [
            rate_row(name, test, np.concatenate(parts), holds=test != "signs, raw") for test, parts in rejected.items()
        ]
    return {
        "how": f"signals of {N_DYADS} dyads who share nothing, sessions of "
        f"{', '.join(f'{s:g}' for s in DURATIONS_S)} s at {SFREQ_HZ:g} Hz, band {BAND_HZ[0]:g}-{BAND_HZ[1]:g} Hz; "
        f"share of studies with p <= {LEVEL:g}, both tails; one study in {SLOW_SHARE}",
        "mean_coherence_by_session": means,
        "rows": rows,
    }


# --- what is found ----------------------------------------------------------------------------------------------------


PILOT = SynchronyModel(
    growth=Growth(mean=0.01, sd=0.01, level_sd=0.03, session_sd=0.02), noise_sd=0.04,
    outcomes={"gain": ("growth", 0.6), "liking": ("level", 0.6)},
)  # fmt: skip
DYADS, SESSIONS = (8, 12, 20, 40), (4, 6, 18)
ASKED = {"growth of 0.01 a session": {}, "outcome tied to growth": {"outcome": "gain"},
         "outcome tied to the level": {"outcome": "liking"}}  # fmt: skip


def measure_power(settings: Settings) -> dict[str, Any]:
    """Power by dyads and sessions."""
    rows = []
    n_sims = max(2, settings.sims // 2)
    for name, words in ASKED.items():
        test = {"test": "outcome", **words} if words else {}
        found = ibs.study_power(PILOT, DYADS, SESSIONS, n_sims=n_sims, n=N_PERM, seed=settings.seed, **test)
        for n, counts in zip(found.dyads, found.detections, strict=True):
            for sessions, count in zip(found.sessions, counts, strict=True):
                low, high = (float(limit) for limit in clopper_pearson(np.array(count), n_sims))
                rows.append({
                    "scenario": f"{name}, {n} dyads", "test": f"{sessions} sessions", "n": n_sims, "rejected": count,
                    "rate": count / n_sims, "low": low, "high": high, "hypothesis_holds": False,
                })  # fmt: skip
    return {
        "how": f"share of studies in which what was simulated is found at {LEVEL:g}, both tails, {N_PERM} "
        "permutations; growth 0.01 a session, between dyads sd 0.01, level sd 0.03, sessions sd 0.02, error sd 0.04; "
        "outcomes with a correlation of 0.6 with the true growth, or the true level, of dyads",
        "models": {"simulated": asdict(PILOT)},
        "rows": rows,
    }


GROWN = 0.01
INTERVALS = {"Student": "student", "inverted test": "statistic"}


def measure_intervals(settings: Settings) -> dict[str, Any]:
    """How often 95 % intervals of the mean change per session hold the simulated one."""
    rows = []
    for scenario, model in SCENARIOS.items():
        model = replace(model, growth=replace(model.growth, mean=GROWN), n_pairs=1)
        covered: dict[str, list[bool]] = {}
        for seed in settings.seeds(1):
            found = _grown(model.study(N_DYADS, N_SESSIONS, seed), seed[1])
            for name, (low, high) in _limits(found).items():
                covered.setdefault(name, []).append(low <= GROWN <= high)
        rows += [rate_row(scenario, name, np.array(parts), holds=False) for name, parts in covered.items()]
    return {
        "how": f"{N_DYADS} dyads in {N_SESSIONS} sessions whose coherence grows by {GROWN:g} a session on average; "
        "share of studies whose 95 % interval of the mean slope holds that",
        "rows": rows,
    }


def _grown(real: Any, seed: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ibs.plasticity(real, correct=[], n=N_PERM, seed=seed).dataset


def _limits(found: Any) -> dict[str, tuple[float, float]]:
    """The intervals that a result holds; those of Student's t are computed where it holds none."""
    from scipy.stats import t

    limits = {
        name: (float(found[f"{key}_low"].item()), float(found[f"{key}_high"].item()))
        for name, key in INTERVALS.items()
        if f"{key}_low" in found
    }
    if limits:
        return limits
    n = int(found["n_dyads"].item())
    mean, half = float(found["slope_mean"].item()), float(found["slope_sd"].item()) * t.ppf(0.975, n - 1) / n**0.5
    return {"Student": (mean - half, mean + half)}


SECTIONS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "change": measure_change,
    "pseudo-dyads": measure_pseudo,
    "outcomes": measure_outcomes,
    "lengths": measure_lengths,
    "power": measure_power,
    "intervals": measure_intervals,
}


# --- command ----------------------------------------------------------------------------------------------------------


def _page(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n== {name} ({found['seconds']:.0f} s)\n{found['how']}."
    if "mean_coherence_by_session" in found:
        levels = found["mean_coherence_by_session"].items()
        body = [[f"cone: {coi}", *(f"{mean:.3f}" for mean in means)] for coi, means in levels]
        yield from aligned([["mean R2", *(f"{s:g} s" for s in DURATIONS_S)], *body])
    yield from rate_table(found["rows"])


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="False positive rates and power of longitudinal tests.")
    parser.add_argument("--sims", type=int, default=1000, help="studies in each cell (default 1000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION",
                        help=f"some of: {', '.join(SECTIONS)}")  # fmt: skip
    parser.add_argument("-o", "--out", type=Path, metavar="NAME.json", help="write all figures")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Run the sections asked for; what is known is on disk after each of them."""
    arguments = _arguments(words)
    settings = Settings(arguments.sims, arguments.seed)
    report: dict[str, Any] = {
        "provenance": provenance(REPOSITORY, PACKAGES), "settings": asdict(settings), "level": LEVEL, "sections": {},
    }  # fmt: skip
    for name in arguments.only:
        started = time.perf_counter()
        found = SECTIONS[name](settings)
        report["sections"][name] = found = found | {"seconds": round(time.perf_counter() - started, 1)}
        print("\n".join(_page(name, found)), flush=True)
        if arguments.out:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
