"""Reliability of synchrony over sessions: how much of what tells dyads apart comes back the next time."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from ..errors import PlanError
from ..inference.intraclass import intraclass
from ..inference.settings import check_alpha
from ..results.layout import FEATURE
from ..results.result import Result
from .session_times import Source
from .shared_people import Blocks, members_of

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

COLUMNS = ("icc", "low", "high", "icc_k", "low_k", "high_k", "k", "n_dyads", "n_sessions")
"""Columns of the table, after those that name the feature."""


def reliability(real: xr.Dataset | Result, *, alpha: float = 0.05) -> pd.DataFrame:
    """
    Intraclass correlation of synchrony over sessions, feature by feature.

    ICC(1,1) is the share of the variance of a single session that lies between dyads, ICC(1,k) that of a dyad's mean
    over its sessions. A measure whose ICC is near 0 cannot go with anything that differs between dyads, however many
    of them are recorded.

    Parameters
    ----------
    real : Result or xarray.Dataset
        Real synchrony from `Study.synchrony`, of one task; or a Result of `ibs.test`, of whose coherence the mean of
        each row's own null is subtracted.
    alpha : float
        1 less the coverage of the intervals.

    Returns
    -------
    pandas.DataFrame
        One row per feature: epoch, channel_a, channel_b, band, icc, low, high (ICC(1,1) and its interval), icc_k,
        low_k, high_k (ICC(1,k)), k (sessions a dyad, harmonic mean), n_dyads, n_sessions. Negative values say that
        sessions of a dyad are less alike than those of two. Features without any value have no row. `attrs` hold
        "entered" and "caution".

    Raises
    ------
    PlanError
        If no dyad has two sessions, there is one dyad only, or several tasks would be mixed.

    Notes
    -----
    One-way random effects (Shrout & Fleiss 1979, *Psychol. Bull.* 86:420), by restricted maximum likelihood where dyads
    have different numbers of sessions; the intervals are Wald's (1940, *Ann. Math. Stat.* 11:96), exact for normal
    effects and errors.

    Examples
    --------
    >>> reliability(study.synchrony(spec)).sort_values("icc")
    """
    import pandas as pd

    check_alpha(alpha)
    source = Source.of(real)
    names = np.array(source.labels("dyad"))
    tasks = list(dict.fromkeys(source.labels("task")))
    if len(tasks) > 1:
        raise PlanError(
            f"real holds the tasks {', '.join(map(repr, tasks))}, and a dyad's tasks are no repetition of one another: "
            f"choose one, real.isel(dyad=real.task.values == {tasks[0]!r})"
        )
    dyads, number = np.unique(names, return_inverse=True)
    if len(dyads) < 2 or len(dyads) == len(names):
        lacks = "there is one dyad only" if len(dyads) < 2 else "every dyad has one session"
        raise PlanError(f"reliability compares sessions of a dyad with those of others, and {lacks}")
    rows = []
    labels = product(*(source.dataset[dim].values.astype(str) for dim in FEATURE))
    for place, y in zip(labels, source.values.T, strict=True):
        there = np.isfinite(y)
        if there.any():  # else a pair that was not asked for
            found = intraclass(y[there], number[there], alpha=alpha)
            rows.append((*place, *vars(found).values()))
    table = pd.DataFrame(rows, columns=[*FEATURE, *COLUMNS])
    shared = Blocks.of(dyads.tolist(), members_of(source.dataset, dyads.tolist(), "person")).ties
    caution = "intervals take dyads to be independent and values to be normal"
    table.attrs = {
        "entered": f"{len(dyads)} dyads with {len(names)} sessions",
        "caution": caution + (f"; dyads share a person: {shared}" if shared else ""),
    }
    return table
