"""What will be computed: groups of rows, their grids, and the weight of every cell in every band x epoch mean.

Integers and weights only: no signal passes through here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .band_rows import band_rows, requested_rows
from .spec import WTC, Band, as_pairs
from .transform.cone import trusted_part
from .transform.feature_cache import load_group
from .transform.features import Group, Rank
from .transform.scales import Scales, textbook_scales

GROUPS_PER_OCTAVE = 2
SPLINE_DEGREE = 5
NEGLIGIBLE_WEIGHT = 1e-9

# Filters, features, precision, tail and reaches of each promise (1e-6, 5e-4 per cell). The deeper rank serves signals
# with spikes, steps or stop bands, whose cells see power far out in the window's tails.
_DEEP = Rank(80, 46, 2.5, "float64", 1e-8, 9.0, 10.0, floor=1e-4)
RANKS = {
    "exact": (Rank(30, 22, 2.5, "float64", 2e-6, 7.5, 9.0), _DEEP),
    "fast": (Rank(20, 16, 2.5, "float32", 5e-4, 6.0, 7.0), _DEEP),
}

# Grid points per scale length: 2.5 serve any mean, 1.5 large ones. What a spline through 1.5 points gets wrong arises
# where an interval begins and ends, whatever lies between: 0.006 scale lengths of a row at most, 0.02 where cells
# beyond the cone of influence are asked for (benchmarks/coarse_grid.py). Divided by the cells of a large mean that is
# 2e-5. With controls taken out it grows with their number, to 0.07 with four: they have the finer grid always.
POINTS_FOR_LARGE_MEANS = 1.5
LARGE_MEAN = {"recording": 300.0, "epoch": 300.0, "none": 1000.0}
"""Cells of each interval (rows times samples) of a large mean, in scale lengths, by cone of influence."""

# What the first rank does not resolve is computed again at the deeper one in windows of time that add up to 1, with
# smooth edges, so that either grid sums each window well. In largest scales of a group: from window to window, how long
# one passes into the next, and how far from a cell that is found unresolved others may be that were missed by a little:
# a spike is seen 9 scales to either side, and of two cells that it spoils alike one may just pass.
WINDOW_STEP, WINDOW_EDGE, UNRESOLVED_REACH = 5.0, 3.0, 18.0

MOST_KEPT_WEIGHTS = 1 << 20
"""Weights of cells of a plan that is kept for the next request, 8 bytes each."""

Epochs = Mapping[str, Sequence[tuple[float, float]]]


class HasLags(Protocol):
    """A spec of whatever kind of coupling."""

    @property
    def lags(self) -> tuple[float, ...]:
        """Lags in s."""


@dataclass(frozen=True)
class Segment:
    """One group of rows with the cells that matter.

    Attributes
    ----------
    first_row, n_rows : int
    times : int64 [active]
        Times of the group's grid that carry weight.
    weights : float64 [band x epoch, time, row]
        Samples each cell of the grid stands for.
    """

    first_row: int
    n_rows: int
    times: NDArray[np.int64]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """Everything that depends on lengths and words only.

    Attributes
    ----------
    n_samples : int
    sfreq : float
        Hz.
    spec : WTC
    scales : Scales
    epochs : mapping of str to intervals (start, stop) in s
        As far as they lie in the recording.
    bands : mapping of str to Band
    n_cells : float64 [band, epoch]
        Full-resolution cells of each mean as it was asked for: before the cone of influence, and also beyond the ends
        of the recording.
    row_spans : tuple of (int, int)
        First row and number of rows of each group.
    has_controls : bool
        Whether controls are taken out of the channels.
    """

    n_samples: int
    sfreq: float
    spec: WTC
    scales: Scales
    bands: Mapping[str, Band]
    epochs: Epochs
    n_cells: NDArray[np.float64]
    row_spans: tuple[tuple[int, int], ...]
    has_controls: bool = field(default=False, kw_only=True)

    @cached_property
    def with_controls(self) -> Plan:
        """The same for channels from which controls are taken out."""
        return replace(self, has_controls=True)

    @property
    def lag(self) -> int:
        """Largest lag in samples, in whole samples."""
        return largest_lag(self.spec, self.sfreq)

    @property
    def shifts(self) -> NDArray[np.float64]:
        """Lags in samples: float64 [lag]; one of 0 without lags."""
        return np.array(self.spec.lags or (0.0,)) * self.sfreq

    @property
    def n_means(self) -> int:
        """Band x epoch means."""
        return len(self.bands) * len(self.epochs)

    @property
    def scale(self) -> NDArray[np.float64]:
        """All scales in samples: float64 [row]."""
        return self.scales.scale

    @cached_property
    def points_per_scale(self) -> Mapping[tuple[int, int], float]:
        """Grid points in time per scale length of each of `row_spans`; of a reference run, every sample."""
        if self.spec.accuracy not in RANKS:
            return dict.fromkeys(self.row_spans, math.inf)
        finest = RANKS[self.spec.accuracy][0].points_per_scale
        if self.has_controls:
            return dict.fromkeys(self.row_spans, finest)
        large = LARGE_MEAN[self.spec.coi]
        smallest_mean = np.full(self.scales.n_rows, math.inf)  # that a row enters: cells of each interval
        for name, band in self.bands.items():
            rows = band_rows(name, band, self.scales, self.sfreq)
            for parts in self.epoch_samples:
                cut = [self.trusted(parts, row) for row in np.flatnonzero(rows).tolist()]
                n_cells = sum(map(length, cut)) / max(1, *map(len, cut))
                smallest_mean[rows] = np.minimum(smallest_mean[rows], n_cells or math.inf)
        return {
            (first, n): POINTS_FOR_LARGE_MEANS
            if smallest_mean[first : first + n].min() >= large * self.scale[first + n - 1]
            else finest
            for first, n in self.row_spans
        }

    def window_shapes(self, segment: Segment, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Windows of a segment at some times in samples, float64 [window, time]; at each time they add up to 1."""
        edges = self._window_edges(segment)[:, None]
        u = ((times - edges) / (WINDOW_EDGE * self._largest_scale(segment)) + 0.5).clip(0, 1)
        begun = np.vstack([np.ones_like(times), u**3 * (10 - 15 * u + 6 * u**2), np.zeros_like(times)])
        return np.asarray(begun[:-1] - begun[1:])

    def windows_near(self, index: int) -> NDArray[np.bool_]:
        """Which windows a cell that is not resolved concerns, by its time: bool [window, grid time]."""
        segment = self.segments[index]
        times, reach = self.group(segment, 0).times, UNRESOLVED_REACH * self._largest_scale(segment)
        near = [self.window_shapes(segment, times + step) > 0 for step in np.linspace(-reach, reach, 13)]
        return np.asarray(np.any(near, axis=0))

    def _window_edges(self, segment: Segment) -> NDArray[np.float64]:
        step = WINDOW_STEP * self._largest_scale(segment)
        return np.asarray(np.arange(1, max(1, round(self.n_samples / step))) * step, np.float64)

    def _largest_scale(self, segment: Segment) -> float:
        return float(self.scale[segment.first_row + segment.n_rows - 1])

    def in_windows(self, index: int, chosen: NDArray[np.int64]) -> WindowedPlan:
        """The plan of one segment with each mean cut into some of the segment's windows."""
        words = {one.name: getattr(self, one.name) for one in fields(self)}
        return WindowedPlan(**words, whole=self, index=index, chosen=chosen)

    @property
    def n_bins(self) -> int:
        """Bins of the padded transform that the rows see, bin 0 included."""
        return 1 + max(self.group(segment, 0).n_bins for segment in self.segments)

    @property
    def feature_bytes(self) -> int:
        """Memory of one channel's features."""
        times = 1 + len(self.spec.lags)
        return times * (16 * self.n_bins if self.spec.accuracy in RANKS else 4 * self.n_samples)

    @property
    def told(self) -> dict[str, Any]:
        """What a result says of how it was computed."""
        return {
            "accuracy": self.spec.accuracy, "preset": self.spec.preset, "coherence_definition": "magnitude-squared",
            "points_per_scale": min(self.points_per_scale.values()),
        }  # fmt: skip

    @property
    def epoch_samples(self) -> list[list[tuple[int, int]]]:
        """Parts of each epoch as samples [start, stop)."""
        return [[(round(a * self.sfreq), round(b * self.sfreq)) for a, b in parts] for parts in self.epochs.values()]

    def trusted(self, parts: Sequence[tuple[int, int]], row: int) -> list[tuple[int, int]]:
        """What the cone of influence leaves of some sample intervals to a row."""
        of = (self.scale[row], self.n_samples, self.spec.coi, self.lag)
        return [cut for part in parts if (cut := trusted_part(part, *of))]

    def rank(self, depth: int, span: tuple[int, int] | None = None) -> Rank:
        """Rank of the tables, on the grid of one of `row_spans`; depth 1 is for signals with spikes or steps."""
        rank = RANKS[self.spec.accuracy][depth]
        return rank if depth or span is None else replace(rank, points_per_scale=self.points_per_scale[span])

    def group(self, segment: Segment, depth: int) -> Group:
        """Tables of a segment's rows, from the cache or built."""
        span = (segment.first_row, segment.n_rows)
        return load_group(self.scales, *span, self.rank(depth, span))

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Groups of rows with their weights."""
        return tuple(_segment(self, first, n, 0) for first, n in self.row_spans)

    @cached_property
    def deep_segments(self) -> tuple[Segment, ...]:
        """As `segments`, on the grid of the deeper rank: coherence changes faster beside a spike or step."""
        finest = self.rank(1).points_per_scale
        return tuple(
            segment if points == finest else _segment(self, *span, 1)
            for segment, (span, points) in zip(self.segments, self.points_per_scale.items(), strict=True)
        )

    def segments_at(self, depth: int) -> tuple[Segment, ...]:
        """`segments` or `deep_segments`."""
        return self.deep_segments if depth else self.segments

    @cached_property
    def widths(self) -> tuple[NDArray[np.float64], ...]:
        """Samples nearest to each cell of `segments`, for shares of cells: float64 [band x epoch, time, row] each."""
        return tuple(_widths(self, segment, 0) for segment in self.segments)

    @cached_property
    def deep_widths(self) -> tuple[NDArray[np.float64], ...]:
        """As `widths`, of `deep_segments`."""
        return tuple(_widths(self, segment, 1) for segment in self.deep_segments)

    def widths_at(self, depth: int) -> tuple[NDArray[np.float64], ...]:
        """`widths` or `deep_widths`."""
        return self.deep_widths if depth else self.widths


@dataclass(frozen=True)
class WindowedPlan(Plan):
    """One segment of a plan with each mean cut into windows of time.

    Attributes
    ----------
    whole : Plan
    index : int
        Of the segment.
    chosen : int64 [window]
        Numbers of the windows among the segment's.
    """

    whole: Plan
    index: int
    chosen: NDArray[np.int64]

    @cached_property
    def parts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Window, counted among `chosen`, and mean of the whole plan of each of this plan's means: int64 [part]."""
        held = [
            self._shapes(segment, depth).astype(bool) @ segment.weights.any(axis=2).T
            for depth, segment in enumerate(self._both)
        ]
        window, mean = np.nonzero(held[0] | held[1])
        return window, mean

    @property
    def n_means(self) -> int:
        """Windows of means."""
        return len(self.parts[0])

    @property
    def points_per_scale(self) -> Mapping[tuple[int, int], float]:
        """Those of the whole plan."""
        return self.whole.points_per_scale

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The segment, with the times of the windows."""
        return self._segments(0)

    @cached_property
    def deep_segments(self) -> tuple[Segment, ...]:
        """The same on the grid of the deeper rank."""
        return self._segments(1)

    def _segments(self, depth: int) -> tuple[Segment, ...]:
        weights = self._cut(depth, *(segment.weights for segment in self._both))
        return (replace(self._both[depth], weights=weights, times=np.flatnonzero(weights.any(axis=(0, 2)))),)

    @cached_property
    def widths(self) -> tuple[NDArray[np.float64], ...]:
        """Samples nearest to each cell, cut into windows."""
        return self._widths(0)

    @cached_property
    def deep_widths(self) -> tuple[NDArray[np.float64], ...]:
        """The same on the grid of the deeper rank."""
        return self._widths(1)

    def _widths(self, depth: int) -> tuple[NDArray[np.float64], ...]:
        return (self._cut(depth, *(self.whole.widths_at(k)[self.index] for k in (0, 1))),)

    def _shapes(self, segment: Segment, depth: int) -> NDArray[np.float64]:
        return self.window_shapes(segment, self.group(segment, depth).times)[self.chosen]

    def _cut(self, depth: int, *cells: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cells [mean, time, row] of both grids cut into windows, at one depth; both hold as many samples."""
        window, mean = self.parts
        grids = [self._shapes(segment, k) for k, segment in enumerate(self._both)]
        first, deep = (grid[window, :, None] * of_grid[mean] for grid, of_grid in zip(grids, cells, strict=True))
        if depth == 0:
            return np.asarray(first)
        largest = np.abs(deep).argmax(axis=1, keepdims=True)
        missing = (first.sum(axis=1) - deep.sum(axis=1))[:, None]
        np.put_along_axis(deep, largest, np.take_along_axis(deep, largest, axis=1) + missing, axis=1)
        return np.asarray(deep)

    @property
    def _both(self) -> tuple[Segment, Segment]:
        return self.whole.segments_at(0)[self.index], self.whole.segments_at(1)[self.index]


def kept_plan(n_samples: int, sfreq: float, spec: WTC, epochs: Epochs | None = None) -> Plan:
    """As `make_plan`; the same plan again for a request that was made a short while ago, with its weights."""
    request = _Request(make_plan(n_samples, sfreq, spec, epochs))
    return _first_plan(request) if request.n_weights <= MOST_KEPT_WEIGHTS else request.plan


class _Request:
    """A plan that is found again by what it was asked for."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        # As text, in which the order of bands and of epochs counts.
        self._text = repr((plan.n_samples, plan.sfreq, plan.spec, plan.epochs, plan.n_cells.tolist()))

    @property
    def n_weights(self) -> float:
        """About how many weights of cells the plan has."""
        of_rows = sum(n * self.plan.n_samples / self.plan.scale[first] for first, n in self.plan.row_spans)
        return float(self.plan.n_means * of_rows * _DEEP.points_per_scale)

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Request) and self._text == other._text


@lru_cache(maxsize=8)
def _first_plan(request: _Request) -> Plan:
    return request.plan


def make_plan(n_samples: int, sfreq: float, spec: WTC, epochs: Epochs | None = None) -> Plan:
    """Plan for recordings of one length.

    Parameters
    ----------
    n_samples : int
    sfreq : float
        Hz.
    spec : WTC
    epochs : mapping of str to one (start, stop) in s or a sequence of them, optional
        Default: one epoch, "all", the whole recording. What lies beyond its ends counts as cells that are missing.

    Raises
    ------
    PlanError
        If a band or an epoch has no cell in the recording.
    """
    refuse_bad_rate(sfreq)
    scales = textbook_scales(n_samples, spec.voices)
    first, stop = requested_rows(spec, scales, sfreq)
    freq = scales.freq(sfreq)
    bands = dict(spec.bands or {"all": Band(float(freq[stop - 1]), float(freq[first]))})
    asked = asked_samples(epochs, n_samples, sfreq)
    spans = {name: within(parts, n_samples) for name, parts in asked.items()}
    refuse_epochs_outside(asked, n_samples, sfreq)
    refuse_long_lags(spec, asked, n_samples, sfreq)
    rows = {name: band_rows(name, band, scales, sfreq) for name, band in bands.items()}
    _refuse_short_epochs(bands, rows, spans, scales, sfreq, spec)
    n_cells = np.array([[rows[b].sum() * length(asked[e]) for e in asked] for b in bands], float)
    used = np.flatnonzero(np.any(list(rows.values()), axis=0))
    intervals = {name: [(a / sfreq, b / sfreq) for a, b in parts] for name, parts in spans.items()}
    return Plan(n_samples, sfreq, spec, scales, bands, intervals, n_cells, _row_spans(used, spec.voices))


def refuse_bad_rate(sfreq: object) -> None:
    """Refuse what is no sampling rate."""
    if not (isinstance(sfreq, int | float | np.number) and 0 < sfreq < math.inf):
        raise PlanError(f"sfreq must be a positive number of Hz, got {sfreq!r}")


def _row_spans(used: NDArray[np.int64], voices: int) -> tuple[tuple[int, int], ...]:
    """Contiguous runs of used rows, cut into groups of at most half an octave: (first row, number)."""
    spans = []
    size = max(1, voices // GROUPS_PER_OCTAVE)
    for run in np.split(used, np.flatnonzero(np.diff(used) > 1) + 1):
        spans += [(int(run[k]), len(run[k : k + size])) for k in range(0, len(run), size)]
    return tuple(spans)


def length(parts: Sequence[tuple[int, int]]) -> int:
    """Samples of some intervals [start, stop)."""
    return sum(stop - start for start, stop in parts)


def asked_samples(epochs: Epochs | None, n_samples: int, sfreq: float) -> dict[str, list[tuple[int, int]]]:
    """Epochs as sample intervals [start, stop), overlapping parts joined; they may reach beyond the recording.

    Raises
    ------
    PlanError
        If there is no epoch, or one is no interval.
    """
    if epochs is None:
        return {"all": [(0, n_samples)]}
    if not isinstance(epochs, Mapping):
        raise PlanError(
            f"epochs={epochs!r} must be a mapping of name to (start, stop) in s, such as {{'talk': (60, 240)}}"
        )
    if not epochs:
        raise PlanError("epochs is empty: name at least one epoch, or leave epochs out for the whole recording")
    spans = {}
    for name, value in epochs.items():
        parts = as_pairs(value) or (value,)
        spans[name] = _joined(sorted(_part(name, part, sfreq) for part in parts))
    return spans


def _part(name: str, part: object, sfreq: float) -> tuple[int, int]:
    try:
        start_s, stop_s = (float(v) for v in part)  # type: ignore[attr-defined]
        start, stop = round(start_s * sfreq), round(stop_s * sfreq)
    except (TypeError, ValueError, OverflowError):
        raise PlanError(f"epoch {name!r}: expected (start, stop) in s, got {part!r}") from None
    if stop <= start:
        raise PlanError(f"epoch {name!r} ({start_s:g} to {stop_s:g} s) holds no sample: check its start and stop")
    return start, stop


def within(parts: Sequence[tuple[int, int]], n_samples: int) -> list[tuple[int, int]]:
    """What lies in the recording of some sample intervals [start, stop)."""
    cut = [(max(0, start), min(n_samples, stop)) for start, stop in parts]
    return [(start, stop) for start, stop in cut if start < stop]


def refuse_epochs_outside(asked: Mapping[str, list[tuple[int, int]]], n_samples: int, sfreq: float) -> None:
    """Refuse an epoch that holds no sample of a recording."""
    for name, parts in asked.items():
        if not within(parts, n_samples):
            start, stop = parts[0][0] / sfreq, parts[-1][1] / sfreq
            raise PlanError(
                f"epoch {name!r} ({start:g} to {stop:g} s) holds no sample of a recording of {n_samples / sfreq:g} s: "
                "check its start and stop"
            )


def _joined(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined = [parts[0]]
    for start, stop in parts[1:]:
        if start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def _refuse_short_epochs(
    bands: Mapping[str, Band],
    rows: Mapping[str, NDArray[np.bool_]],
    spans: Mapping[str, list[tuple[int, int]]],
    scales: Scales,
    sfreq: float,
    spec: WTC,
) -> None:
    """Refuse a band or an epoch none of whose cells lies outside the cone of influence."""
    of = (scales.n_samples, spec.coi, largest_lag(spec, sfreq))
    trusted = {
        (band, epoch): any(trusted_part(part, s, *of) for part in parts for s in scales.scale[chosen])
        for (band, chosen), (epoch, parts) in itertools.product(rows.items(), spans.items())
    }
    for band, epoch in trusted:
        if not any(trusted[band, other] for other in spans) or not any(trusted[other, epoch] for other in rows):
            longest = max(stop - start for start, stop in spans[epoch]) / sfreq
            raise PlanError(
                f"epoch {epoch!r} ({longest:g} s) is too short for band {band!r} (periods up to "
                f"{1 / bands[band].low_hz:.4g} s): no cell lies outside the cone of influence; lengthen the epoch, "
                "shorten the band or set coi='none'"
            )


def largest_lag(spec: HasLags, sfreq: float) -> int:
    """Samples that cover the largest lag of a spec, whatever its sign."""
    return math.ceil(max(map(abs, spec.lags), default=0.0) * sfreq - 1e-9)


def refuse_long_lags(spec: HasLags, asked: Mapping[str, list[tuple[int, int]]], n_samples: int, sfreq: float) -> None:
    """Refuse lags that lead out of an epoch, whatever its cells."""
    largest = max(spec.lags, key=abs, default=0.0)
    for name, parts in asked.items():
        longest = min(n_samples, max(stop - start for start, stop in parts))
        if largest_lag(spec, sfreq) >= longest:
            raise PlanError(
                f"lags hold {largest:g} s, and epoch {name!r} lasts {longest / sfreq:g} s: give lags shorter than "
                "every epoch, or leave the epoch out"
            )


def trusted_shares(n_samples: int, sfreq: float, spec: WTC, epochs: Epochs | None) -> NDArray[np.float64]:
    """Share of the cells of each epoch and band that lie in a recording and outside the cone of influence.

    Parameters
    ----------
    n_samples, sfreq, spec, epochs
        As `make_plan`; `spec` names bands.

    Returns
    -------
    float64 [epoch, band]
        0 also where the recording is too short for the band. The `valid_fraction` of signals without gaps.
    """
    asked = asked_samples(epochs, n_samples, sfreq)
    refuse_long_lags(spec, asked, n_samples, sfreq)
    bands = spec.bands or {}
    shares = np.zeros((len(asked), len(bands)))
    for b, (name, band) in enumerate(bands.items()):
        try:
            scales = textbook_scales(n_samples, spec.voices)
            chosen = scales.scale[band_rows(name, band, scales, sfreq)]
        except PlanError:
            continue
        for e, parts in enumerate(asked.values()):
            inside = within(parts, n_samples)
            of = (n_samples, spec.coi, largest_lag(spec, sfreq))
            cut = [trusted_part(part, scale, *of) for part in inside for scale in chosen]
            shares[e, b] = length([part for part in cut if part]) / (len(chosen) * length(parts))
    return shares


def _segment(plan: Plan, first: int, n_rows: int, depth: int) -> Segment:
    group = plan.group(Segment(first, n_rows, np.empty(0, np.int64), np.empty(0)), depth)
    spline = _SplineSums(group.times, plan.n_samples)
    weights = _cell_weights(plan, first, n_rows, len(group.times), spline.weights)
    largest = np.abs(weights).max(initial=0.0)
    weights[np.abs(weights) < NEGLIGIBLE_WEIGHT * largest] = 0.0
    times = np.flatnonzero(weights.any(axis=(0, 2)))
    return Segment(first, n_rows, times, weights)


def _widths(plan: Plan, segment: Segment, depth: int) -> NDArray[np.float64]:
    times = plan.group(segment, depth).times
    halfway = np.round((times[1:] + times[:-1]) * 2) / 4  # to quarters, which float32 sums add up without rounding
    between = np.concatenate([[-np.inf], halfway, [np.inf]])

    def nearest(parts: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
        return np.asarray(sum(np.diff(between.clip(start - 0.5, stop - 0.5)) for start, stop in parts))

    return _cell_weights(plan, segment.first_row, segment.n_rows, len(times), nearest)


def _cell_weights(
    plan: Plan, first: int, n_rows: int, n_times: int, rule: Callable[[Sequence[tuple[int, int]]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Weights of cells, [band x epoch, time, row], from the weights over time of the samples that enter."""
    by_band = np.zeros((len(plan.bands), len(plan.epochs), n_times, n_rows))
    inside = [band_rows(name, band, plan.scales, plan.sfreq) for name, band in plan.bands.items()]
    parts = plan.epoch_samples
    for r, e in itertools.product(range(n_rows), range(len(parts))):
        row = first + r
        if trusted := plan.trusted(parts[e], row):
            holders = [rows[row] for rows in inside]
            by_band[holders, e, :, r] = rule(trusted)
    return by_band.reshape(plan.n_means, n_times, n_rows)


class _SplineSums:
    """Quadrature weights of a spline through a grid: sums over samples become sums over grid points.

    Plain or trapezoid weights on the same grid are wrong by up to 1e-2 on short epochs.
    """

    def __init__(self, times: NDArray[np.float64], n_samples: int) -> None:
        from scipy.interpolate import BSpline, make_interp_spline
        from scipy.sparse.linalg import splu

        degree = min(SPLINE_DEGREE, len(times) - 1)
        degree -= 1 - degree % 2 if degree > 1 else 0  # not-a-knot ends want an odd degree
        knots = make_interp_spline(times, np.zeros_like(times), k=degree).t
        at_grid = BSpline.design_matrix(times, knots, degree)
        samples = np.clip(np.arange(n_samples, dtype=float), times[0], times[-1])
        self._basis = BSpline.design_matrix(samples, knots, degree).tocsr()
        self._solve = splu(at_grid.T.tocsc()).solve

    def weights(self, parts: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
        """Weights whose sum with values on the grid is the sum of the spline over the samples of `parts`."""
        inside: list[NDArray[np.float64]] = [
            np.asarray(self._basis[start:stop].sum(axis=0)).ravel() for start, stop in parts
        ]
        return np.asarray(self._solve(np.sum(inside, axis=0)))


def full_resolution_weights(plan: Plan) -> NDArray[np.float64]:
    """1 for every cell that enters a mean at full resolution, else 0: float64 [band x epoch, row, sample]."""
    weights = np.zeros((len(plan.bands), len(plan.epochs), plan.scales.n_rows, plan.n_samples))
    rows = [np.flatnonzero(band_rows(name, band, plan.scales, plan.sfreq)) for name, band in plan.bands.items()]
    for b, (e, parts) in itertools.product(range(len(rows)), enumerate(plan.epoch_samples)):
        for row in rows[b]:
            for part in parts:
                if cut := trusted_part(part, plan.scale[row], plan.n_samples, plan.spec.coi, plan.lag):
                    weights[b, e, row, cut[0] : cut[1]] = 1
    return weights.reshape(plan.n_means, plan.scales.n_rows, plan.n_samples)
