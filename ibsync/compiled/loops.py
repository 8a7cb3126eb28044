"""How the loops in C are called: what they take is checked here, before an address leaves Python."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_LANES = 16
"""Most cells of a batch."""
_COLUMNS = 16  # of one slab of a table
_SIDES = {"greater": 1, "less": -1, "two-sided": 0}
_P, _N, _I, _D = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_double
_F32, _F64 = np.dtype(np.float32), np.dtype(np.float64)
_WORDS = {_F32: "f32", _F64: "f64"}


def _pointer(array: NDArray[Any], dtype: Any, shape: Sequence[int]) -> int:
    """Address of an array, which must be what C takes it for."""
    if array.dtype != dtype or array.shape != tuple(shape) or not array.flags.c_contiguous:
        raise TypeError(f"C takes a contiguous {np.dtype(dtype)} {tuple(shape)}, not {array.dtype} {array.shape}")
    return array.ctypes.data


@dataclass(frozen=True)
class Division:
    """
    What sums are divided by, and what is then taken from them.

    Parameters
    ----------
    roots : float64 [draw, pattern]
        Root of the number of values of each draw; NaN for none.
    pattern : int32 [column]
        Which of them divides a column; -1 for none.
    shift : float64 [column]
    """

    roots: Floats
    pattern: NDArray[np.int32]
    shift: Floats


@dataclass(frozen=True)
class Judge:
    """
    Which cells are valid, and which are resolved, by the power of their features.

    Parameters
    ----------
    empty : float
        A valid cell has more power.
    tail : float
        Largest share of the two weakest features in a cell that is resolved; negative: all are.
    noise : float32 [cell or fewer, column] or None
        Least power of a cell that is resolved; with fewer rows than cells they are repeated.
    usable : bool [cell, column] or None
        Which cells can be valid at all.
    known : bool [column] or None
        Columns of which no cell is asked whether it is resolved.
    """

    empty: float
    tail: float = -1.0
    noise: NDArray[np.float32] | None = None
    usable: NDArray[np.bool_] | None = None
    known: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Units:
    """
    Unit features as the pair stage reads them.

    Parameters
    ----------
    u : float32 or float64 [batch, column, (K, re/im), lane]
        Lanes are cells; 0 where a cell is not valid, and where there is none. The same thread's next units take the
        same room.
    valid : bool [cell, column]
    unresolved : bool [cell, column]
        Cells that would be valid if they were resolved.
    n_rows : int
        Cells are [time, row] of so many rows, and lanes are times of one of them: batches are [batch of times, row].
    """

    u: NDArray[Any]
    valid: NDArray[np.bool_]
    unresolved: NDArray[np.bool_]
    n_rows: int = 1

    def in_lanes(self, values: Floats) -> NDArray[Any]:
        """Values of [mean, cell] as [mean, batch, lane], in the type of the features, 0 where there is no cell."""
        n_batches, _, _, lanes = self.u.shape
        n_means, n_cells = values.shape
        out = np.zeros((n_means, n_batches * lanes), self.u.dtype)
        out[:, :n_cells] = values
        across = out.reshape(n_means, n_batches // self.n_rows, lanes, self.n_rows).transpose(0, 1, 3, 2)
        return _copied(across)


@dataclass(frozen=True)
class Far:
    """
    Evenly spaced times far from both ends, which are filtered alike.

    Parameters
    ----------
    samples : float32 or float64 [column, re/im, phase, length]
        Sample i of a column's band-limited signal is at [i % spacing, i // spacing]; as many phases as `spacing`.
    first : int
        Sample at which the first time's window begins.
    n_times : int
    taps : int32 [tap, 2]
        Samples of a window whose filter values are conjugate; -1 for the second of one that stands alone.
    kernels : float32 or float64 [tap, R, re/im]
        Values of the filters at the first of them.
    mixing : float32 or float64 [row, R, K]
        In the precision of the unit features.
    """

    samples: NDArray[Any]
    first: int
    n_times: int
    taps: NDArray[np.int32]
    kernels: NDArray[Any]
    mixing: NDArray[Any]


@dataclass(frozen=True)
class Columns:
    """
    Which columns are paired: in each of some groups all of its first channels with all of its second ones.

    Parameters
    ----------
    first_a, first_b : int
        Column of the first group's first channels.
    n_a, n_b : int
        Channels of each group.
    n_groups, step_a, step_b : int
        Groups, and columns from one to the next.
    """

    first_a: int
    first_b: int
    n_a: int
    n_b: int
    n_groups: int = 1
    step_a: int = 0
    step_b: int = 0


@dataclass(frozen=True)
class PairSums:
    """
    Weighted sums over cells of the products of unit features.

    Parameters
    ----------
    squared : float64 [group, mean, a, b]
    inner : complex128 [group, mean, a, b]
    classes : float64 [group, mean, class, a, b] or None
    """

    squared: Floats
    inner: NDArray[np.complex128]
    classes: Floats | None


def _aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Room that begins where a vector may begin."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    out: NDArray[Any] = raw[start : start + size].view(dtype).reshape(shape)
    return out


def in_slabs(table: NDArray[Any], fill: float = np.nan) -> NDArray[Any]:
    """Columns of [..., column] in slabs as C reads them, [slab, ..., 16], filled up at the end."""
    n_slabs = -(-table.shape[-1] // _COLUMNS)
    full = np.full((*table.shape[:-1], n_slabs * _COLUMNS), fill, table.dtype)
    full[..., : table.shape[-1]] = table
    return np.ascontiguousarray(np.moveaxis(full.reshape(*table.shape[:-1], n_slabs, _COLUMNS), -2, 0))


class Loops:
    """
    The loops of one build; each releases the interpreter's lock while it runs.

    Parameters
    ----------
    library : ctypes.CDLL
    build : str
        One of `BUILDS`.
    """

    def __init__(self, library: ctypes.CDLL, build: str) -> None:
        def function(name: str, argtypes: Sequence[Any], restype: Any = None) -> Any:
            found = getattr(library, f"{name}_{build}")
            found.argtypes, found.restype = argtypes, restype
            return found

        self._count_draws = function("count_draws", [_P, _N, _N, _P, _N, _N, _P, _N, *[_P] * 5, _I, _P, _P])
        self._pair_sums = {
            dtype: function(f"pair_sums_{word}", [_P, *[_N] * 9, _N, _P, _P, _N, _P, _I, _P, _P, _P], _I)
            for dtype, word in _WORDS.items()
        }
        self._unit_features = {
            (of, to): function(f"unit_features_{_WORDS[of]}_{_WORDS[to]}", [_P, *[_N] * 4, _D, _D, _P, _N, *[_P] * 5])
            for of, to in ((_F32, _F32), (_F64, _F32), (_F64, _F64))
        }
        self._far_features = {
            (of, to): function(
                f"far_features_{_WORDS[of]}_{_WORDS[to]}",
                [_P, *[_N] * 5, _P, _N, _P, _N, _P, _N, _N, _D, _D, *[_P] * 6], _I,
            )
            for of, to in ((_F32, _F32), (_F64, _F32), (_F64, _F64))
        }  # fmt: skip
        self._kept = threading.local()
        self._vector_bytes = {"avx512": 64, "avx2": 32, "neon": 16}[build]

    def _room(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Room of the thread for units: new memory for each would cost as much as the work."""
        size = int(np.prod(shape)) * dtype.itemsize
        if getattr(self._kept, "room", np.empty(0)).nbytes < max(size, 1):
            self._kept.room = _aligned((size,), np.uint8)
        out: NDArray[Any] = self._kept.room[:size].view(dtype).reshape(shape)
        return out

    def lanes(self, dtype: np.dtype[Any]) -> int:
        """Cells of a batch."""
        return self._vector_bytes // dtype.itemsize

    def count_draws(
        self,
        table: Floats,
        drawn: NDArray[np.int32],
        division: Division,
        limits: Sequence[Floats],
        tail: str,
        largest: Floats,
    ) -> NDArray[np.int64]:
        """
        Draws that reach, pass, stay at or below the limits of each column, and whose running maximum reaches its own.

        Parameters
        ----------
        table : float64 [slab, pair, 16]
            From `in_slabs`.
        drawn : int32 [draw, dyad]
            Pairs of each draw, whose values are added in the order of dyads.
        division : Division
        limits : three of float64 [column]
            What is to be reached, what is to be passed, and what the running maximum of the evidence is to reach.
        tail : {"greater", "less", "two-sided"}
            Which values are evidence.
        largest : float64 [draw]
            Largest evidence of all columns before these; on return with these.

        Returns
        -------
        int64 [4, column]
        """
        n_slabs, n_pairs, _ = table.shape
        (n_draws, n_dyads), n_columns = drawn.shape, len(division.pattern)
        if drawn.size and not 0 <= drawn.min() <= drawn.max() < n_pairs:
            raise IndexError(f"draws hold pairs {drawn.min()} to {drawn.max()} of {n_pairs}")
        n_patterns, row = division.roots.shape[1], (n_slabs * _COLUMNS,)
        if len(division.pattern) and not -1 <= division.pattern.min() <= division.pattern.max() < n_patterns:
            raise IndexError(f"columns have patterns up to {division.pattern.max()} of {n_patterns}")
        columns = [in_slabs(values) for values in (division.shift, *limits)]
        pattern, counts = in_slabs(division.pattern, -1), np.zeros((4, *row), np.int64)
        self._count_draws(
            _pointer(table, np.float64, (n_slabs, n_pairs, _COLUMNS)), n_slabs, n_pairs,
            _pointer(drawn, np.int32, (n_draws, n_dyads)), n_draws, n_dyads,
            _pointer(division.roots, np.float64, (n_draws, n_patterns)), n_patterns,
            _pointer(pattern.reshape(-1), np.int32, row),
            *(_pointer(values.reshape(-1), np.float64, row) for values in columns), _SIDES[tail],
            _pointer(largest, np.float64, (n_draws,)), _pointer(counts, np.int64, (4, *row)),
        )  # fmt: skip
        return counts[:, :n_columns]

    def unit_features(self, u: NDArray[Any], dtype: Any, judge: Judge) -> Units:
        """
        Features scaled to length 1.

        Parameters
        ----------
        u : float32 or float64 [cell, (K, re/im), column]
            Contiguous but for the step from one (K, re/im) to the next: columns may be some of an array's.
        dtype : float32 or float64
            Of the unit features.
        judge : Judge
        """
        n_cells, n_parts, n_columns = u.shape
        stride = u.strides[1] // u.itemsize
        steps = (n_parts * stride * u.itemsize, stride * u.itemsize, u.itemsize)
        if (
            n_parts % 2
            or stride < n_columns
            or any(n > 1 and a != b for n, a, b in zip(u.shape, u.strides, steps, strict=True))
        ):
            raise TypeError(f"C takes features [cell, part, column] in this order, not with strides {u.strides}")
        dtype = np.dtype(dtype)
        lanes = self.lanes(dtype)
        units = self._room((-(-n_cells // lanes), n_columns, n_parts, lanes), dtype)
        valid, unresolved = np.ones((n_cells, n_columns), np.bool_), np.zeros((n_cells, n_columns), np.bool_)
        n_noise = 0 if judge.noise is None else len(judge.noise)
        self._unit_features[u.dtype, dtype](
            u.ctypes.data, n_cells, n_parts // 2, stride, n_columns, judge.empty, judge.tail,
            None if judge.noise is None else _pointer(judge.noise, np.float32, (n_noise, n_columns)), n_noise,
            None if judge.usable is None else _pointer(judge.usable, np.bool_, valid.shape),
            None if judge.known is None else _pointer(judge.known, np.bool_, (n_columns,)),
            units.ctypes.data, valid.ctypes.data, unresolved.ctypes.data,
        )  # fmt: skip
        return Units(units, valid, unresolved)

    def far_features(self, far: Far, dtype: Any, judge: Judge) -> Units:
        """
        Unit features from the samples of a band-limited signal: filtered, mixed for each row, scaled to length 1.

        Parameters
        ----------
        far : Far
        dtype : float32 or float64
            Of the unit features.
        judge : Judge
            With `noise` for each row.
        """
        of, dtype = far.samples.dtype, np.dtype(dtype)
        n_columns, _, spacing, length = far.samples.shape
        (n_taps, n_filters, _), (n_rows, _, n_features) = far.kernels.shape, far.mixing.shape
        lanes, n_cells = self.lanes(dtype), far.n_times * n_rows
        n_batches = -(-far.n_times // lanes)
        last = (far.first + int(far.taps.max())) // spacing + n_batches * lanes
        if far.first < 0 or far.taps[:, 0].min() < 0 or last > length:
            raise IndexError(f"windows reach from sample {far.first} to {last * spacing} of {length * spacing}")
        units = self._room((n_batches * n_rows, n_columns, 2 * n_features, lanes), dtype)
        valid, unresolved = np.ones((n_cells, n_columns), np.bool_), np.zeros((n_cells, n_columns), np.bool_)
        status = self._far_features[of, dtype](
            _pointer(far.samples, of, (n_columns, 2, spacing, length)), length, n_columns, far.first, spacing,
            far.n_times, _pointer(far.taps, np.int32, (n_taps, 2)), n_taps,
            _pointer(far.kernels, of, (n_taps, n_filters, 2)), n_filters,
            _pointer(far.mixing, dtype, (n_rows, n_filters, n_features)), n_rows, n_features, judge.empty, judge.tail,
            None if judge.noise is None else _pointer(judge.noise, np.float32, (n_rows, n_columns)),
            None if judge.usable is None else _pointer(judge.usable, np.bool_, valid.shape),
            None if judge.known is None else _pointer(judge.known, np.bool_, (n_columns,)),
            units.ctypes.data, valid.ctypes.data, unresolved.ctypes.data,
        )  # fmt: skip
        if status:
            raise MemoryError("no memory for the features of far cells")
        return Units(units, valid, unresolved, n_rows)

    def pair_sums(
        self,
        units: Units,
        columns: Columns,
        weights: Floats,
        direction: int,
        classes: tuple[Floats, Sequence[float]] | None = None,
    ) -> PairSums:
        """
        Sums over cells of products of unit features and of their squares.

        Parameters
        ----------
        units : Units
        columns : Columns
        weights : float64 [mean, cell]
        direction : int
            -1 for a mirrored recording, whose phases change sign.
        classes : float64 [mean, cell] and three floats, optional
            Samples that each cell stands for in a class of phase; limits of R**2, and of cos |cos| for in phase and
            for anti-phase.
        """
        n_batches, n_columns, n_parts, _ = units.u.shape
        for values in (weights, *(() if classes is None else classes[:1])):
            if values.shape != (len(weights), len(units.valid)):
                raise ValueError(f"weights {values.shape} of {len(weights)} means and {len(units.valid)} cells")
        n_means, shape = len(weights), (columns.n_groups, len(weights), columns.n_a, columns.n_b)
        for first, step, n in (
            (columns.first_a, columns.step_a, columns.n_a),
            (columns.first_b, columns.step_b, columns.n_b),
        ):
            if min(first, step) < 0 or first + (columns.n_groups - 1) * step + n > n_columns:
                raise IndexError(f"{columns} reaches beyond {n_columns} columns")

        w = units.in_lanes(weights)
        widths = None if classes is None else units.in_lanes(classes[0])
        limits = np.array((0.0, 0.0, 0.0) if classes is None else classes[1], np.float64)
        sums = PairSums(
            np.empty(shape), np.empty(shape, np.complex128),
            None if classes is None else np.empty((*shape[:2], 4, *shape[2:])),
        )  # fmt: skip
        status = self._pair_sums[units.u.dtype](
            _vectors(units.u), n_columns, n_batches, n_parts // 2, columns.first_a, columns.first_b, columns.step_a,
            columns.step_b, columns.n_groups, columns.n_a, columns.n_b, _vectors(w),
            None if widths is None else _vectors(widths), n_means, _pointer(limits, np.float64, (3,)), direction,
            sums.squared.ctypes.data, sums.inner.ctypes.data,
            None if sums.classes is None else sums.classes.ctypes.data,
        )  # fmt: skip
        if status:
            raise MemoryError("no memory for the sums of pairs")
        return sums


def _copied(array: NDArray[Any]) -> NDArray[Any]:
    """The same where a vector may begin."""
    out = _aligned(array.shape, array.dtype)
    out[:] = array
    return out


def _vectors(array: NDArray[Any]) -> int:
    """Address of an array of vectors."""
    if not array.flags.c_contiguous or array.ctypes.data % 64:
        raise TypeError("C takes vectors that are contiguous and aligned to 64 bytes")
    return array.ctypes.data
