import itertools
from collections import Counter
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ibsync.errors import PlanError
from ibsync.nulls import random_streams as philox
from ibsync.nulls.random_streams import Purpose, purpose_word

REPAIR = purpose_word(Purpose.REPAIR)
SUB_01 = "b2a01bcc"

# Random123 `kat_vectors`, philox 4x32 with 10 rounds: counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return np.array([int(word, 16) for word in text.split()], dtype=np.uint32)


def philox_by_the_book(counter, key):
    """Salmon et al. 2011 with Python integers, one counter."""
    c, k = [int(x) for x in counter], [int(x) for x in key]
    for _ in range(10):
        p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def by_rounds(counter, key):
    """The package's rounds on one counter."""
    return philox._rounds(list(counter.astype(np.uint64)), int(key[0]), int(key[1]))


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_random123_known_answers(counter, key, expected):
    assert_array_equal(by_rounds(words(counter), words(key)), words(expected))
    assert_array_equal(philox_by_the_book(words(counter), words(key)), words(expected))


def test_stream_puts_block_draw_entity_and_purpose_in_the_counter():
    seed = 0x0123456789ABCDEF
    got = philox.stream(seed, np.array([5, 2**32 - 1]), 6, entity=0xDEADBEEF, purpose=0x01020003)
    for column, k in enumerate((5, 2**32 - 1)):
        blocks = [philox_by_the_book([b, k, 0xDEADBEEF, 0x01020003], [0x89ABCDEF, 0x01234567]) for b in (0, 1)]
        assert_array_equal(got[:, column], np.ravel(blocks)[:6])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 2**32 - 1))
def test_integers_are_the_high_half_of_the_product(word, n):
    got = int(philox.integers(np.array([word], np.uint32), n)[0])
    assert got == word * n >> 32 < n


def test_permutations_follow_fisher_yates_word_by_word():
    n, draws = 7, np.arange(1, 40)
    got = philox.permutations(3, draws, n, entity=9, purpose=REPAIR)
    stream = philox.stream(3, draws, n - 1, entity=9, purpose=REPAIR)
    for row, column in zip(got, stream.T, strict=True):
        order = list(range(n))
        for word, position in zip(column, range(n - 1, 0, -1), strict=True):
            partner = int(word) * (position + 1) >> 32
            order[position], order[partner] = order[partner], order[position]
        assert_array_equal(row, order)


@pytest.mark.parametrize("n_splits", [1, 2, 7])
def test_a_permutation_does_not_know_its_batch(n_splits):
    draws = np.arange(10_001)
    whole = philox.permutations(11, draws, 20, entity=4, purpose=REPAIR)
    parts = [philox.permutations(11, part, 20, entity=4, purpose=REPAIR) for part in np.array_split(draws, n_splits)]
    assert_array_equal(np.concatenate(parts), whole)
    backwards = philox.permutations(11, draws[::-1], 20, entity=4, purpose=REPAIR)
    assert_array_equal(backwards[::-1], whole)


def test_draw_zero_is_the_identity_and_draw_one_is_not():
    first = philox.permutations(0, np.arange(2), 50, entity=0, purpose=REPAIR)
    assert_array_equal(first[0], np.arange(50))
    assert (first[1] != np.arange(50)).any()


def test_permutations_are_uniform_over_the_symmetric_group():
    from scipy.stats import chisquare

    n, n_draws = 5, 60_000
    got = philox.permutations(2024, np.arange(1, n_draws + 1), n, entity=77, purpose=REPAIR)
    counts = Counter(map(tuple, got.tolist()))
    assert set(counts) == set(itertools.permutations(range(n)))
    assert len(counts) == factorial(n)
    assert chisquare(list(counts.values())).pvalue > 1e-4


def test_every_part_of_the_address_changes_the_numbers():
    draws = np.arange(1, 2001)

    def angle(seed=5, entity=6, purpose=REPAIR, shift=0):
        return philox.stream(seed, draws + shift, 4, entity=entity, purpose=purpose) / 2**32 - 0.5

    base = angle()
    others = [
        angle(seed=6),
        angle(seed=5 + 2**32),
        angle(entity=7),
        angle(purpose=purpose_word(Purpose.SHIFT)),
        angle(purpose=purpose_word(Purpose.REPAIR, variant=1)),
        angle(shift=2000),
    ]
    for other in others:
        assert not np.isin(base, other).mean() > 0.01
        # 8000 pairs: a correlation of independent uniforms stays within 4.5 standard errors of 0.
        assert abs(np.corrcoef(base.ravel(), other.ravel())[0, 1]) < 4.5 / np.sqrt(base.size)


def test_words_of_different_purposes_and_variants_never_meet():
    codes = [purpose_word(p, v) for p in Purpose for v in (0, 1, 65535)]
    assert len(set(codes)) == len(codes)
    assert all(0 <= code < 2**32 for code in codes)
    with pytest.raises(PlanError, match="16 bits"):
        purpose_word(Purpose.REPAIR, 65536)


def test_entity_id_is_stable():
    # `printf 'sub-01' | b2sum -l 32` prints the digest whose bytes are read here in little-endian order.
    assert philox.entity_id("sub-01").to_bytes(4, "little").hex() == SUB_01
    assert philox.entity_id("sub-01") != philox.entity_id("sub-02")


def test_labels_that_share_an_id_are_refused(monkeypatch):
    assert philox.entity_ids(["b", "a", "b"]).tolist() == [philox.entity_id(x) for x in "bab"]
    monkeypatch.setattr(philox, "entity_id", lambda label: len(label))
    with pytest.raises(PlanError, match="'ab' and 'cd'"):
        philox.entity_ids(["ab", "cd"])


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_outside_64_bits_is_refused(seed):
    with pytest.raises(PlanError, match="seed"):
        philox.stream(seed, np.arange(2), 1, entity=0, purpose=0)
