"""The figures of a report: which panels, what they say to a reader who cannot see them, and their bytes."""

from __future__ import annotations

import io
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import wording
from . import plot
from .drawing import finite_mean

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Draw = Callable[..., Axes]
    Panel = dict[str, Any]

_MOST_PANELS = 12
_MOST_SVG_BYTES = 300_000
_MOST_PNG_BYTES = 400_000


@dataclass(frozen=True)
class Picture:
    """One figure of the page."""

    title: str
    caption: str
    alt: str
    source: str


def pictures(ds: xr.Dataset) -> list[Picture]:
    """The figures that a dataset has something to show for, most telling first."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rc("font", family="DejaVu Sans", size=10)
        # Without a fixed salt, equal results would give unequal pages.
        mpl.rc("svg", hashsalt="ibsync", fonttype="path")
        # Labels may be in a script that the font lacks; tables on the same page show them in full.
        warnings.filterwarnings("ignore", message="Glyph")
        return list(_pictures(ds))


def _pictures(ds: xr.Dataset) -> Iterator[Picture]:
    yield _band_picture(ds)
    if wording.is_tested(ds):
        yield _group_picture(ds)
    yield _dyad_picture(ds)
    if "null_hist" in ds or "null_max" in ds:
        yield _null_picture(ds)
    if len(plot.session_labels(ds)) > 1:
        yield _session_picture(ds)


def _band_picture(ds: xr.Dataset) -> Picture:
    epochs = [{"epoch": epoch} for epoch in range(ds.sizes["epoch"])]
    tested = "null_mean" in ds
    beside = " beside the mean of its own null; a line joins the two" if tested else ""
    return Picture(
        "Coherence by band" + (", real partners and null" if tested else ""),
        f"One dot per dyad (and session){beside}; thick bars are means over dyads. Mean over all channel pairs: "
        f"a coupling of few pairs shows little here.{_left_out(epochs)}",
        "Dots for each dyad. " + "; ".join(_band_means(ds)) + ".",
        _grid(plot.band_summary, ds, epochs, size=(4.6, 3.8), share_y=True),
    )


def _band_means(ds: xr.Dataset) -> Iterator[str]:
    for panel in _panels(ds)[:_MOST_PANELS]:
        chosen = ds.isel(panel)
        text = f"{_name(ds, panel)}: mean coherence {finite_mean(chosen['coherence'].to_numpy()):.3f}"
        yield text + (f", null {finite_mean(chosen['null_mean'].to_numpy()):.3f}" if "null_mean" in chosen else "")


def _group_picture(ds: xr.Dataset) -> Picture:
    panels = _panels(ds)
    name, words = wording.criterion(ds)
    kept = int((ds[name] <= wording.ALPHA).sum())
    return Picture(
        "Where: channel pairs of the group test",
        f"z of the mean over dyads against its null. Dots: {name} ≤ {wording.ALPHA} ({words}).{_left_out(panels)}",
        f"Matrices of channels of person a by channels of person b; {kept} cells are marked. {wording.headline(ds)}",
        _grid(plot.pair_matrix, ds, panels, size=(4.3, 3.7)),
    )


def _dyad_picture(ds: xr.Dataset) -> Picture:
    panels, tested = _panels(ds), "z" in ds
    value = "z" if tested else "coherence"
    what = "z of each dyad against its own null partners" if tested else "coherence of each dyad"
    descriptive = " For description: this null tests the group, not single dyads." if tested else ""
    if "dyad_p" in ds:
        descriptive = " The table of single dyads says which of them pass a test."
    finite = ds[value].to_numpy()[np.isfinite(ds[value].to_numpy())]
    span = f"from {finite.min():.2f} to {finite.max():.2f}" if finite.size else "all missing"
    return Picture(
        "Who: dyads by channel pairs",
        f"Colour: {what}; grey is missing.{descriptive}{_left_out(panels)}",
        f"Matrices with one row per dyad and session and one column per channel pair, {what}, {span}.",
        _grid(plot.dyad_matrix, ds, panels, size=(5.6, _matrix_height(ds)), value=value),
    )


def _matrix_height(ds: xr.Dataset) -> float:
    return float(np.clip(2.2 + 0.16 * ds.sizes["dyad"], 3.8, 6.0))


def _null_picture(ds: xr.Dataset) -> Picture:
    panels: list[Panel] = _panels(ds) if "null_hist" in ds else []
    overall: list[Panel] = [{}] if "null_max" in ds else []
    shown = overall + panels

    def draw(result: xr.Dataset, ax: Axes, **panel: int) -> Axes:
        return plot.null_histogram(result, ax, **panel) if panel else plot.max_histogram(result, ax)

    return Picture(
        "The null and what was observed",
        f"Null: {wording.null_in_words(ds.attrs)}. The line is the observed value. The panel “all features” is the "
        f"test of p_max: a z right of the bars is rare even as the largest of all.{_left_out(shown)}",
        f"Histograms of the null, the observed value as a line; largest observed z {float(ds['group_z'].max()):.2f}.",
        _grid(draw, ds, shown, size=(4.2, 3.3)),
    )


def _session_picture(ds: xr.Dataset) -> Picture:
    best = wording.top_findings(ds, limit=1) if wording.is_tested(ds) else []
    strongest = [{**_at(ds, finding), "pair": (finding.channel_a, finding.channel_b)} for finding in best]
    chosen = "The first panel shows the channel pair with the smallest p, chosen for its coherence: no test of growth. "
    shown = strongest + _panels(ds)
    return Picture(
        "Over sessions",
        f"One thin line per dyad, thick the mean over dyads, dashed the mean of the null. {chosen * len(best)}Other "
        f"panels show the mean over channel pairs.{_left_out(shown)}",
        f"Lines of coherence over the sessions {', '.join(plot.session_labels(ds)[:20])}.",
        _grid(plot.session_slopes, ds, shown, size=(4.4, 3.7)),
    )


def _at(ds: xr.Dataset, finding: wording.Finding) -> Panel:
    labels = {dim: [str(label) for label in ds[dim].values] for dim in ("epoch", "band")}
    return {"epoch": labels["epoch"].index(finding.epoch), "band": labels["band"].index(finding.band)}


def _panels(ds: xr.Dataset) -> list[Panel]:
    return [{"epoch": epoch, "band": band} for epoch in range(ds.sizes["epoch"]) for band in range(ds.sizes["band"])]


def _name(ds: xr.Dataset, panel: Panel) -> str:
    return ", ".join(f"{dim} {ds[dim].values[index]}" for dim, index in panel.items())


def _left_out(panels: list[Panel]) -> str:
    if len(panels) <= _MOST_PANELS:
        return ""
    return f" The first {_MOST_PANELS} of {len(panels)} panels are shown; the results file holds all."


def _grid(
    draw: Draw, ds: xr.Dataset, panels: list[Panel], *, size: tuple[float, float], share_y: bool = False, **fixed: Any
) -> str:
    """One figure with a panel per entry, as a data URI."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = panels[:_MOST_PANELS]
    most = 2 if len(shown) == 4 or size[0] > 5 else 3
    columns = min(most, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(
        figsize=(max(columns * size[0], 6.0), rows * size[1]), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    )
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share_y).ravel()
    for ax in axes[len(shown) :]:
        ax.remove()
    for ax, panel in zip(axes, shown, strict=False):
        draw(ds, ax, **panel, **fixed)
    return _data_uri(figure)


def _data_uri(figure: Figure) -> str:
    """SVG, which stays sharp in print; a raster where the SVG would be heavy."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=130, metadata={"Date": None})
    kind, payload = "svg+xml", buffer.getvalue()
    if len(payload) > _MOST_SVG_BYTES:
        kind, payload = "png", _raster(figure)
    return f"data:image/{kind};base64,{b64encode(payload).decode()}"


def _raster(figure: Figure) -> bytes:
    """PNG of 256 colours, coarser where noise would make it heavy."""
    from PIL import Image

    for dpi in (130, 100, 75):
        buffer, small = io.BytesIO(), io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi)
        Image.open(buffer).convert("RGB").quantize(256).save(small, format="png", optimize=True)
        if small.tell() <= _MOST_PNG_BYTES:
            break
    return small.getvalue()
