"""Whether dyads that stop early had other values in their last session than those that went on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..nulls.random_streams import Purpose, entity_id, permutations, purpose_word

Floats = NDArray[np.float64]

N_DRAWS = 999


def dropout_test(values: Floats, *, seed: int = 0) -> tuple[float, float]:
    """
    Permutation test of dropout that goes with what is measured.

    In every session but the last, the dyads for which it is the last one are compared with all that were there. Under
    the hypothesis that stopping has nothing to do with the values, any of those there could have stopped. The largest
    difference over features, in standard deviations, is referred to that of 999 draws.

    Parameters
    ----------
    values : float64 [dyad, session, feature]
        In the order of time; NaN where there is none.
    seed : int

    Returns
    -------
    p : float
        Over all features, in both tails; 1 where nobody stops early or nobody goes on.
    difference : float
        Mean of those who stop less that of all present, of the feature that differs most.
    """
    there: NDArray[np.bool_] = np.asarray(np.isfinite(values).any(axis=2))
    last = np.where(there.any(axis=1), there.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1), -1)
    draws = np.arange(N_DRAWS + 1)
    total, square, n_stopped = np.zeros((N_DRAWS + 1, values.shape[2])), np.zeros(values.shape[2]), 0
    for session in range(last.max(initial=0)):
        here = np.flatnonzero(there[:, session])
        n, k = len(here), int((last[here] == session).sum())
        if not 0 < k < n:
            continue
        of_all = values[here, session]
        left = np.nan_to_num(of_all - np.nanmean(of_all, axis=0, where=np.isfinite(of_all)))
        # Those who stopped come first, so the identity of draw 0 is what was observed.
        left = left[np.argsort(last[here] != session, kind="stable")]
        entity = entity_id(f"session {session}")
        order = permutations(seed, draws, n, entity=entity, purpose=purpose_word(Purpose.GROUP_LABEL, 1))
        total += left[order[:, :k]].sum(axis=1)
        square += k * (n - k) / (n * (n - 1)) * (left**2).sum(axis=0)
        n_stopped += k
    if not n_stopped:
        return 1.0, 0.0
    z = np.divide(total, np.sqrt(square), out=np.zeros_like(total), where=square > 0)
    largest = np.abs(z).max(axis=1)
    feature = int(np.abs(z[0]).argmax())
    return float((largest >= largest[0] - 1e-9).mean()), float(total[0, feature] / n_stopped)
