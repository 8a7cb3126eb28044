"""One way into every picture of a result: what it takes, where it draws, and what its parameters mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol

from ...errors import PlanError, require_known
from ..layout import value_name
from ..result import Result
from .drawing import new_axes

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

P = ParamSpec("P")


class Panel(Protocol[P]):
    """A picture of a result in one pair of axes."""

    def __call__(self, result: Result | xr.Dataset, ax: Axes | None = None, *args: P.args, **kwargs: P.kwargs) -> Axes:
        """Draw it, and return the axes."""


def panel(
    width: float, height: float | Callable[[xr.Dataset], float], *, of: str = "A result, or real synchrony."
) -> Callable[[Callable[Concatenate[Result, Axes, P], None]], Panel[P]]:
    """
    Make a public picture of a function that draws a result into axes.

    Parameters
    ----------
    width, height : float
        Size of a new figure in inches; the height may depend on the dataset.
    of : str
        What result it takes, as its documentation says it.
    """

    def public(draw: Callable[Concatenate[Result, Axes, P], None]) -> Panel[P]:
        @wraps(draw, assigned=("__module__", "__name__", "__qualname__"))
        def picture(
            result: Result | xr.Dataset, ax: Axes | None = None, *args: P.args, **kwargs: P.kwargs
        ) -> Axes:  # fmt: skip
            whole = whole_result(result)
            if "show" in kwargs:
                require_known("show", kwargs["show"], ("z", "value"))
            if ax is not None:
                draw(whole, ax, *args, **kwargs)
                return ax
            return _in_new_figure(
                width,
                height(whole.dataset) if callable(height) else height,
                lambda new: draw(whole, new, *args, **kwargs),
            )

        picture.__doc__ = _documented(draw, of)
        picture.__signature__ = _signature(draw, picture)  # type: ignore[attr-defined]
        return picture

    return public


def whole_result(result: Result | xr.Dataset) -> Result:
    """A result, made of real synchrony where it is not one yet."""
    whole = result if isinstance(result, Result) else Result(result)
    if not hasattr(whole.dataset, "data_vars") or value_name(whole.dataset) not in whole.dataset:
        raise PlanError(f"plot: a {type(result).__name__} cannot be drawn here; give a result or real synchrony")
    return whole


def _in_new_figure(width: float, height: float, draw: Callable[[Axes], None]) -> Axes:
    """Axes of a new figure, which is closed again where nothing could be drawn."""
    import matplotlib.pyplot as plt

    ax = new_axes(width, height)
    try:
        draw(ax)
    except Exception:
        plt.close(ax.get_figure(root=True))
        raise
    return ax


def _signature(draw: Callable[..., None], picture: Callable[..., Axes]) -> inspect.Signature:
    own = list(inspect.signature(picture, follow_wrapped=False).parameters.values())[:2]
    more = list(inspect.signature(draw).parameters.values())[2:]
    return inspect.Signature([*own, *more], return_annotation="Axes")


def _documented(draw: Callable[..., None], of: str) -> str:
    """The docstring with its parameters, of which all pictures have the same."""
    summary, _, rest = inspect.cleandoc(draw.__doc__ or "").partition("\n\nReturns")
    defaults = {name: entry.default for name, entry in inspect.signature(draw).parameters.items()}
    entries = "\n".join(f"{name}\n    {meaning}" for name, meaning in _parameters(defaults, of))
    return f"{summary}\n\nParameters\n----------\n{entries}\n\nReturns{rest}"


def _parameters(defaults: dict[str, Any], of: str) -> Iterator[tuple[str, str]]:
    strongest = defaults.get("epoch") is None
    yield "result : Result or xarray.Dataset", of
    yield "ax : matplotlib.axes.Axes, optional", "Where to draw; a new figure if left out."
    if "show" in defaults:
        yield 'show : {"z", "value"}', "z against the null, or what was tested."
    named = [name for name in ("task", "epoch", "band") if name in defaults]
    if named and strongest:
        yield (
            f"{', '.join(named)} : int or str, optional",
            "Position or label. What is not named is that of the smallest p.",
        )
    elif named:
        yield f"{', '.join(named)} : int or str", "Position or label."
    if "pair" in defaults:
        mean = "" if strongest else "; the mean over all channel pairs if left out"
        yield "pair : (str, str), optional", f"Channel of person a and of person b{mean}."
    if "shift" in defaults:
        yield "shift : float, optional", "Shift in s, where there are several; by default the strongest."
