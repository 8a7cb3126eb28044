"""What people and sessions add to the values of pairs, and what is left without it, the slow way."""

import numpy as np


def fitted_out(values, real=None, permitted=None, *, one_role=False):
    """Pair values [session, i, j, feature] of one block less people and sessions, as the group test takes them.

    Only for features whose permitted pairs (bool [i, j], default all) differ in the number of sessions; the mean of the
    real pairs (default i with i) stays as it was. With `one_role` a person adds the same as first and as second.
    """
    out = np.array(values, float)
    n_sessions, n = out.shape[:2]
    real = [(i, i) for i in range(n)] if real is None else real
    permitted = np.ones((n, n), bool) if permitted is None else permitted
    for feature in range(out.shape[3]):
        table = out[..., feature]
        present = np.isfinite(table) & permitted
        if len(np.unique(present.sum(axis=0)[permitted])) == 1:
            continue
        cells = np.argwhere(present)
        indicators = np.zeros((len(cells), n_sessions + 2 * n))
        for row, (session, i, j) in zip(indicators, cells, strict=True):
            row[session] = 1
            row[n_sessions + i] += 1
            row[n_sessions + j + (0 if one_role else n)] += 1
        own = table[present]
        fit = indicators @ np.linalg.lstsq(indicators, own, rcond=None)[0]
        of_real = [value for (_, i, j), value in zip(cells, fit, strict=True) if (i, j) in real]
        table[present] = own - fit + (np.mean(of_real) if of_real else 0.0)
        table[~present] = np.nan
    return out


def draw_statistics(fitted, chosen):
    """Statistic of each draw from the values that it takes, [draw, value, feature]; of draw 0 it is their mean.

    The sum of what is left over the root of the number of values, in the unit of a mean of draw 0.
    """
    every = fitted.reshape(-1, fitted.shape[3])
    centre = np.nansum(every, axis=0) / np.maximum(1, np.isfinite(every).sum(axis=0))
    count = np.isfinite(chosen).sum(axis=1)
    total = np.nansum(chosen - centre, axis=1)
    some = (count > 0) & (count[0] > 0)
    return centre + np.divide(total, np.sqrt(count * count[0]), out=np.full(count.shape, np.nan), where=some)
