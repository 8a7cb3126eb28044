"""The strict device sees what CuPy would refuse."""

from __future__ import annotations

import numpy as np
import pytest
from strict import StrictDevice


def test_arrays_of_the_host_do_not_mix_with_those_of_the_device():
    strict = StrictDevice()
    xp, host = strict.xp, np.arange(3.0)
    there = strict.from_host(host)
    for mixed in (
        lambda: there + host,
        lambda: host * there,
        lambda: xp.stack([there, host]),
        lambda: np.concatenate([there, host]),
        lambda: xp.sqrt(host),
        lambda: there.__setitem__(0, host),
        lambda: there.__iadd__(host),
    ):
        with pytest.raises(TypeError, match="of the host"):
            mixed()


def test_results_stay_on_the_device_until_they_are_fetched():
    strict = StrictDevice()
    xp, there = strict.xp, strict.from_host(np.arange(6.0).reshape(2, 3))
    kind = type(there)
    for found in (there * 2, there.sum(axis=0), there.max(), xp.fft.rfft(there), there[[1, 0]], there.T @ there):
        assert type(found) is kind
    assert type(xp.zeros(3)) is kind
    assert type(strict.to_host(there)) is np.ndarray


def test_functions_that_cupy_lacks_are_missing():
    pytest.importorskip("cupy", reason="CuPy is not installed")
    strict = StrictDevice()
    with pytest.raises(AttributeError):
        _ = strict.xp.trapezoid_of_nothing
    with pytest.raises(AttributeError):
        _ = strict.xp.busday_count
