"""The two verbs on a GPU: spectra stay on the device, unit features are made group by group, sums come back.

Accuracies keep the promises of the CPU backend: `exact` forms unit features in float64 and multiplies them as pairs of
halves on tensor cores; `fast` forms them in float32 and multiplies halves, with the norms of the rounded vectors.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import DeviceError
from ...plan import Plan, Segment
from ...spec import PhaseShares
from ...transform.definition import padded_length
from ...transform.features import Group
from ...transform.signals import Signals
from ..sums import N_PHASES, PhaseSums, Spectra, Sums, deepen_dyads, dyad_by_dyad, sums_by_depth
from .channel_stage import (
    DOUBLES,
    FLOATS,
    HALF_PAIRS,
    HALVES,
    UNRESOLVED,
    GroupTables,
    Kept,
    UnitMaker,
    Units,
    bytes_per_cell,
)
from .device import CudaDevice, Device, on_a_device
from .pair_stage import CellLists, Entered, add_products, entered, times_per_chunk
from .residual_units import ResidualMaker, bytes_of_residuals, unpacked

_UNIT_SHARE = 4  # unit features of one batch may take one part in so many of the budget
_MOST_CHANNELS = 32_768  # that a grid of blocks holds


@dataclass
class Features(Spectra):
    """Spectra on the device, complex128 [channel, bin], and the units of whole segments that there was room for."""

    kept: dict[tuple[int, int, int], Units] = field(default_factory=dict, repr=False)

    def part(self, channels: NDArray[np.bool_]) -> Features:
        """Some of the channels."""
        numbers = np.flatnonzero(channels)
        of = (self.spectra[numbers], self.controls)
        return Features(self.signals.part(channels), self.plan, *of, **self.words_of(channels))


_devices: dict[int, CudaDevice] = {}


def default_device(index: int = 0) -> CudaDevice:
    """
    Return the GPU of a number, the same object every time: engines share its kernels and its upload buffers.

    Parameters
    ----------
    index : int
        Among the GPUs that the process sees.

    Raises
    ------
    DeviceError
        If there is no such GPU that can be used.
    """
    if index not in _devices:
        try:
            _devices.setdefault(index, CudaDevice(index))  # another thread may have been first
        except DeviceError as error:
            raise DeviceError(f"backend 'cuda' cannot run here: {error}; backend='numpy' needs no GPU") from error
    return _devices[index]


class CudaBackend:
    """GPU backend.

    Parameters
    ----------
    device : Device, optional
        Default: the first GPU that the process sees.
    tensor_cores : bool, optional
        Whether to multiply halves; else float32. Default: where the GPU can, from compute capability 7.5.
    """

    name = "cuda"

    def __init__(self, device: Device | None = None, *, tensor_cores: bool | None = None) -> None:
        self.device = device or default_device()
        self.tensor_cores = self.device.compute_capability >= 75 if tensor_cores is None else tensor_cores
        self._tables: dict[int, GroupTables] = {}
        self._squares_only = False
        self._kept = Kept(self.device)
        self._lists: dict[tuple[int, int, int, int, bool], tuple[NDArray[np.float64], CellLists]] = {}

    @cached_property
    def squaring(self) -> CudaBackend:
        """The same backend, of whose sums only the squares need be known: on tensor cores it leaves the others out."""
        other = copy(self)
        other._squares_only = True
        return other

    @property
    def xp(self) -> Any:
        """CuPy, or what stands in its place."""
        return self.device.xp

    def features(self, signals: Signals, plan: Plan) -> Features:
        """Spectra of every channel of `signals`."""
        device, xp = self.device, self.xp
        n_padded = padded_length(signals.n_samples)
        spectra = xp.empty((signals.n_channels, plan.n_bins), np.complex128)
        at_once = max(1, min(device.budget_bytes() // _UNIT_SHARE // (32 * n_padded), _MOST_CHANNELS))
        for start in range(0, signals.n_channels, at_once):
            some = slice(start, start + at_once)
            part = signals.x[some]
            x = part if on_a_device(part) else device.upload(part)
            mean, gain = device.from_host(np.stack([signals.mean[some], signals.gain[some]])[..., None])
            spectra[some] = xp.fft.rfft((x - mean) * gain, n_padded, norm="forward")[:, : plan.n_bins]
        controls = None if signals.controls is None else self.features(signals.controls, plan)
        return Features(signals, plan, spectra, controls)

    def at_lags(self, features: Features) -> Features:
        """Features of x(t + lag) at every lag of the plan, one behind the other."""
        made = features.at_lags(lambda spectra, turn: spectra * self.device.from_host(turn), self.xp.concatenate)
        return replace(made, kept={})

    def coherence(self, a: Features, b: Features, shares: PhaseShares | None = None) -> Sums:
        """Sums over cells for all pairs of a channel of `a` with a channel of `b`, on the device."""
        return sums_by_depth(a, b, self._sum_at(shares), self.xp)

    def coherence_of_dyads(self, a: Features, b: Features, n_dyads: int, shares: PhaseShares | None = None) -> Sums:
        """The same for pairs within so many dyads, whose channels follow one another: sums [mean, dyad, a, b]."""
        try:
            totals = self._sums(a, b, 0, shares, n_dyads)
        except Exception as error:
            if type(error).__name__ != "OutOfMemoryError" or n_dyads < 2:
                raise
            self.device.release()
            return dyad_by_dyad(self, a, b, n_dyads, shares)
        deepen_dyads(totals, a, b, n_dyads, self._sum_at(shares), self.xp)
        return totals

    def _sum_at(self, shares: PhaseShares | None) -> Callable[[int, Features, Features], Sums]:
        return lambda depth, a, b: self._fitting(a, b, depth, shares)

    def _fitting(self, a: Features, b: Features, depth: int, shares: PhaseShares | None) -> Sums:
        """Sums; where the device's memory does not hold the batch, of its halves."""
        try:
            return self._sums(a, b, depth, shares).of_dyad(0)
        except Exception as error:
            n = max(a.signals.n_channels, b.signals.n_channels)
            if type(error).__name__ != "OutOfMemoryError" or n < 2:
                raise
            warnings.warn(
                f"the GPU's memory does not hold {n} channels at a time: going on with half of them",
                RuntimeWarning,
                stacklevel=2,
            )
        for batch in (a, b):
            batch.kept.clear()
        self.device.release()
        return self._halves(a, b, depth, shares)

    def _halves(self, a: Features, b: Features, depth: int, shares: PhaseShares | None) -> Sums:
        shape = (a.plan.n_means, a.signals.n_channels, b.signals.n_channels)
        totals = Sums.zeros(shape, shares=shares is not None, xp=self.device.xp)
        split_a = a.signals.n_channels >= b.signals.n_channels
        for half in _two_halves(shape[1] if split_a else shape[2]):
            first, second = (a.part(half), b) if split_a else (a, b.part(half))
            rows = half if split_a else np.ones(shape[1], bool)
            columns = np.ones(shape[2], bool) if split_a else half
            totals.put(rows, columns, self._fitting(first, second, depth, shares))
            a.take(rows, first)
            b.take(columns, second)
        for side in (a, b):
            side.known |= depth == 0
        return totals

    # --- one depth ----------------------------------------------------------------------------------------------------

    def _sums(self, a: Features, b: Features, depth: int, shares: PhaseShares | None, n_dyads: int = 1) -> Sums:
        """Sums [mean, dyad, a, b] at one depth; cells that it does not resolve are left out and marked."""
        device, plan = self.device, a.plan
        shape = (plan.n_means, n_dyads, a.signals.n_channels // n_dyads, b.signals.n_channels // n_dyads)
        n_classes = 0 if shares is None else N_PHASES
        form, budget = self._form(plan, depth, shares), device.budget_bytes()
        squares = self._squares_only and form in (HALVES, HALF_PAIRS)
        totals = device.xp.zeros((shape[0], 1 if squares else 3 + n_classes, *shape[1:]))
        made: list[Entered] = []
        for index, segment in enumerate(plan.segments_at(depth)):
            widths = None if shares is None else plan.widths_at(depth)[index]
            for ua, ub, times in self._batches(a, b, depth, index, form, budget):
                wide = None if widths is None else widths[:, times]
                lists = self._listed(
                    (depth, index, int(times[0])), segment.weights[:, times],
                    times_per_chunk(segment, plan.spec.accuracy), wide,
                )  # fmt: skip
                add_products(device, totals, ua, ub, lists, budget, shares)
                made.append(Entered(index, times, ua.cells, ub.cells, lists))
        batches = self._flagged(a, b, made)
        for side in (a, b):
            side.known |= depth == 0
        weight, *width = (entered(device, batches, which, shape, self._kept) for which in (0, 1)[: 2 if shares else 1])
        phases = PhaseSums(totals[:, 3:], width[0]) if width else None
        inner = self.xp.full(weight.shape, np.nan + 0j) if squares else totals[:, 1] + 1j * totals[:, 2]
        return Sums(totals[:, 0], inner, weight, phases)

    def _flagged(self, a: Features, b: Features, made: list[Entered]) -> list[Entered]:
        """The batches with what their flags say, all brought to the host in one copy: the only wait of a depth.

        Another one follows for each batch with cells that the rank does not resolve.
        """
        if not made:
            return []
        flags = [cells.flags for batch in made for cells in (batch.a, batch.b)]
        of_batch = (self.device.to_host(self.xp.concatenate(flags)) != 0).reshape(len(made), -1)
        n_a = a.signals.n_channels
        shallow_a, missing_a, shallow_b, missing_b = np.split(of_batch, [n_a, n_a + 1, of_batch.shape[1] - 1], axis=1)
        for side, shallow, cells_of in ((a, shallow_a, "a"), (b, shallow_b, "b")):
            for number in np.flatnonzero(shallow.any(axis=1)):
                batch = made[number]
                cells = self.device.to_host(getattr(batch, cells_of).valid == UNRESOLVED)
                side.mark(batch.index, batch.times, cells.reshape(len(batch.times), -1, side.signals.n_channels))
        all_valid = zip(~missing_a[:, 0], ~missing_b[:, 0], strict=True)
        return [replace(one, all_valid=whole) for one, whole in zip(made, all_valid, strict=True)]

    def _listed(
        self, segment: tuple[int, int, int], weights: NDArray[np.float64], per_chunk: int,
        widths: NDArray[np.float64] | None,
    ) -> CellLists:  # fmt: skip
        """Lists of a segment's cells from a time on, kept for the next pair of batches."""
        key = (*segment, per_chunk, widths is not None)
        if key not in self._lists or not np.array_equal(self._lists[key][0], weights):
            self._lists[key] = (weights, CellLists.of(weights, per_chunk, widths))
        return self._lists[key][1]

    def _form(self, plan: Plan, depth: int, shares: PhaseShares | None) -> int:
        if depth:
            return DOUBLES
        if shares is not None or not self.tensor_cores:
            return FLOATS
        return HALVES if plan.spec.accuracy == "fast" else HALF_PAIRS

    def _batches(
        self, a: Features, b: Features, depth: int, index: int, form: int, budget: int
    ) -> Iterator[tuple[Units, Units, NDArray[np.int64]]]:
        """Unit features of both sides over stretches of whole chunks of a segment's times, and these times."""
        segment = a.plan.segments_at(depth)[index]
        if not len(segment.times):
            return
        whole = (form, depth, index)
        if whole in a.kept and whole in b.kept:
            yield a.kept[whole], b.kept[whole], segment.times
            return
        group = a.plan.group(segment, depth)
        per_time = group.n_rows * sum(_bytes_per_cell(side, form, group) for side in ([a] if b is a else [a, b]))
        chunk = times_per_chunk(segment, a.plan.spec.accuracy)
        at_once = max(1, budget // _UNIT_SHARE // (per_time * chunk)) * chunk
        makers = [self._maker(side, depth, index, form) for side in ([a] if b is a else [a, b])]
        for start in range(0, len(segment.times), at_once):
            times = segment.times[start : start + at_once]
            made = [maker.units(times) for maker in makers]
            if len(times) == len(segment.times):
                _keep(a, whole, made[0], budget // _UNIT_SHARE)
                _keep(b, whole, made[-1], budget // _UNIT_SHARE)
            yield made[0], made[-1], times

    def _maker(self, side: Features, depth: int, index: int, form: int) -> UnitMaker | ResidualMaker:
        segment = side.plan.segments_at(depth)[index]
        tables = self._tables_of(side.plan, segment, depth)
        spectra, usable = side.spectra, side.usable(depth, index)
        check = depth == 0 and not side.known
        if side.controls is None:
            return UnitMaker(spectra, side.plan, segment, tables, usable, form, check=check)
        spectra = self.xp.concatenate([spectra, side.controls.spectra])
        usable = _side_by_side(usable, side.controls.usable(depth, index), side)
        whole = unpacked(tables.dtype)
        maker = UnitMaker(spectra, side.plan, segment, tables, usable, whole, check=check)
        assert side.signals.taken is not None
        return ResidualMaker(maker, side.signals.taken, form)

    def _tables_of(self, plan: Plan, segment: Segment, depth: int) -> GroupTables:
        group = plan.group(segment, depth)
        if id(group) not in self._tables or self._tables[id(group)].group is not group:
            self._tables[id(group)] = GroupTables(self.device, group, plan.rank(depth))
        return self._tables[id(group)]


def _keep(side: Features, key: tuple[int, int, int], units: Units, room_bytes: int) -> None:
    """Keep the units of a whole segment for the next partner, while there is room."""
    if units.words.nbytes + sum(kept.words.nbytes for kept in side.kept.values()) < room_bytes:
        side.kept[key] = units


def _bytes_per_cell(side: Features, form: int, group: Group) -> int:
    """Memory of one cell of all channels of a side."""
    n = side.signals.n_channels
    if side.controls is None:
        return n * bytes_per_cell(form, group)
    return int(n + side.controls.signals.n_channels) * bytes_of_residuals(group.n_features, form)


def _side_by_side(
    channels: NDArray[np.bool_] | None, controls: NDArray[np.bool_] | None, side: Features
) -> NDArray[np.bool_] | None:
    """Usable cells of channels and then of controls."""
    if channels is None and controls is None:
        return None
    shape = next(part.shape[:2] for part in (channels, controls) if part is not None)
    parts = [(channels, side.signals.n_channels), (controls, side.controls.signals.n_channels)]
    return np.concatenate([np.ones((*shape, n), bool) if part is None else part for part, n in parts], axis=2)


def _two_halves(n: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first = np.arange(n) < n // 2
    return first, ~first


def usable_gpu() -> bool:
    """Whether there is a GPU that can be used."""
    try:
        default_device()
    except DeviceError:
        return False
    return True
