"""Memory that an engine takes, in bytes: its tables, and what a channel takes while it is kept and worked on."""

from __future__ import annotations

from typing import Any

from ..coupling.plan import RANKS, Plan

_FORMS = 3.5  # a table near the ends is kept as it was read, as a real matrix, and that in single precision
_DEEP_FRAME = 152  # points of a frame of the deeper rank
_MAPS_OF_PAIR = 12  # complex maps of a pair in the making, by the definition


def kept_bytes(plan: Any) -> int:
    """Of a channel between jobs: its features, and the float32 signal behind them."""
    return int(plan.feature_bytes + 4 * plan.n_samples)


def worked_bytes(plan: Any) -> int:
    """Of a channel while its pairs are computed: its features, a copy of what a group of rows sees, and its signals."""
    if not isinstance(plan, Plan):
        return int(plan.feature_bytes * 4 / 3 + 8 * plan.n_samples)
    if plan.spec.accuracy not in RANKS:
        return 12 * plan.n_samples
    groups = [plan.group(segment, 0) for segment in plan.segments]
    seen = max(2 * group.n_bins if group.on_circle else group.n_samples for group in groups)
    n_lags = max(1, len(plan.spec.lags))
    return int(plan.feature_bytes + 12 * plan.n_samples + n_lags * (56 * seen + 32 * plan.n_bins))


def pair_bytes(plan: Any) -> int:
    """Of the one pair that is in the making, where pairs are computed one by one."""
    by_pair = isinstance(plan, Plan) and plan.spec.accuracy not in RANKS
    return _MAPS_OF_PAIR * 16 * plan.scales.n_rows * plan.n_samples if by_pair else 0


def table_bytes(plan: Any) -> tuple[int, int]:
    """Tables that every signal needs, and those of the deeper rank, which signals with spikes or steps ask for."""
    if not isinstance(plan, Plan) or plan.spec.accuracy not in RANKS:
        return 0, 0
    deep, first, of_deep = plan.rank(1), 0, 0
    for segment, span in zip(plan.segments, plan.row_spans, strict=True):
        group, rank = plan.group(segment, 0), plan.rank(0, span)
        first += int(_FORMS * (group.end_filters.nbytes + group.end_mixing.nbytes))
        finer = deep.points_per_scale / rank.points_per_scale
        reaches = 1.0 if group.on_circle else deep.end_reach / rank.end_reach
        n_frame = group.n_frame if group.on_circle else _DEEP_FRAME
        n_filters = min(deep.n_filters, n_frame)
        of_time = 16 * n_filters * (n_frame + group.n_rows * deep.n_features)
        of_deep += int(3 * of_time * group.n_end * finer * reaches)
    return first, of_deep
