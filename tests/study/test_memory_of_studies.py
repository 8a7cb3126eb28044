"""A budget changes where values lie, never what they are; and too small a one is refused."""

from __future__ import annotations

import re
import tracemalloc
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

import ibsync as ibs
from ibsync.coupling.transform.feature_cache import load_group
from ibsync.errors import PlanError
from ibsync.recordings.memory import Budget, held_bytes, map_of
from ibsync.study import pair_values, runner
from ibsync.study.engine_memory import table_bytes
from ibsync.study.engines import EnginePlan
from ibsync.study.runner import Worker

SPEC = ibs.WTC(bands={"slow": (0.1, 0.3), "fast": (0.4, 0.8)}, voices=6)
EPOCHS = {"first": (0.0, 30.0), "second": (30.0, 60.0)}


class AlwaysInAFile(Budget):
    """Whatever is held: a computation may go on, and its large arrays lie in a file."""

    def require(self, least, what):
        pass


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("memory") / "study.h5"
    words = {"n_dyads": 6, "n_sessions": 3, "n_channels": 2, "duration": 60.0, "sfreq": 4.0, "missing": 0.1}
    return ibs.simulate(path, **words, groups=("one", "two"), seed=3)


@pytest.fixture(params=["fixed", "interchangeable"])
def nulls(request, study, tmp_path):
    words = {"n": 100, "seed": 2, "epochs": EPOCHS, "roles": request.param}
    in_memory = study.null(SPEC, **words)
    in_file = study.null(SPEC, **words, memory=AlwaysInAFile(1, tmp_path))
    assert map_of(in_memory.pair_values) is None
    assert map_of(in_file.pair_values) is not None
    return in_memory, in_file


def identical(one, other):
    drop = lambda result: result.dataset.drop_attrs()  # noqa: E731
    xr.testing.assert_identical(drop(one), drop(other))


def test_values_in_a_file_are_the_same_to_the_bit_and_so_are_tests(study, nulls, tmp_path):
    in_memory, in_file = nulls
    assert_array_equal(in_memory.pair_values, in_file.pair_values)
    real = study.synchrony(SPEC, epochs=EPOCHS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        identical(*(ibs.test(real, null, correct=["fdr", "max", "tfce"]) for null in nulls))
        identical(*(ibs.plasticity(real, null=null) for null in nulls))
        if in_memory.design.roles == "fixed":
            identical(*(ibs.contrast(real, ("first", "second"), null=null) for null in nulls))
        kept = [ibs.load_null(ibs.save_null(null, tmp_path / f"{k}.null.h5")) for k, null in enumerate(nulls)]
        identical(ibs.test(real, kept[0]), ibs.test(real, in_file))
    assert_array_equal(*(null.pair_values for null in kept))


def test_signals_tested_together_may_lie_in_files(study, tmp_path):
    real = study.synchrony(SPEC)
    null, other = (study.null(SPEC, n=50, memory=memory) for memory in (None, AlwaysInAFile(1, tmp_path)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for one, two in zip(*(ibs.test_together([real] * 2, [some] * 2) for some in (null, other)), strict=True):
            identical(one, two)


def test_a_tile_is_no_larger_than_what_comes_out_of_it_may_be(study, monkeypatch):
    whole = study.null(SPEC, n=10)
    sizes = set()

    def run(job, worker, original=pair_values.TileJob.run):
        tile = original(job, worker)
        sizes.add(tile.values.shape[:2])
        return tile

    monkeypatch.setattr(pair_values.TileJob, "run", run)
    monkeypatch.setattr(pair_values, "TILE_BYTES", 4 * pair_values.bytes_of_people(4, 2))  # two by two people
    cut = study.null(SPEC, n=10)
    assert max(max(size) for size in sizes) == 2
    assert_allclose(cut.pair_values, whole.pair_values, atol=1e-6)
    sizes.clear()
    assert_array_equal(study.null(SPEC, n=10, memory="64G").pair_values, cut.pair_values)
    monkeypatch.setattr(pair_values, "TILE_BYTES", 1)
    assert_allclose(study.null(SPEC, n=10).pair_values, whole.pair_values, atol=1e-6)


@pytest.mark.parametrize("memory", ["8 gigs", 0, "-1G"])
def test_words_that_are_no_memory_are_refused(study, memory):
    real, null = study.synchrony(SPEC), study.null(SPEC, n=10)
    verbs = [
        lambda: study.synchrony(SPEC, memory=memory),
        lambda: study.null(SPEC, memory=memory),
        lambda: ibs.test(real, null, memory=memory),
    ]
    for verb in verbs:
        with pytest.raises(PlanError, match="no amount of memory"):
            verb()


def test_too_little_memory_is_refused_by_every_verb(study):
    real, null = study.synchrony(SPEC), study.null(SPEC, n=10)
    verbs = [
        lambda: study.synchrony(SPEC, memory="20M"),
        lambda: study.null(SPEC, memory="20M"),
        lambda: study.null(SPEC, kind="phase", memory="20M"),
        lambda: ibs.test(real, null, memory="20M"),
        lambda: ibs.test_together([real], [null], memory="20M"),
    ]
    for verb in verbs:
        with pytest.raises(PlanError, match=r"memory=20M is too little: .* needs at least"):
            verb()


def test_what_is_said_to_be_enough_is_enough(study):
    with pytest.raises(PlanError) as error:
        study.null(SPEC, n=10, memory=1)
    needed = Budget.of(str(error.value).split("at least ")[1].split(",")[0])
    null = study.null(SPEC, n=10, memory=replace(needed, n_bytes=needed.n_bytes + 10**8))
    assert np.isfinite(null.pair_values).any()


def test_few_engines_are_kept_however_many_lengths_there_are(monkeypatch):
    monkeypatch.setattr("ibsync.study.runner.MOST_ENGINES", 2)
    worker = Worker("numpy")
    plans = [EnginePlan(n, 4.0, SPEC) for n in (200, 220, 240)]
    one, other, _ = (worker.engine(plan) for plan in plans)
    assert worker.engine(plans[1]) is other
    again = worker.engine(plans[0])
    assert again is not one
    x = np.random.default_rng(0).standard_normal((2, 200)).astype(np.float32)
    means = again.coherence(one.features(x), again.features(x)).coherence
    assert_array_equal(means, one.coherence(one.features(x), one.features(x)).coherence)


def test_tables_of_many_lengths_are_not_all_kept(monkeypatch):
    """One engine keeps its tables from job to job; those of several are forgotten where they are more than allowed."""
    worker, kept = Worker("numpy"), load_group.cache_info
    a, b = (EnginePlan(n, 4.0, SPEC) for n in (212, 236))
    load_group.cache_clear()
    monkeypatch.setattr(runner, "_table_bytes", {})
    monkeypatch.setattr(runner, "KEPT_TABLE_BYTES", 1)
    worker.do(Noise(a))
    worker.do(Noise(a))
    n_groups = kept().currsize
    assert n_groups == kept().misses > 0
    worker.do(Noise(b))
    assert kept().currsize == 0
    monkeypatch.setattr(runner, "KEPT_TABLE_BYTES", 1 << 40)
    for plan in (a, b, a):
        worker.do(Noise(plan))
    assert kept().currsize == kept().misses > n_groups


@pytest.mark.parametrize(("n", "lowest_hz", "accuracy"), [(240, 0.2, "exact"), (800, 0.3, "fast")])
def test_tables_take_what_is_said_of_them(n, lowest_hz, accuracy):
    spec = ibs.WTC(bands={"band": (lowest_hz, 0.8)}, accuracy=accuracy)
    plan = Worker("numpy").engine(EnginePlan(n, 4.0, spec)).plan
    first, deep = table_bytes(plan)
    held = [sum(bytes_of(plan.group(segment, depth)) for segment in plan.segments_at(depth)) for depth in (0, 1)]
    assert 0.9 < first / held[0] < 1.3
    assert 0.95 < deep / held[1] < 1.3


def bytes_of(group):
    """Memory of a group's tables once all that pairs near the ends need of them has been made."""
    tables = [group.end_filters, group.end_mixing, group.real_end_filters, group.real_end_mixing]
    return sum(table.nbytes for table in tables)


@dataclass(frozen=True)
class Noise:
    """A job that uses an engine's tables."""

    plan: EnginePlan
    people = ()

    def run(self, worker):
        engine = worker.engine(self.plan)
        one = engine.features(np.random.default_rng(0).standard_normal((1, self.plan.n_samples)))
        return engine.coherence(one, one).coherence.max()


def test_check_promises_what_is_needed(study):
    check = study.check(SPEC, null={"kind": "repair", "n": 10})
    usual, deep, least = map(int, re.findall(r"(\d+)M\b", str(check)))
    assert 100 < usual < 300
    assert 50 < deep < least
    need = check.need.still + held_bytes()
    assert abs(need - least * 10**6) < 40 * 10**6
    assert "in a temporary file" in str(check)
    study.null(SPEC, n=10, memory=f"{least}M")


def test_time_is_that_of_the_jobs_of_a_run(study, monkeypatch):
    """Everybody is one tile, which takes 10 s and 2 s for each pair of people; it is timed by smaller ones."""
    sizes = []

    def timed(engine, job, n, *, by_dyad=False, matching=None):
        sizes.append(n)
        return 1.0, 10 + 2 * (n if by_dyad else n**2)

    monkeypatch.setattr("ibsync.study.time_need.timed", timed)
    for seconds, expected in [(0.0, [6, 1, 4]), (99.0, [6, 1, 4, 6])]:
        sizes.clear()
        monkeypatch.setattr("ibsync.study.time_need._TIMED_SECONDS", seconds)
        page = str(study.check(SPEC, null={"kind": "repair", "n": 10}))
        found = re.search(r"maps in about ([\d.]+) s; re-paired \d+ maps in about ([\d.]+) s", page)
        assert sizes[: len(expected)] == expected
        assert tuple(map(float, found.groups())) == (12 + 10 + 2 * 6, 12 + 10 + 2 * 36)


@pytest.mark.parametrize(("kind", "of_dyad"), [("phase", 0.0), ("trial", 5.0)])
def test_time_of_surrogates_is_that_of_their_draws(study, monkeypatch, kind, of_dyad):
    """A draw takes 2 s, and what is made once for each dyad `of_dyad`; 6 dyads."""
    clock, seen = [0.0], set()

    def drawn(source, draws):
        clock[0] += 2.0 * len(draws) + of_dyad * (id(source) not in seen)
        seen.add(id(source))
        kept.append(source)

    kept = []
    monkeypatch.setattr("ibsync.study.time_need.some_values", drawn)
    monkeypatch.setattr("ibsync.study.time_need.time.perf_counter", lambda: clock[0])
    epochs = {"turns": [(0.0, 30.0), (30.0, 60.0)]}
    spec = replace(SPEC, bands={"fast": (0.4, 0.8), "faster": (0.5, 0.9)})
    page = str(study.check(spec, epochs=epochs, null={"kind": kind, "n": 10}))
    found = re.findall(r"10 draws of kind '(\w+)', 240 maps in about ([\d.]+) s", page)
    assert found[0] == (kind, f"{6 * (10 * 2.0 + of_dyad):.1f}")


def test_power_takes_little_memory_whatever_it_is_asked_for():
    """It takes no budget: what it holds are a few numbers of each dyad and session of a simulated study."""
    model, peaks = ibs.SynchronyModel(growth=ibs.Growth(mean=0.03), noise_sd=0.04), []
    for n_dyads, n_sims in ((8, 10), (32, 10)):
        tracemalloc.start()
        ibs.study_power(model, dyads=[n_dyads], sessions=[4], n_sims=n_sims, n=49)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 20 * 10**6
