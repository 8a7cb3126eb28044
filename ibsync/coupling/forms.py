"""What each coupling of band-passed signals is made of: a feature of every channel, and sums over samples of pairs.

With z the analytic signals, u = z / |z| and sums over the samples that both channels have, most are sums of products of
one channel's numbers with the other's, which matrix products give for all pairs at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

_VALUES_AT_ONCE = 1 << 15
"""Values of pairs that are summed sample by sample at once: as many as a core's cache holds."""
_SAMPLES_AT_ONCE = 4096  # of matrix products on the CPU
_VALUES_AT_ONCE_THERE = 1 << 24  # on a GPU


@dataclass(frozen=True, eq=False)
class PairSums:
    """
    Sums for all pairs of a channel of `a` with one of `b`, each made when it is first asked for.

    Parameters
    ----------
    a, b : [dyad, channel, sample]
        A feature; 0 where a channel has no value.
    has_a, has_b : float [dyad, channel, sample] or None
        1 where a channel has a value, 0 where it has none; None where all have values everywhere.
    parts : sequence of (start, stop)
        Samples of `a` that enter.
    shift : int
        How many samples later those of `b` are taken.
    xp : module
        NumPy or CuPy.

    Attributes
    ----------
    n, product, plus, sum_a, sum_b, power_a, power_b, square_a, square_b, signs, size, square : [dyad, a, b]
        Samples that both have; sums over these of a conj(b), a b, a, b, |a|^2, |b|^2, a^2, b^2, and of sign, modulus
        and square of Im(a conj(b)).
    """

    a: Any
    b: Any
    has_a: Any
    has_b: Any
    parts: Sequence[tuple[int, int]]
    shift: int
    xp: Any

    @cached_property
    def n(self) -> Any:
        """Samples that both have."""
        if self.has_a is None:
            shape = (*self.a.shape[:2], self.b.shape[1])
            return self.xp.full(shape, float(sum(stop - start for start, stop in self.parts)))
        return self._gram(self.has_a, self.has_b)

    @cached_property
    def product(self) -> Any:
        """Sum of a conj(b)."""
        return self._gram(self.a, self.b, self.xp.conj)

    @cached_property
    def plus(self) -> Any:
        """Sum of a b."""
        return self._gram(self.a, self.b)

    @cached_property
    def sum_a(self) -> Any:
        """Sum of a."""
        return self._of_a(self.a)

    @cached_property
    def sum_b(self) -> Any:
        """Sum of b."""
        return self._of_b(self.b)

    @cached_property
    def power_a(self) -> Any:
        """Sum of |a|^2."""
        return self._of_a(abs(self.a) ** 2)

    @cached_property
    def power_b(self) -> Any:
        """Sum of |b|^2."""
        return self._of_b(abs(self.b) ** 2)

    @cached_property
    def square_a(self) -> Any:
        """Sum of a^2."""
        return self._of_a(self.a**2)

    @cached_property
    def square_b(self) -> Any:
        """Sum of b^2."""
        return self._of_b(self.b**2)

    @cached_property
    def signs(self) -> Any:
        """Sum of the sign of Im(a conj(b))."""
        return self._each(self.xp.sign)

    @cached_property
    def size(self) -> Any:
        """Sum of |Im(a conj(b))|."""
        return self._each(self.xp.abs)

    @cached_property
    def square(self) -> Any:
        """Sum of Im(a conj(b))^2 = (Im a Re b)^2 + (Re a Im b)^2 - 2 Im a Re a Im b Re b."""
        (x, y), (v, w) = ((side.real, side.imag) for side in (self.a, self.b))
        return self._gram(y * y, v * v) + self._gram(x * x, w * w) - 2 * self._gram(x * y, v * w)

    def _gram(self, x: Any, y: Any, of_y: Callable[[Any], Any] = lambda x: x) -> Any:
        """Sum over samples of x with a function of y, of some samples at a time, which a core's cache holds."""
        total: Any = 0
        step = _SAMPLES_AT_ONCE if self.xp is np else max(1, x.shape[2])
        for start, stop in self.parts:
            for at in range(start, stop, step):
                end = min(at + step, stop)
                there = slice(at + self.shift, end + self.shift)
                total = total + self.xp.matmul(x[:, :, at:end], of_y(y[:, :, there]).swapaxes(1, 2))
        return total.astype(np.complex128 if total.dtype.kind == "c" else np.float64)

    def _of_a(self, x: Any) -> Any:
        """Sum of a number of `a` over the samples that both have."""
        has = self.has_b if self.has_b is not None else self.xp.ones((1, 1, self.b.shape[2]), x.real.dtype)
        return self._gram(x, has)

    def _of_b(self, x: Any) -> Any:
        has = self.has_a if self.has_a is not None else self.xp.ones((1, 1, self.a.shape[2]), x.real.dtype)
        return self._gram(has, x)

    def _each(self, function: Callable[[Any], Any]) -> Any:
        """Sum over samples of a function of Im(a conj(b)), sample by sample."""
        (x, y), (v, w) = ((side.real.copy(), side.imag.copy()) for side in (self.a, self.b))
        n_dyads, n_a, n_b = len(x), x.shape[1], v.shape[1]
        most = _VALUES_AT_ONCE if self.xp is np else _VALUES_AT_ONCE_THERE
        step = max(1, most // max(1, n_dyads * n_b))
        total = self.xp.zeros((n_dyads, n_a, n_b))
        for start, stop in self.parts:
            for at in range(start, stop, step):
                here = slice(at, min(at + step, stop))
                there = slice(here.start + self.shift, here.stop + self.shift)
                for k in range(n_a):
                    mine = slice(k, k + 1), here
                    imaginary = y[:, *mine] * v[:, :, there] - x[:, *mine] * w[:, :, there]
                    total[:, k] += function(imaginary).sum(axis=2, dtype=np.float64)
        return total


# --- features ---------------------------------------------------------------------------------------------------------


def _unit(z: Any) -> Any:
    size = (z.real * z.real + z.imag * z.imag) ** 0.5  # four times as fast as abs
    return z * (1 / (size + (size == 0)))


def _less_mean(x: Any) -> Any:
    # Moments are taken about the mean of the whole recording, which loses fewer digits than about 0.
    return x - x.mean(axis=-1, keepdims=True)


def _whole(z: Any) -> Any:
    return z


def _envelope(z: Any) -> Any:
    return _less_mean(abs(z))


def _power(z: Any) -> Any:
    return _less_mean(abs(z) ** 2)


def _signal(z: Any) -> Any:
    return z.real.copy()


# --- values -----------------------------------------------------------------------------------------------------------


def _quotient(part: Any, whole: Any, xp: Any) -> Any:
    """NaN where the whole is nothing."""
    there = whole > 0
    return xp.where(there, part / xp.where(there, whole, 1), np.nan)


def _plv(s: PairSums) -> Any:
    return _quotient(abs(s.product), s.n, s.xp)


def _ciplv(s: PairSums) -> Any:
    mean = s.product / s.xp.maximum(s.n, 1)
    return _quotient(abs(mean.imag), s.xp.sqrt(s.xp.maximum(1 - mean.real**2, 0)), s.xp)


def _ppc(s: PairSums) -> Any:
    return _quotient(abs(s.product) ** 2 - s.n, s.n * (s.n - 1), s.xp)


def _ccorr(s: PairSums) -> Any:
    to_a, to_b = (_unit(total.conj()) for total in (s.sum_a, s.sum_b))  # e^-i of the two circular means
    covered = ((s.product * to_a * to_b.conj()).real - (s.plus * to_a * to_b).real) / 2
    return _quotient(abs(covered), s.xp.sqrt(_sines(s.square_a, to_a, s) * _sines(s.square_b, to_b, s)), s.xp)


def _accorr(s: PairSums) -> Any:
    difference, total = s.xp.angle(s.product), s.xp.angle(s.plus)
    to_a, to_b = s.xp.exp(-0.5j * (total + difference)), s.xp.exp(-0.5j * (total - difference))
    spread = s.xp.sqrt(_sines(s.square_a, to_a, s) * _sines(s.square_b, to_b, s))
    return _quotient(abs(s.product) - abs(s.plus), 2 * spread, s.xp)


def _sines(squares: Any, to_mean: Any, s: PairSums) -> Any:
    """Sum of the squared sines of phases about their mean: (n - Re(e^-2im sum u^2)) / 2."""
    return s.xp.maximum(s.n - (squares * to_mean**2).real, 0) / 2


def _coh(s: PairSums) -> Any:
    return _quotient(abs(s.product), s.xp.sqrt(s.power_a * s.power_b), s.xp)


def _imcoh(s: PairSums) -> Any:
    return _quotient(s.product.imag, s.xp.sqrt(s.power_a * s.power_b), s.xp)


def _pli(s: PairSums) -> Any:
    return _quotient(abs(s.signs), s.n, s.xp)


def _wpli(s: PairSums) -> Any:
    return _quotient(abs(s.product.imag), s.size, s.xp)


def _dwpli(s: PairSums) -> Any:
    return _quotient(s.product.imag**2 - s.square, s.size**2 - s.square, s.xp)


def _pearson(s: PairSums) -> Any:
    n = s.xp.maximum(s.n, 1)
    covered = s.product - s.sum_a * s.sum_b / n
    spreads = (s.xp.maximum(power - total**2 / n, 0) for power, total in ((s.power_a, s.sum_a), (s.power_b, s.sum_b)))
    first, second = spreads
    return _quotient(covered, s.xp.sqrt(first * second), s.xp)


class Form(NamedTuple):
    """The feature of analytic signals [channel, sample] that a coupling needs, and its value from sums of pairs."""

    feature: Callable[[Any], Any]
    value: Callable[[PairSums], Any]


FORMS: Mapping[str, Form] = {
    "plv": Form(_unit, _plv),
    "ciplv": Form(_unit, _ciplv),
    "ppc": Form(_unit, _ppc),
    "ccorr": Form(_unit, _ccorr),
    "accorr": Form(_unit, _accorr),
    "coh": Form(_whole, _coh),
    "imcoh": Form(_whole, _imcoh),
    "pli": Form(_whole, _pli),
    "wpli": Form(_whole, _wpli),
    "dwpli": Form(_whole, _dwpli),
    "envelope": Form(_envelope, _pearson),
    "power": Form(_power, _pearson),
    "correlation": Form(_signal, _pearson),
    "xcorr": Form(_signal, _pearson),  # of each window and lag: cross_correlation.py
}
