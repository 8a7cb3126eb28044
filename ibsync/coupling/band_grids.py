"""Windows of time and bands of frequency that tile a plane, for maps of means and tests over neighbours."""

from __future__ import annotations

import math

from ..errors import PlanError


def time_windows(start: float, stop: float, width: float) -> dict[str, tuple[float, float]]:
    """
    Windows that follow one another without gaps: epochs named after their start.

    Parameters
    ----------
    start, stop : float
        In s from the first sample.
    width : float
        In s; what is left at the end and shorter is dropped.

    Returns
    -------
    dict of str to (start, stop) in s

    Raises
    ------
    PlanError
        If no window fits.

    Examples
    --------
    >>> time_windows(0, 30, 10)
    {'0 s': (0.0, 10.0), '10 s': (10.0, 20.0), '20 s': (20.0, 30.0)}
    """
    if not (0 <= start < stop and 0 < width <= stop - start):
        raise PlanError(f"time_windows: no window of {width:g} s fits between {start:g} s and {stop:g} s")
    n = math.floor((stop - start) / width + 1e-9)
    edges = [float(start + k * width) for k in range(n + 1)]
    return {f"{edges[k]:g} s": (edges[k], edges[k + 1]) for k in range(n)}


def frequency_bands(fmin: float, fmax: float, per_octave: int = 3) -> dict[str, tuple[float, float]]:
    """
    Bands of equal width in octaves that touch one another, named after their centre.

    Parameters
    ----------
    fmin, fmax : float
        Lowest and highest edge in Hz; the last band ends at `fmax` or just below.
    per_octave : int
        Bands in an octave.

    Returns
    -------
    dict of str to (low, high) in Hz

    Raises
    ------
    PlanError
        If the range is empty, or holds no band.

    Examples
    --------
    >>> list(frequency_bands(0.01, 0.04, per_octave=1))
    ['0.0141 Hz', '0.0283 Hz']
    """
    if not 0 < fmin < fmax or per_octave < 1:
        raise PlanError(
            f"frequency_bands: expected 0 < fmin < fmax and per_octave >= 1, got {fmin:g}, {fmax:g}, {per_octave}"
        )
    n = math.floor(math.log2(fmax / fmin) * per_octave + 1e-9)
    if n < 1:
        raise PlanError(
            f"frequency_bands: {fmin:g} to {fmax:g} Hz are narrower than 1/{per_octave} octave: ask for more bands per "
            "octave or a wider range"
        )
    edges = [fmin * 2 ** (k / per_octave) for k in range(n + 1)]
    return {f"{math.sqrt(edges[k] * edges[k + 1]):.3g} Hz": (edges[k], edges[k + 1]) for k in range(n)}
