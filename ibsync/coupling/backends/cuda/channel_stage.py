"""Channel stage: from spectra to packed unit features of the cells of a group of rows.

The steps are those of the CPU backend: the group's band-limited signal on its circle, filters that the rows share, then
each row's features, scaled to unit length. What a channel gets does not depend on the others in its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...plan import Plan, Segment
from ...transform.definition import EMPTY_SHARE
from ...transform.features import WEAK_SHARE, Group, Rank, Stretch
from .device import Device
from .launch import load

FLOATS, HALVES, HALF_PAIRS, DOUBLES = range(4)
"""Forms of a packed number: float32; float16; two float16, the second what rounding left; float64."""

NORMS_BEHIND = 256
"""Norms behind the last one that kernels/gram.cu may read, whatever they are: as many as a tile has channels."""

_FILTERED_BYTES = 128 << 20  # filtered signals held at a time
_SLICES = 8  # threads of a block that share a channel


VALID, UNRESOLVED = 1, 2
"""What a cell is, as kernels/units.cuh says it."""


@dataclass(frozen=True)
class Cells:
    """
    What is known of the cells of a batch, on the device.

    Attributes
    ----------
    valid : uint8 [cell, channel]
        `VALID`, `UNRESOLVED` where a cell is left out because the rank does not resolve it, or 0.
    flags : int32 [channel + 1]
        Whether the rank does not resolve a cell of the channel; at last, whether a cell of any channel is not valid.
    """

    valid: Any
    flags: Any


@dataclass(frozen=True)
class Units:
    """
    Unit features of cells (time x row, rows fastest) on the device.

    Attributes
    ----------
    form : int
    words : uint32 [cell, channel, word]
    norms : float32 [cell x channel, and NORMS_BEHIND]
        1 / length of rounded vectors; of HALVES only.
    cells : Cells
    n_features, n_padded : int
        Complex features, and those with zeros behind them.
    """

    form: int
    words: Any
    norms: Any
    cells: Cells
    n_features: int
    n_padded: int

    @property
    def n_channels(self) -> int:
        """Channels."""
        return int(self.words.shape[1])

    @property
    def n_words(self) -> int:
        """32-bit words of a channel's cell."""
        return int(self.words.shape[2])


def padded(n_features: int) -> int:
    """Complex features with zeros behind them, a multiple of what a tensor core takes at a time."""
    return -(-n_features // 8) * 8


def words_per_channel(form: int, n_features: int) -> int:
    """32-bit words of one channel's cell."""
    return {
        FLOATS: 2 * n_features, HALVES: padded(n_features), HALF_PAIRS: 2 * padded(n_features), DOUBLES: 4 * n_features,
    }[form]  # fmt: skip


def bytes_per_cell(form: int, group: Group) -> int:
    """Memory of one channel's cell."""
    return 4 * words_per_channel(form, group.n_features) + 5


class Kept:
    """Small arrays on a device, each brought there once: every brought array is a wait."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._there: dict[tuple[str, tuple[int, ...], bytes], Any] = {}

    def __call__(self, numbers: NDArray[Any]) -> Any:
        """The same numbers on the device."""
        key = (numbers.dtype.str, numbers.shape, numbers.tobytes())
        if key not in self._there:
            self._there[key] = self._device.from_host(numbers)
        return self._there[key]


class GroupTables:
    """
    The tables of a group of rows on a device.

    Parameters
    ----------
    device : Device
    group : Group
    rank : Rank
    """

    def __init__(self, device: Device, group: Group, rank: Rank) -> None:
        self.device, self.group, self.rank = device, group, rank
        self.dtype = np.dtype(rank.dtype)
        omega = 2 * np.pi * np.arange(1, group.n_bins + 1) / group.n_padded
        self.turn = device.from_host(np.exp(1j * omega * group.times[0]))
        self.mirror = device.from_host(np.exp(-1j * omega * (round(group.times[0] + group.times[-1]))))
        self.kernels = device.from_host(group.kernels)
        self.mixing = device.from_host(group.mixing)
        self.end_filters = device.from_host(group.end_filters)
        self.end_mixing = device.from_host(group.end_mixing)
        self.gain = device.from_host((WEAK_SHARE * group.gain).astype(self.dtype))
        self.end_gain = device.from_host((WEAK_SHARE * group.end_gain).astype(self.dtype))
        self.kept = Kept(device)

    @property
    def kind(self) -> str:
        """Ending of the names of kernels."""
        return "f32" if self.dtype == np.float32 else "f64"


@dataclass(frozen=True)
class GroupSignals:
    """
    A group's signals.

    Attributes
    ----------
    samples : real [sample, re/im, channel]
        Band-limited signal; empty where the frame is the spectrum.
    left, right : real [point, re/im, channel]
        Frame of the left end, and of the right end of the mirrored recording.
    energy : real [channel]
        Energy of the samples in the window, anywhere in the recording, where it is largest; 0 if not asked for.
    """

    samples: Any
    left: Any
    right: Any
    energy: Any

    @classmethod
    def of(cls, spectra: Any, tables: GroupTables, *, energy: bool) -> GroupSignals:
        """From spectra complex128 [channel, bin]."""
        device, group = tables.device, tables.group
        if group.on_circle:
            bins = spectra[:, 1 : group.n_bins + 1]
            left, right = (_planar(device, b.T, tables.dtype) for b in (bins, bins.conj() * tables.mirror))
            samples = device.xp.empty((0, 2, spectra.shape[0]), tables.dtype)
        else:
            samples = _samples(spectra, tables)
            begin = group.frame_first - group.first_sample
            frame = slice(begin, begin + group.n_frame)
            left, right = (device.xp.ascontiguousarray(side[frame]) for side in (samples, samples[::-1]))
            right[:, 1] *= -1  # the mirrored recording's signal is the conjugate
        largest = (
            _largest_energy(samples, left, right, tables) if energy else device.xp.zeros(len(spectra), tables.dtype)
        )
        return cls(samples, left, right, largest)


def _planar(device: Device, values: Any, dtype: np.dtype[Any]) -> Any:
    """Complex [point, channel] as real [point, re/im, channel]."""
    return device.xp.ascontiguousarray(device.xp.stack([values.real, values.imag], axis=1).astype(dtype))


def _samples(spectra: Any, tables: GroupTables) -> Any:
    device, group, xp = tables.device, tables.group, tables.device.xp
    n_channels, n_stored = spectra.shape
    circle = xp.empty((n_channels, group.n_circle), np.complex128)
    module = load("circle", device)
    module["place_bins"](
        (-(-group.n_circle // 256), n_channels), 256,
        [spectra, tables.turn, circle, n_stored, group.n_bins, group.n_circle],
    )  # fmt: skip
    circle = xp.ascontiguousarray(xp.fft.ifft(circle, axis=1, norm="forward"))
    samples = xp.empty((group.n_samples, 2, n_channels), tables.dtype)
    module[f"take_samples_{tables.kind}"](
        (-(-group.n_samples // 32), -(-n_channels // 32)), (32, 8),
        [circle, samples, group.first_sample, group.n_samples, group.n_circle, n_channels],
    )  # fmt: skip
    return samples


def _largest_energy(samples: Any, left: Any, right: Any, tables: GroupTables) -> Any:
    xp, n_points = tables.device.xp, tables.group.n_points
    ends = [(frame.astype(np.float64) ** 2).sum(axis=(0, 1)) for frame in (left, right)]
    largest = xp.maximum(*ends)
    if len(samples) and n_points:
        total = xp.cumsum((samples.astype(np.float64) ** 2).sum(axis=1), axis=0)
        if len(total) > n_points:
            largest = xp.maximum(largest, (total[n_points:] - total[:-n_points]).max(axis=0))
    return largest.astype(tables.dtype)


# --- cells ------------------------------------------------------------------------------------------------------------


class UnitMaker:
    """
    Makes unit features of a segment's cells.

    Parameters
    ----------
    spectra : complex128 [channel, bin] of the device
    plan : Plan
    segment : Segment
    tables : GroupTables
    usable : bool [grid time, row, channel] of the host, or None
        Cells away from seams whose window holds few bad samples; None if all are.
    form : int
    check : bool
        Whether to look for cells that the rank does not resolve, and leave them out.
    """

    def __init__(
        self, spectra: Any, plan: Plan, segment: Segment, tables: GroupTables,
        usable: NDArray[np.bool_] | None, form: int, *, check: bool,
    ) -> None:  # fmt: skip
        self.plan, self.segment, self.tables, self.usable, self.form = plan, segment, tables, usable, form
        self.tail = tables.rank.tail if check else 0.0
        self.n_channels = int(spectra.shape[0])
        self.signals = GroupSignals.of(spectra, tables, energy=check)

    def units(self, times: NDArray[np.int64]) -> Units:
        """Units of the cells at some of the segment's times."""
        device, group = self.tables.device, self.tables.group
        xp, n_cells = device.xp, len(times) * group.n_rows
        shape = (n_cells, self.n_channels)
        words = xp.empty((*shape, words_per_channel(self.form, group.n_features)), np.uint32)
        norms = xp.empty(n_cells * self.n_channels + NORMS_BEHIND if self.form == HALVES else 1, np.float32)
        cells = Cells(xp.empty(shape, np.uint8), xp.zeros(self.n_channels + 1, np.int32))
        for run in group.stretches(times):
            n_filters = (group.end_mixing if run.side else group.mixing).shape[-1]
            per_time = 2 * n_filters * self.n_channels * self.tables.dtype.itemsize
            for part in run.parts(max(1, min(_FILTERED_BYTES // per_time, 65_535))):
                z = self._filtered(part, n_filters)
                self._pack(part, z, [words, norms, cells.valid, cells.flags])
        return Units(self.form, words, norms, cells, group.n_features, padded(group.n_features))

    def _filtered(self, run: Stretch, n_filters: int) -> Any:
        """Filters at the times of a run, real [time, filter, re/im, channel]."""
        tables, device, group = self.tables, self.tables.device, self.tables.group
        if run.side:
            samples = self.signals.left if run.side > 0 else self.signals.right
            begins = tables.kept(np.zeros(len(run.times), np.int32))
            kernels = tables.end_filters[self._end_rows(run)]
            n_points, stride, at_once = group.n_frame, n_filters * group.n_frame, 1
        else:
            n_points, stride = group.n_points, 0
            samples, kernels = self.signals.samples, tables.kernels[run.phase]
            begins = tables.kept(group.begins(run.times).astype(np.int32))
            at_once = 4 if n_filters <= 4 * _SLICES else 2
        z = device.xp.empty((len(run.times), n_filters, 2, self.n_channels), tables.dtype)
        module = load(f"filters_{tables.kind}", device, FILTERS=-(-n_filters // _SLICES), TIMES=at_once)
        grid = (-(-self.n_channels // 32), -(-len(run.times) // at_once))
        module[f"filters_{tables.kind}"](
            grid, (32, _SLICES),
            [samples, begins, kernels, z, n_filters, n_points, len(run.times), self.n_channels,
             stride],
        )  # fmt: skip
        return z

    def _end_rows(self, run: Stretch) -> Any:
        """Rows of the end tables, which count from the left end."""
        return self.tables.kept(run.times if run.side > 0 else self.tables.group.mirrored(run.times))

    def _pack(self, run: Stretch, z: Any, out: list[Any]) -> None:
        tables, device, group = self.tables, self.tables.device, self.tables.group
        # The ends' tables may need other filters than the interior's: 80 beside 78 in the first half-octave.
        n_rows, n_features, n_filters = (group.end_mixing if run.side else group.mixing).shape[-3:]
        if run.side:
            rows = self._end_rows(run)
            mixing, gain = tables.end_mixing[rows], tables.end_gain[rows]
            stride, gain_stride = n_rows * n_features * n_filters, n_rows
        else:
            mixing, gain, stride, gain_stride = tables.mixing, tables.gain, 0, 0
        usable = None
        if self.usable is not None:
            usable = device.from_host(self.usable[run.times].view(np.uint8))
        module = load(
            f"units_{tables.kind}", device, N_FILTERS=n_filters, N_FEATURES=n_features, N_PADDED=padded(n_features),
            FORM=self.form,
        )  # fmt: skip
        module[f"units_{'near' if run.side else 'far'}_{tables.kind}"](
            (-(-self.n_channels // 32), len(run.times)), (32, _SLICES),
            [z, mixing, stride, tables.kept((run.place * n_rows).astype(np.int32)), usable,
             int(usable is not None), n_rows, int(run.side < 0), gain, gain_stride, self.signals.energy, EMPTY_SHARE,
             self.tail, *out, self.n_channels],
        )  # fmt: skip
