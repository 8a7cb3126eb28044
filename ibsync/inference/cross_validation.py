"""Prediction of dyads that were held out: everything that is learnt, tuned or chosen is so from the other dyads alone.

Ridge regression on all features or on those that go best with the outcome. Folds are the units that share nobody with
the others; of each fold the covariates, the scale of the features, the choice of features and the penalty come from the
remaining dyads (Varma and Simon 2006, *BMC Bioinformatics* 7:91). Outcomes come in draws, so that a permutation test
repeats all of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Penalties that are tried, in units of the number of training dyads; features are scaled to variance 1."""

_CHUNK_VALUES = 1 << 21
_NOTHING = 1e-9


@dataclass(frozen=True)
class HeldOut:
    """
    Cross-validated ridge regression.

    Parameters
    ----------
    values : float64 [dyad, feature]
        Without missing values.
    covariates : float64 [dyad, covariate]
    folds : sequence of int64 [dyad]
        Dyads that are held out together; each dyad once.
    penalties : sequence of float
        With one, nothing is tuned; else the one with the smallest leave-one-out error among the training dyads.
    top : int or None
        Number of features that enter, those with the largest correlation in absolute value among the training dyads.
        None: all.
    """

    values: Floats
    covariates: Floats
    folds: Sequence[Integers]
    penalties: tuple[float, ...] = PENALTIES
    top: int | None = None

    def predict(self, outcomes: Floats) -> tuple[Floats, Floats]:
        """
        Predictions of every dyad from the others.

        Parameters
        ----------
        outcomes : float64 [draw, dyad]

        Returns
        -------
        predicted, baseline : float64 [draw, dyad]
            From covariates and synchrony, and from covariates alone (without covariates the mean of the others).
        """
        predicted, baseline = np.empty(outcomes.shape), np.empty(outcomes.shape)
        for held in self.folds:
            fold = _Fold.of(self, held)
            for some in _chunks(len(outcomes), self.values.shape[1] if self.top is None else self.values.size):
                left, base = fold.without_covariates(outcomes[some])
                baseline[some, held] = base
                predicted[some, held] = base + fold.predict(left, self.penalties, self.top)
        return predicted, baseline

    def r_squared(self, outcomes: Floats) -> Floats:
        """
        Share of the squared error of the covariates alone that synchrony removes, out of sample: float64 [draw].

        Below 0 where synchrony makes predictions worse.
        """
        predicted, baseline = self.predict(outcomes)
        error = ((outcomes - predicted) ** 2).sum(axis=1)
        return np.asarray(1 - error / ((outcomes - baseline) ** 2).sum(axis=1))


def _chunks(n: int, size: int) -> Iterator[slice]:
    step = max(1, _CHUNK_VALUES // max(1, size))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


@dataclass(frozen=True)
class _Fold:
    """
    Training and held-out dyads, what the covariates leave of their features, on the scale of the training dyads.

    Parameters
    ----------
    train, held : int64 [dyad]
    design : float64 [training dyad, column]
        Intercept and covariates.
    solve : float64 [column, training dyad]
        Their pseudo-inverse.
    design_held : float64 [held dyad, column]
    x, x_held : float64 [dyad, feature]
    """

    train: Integers
    held: Integers
    design: Floats
    solve: Floats
    design_held: Floats
    x: Floats
    x_held: Floats

    @classmethod
    def of(cls, whole: HeldOut, held: Integers) -> "_Fold":
        train = np.setdiff1d(np.arange(len(whole.values)), held)
        design = np.column_stack([np.ones(len(whole.values)), whole.covariates])
        solve = np.linalg.pinv(design[train])
        left = whole.values - design @ (solve @ whole.values[train])
        spread = left[train].std(axis=0)
        varies = spread > _NOTHING * np.abs(whole.values[train]).max(axis=0, initial=0.0)
        scaled = np.divide(left, spread, out=np.zeros_like(left), where=varies)
        return cls(train, held, design[train], solve, design[held], scaled[train], scaled[held])

    def without_covariates(self, outcomes: Floats) -> tuple[Floats, Floats]:
        """What the covariates leave of the training outcomes, and what they predict of those held out: [draw, dyad]."""
        weights = outcomes[:, self.train] @ self.solve.T
        return outcomes[:, self.train] - weights @ self.design.T, weights @ self.design_held.T

    def predict(self, left: Floats, penalties: Sequence[float], top: int | None) -> Floats:
        """What synchrony adds to the prediction: float64 [draw, held dyad] from [draw, training dyad]."""
        if top is None or top >= self.x.shape[1]:
            return _ridge(self.x[None], self.x_held[None], left, self._leverage, penalties)
        fit = np.abs(left @ self.x)
        chosen = np.argpartition(-fit, top - 1, axis=1)[:, :top]
        x, x_held = (np.moveaxis(values[:, chosen], 0, 1) for values in (self.x, self.x_held))
        return _ridge(x, x_held, left, self._leverage, penalties)

    @property
    def _leverage(self) -> Floats:
        """Of each training dyad on its own fit by the covariates, float64 [training dyad]."""
        return np.asarray((self.design * self.solve.T).sum(axis=1))


def _ridge(x: Floats, x_held: Floats, left: Floats, leverage: Floats, penalties: Sequence[float]) -> Floats:
    """
    Ridge predictions, each draw with the penalty whose leave-one-out error is smallest in closed form.

    Parameters
    ----------
    x, x_held : float64 [draw or 1, dyad, feature]
    left : float64 [draw, training dyad]
    leverage : float64 [training dyad]
        Of what is not penalised.
    penalties : sequence of float

    Returns
    -------
    float64 [draw, held dyad]
    """
    n_train, n_features = x.shape[1:]
    sizes, vectors = np.linalg.eigh(x @ x.swapaxes(1, 2) / n_features)
    sizes = np.maximum(sizes, 0.0)
    turned = (vectors.swapaxes(1, 2) @ left[:, :, None])[..., 0]
    kernel = x_held @ x.swapaxes(1, 2) / n_features
    best = np.full(len(left), np.inf)
    out = np.zeros((len(left), x_held.shape[1]))
    for penalty in penalties:
        # A penalty of 0 takes the directions that have a size.
        size = sizes + penalty * n_train
        inverse = np.divide(1.0, size, out=np.zeros_like(size), where=size > _NOTHING * n_train)
        fitted = (vectors @ (sizes * inverse * turned)[..., None])[..., 0]
        own = np.einsum("dij,dj->di", vectors**2, sizes * inverse) + leverage
        error = (((left - fitted) / np.maximum(1 - own, _NOTHING)) ** 2).sum(axis=1)
        predicted = (kernel @ (vectors @ (inverse * turned)[..., None]))[..., 0]
        better = error < best
        best = np.where(better, error, best)
        out = np.where(better[:, None], predicted, out)
    return out
