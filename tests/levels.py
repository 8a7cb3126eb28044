"""What a session's level is, the slow way."""

import numpy as np


def levelled(values, real=None, permitted=None):
    """Pair values [session, i, j, feature] of one block less the level of their session, as the group test takes them.

    Only for features whose permitted pairs (bool [i, j], default all) differ in the number of sessions; the mean of the
    real pairs (default i with i) stays as it was.
    """
    out = np.array(values, float)
    n = out.shape[1]
    real = [(i, i) for i in range(n)] if real is None else real
    permitted = np.ones((n, n), bool) if permitted is None else permitted
    for feature in range(out.shape[3]):
        table = out[..., feature]
        present = np.isfinite(table) & permitted
        if len(np.unique(present.sum(axis=0)[permitted])) == 1:
            continue
        levels = [session[here].mean() if here.any() else 0.0 for session, here in zip(table, present, strict=True)]
        behind = [sum(int(here[pair]) for pair in real) for here in present]
        kept = np.dot(levels, behind) / sum(behind) if sum(behind) else 0.0
        for session in range(len(table)):
            table[session] += kept - levels[session]
    return out
