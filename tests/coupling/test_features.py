"""Tables: checked when built, the same every time, and a cache that can be lost or damaged but not be wrong."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ibsync.coupling.plan import RANKS
from ibsync.coupling.transform import feature_cache as cache
from ibsync.coupling.transform import features as tables
from ibsync.coupling.transform.feature_cache import cache_dir, load_group
from ibsync.coupling.transform.features import Rank, build_group
from ibsync.coupling.transform.scales import Scales
from ibsync.errors import PlanError

EXACT, DEEP = RANKS["exact"]
SHORT = Scales(120, 12)
FIRST, N_ROWS = 0, 3


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache of this test's own."""
    monkeypatch.setenv("IBSYNC_CACHE_DIR", str(tmp_path / "cache"))
    load_group.cache_clear()
    yield tmp_path / "cache"
    load_group.cache_clear()


def loaded_anew(scales=SHORT, first=FIRST, n_rows=N_ROWS, rank=EXACT):
    """As another process would load it."""
    load_group.cache_clear()
    return load_group(scales, first, n_rows, rank)


@pytest.fixture
def no_building(monkeypatch):
    """Any use of the builder is a failure."""

    def refuse(*_):
        raise AssertionError("tables were built though the cache holds them")

    return lambda: monkeypatch.setattr(cache, "build_group", refuse)


def assert_same(a, b):
    for field in dataclasses.fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        assert np.asarray(one).dtype == np.asarray(other).dtype
        assert_array_equal(one, other, err_msg=field.name)


# --- building ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [EXACT, RANKS["fast"][0], DEEP], ids=["exact", "fast", "deep"])
def test_building_twice_gives_the_same_bytes(rank):
    assert_same(build_group(SHORT, FIRST, N_ROWS, rank), build_group(SHORT, FIRST, N_ROWS, rank))


@pytest.mark.parametrize("n", [64, 147, 300, 3001])
@pytest.mark.parametrize("first", [0, 24])
def test_the_grid_is_symmetric_covers_the_recording_and_is_fine_enough(n, first):
    scales = Scales(n, 12)
    group = build_group(scales, first, 3, EXACT)
    assert_allclose(group.times + group.times[::-1], n - 1, atol=1e-9)
    assert group.times[0] <= 1e-9
    assert group.times[-1] >= n - 1 - 1e-9
    assert_allclose(np.diff(group.times), group.sample_step * group.half_steps / 2, rtol=1e-9)
    assert np.diff(group.times).max() <= scales.scale[first] / EXACT.points_per_scale + 1e-9


def test_real_forms_act_as_the_complex_matrices():
    group = build_group(SHORT, FIRST, N_ROWS, EXACT)
    z = np.random.default_rng(0).standard_normal((group.n_frame, 2))
    found = (group.real_end_filters[0] @ z.reshape(-1)).reshape(-1, 2)
    assert_allclose(found @ [1, 1j], group.end_filters[0] @ (z @ [1, 1j]), atol=1e-12)
    found = (group.real_end_mixing[0] @ found.reshape(-1)).reshape(N_ROWS, -1, 2)
    assert_allclose(found @ [1, 1j], group.end_mixing[0] @ group.end_filters[0] @ (z @ [1, 1j]), atol=1e-12)


@pytest.mark.parametrize("part", ["_interior_tables", "_end_tables"])
@pytest.mark.parametrize("rank", [EXACT, RANKS["fast"][0]], ids=["exact", "fast"])
def test_a_planted_fault_of_one_per_cent_fails_the_check(monkeypatch, part, rank):
    right = getattr(tables, part)

    def one_per_cent_off(*arguments):
        filters, mixing = right(*arguments)
        return filters, 1.01 * mixing

    build_group(SHORT, FIRST, N_ROWS, rank)
    monkeypatch.setattr(tables, part, one_per_cent_off)
    with pytest.raises(PlanError, match=r"^tables for 120 samples, rows 0\.\.2 failed their check: .*\d$") as found:
        build_group(SHORT, FIRST, N_ROWS, rank)
    assert "\n" not in str(found.value)


def test_too_few_features_fail_the_check():
    with pytest.raises(PlanError, match="failed their check"):
        build_group(SHORT, FIRST, N_ROWS, dataclasses.replace(EXACT, n_features=6))


def test_faulty_tables_are_not_stored(folder, monkeypatch):
    monkeypatch.setattr(tables, "_direct_power", lambda *_: np.inf)
    with pytest.raises(PlanError, match="failed their check"):
        loaded_anew()
    assert not folder.exists() or not list(folder.iterdir())


# --- cache ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [EXACT, RANKS["fast"][0]], ids=["exact", "fast"])
def test_what_is_loaded_equals_what_was_built(folder, no_building, rank):
    built = loaded_anew(rank=rank)
    assert [path.suffix for path in folder.iterdir()] == [".tables"]
    no_building()
    assert_same(loaded_anew(rank=rank), built)


def test_loading_twice_in_a_process_reads_once(folder):
    loaded_anew()
    assert load_group(SHORT, FIRST, N_ROWS, EXACT) is load_group(SHORT, FIRST, N_ROWS, EXACT)


def damaged_at(raw, place):
    spoiled = bytearray(raw)
    spoiled[place] ^= 1
    return bytes(spoiled)


LENGTH_AT = len(b"ibsync-tables\n") + 8
DAMAGE = {
    "first byte": lambda raw: damaged_at(raw, 0),
    "magic": lambda raw: damaged_at(raw, 5),
    "checksum": lambda raw: damaged_at(raw, LENGTH_AT - 8),
    "checksum's unused bytes": lambda raw: damaged_at(raw, LENGTH_AT - 1),
    "header length": lambda raw: damaged_at(raw, LENGTH_AT),
    "header length, large": lambda raw: damaged_at(raw, LENGTH_AT + 7),
    "header": lambda raw: damaged_at(raw, LENGTH_AT + 30),
    "header's number": lambda raw: raw.replace(b'"n_rows": 3', b'"n_rows": 4'),
    "arrays": lambda raw: damaged_at(raw, len(raw) // 2),
    "last byte": lambda raw: damaged_at(raw, -1),
    "cut in the middle": lambda raw: raw[: len(raw) // 2],
    "cut by one": lambda raw: raw[:-1],
    "cut in the header": lambda raw: raw[: LENGTH_AT + 20],
    "cut after the checksum": lambda raw: raw[:LENGTH_AT],
    "cut in the magic": lambda raw: raw[:5],
    "empty": lambda raw: b"",
    "longer": lambda raw: raw + b"\0",
    "of zeros": lambda raw: bytes(len(raw)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_rebuilt_and_replaced(folder, no_building, damage):
    built = loaded_anew()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    spoiled = damage(whole)
    assert spoiled != whole
    path.write_bytes(spoiled)
    assert_same(loaded_anew(), built)
    assert path.read_bytes() == whole
    no_building()
    assert_same(loaded_anew(), built)


def test_a_folder_in_the_place_of_the_file_costs_time_only(folder):
    built = loaded_anew()
    (path,) = folder.iterdir()
    path.unlink()
    path.mkdir()
    assert_same(loaded_anew(), built)


def test_a_cache_that_cannot_be_made_costs_time_only(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("IBSYNC_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert_same(loaded_anew(), build_group(SHORT, FIRST, N_ROWS, EXACT))


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["write", "rename"])
def test_tables_are_stored_whole_or_not_at_all(folder, monkeypatch, error, step):
    def fail(*_):
        raise error

    if step == "rename":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        monkeypatch.setattr(cache.os, "fdopen", fail)
    if isinstance(error, OSError):
        assert_same(loaded_anew(), build_group(SHORT, FIRST, N_ROWS, EXACT))
    else:
        with pytest.raises(KeyboardInterrupt):
            loaded_anew()
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "changed",
    [
        (Scales(121, 12), FIRST, N_ROWS, EXACT),
        (Scales(120, 10), FIRST, N_ROWS, EXACT),
        (SHORT, 1, N_ROWS, EXACT),
        (SHORT, FIRST, 4, EXACT),
    ],
)
def test_each_input_has_a_file_of_its_own(changed):
    assert cache._key(*changed) != cache._key(SHORT, FIRST, N_ROWS, EXACT)


@pytest.mark.parametrize("word", [field.name for field in dataclasses.fields(Rank)])
def test_every_word_of_a_rank_has_a_file_of_its_own(word):
    value = getattr(EXACT, word)
    other = dataclasses.replace(EXACT, **{word: "float32" if isinstance(value, str) else 2 * value})
    assert cache._key(SHORT, FIRST, N_ROWS, other) != cache._key(SHORT, FIRST, N_ROWS, EXACT)


@pytest.mark.parametrize("constant", ["FORMAT", "MORLET_OMEGA0", *(n for n in dir(tables) if n.endswith("_REACH"))])
def test_another_way_of_building_has_files_of_its_own(monkeypatch, constant):
    before = cache._key(SHORT, FIRST, N_ROWS, EXACT)
    monkeypatch.setattr(cache, constant, getattr(cache, constant) + 1)
    assert cache._key(SHORT, FIRST, N_ROWS, EXACT) != before


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("IBSYNC_CACHE_DIR", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("IBSYNC_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "ibsync"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_dir() == tmp_path / "home" / ".cache" / "ibsync"


def test_tables_of_another_request_are_not_taken(folder):
    built = loaded_anew()
    (path,) = folder.iterdir()
    cache.load_group.cache_clear()
    cache.load_group(Scales(121, 12), FIRST, N_ROWS, EXACT)
    (other,) = set(folder.iterdir()) - {path}
    whole = path.read_bytes()
    path.write_bytes(other.read_bytes())
    assert_same(loaded_anew(), built)
    assert path.read_bytes() == whole


def test_the_cache_forgets_what_was_used_longest_ago(folder, monkeypatch):
    requests = [(Scales(n, 12), FIRST, N_ROWS, EXACT) for n in (120, 121, 122)]
    paths = []
    for request in requests[:2]:
        cache.load_group.cache_clear()
        cache.load_group(*request)
        paths.append(folder / f"{cache._key(*request)}.tables")
    for age, path in enumerate(reversed(paths), 1):
        os.utime(path, (1e9 - age, 1e9 - age))
    cache.load_group.cache_clear()
    cache.load_group(*requests[0])  # read again, and so the second is the oldest
    abandoned = folder / "killed.part"
    abandoned.touch()
    os.utime(abandoned, (1e9, 1e9))
    size = paths[0].stat().st_size
    monkeypatch.setenv("IBSYNC_CACHE_GB", str(2.5 * size / 1e9))
    cache.load_group(*requests[2])
    newest = folder / f"{cache._key(*requests[2])}.tables"
    assert {path for path, _, _ in cache.cached_files()} == {paths[0], newest}
    monkeypatch.setenv("IBSYNC_CACHE_GB", "0")
    cache.load_group.cache_clear()
    cache.load_group(*requests[1])
    assert [path for path, _, _ in cache.cached_files()] == [paths[1]], "the one in use stays"


def test_another_process_may_forget_at_the_same_time(folder, monkeypatch):
    loaded_anew()
    monkeypatch.setattr(cache, "cached_files", lambda: [(folder / "gone.tables", 10**12, 0.0)])
    cache.load_group.cache_clear()
    cache.load_group(Scales(121, 12), FIRST, N_ROWS, EXACT)


@pytest.mark.parametrize("words", ["much", "-1", "nan", "inf"])
def test_a_limit_that_is_none_is_refused(monkeypatch, words):
    monkeypatch.setenv("IBSYNC_CACHE_GB", words)
    with pytest.raises(PlanError, match="IBSYNC_CACHE_GB"):
        cache.cache_limit()
