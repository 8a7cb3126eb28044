"""The figures of a report: which panels, what they say to a reader who cannot see them, and their bytes."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import gallery as plot
from .figures.courses import session_labels
from .figures.drawing import Feature, finite_mean, of_task, own_style, place_among, position, saved
from .figures.links import has_positions
from .figures.maps import is_map
from .findings import Criterion, Finding, is_tested, top_findings
from .layout import SHIFT, tasks_of, tested_values
from .result import Result
from .wording import (
    headline,
    names_in,
    not_excluded,
    null_in_words,
    paired_in_words,
    settings,
    statistic_in_words,
    value_in_words,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Draw = Callable[..., Axes]
    Panel = dict[str, Any]

_MOST_PANELS = 12
_MOST_SVG_BYTES = 60_000
_MOST_PNG_BYTES = 120_000
_PX_PER_INCH = 96


@dataclass(frozen=True)
class Shown:
    """One panel: what it shows in words, its bytes as a data URI, its size in CSS pixels."""

    alt: str
    source: str
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """One figure of the page. The words of its first panel are those of the whole."""

    title: str
    caption: str
    panels: list[Shown]


def pictures(result: Result) -> list[Picture]:
    """The figures that a result has something to show for, most telling first."""
    with own_style():
        return list(_pictures(result))


def _pictures(result: Result) -> Iterator[Picture]:
    ds, question = result.dataset, result.dataset.attrs.get("question")
    if question == "plasticity":
        yield from _change_pictures(ds)
    elif question == "outcome":
        yield from _outcome_pictures(ds)
    else:
        yield from (_strongest_picture(result, best) for best in (top_findings(ds, limit=1) if is_tested(ds) else []))
        if "coherence" in result.maps:
            yield _scalogram_picture(result)
        yield _band_picture(ds)
        if is_tested(ds):
            yield _group_picture(ds)
    yield _dyad_picture(ds)
    if {"null_hist", "null_max"} & set(result.null):
        yield _null_picture(result)
    if len(session_labels(ds)) > 1 and question != "outcome":
        yield _session_picture(ds)
    if _has_company(ds):
        yield _people_picture(ds)


def _change_pictures(ds: xr.Dataset) -> Iterator[Picture]:
    strongest = top_findings(ds, limit=1)
    if strongest:
        yield _course_picture(ds, strongest[0])
    panels, criterion, what = _panels(ds), Criterion.of(ds), statistic_in_words(ds)
    slopes = ds["group_statistic"].to_numpy()
    span = f"from {np.nanmin(slopes):.3g} to {np.nanmax(slopes):.3g}" if np.isfinite(slopes).any() else "all missing"
    yield Picture(
        "Where synchrony changes",
        f"Colour: {what}, mean over dyads; red is above 0, blue below, grey missing. Frames: {criterion.text} "
        f"({criterion.words}).{_left_out(panels)}",
        _grid(
            f"By {paired_in_words(ds)}: {what}, {span}; {_n_passed(ds)} are framed.",
            plot.growth_map,
            ds,
            panels,
            size=_map_size(ds),
        ),
    )


def _course_picture(ds: xr.Dataset, finding: Finding) -> Picture:
    place = _strongest(ds, finding)
    draws = {"course": plot.growth, "slopes": plot.dyad_slopes}
    shown = [{"draw": name} for name in draws if name == "slopes" or "session_value" in ds]
    slopes = Feature.strongest(ds, **place).of(ds["value"])
    slopes = slopes[np.isfinite(slopes)]
    courses = (
        "First: dots joined by pale lines are the sessions of a dyad, thin lines its least-squares line, thick the "
        "mean of these lines. Then the slopes alone. "
    )
    return Picture(
        "Change over sessions, where its p is smallest",
        f"{courses * (len(shown) > 1)}Shaded: {_shaded(ds)}, the mean of the null ± 1.96 standard deviations. "
        f"{_chosen(ds, 'slope')}",
        _grid(f"{finding.place}: {len(slopes)} dyads, slopes from {slopes.min():.3g} to {slopes.max():.3g}, "
        f"{int((slopes > 0).sum())} of them above 0; "
        f"{statistic_in_words(ds)} {finding.text('group_statistic')}, under the null "
        f"{finding.text('group_null_mean')} on average.", lambda ds, ax, draw: draws[draw](ds, ax, **place), ds, shown,
            size=(5.2, float(np.clip(2.2 + 0.15 * len(slopes), 4.4, 7.5))),
        ),
    )  # fmt: skip


def _strongest_picture(result: Result, finding: Finding) -> Picture:
    """Everything about the band and epoch of the smallest p."""
    place = _strongest(result.dataset, finding)
    task = place.get("task", 0)
    ds = of_task(result.dataset, place.pop("task", 0), float(finding.shift) if finding.shift else None)
    pair = {"pair": place.pop("pair")}
    over_time = is_map(ds)
    there = {"epoch": place["epoch"], "band": place["band"]}
    phases = ds["phase"].isel(epoch=there["epoch"], band=there["band"]) if "phase" in ds else np.empty(0)
    draws: dict[str, tuple[Draw, Panel, str]] = {
        "map": (plot.time_map, pair, "over time and period, of the channel pair") if over_time
        else (plot.group_map, there, "by channel pair"),
        "links": (plot.heads if has_positions(ds) else plot.connectogram, there, "lines"),
    }  # fmt: skip
    words = [
        f"Map: {statistic_in_words(ds)} less its null, {draws['map'][2]}; the outline surrounds what passes.",
        "Lines: the channel pairs that pass, red above and blue below the null; the strongest others are pale.",
    ]
    if bool(np.isfinite(phases).any()):
        draws["phases"] = (plot.phase_rose, {**there, **pair}, "")
        words.append("Circle: in which phase the dyads are, the arrow their mean direction.")
    if SHIFT in result.dataset.dims or "lag" in ds:
        draws["lags"] = (lambda _, ax, **words: plot.lags(result, ax, task=task, **words), {**there, **pair}, "")
        words.append("Lags: the same at each lag, shaded the null; or in how many dyads which lag was found.")
    if ds.sizes["epoch"] > 1 and "dyad" in ds["value"].dims:
        draws["course"] = (plot.time_course, {"band": there["band"], **pair}, "")
        words.append("Course: a thin line per dyad, shaded the null of the mean; large dots pass.")
    return Picture(
        "Where p is smallest",
        " ".join([*words, _chosen(result.dataset, statistic_in_words(ds))]),
        _grid(
            f"{finding.place}: {statistic_in_words(ds)} {finding.text('group_statistic')}, under the null "
            f"{finding.text('group_null_mean')} on average; {_n_passed(result.dataset)} tests pass in all.",
            lambda ds, ax, draw: draws[draw][0](ds, ax, **draws[draw][1]),
            ds,
            [{"draw": name} for name in draws],
            size=(5.0, 4.4),
        ),
    )


def _scalogram_picture(result: Result) -> Picture:
    maps = result.maps
    dyad, session = str(maps.attrs["dyad"]), maps.attrs["session"]
    named = dyad if dyad.lower().startswith("dyad") else f"dyad {dyad}"
    row = filter(None, (named, session and f"session {session}", maps.attrs["task"]))
    pair = f"{maps['channel_a'].item()} with {maps['channel_b'].item()}"
    level = ", within the thick line above the 95 % level of phase-randomised signals, cell by cell"
    return Picture(
        f"Over time and period: {', '.join(row)}",
        f"Coherence of the channel pair of the smallest p, in the dyad in which it is largest there: an example, "
        f"no test{level * ('significance_level' in maps)}. What is pale lies beyond the cone: do not read it.",
        _grid(
            f"Scalogram of {pair}: coherence from 0 to 1, time to the right, period downwards; mean "
            f"{float(maps['coherence'].mean()):.2f}.",
            lambda result, ax: plot.wtc(result.maps, ax),
            result,
            [{}],
            size=(6.6, 4.6),
        ),
    )


def _shaded(ds: xr.Dataset) -> str:
    groups = settings(ds.attrs, "change").get("between")
    if groups:
        return f"the mean slope of {groups[0]} if it changed like {groups[1]}"
    return "the mean slope under the null"


def _outcome_pictures(ds: xr.Dataset) -> Iterator[Picture]:
    for finding in top_findings(ds, limit=1):
        place = _strongest(ds, finding)
        dots = (
            "session, less the means of its dyad; lines join a dyad's" if ds.attrs.get("level") == "within" else "dyad"
        )
        given = " given the covariates, along which dots need not lie" * ("partial" in statistic_in_words(ds))
        yield Picture(
            "Synchrony and outcome, where p is smallest",
            f"One dot per {dots}. The line has the slope that was tested{given}. {_chosen(ds, 'correlation')}",
            _grid(
                f"{finding.place}: {statistic_in_words(ds)} {finding.text('group_statistic')}, "
                f"{int(finding.values['n_dyads'])} dyads.",
                plot.association,
                ds,
                [place],
                size=(5.2, 4.4),
            ),
        )
    yield _group_picture(ds)


def _has_company(ds: xr.Dataset) -> bool:
    """Whether somebody was measured with more than one other person."""
    if not {"person_a", "person_b"} <= set(ds.coords):
        return False
    met = set(zip(ds["person_a"].values.tolist(), ds["person_b"].values.tolist(), strict=True))
    return any(len(set(side)) < len(met) for side in zip(*met, strict=True))


def _people_picture(ds: xr.Dataset) -> Picture:
    panels, what = _panels(ds), value_in_words(ds)
    sizes = " by ".join(str(len(set(ds[side].values.tolist()))) for side in ("person_a", "person_b"))
    return Picture(
        "Who with whom",
        f"Colour: {what}, mean over channel pairs and sessions; framed are dyads that were measured, grey are others."
        f"{_left_out(panels)}",
        _grid(f"Matrices of persons a by persons b, {sizes}: {what}.", plot.partners, ds, panels, size=(4.8, 4.2)),
    )


def _chosen(ds: xr.Dataset, what: str) -> str:
    """What a reader of the strongest feature must know."""
    tested = int(np.isfinite(ds["p"]).sum())
    one_of = f"This feature was chosen for its p among {tested}: its {what} is likely overestimated. " * (tested > 1)
    return f"{one_of}{not_excluded(ds.attrs)}"


def _n_passed(ds: xr.Dataset) -> int:
    return int(Criterion.of(ds).passed(ds).sum())


def _band_picture(ds: xr.Dataset) -> Picture:
    epochs = _places(ds, "epoch")
    tested = "null_mean" in ds
    beside = " beside the mean of its own null; a line joins the two" if tested else ""
    what, means = value_in_words(ds), "means over dyads" + " of each group" * bool(names_in(ds.attrs, "between"))
    return Picture(
        f"{what[:1].upper()}{what[1:]} by band" + (", real partners and null" if tested else ""),
        f"One dot per dyad (and session){beside}; thick bars are {means}. Mean over all channel pairs: "
        f"a coupling of few pairs shows little here.{_left_out(epochs)}",
        _grid(
            "Dots for each dyad. " + "; ".join(_band_means(ds)) + ".",
            plot.band_summary,
            ds,
            epochs,
            size=(4.6, 3.8),
            share_y=True,
        ),
    )


def _band_means(ds: xr.Dataset) -> Iterator[str]:
    for panel in _panels(ds)[:_MOST_PANELS]:
        chosen = of_task(ds, panel.get("task", 0)).isel({dim: at for dim, at in panel.items() if dim != "task"})
        what, mean = value_in_words(ds), finite_mean(tested_values(chosen).to_numpy())
        text = f"{_name(ds, panel)}: mean {what} {mean:.3f}"
        yield text + (f", null {finite_mean(chosen['null_mean'].to_numpy()):.3f}" if "null_mean" in chosen else "")


def _group_picture(ds: xr.Dataset) -> Picture:
    panels, criterion = _panels(ds), Criterion.of(ds)
    what = "correlation" if ds.attrs["question"] == "outcome" else "mean over dyads"
    return Picture(
        "Where: channel pairs of the group test",
        f"z of the {what} against its null. Dots: {criterion.text} ({criterion.words}).{_left_out(panels)}",
        _grid(
            f"z by {paired_in_words(ds)}; {_n_passed(ds)} are marked. {headline(ds)}",
            plot.pair_matrix,
            ds,
            panels,
            size=_map_size(ds),
        ),
    )


def _map_size(ds: xr.Dataset) -> tuple[float, float]:
    """Inches of a matrix of channels: larger where their names would overlap."""
    most = max(ds.sizes["channel_a"], ds.sizes["channel_b"])
    return (7.4, 6.8) if most > 24 else (5.2, 4.6) if most > 12 else (4.4, 3.7)


def _dyad_picture(ds: xr.Dataset) -> Picture:
    panels, tested = _panels(ds), "z" in ds
    show = "z" if tested else "value"
    unit = "session" if ds.attrs.get("level") == "within" else "dyad"
    row = f"{value_in_words(ds)} of each {unit}"
    what = "z of each dyad against its own null partners" if tested else row
    descriptive = " For description: this null tests the group, not single dyads." if tested else ""
    if "dyad_p" in ds:
        descriptive = " The table of single dyads says which of them pass a test."
    values = (ds["z"] if tested else tested_values(ds)).to_numpy()
    finite = values[np.isfinite(values)]
    span = f"from {finite.min():.2f} to {finite.max():.2f}" if finite.size else "all missing"
    return Picture(
        "Who: dyads by channel pairs",
        f"Colour: {what}; grey is missing.{descriptive}{_left_out(panels)}",
        _grid(
            f"Matrices with one row per dyad and session and one column per channel pair, {what}, {span}.",
            plot.dyad_matrix,
            ds,
            panels,
            size=(5.2, _matrix_height(ds)),
            show=show,
        ),
    )


def _matrix_height(ds: xr.Dataset) -> float:
    return float(np.clip(2.2 + 0.13 * ds.sizes["dyad"], 3.8, 8.5))


def _null_picture(result: Result) -> Picture:
    ds = result.dataset
    overall: list[Panel] = [{}] if "null_max" in result.null else []
    shown = overall + (_panels(ds) if "null_hist" in result.null else [])

    def draw(result: Result, ax: Axes, **panel: int) -> Axes:
        return plot.null_histogram(result, ax, **panel) if panel else plot.max_histogram(result, ax)

    return Picture(
        "The null and what was observed",
        f"Null: {null_in_words(ds.attrs)}. The line is the observed value. The panel “all features” is the "
        f"test of p_max: a z right of the bars is rare even as the largest of all.{_left_out(shown)}",
        _grid(
            f"Histograms of the null, the observed value a line; largest observed z {float(ds['group_z'].max()):.2f}.",
            draw,
            result,
            shown,
            size=(4.2, 3.3),
        ),
    )


def _session_picture(ds: xr.Dataset) -> Picture:
    best = top_findings(ds, limit=1) if is_tested(ds) else []
    strongest = [_strongest(ds, finding) for finding in best]
    what = value_in_words(ds)
    chosen = f"The first panel shows the channel pair with the smallest p, chosen for its {what}: no test of growth. "
    shown = strongest + _panels(ds)
    return Picture(
        "Over sessions",
        f"One thin line per dyad, thick the mean over dyads, dashed the mean of the null. {chosen * len(best)}Other "
        f"panels show the mean over channel pairs.{_left_out(shown)}",
        _grid(
            f"Lines of {what} over the sessions {', '.join(session_labels(ds)[:20])}.",
            plot.session_slopes,
            ds,
            shown,
            size=(4.4, 3.7),
        ),
    )


def _strongest(ds: xr.Dataset, finding: Finding) -> Panel:
    """Where a finding is, as the pictures take it."""
    at = {dim: position(ds, dim, getattr(finding, dim)) for dim in ("epoch", "band")}
    of_task = {"task": finding.task} if finding.task else {}
    return {**of_task, **at, "pair": (finding.channel_a, finding.channel_b)}


def _panels(ds: xr.Dataset) -> list[Panel]:
    return _places(ds, "epoch", "band")


def _places(ds: xr.Dataset, *dims: str) -> list[Panel]:
    """A panel for each task, where there are several, and each label of some dimensions, if it has any value.

    Where they are too many to be shown, those of the smallest p come first.
    """
    sizes = {"task": len(tasks_of(ds))} if tasks_of(ds) else {}
    sizes |= {dim: ds.sizes[dim] for dim in dims}
    panels = [dict(zip(sizes, place, strict=True)) for place in np.ndindex(*sizes.values())]
    filled = [panel for panel in panels if np.isfinite(tested_values(_of_panel(ds, panel)).to_numpy()).any()]
    if len(filled) > _MOST_PANELS and is_tested(ds):
        smallest = [float(_of_panel(ds, panel)["p"].fillna(2.0).min()) for panel in filled]
        filled = [filled[k] for k in np.argsort(smallest, kind="stable")]
    return filled or panels


def _of_panel(ds: xr.Dataset, panel: Panel) -> xr.Dataset:
    rows = of_task(ds, panel["task"]) if "task" in panel else ds
    return rows.isel({dim: at for dim, at in panel.items() if dim != "task"})


def _name(ds: xr.Dataset, panel: Panel) -> str:
    """What a panel shows, from positions or labels."""
    labels = {"task": tasks_of(ds), **{dim: [str(x) for x in ds[dim].values] for dim in ("epoch", "band")}}
    words = [" with ".join(panel["pair"])] if "pair" in panel else []
    words += [f"{dim} {labels[dim][place_among(labels[dim], dim, panel[dim])]}" for dim in labels if dim in panel]
    return ", ".join(words) or str(panel.get("draw", "all features"))


def _left_out(panels: list[Panel]) -> str:
    if len(panels) <= _MOST_PANELS:
        return ""
    return f" The first {_MOST_PANELS} of {len(panels)} panels are shown; the results file holds all."


def _grid(
    alt: str,
    draw: Draw,
    source: Result | xr.Dataset,
    panels: list[Panel],
    *,
    size: tuple[float, float],
    share_y: bool = False,
    **fixed: Any,
) -> list[Shown]:
    """A panel per entry, each a picture of its own, so that a narrow page stacks them."""
    from matplotlib.figure import Figure

    ds = source.dataset if isinstance(source, Result) else source
    figures = [Figure(figsize=size, layout="constrained") for _ in panels[:_MOST_PANELS]]
    axes = [figure.add_subplot() for figure in figures]
    for ax, panel in zip(axes, panels, strict=False):
        draw(source, ax, **panel, **fixed)
    if share_y:
        low, high = zip(*(ax.get_ylim() for ax in axes), strict=True)
        for ax in axes:
            ax.set_ylim(min(low), max(high))
    width, height = (round(_PX_PER_INCH * inches) for inches in size)
    alts = [alt, *(f"As before: {_name(ds, panel)}." for panel in panels[1:_MOST_PANELS])]
    return [Shown(words, _data_uri(figure), width, height) for words, figure in zip(alts, figures, strict=True)]


def _data_uri(figure: Figure) -> str:
    """SVG, which stays sharp in print; a raster where the SVG would be heavy."""
    kind, payload = "svg+xml", saved(figure, ".svg", dpi=130)
    if len(payload) > _MOST_SVG_BYTES:
        kind, payload = "png", _raster(figure)
    return f"data:image/{kind};base64,{b64encode(payload).decode()}"


def _raster(figure: Figure) -> bytes:
    """PNG of 256 colours, coarser where noise would make it heavy."""
    from PIL import Image

    for dpi in (170, 130, 100):
        small = io.BytesIO()
        whole = Image.open(io.BytesIO(saved(figure, ".png", dpi=dpi)))
        whole.convert("RGB").quantize(256).save(small, format="png", optimize=True)
        if small.tell() <= _MOST_PNG_BYTES:
            break
    return small.getvalue()
