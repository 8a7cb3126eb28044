"""Reading ahead changes neither order nor errors, and holds one item more."""

from __future__ import annotations

import pytest

from ibsync.study.engines import read_ahead


def test_items_come_in_their_order_one_ahead():
    read = []
    for k, (item, found) in enumerate(read_ahead(lambda x: read.append(x) or x * x, range(6))):
        assert (item, found) == (k, k * k)
        assert set(read) <= set(range(k + 2))
    assert read == list(range(6))
    assert list(read_ahead(len, [])) == []


def test_an_error_is_raised_at_its_item():
    going = read_ahead(lambda x: 1 / x, [2, 1, 0, 5])
    assert [next(going), next(going)] == [(2, 0.5), (1, 1.0)]
    with pytest.raises(ZeroDivisionError):
        next(going)
