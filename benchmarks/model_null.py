"""The re-pairing null of a `SynchronyModel`: coherence of every first person with every second person, in numbers."""

from __future__ import annotations

import numpy as np
import xarray as xr

import ibsync as ibs
from ibsync.nulls.draws import Draws
from ibsync.nulls.repaired_null import RepairedNull
from ibsync.nulls.repairing import Repairing
from ibsync.simulation.study_model import TASK, Seed, _stream

PSEUDO_DYADS = 8  # beside the purposes of random numbers in `study_model`


def study_and_null(
    model: ibs.SynchronyModel, n_dyads: int, n_sessions: int, seed: Seed = 0, *, n: int = 999
) -> tuple[xr.Dataset, RepairedNull]:
    """A study of the model and its null of at most `n` re-pairings; partners who are shared are refused.

    Re-paired people have their own parts and error, and neither course nor level of a dyad.
    """
    drawn = model.draw(n_dyads, n_sessions, seed)
    real = model.study(n_dyads, n_sessions, seed)
    first, second = model._people(n_dyads, n_sessions, seed)
    values = model.level + first[:, None] + second[None]
    shares = np.minimum(drawn.shares[:, None], drawn.shares[None])
    noise = _stream(seed, PSEUDO_DYADS).standard_normal(values.shape)
    values = values + model.noise_sd / np.sqrt(shares)[..., None] * noise
    own = np.arange(n_dyads)
    values[own, own] = drawn.coherence
    present = np.isfinite(drawn.coherence[..., 0])
    values[~(present[:, None] & present[None])] = np.nan
    dyads, a, b = zip(*(model.roster.names(dyad) for dyad in range(n_dyads)), strict=True)
    draws = Draws.plan(Repairing.of(dyads, a, b), n, int(_stream(seed, PSEUDO_DYADS, 1).integers(1 << 32)))
    sessions = tuple(f"{session + 1}" for session in range(n_sessions))
    return real, RepairedNull(np.moveaxis(values, 2, 0), draws, sessions, "repair", dict(real.attrs), tasks=(TASK,))
