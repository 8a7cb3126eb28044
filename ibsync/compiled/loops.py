"""How the loops in C are called: what they take is checked here, before an address leaves Python."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_COLUMNS = 16  # of one slab of a table
_SIDES = {"greater": 1, "less": -1, "two-sided": 0}
_P, _N = ctypes.c_void_p, ctypes.c_int64


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
        self._count_draws = getattr(library, f"count_draws_{build}")
        self._count_draws.argtypes = [_P, _N, _N, _P, _N, _N, _P, _N, *[_P] * 5, ctypes.c_int32, _P, _P]
        self._count_draws.restype = None

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
