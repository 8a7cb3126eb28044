"""A few pictures against stored images; `python tests/results/test_pictures_as_images.py` draws these anew.

Images are stored at a third of their size and compared at a ninth, where other versions of Matplotlib, which place
axes a few pixels elsewhere, make little difference.
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from fake_results import CHANNELS, make_maps, make_result
from PIL import Image

from ibsync import plot
from ibsync.results.figures.drawing import own_style, saved
from ibsync.results.result import Result

IMAGES = Path(__file__).parents[1] / "data" / "pictures"
TOLERANCE = 10.0
"""Root mean square difference of colours, of 255."""
HEAD = {channel: [60.0 - 24 * k, 40.0 - 10 * k, 70.0] for k, channel in enumerate(CHANNELS)}


def made(change=0.0):
    """A result, or another whose effects lie elsewhere."""
    result = make_result(6, 1, n_draws=99)
    ds = result.dataset.assign_attrs(positions_mm=json.dumps({"a": HEAD, "b": HEAD}))
    if change:
        ds = ds.copy(deep=True)
        for name in ("group_statistic", "group_z", "p_max", "p"):
            ds[name].values[:] = ds[name].values[:, ::-1, ::-1]
        ds["phase"].values[:] = ds["phase"].values % 1.0 + change
        ds["value"].values[:] += 0.1 * change
    return Result(ds, result.null)


def maps(change):
    made = make_maps(phase=np.pi / 4 + change)
    return made.assign(coherence=made["coherence"].roll(freq=int(12 * change)))


PICTURES = {
    "wtc": ((8.5, 4.6), lambda ax, change: plot.wtc(maps(change), ax)),
    "group_map": ((5.2, 4.6), lambda ax, change: plot.group_map(made(change), ax)),
    "heads": ((5.2, 3.6), lambda ax, change: plot.heads(made(change), ax)),
    "connectogram": ((5.2, 5.4), lambda ax, change: plot.connectogram(made(change), ax)),
    "phase_rose": ((4.2, 4.2), lambda ax, change: plot.phase_rose(made(change), ax, pair=(CHANNELS[2], CHANNELS[3]))),
    "time_course": (
        (5.4, 3.6),
        lambda ax, change: plot.time_course(made(change), ax, band=0, pair=(CHANNELS[2], CHANNELS[3])),
    ),
}


def drawn(name, change=0.0):
    """A picture at a third of its size."""
    from matplotlib.figure import Figure

    size, draw = PICTURES[name]
    with own_style():
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot(), change)
        image = Image.open(io.BytesIO(saved(figure, ".png", dpi=100))).convert("RGB")
    return image.resize((image.width // 3, image.height // 3), Image.Resampling.BOX)


def difference(one, other):
    small = one.width // 3, one.height // 3
    a, b = (np.asarray(x.convert("RGB").resize(small, Image.Resampling.BOX), float) for x in (one, other))
    return float(np.sqrt(((a - b) ** 2).mean()))


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_the_stored_one_and_one_of_other_numbers_is_not(name):
    stored = Image.open(IMAGES / f"{name}.png")
    own, others = difference(drawn(name), stored), difference(drawn(name, change=1.0), stored)
    assert own < TOLERANCE
    assert own < others / 2


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for name in PICTURES:
        drawn(name).quantize(256).save(IMAGES / f"{name}.png", optimize=True)
