"""Random numbers that depend on what they are for, never on how the work is split: Philox4x32-10 on the host.

Every word is a pure function of ``(seed, block, draw, entity, purpose)``: the key holds the 64-bit seed and the
counter holds the other four as 32-bit words, in that order. The generator is that of Salmon et al. (2011,
*Parallel random numbers: as easy as 1, 2, 3*, SC11), and a device kernel gives the same integers.
"""

import hashlib
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError

STREAM_VERSION = 1
"""Version of the counter layout below; a result that names another version drew other numbers."""

Words = NDArray[np.uint32]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
# 4096 draws of 200 people keep the working arrays of a shuffle inside a second-level cache.
_SHUFFLE_CHUNK = 4096


class Purpose(IntEnum):
    """What a draw is for; streams of different purposes share no counter."""

    REPAIR = 1
    PHASE = 3
    IAAFT = 4
    SHIFT = 5
    BLOCK = 6
    AR1 = 7
    TRIAL = 8
    SIGN_FLIP = 9
    OUTCOME = 10
    GROUP_LABEL = 11
    SIMULATION = 12
    AR = 13


def purpose_word(purpose: Purpose, variant: int = 0) -> int:
    """
    Last counter word of a stream: version (8 bits), purpose (8 bits), variant (16 bits).

    Parameters
    ----------
    purpose : Purpose
        What the numbers are for.
    variant : int
        0..65535, for families that need one stream per session or condition.
    """
    if not 0 <= variant < 1 << 16:
        raise PlanError(
            f"stream variant {variant} does not fit 16 bits; number sessions and conditions from 0 to 65535"
        )
    return (STREAM_VERSION << 24) | (int(purpose) << 16) | variant


def entity_id(label: str) -> int:
    """
    32-bit identity of a person or of a block of people, the same on every machine and in every study.

    The first four bytes of BLAKE2b (``digest_size=4``) of the label in UTF-8, read as a little-endian integer.
    """
    return int.from_bytes(hashlib.blake2b(label.encode("utf-8"), digest_size=4).digest(), "little")


def entity_ids(labels: Sequence[str]) -> Words:
    """
    Identities of labels, refused when two different labels would share one stream.

    Parameters
    ----------
    labels : sequence of str
        Labels of people or blocks; a label may repeat.

    Returns
    -------
    uint32 [label]
    """
    owner: dict[int, str] = {}
    for label in labels:
        first = owner.setdefault(entity_id(label), label)
        if first != label:
            raise PlanError(f"{first!r} and {label!r} would draw the same random numbers; rename one of them")
    return np.array([entity_id(label) for label in labels], dtype=np.uint32)


def stream(seed: int, draws: NDArray[np.integer], n_words: int, *, entity: int, purpose: int) -> Words:
    """
    First words of the stream of each draw.

    Parameters
    ----------
    seed : int
        The user's seed, 0..2**64-1.
    draws : int [draw]
        Draw numbers k, 0..2**32-1.
    n_words : int
        Words wanted per draw.
    entity, purpose : int
        Third and fourth counter word, from `entity_id` and `purpose_word`.

    Returns
    -------
    uint32 [word, draw]
        Word first, so that a step over the words of all draws is contiguous.
    """
    low, high = split_seed(seed)
    k = np.asarray(draws).astype(np.uint64)
    assert k.size == 0 or int(k.max()) < 1 << 32, "draw numbers are one counter word"
    n_blocks = -(-n_words // 4)
    block = np.repeat(np.arange(n_blocks, dtype=np.uint64)[:, None], k.size, axis=1)
    shape = block.shape
    words = [block, np.broadcast_to(k, shape), np.full(shape, entity, np.uint64), np.full(shape, purpose, np.uint64)]
    out = np.stack(_rounds(words, low, high), axis=1).astype(np.uint32)
    return out.reshape(4 * n_blocks, k.size)[:n_words]


def split_seed(seed: int) -> tuple[int, int]:
    """Low and high 32-bit word of a seed; a seed outside 64 bits is refused."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 1 << 64:
        raise PlanError(f"seed {seed!r} is not one of 0..2**64-1; choose a non-negative integer")
    return seed & 0xFFFFFFFF, seed >> 32


def integers(words: Words, n: int) -> Words:
    """
    Integers 0..n-1 from random words, by the high half of ``word * n``.

    The bias is below n / 2**32, and the same integers come from ``__umulhi`` on a device.
    """
    assert 0 < n < 1 << 32
    return ((words.astype(np.uint64) * np.uint64(n)) >> _SHIFT).astype(np.uint32)


def normal_pairs(words: Words) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    Two independent standard normal numbers from each pair of words (Box and Muller 1958).

    Parameters
    ----------
    words : uint32 [2 n, ...]

    Returns
    -------
    float64 [n, ...], float64 [n, ...]
    """
    radius = np.sqrt(-2 * np.log((words[0::2] + 1.0) / 2**32))
    angle = words[1::2] * (2 * np.pi / 2**32)
    return radius * np.cos(angle), radius * np.sin(angle)


def permutations(seed: int, draws: NDArray[np.integer], n: int, *, entity: int, purpose: int) -> NDArray[np.int32]:
    """
    Uniform permutation of 0..n-1 for each draw; draw 0 is the identity.

    Fisher-Yates from the top: word t of the draw's stream chooses the partner of position n-1-t.

    Parameters
    ----------
    seed : int
        The user's seed.
    draws : int [draw]
        Draw numbers k.
    n : int
        Length of a permutation.
    entity, purpose : int
        Third and fourth counter word.

    Returns
    -------
    int32 [draw, n]
    """
    k = np.asarray(draws)
    out = np.empty((k.size, n), dtype=np.int32)
    for start in range(0, k.size, _SHUFFLE_CHUNK):
        part = slice(start, start + _SHUFFLE_CHUNK)
        words = stream(seed, k[part], max(n - 1, 0), entity=entity, purpose=purpose)
        out[part] = _shuffle(words, n).T
    out[k == 0] = np.arange(n, dtype=np.int32)
    return out


def _shuffle(words: Words, n: int) -> NDArray[np.int32]:
    """Fisher-Yates of all draws at once, int32 [n, draw], from words [n - 1, draw]."""
    n_draws = words.shape[1]
    order = np.repeat(np.arange(n, dtype=np.int32)[:, None], n_draws, axis=1)
    flat = order.reshape(-1)
    column = np.arange(n_draws, dtype=np.int64)
    for step, position in enumerate(range(n - 1, 0, -1)):
        partner = integers(words[step], position + 1).astype(np.int64) * n_draws + column
        taken = flat[partner]
        flat[partner] = order[position]
        order[position] = taken
    return order


def _rounds(words: list[NDArray[np.uint64]], low: int, high: int) -> list[NDArray[np.uint64]]:
    """Ten rounds on four counter words held as 64-bit integers; the high and low halves stay exact."""
    c0, c1, c2, c3 = words
    for _ in range(_ROUNDS):
        product_0 = c0 * _MULTIPLIERS[0]
        product_1 = c2 * _MULTIPLIERS[1]
        c0 = (product_1 >> _SHIFT) ^ c1 ^ np.uint64(low)
        c1 = product_1 & _LOW
        c2 = (product_0 >> _SHIFT) ^ c3 ^ np.uint64(high)
        c3 = product_0 & _LOW
        low = (low + _WEYL[0]) & 0xFFFFFFFF
        high = (high + _WEYL[1]) & 0xFFFFFFFF
    return [c0, c1, c2, c3]
