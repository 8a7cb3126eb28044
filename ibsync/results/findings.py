"""The strongest features of a result, and those that pass its test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..inference.p_values import CORRECTIONS
from .layout import FEATURE, ROW, TASK, TESTED, axes_of, of_nulls, row_labels, tasks_of

if TYPE_CHECKING:
    import xarray as xr

CORRECTED = tuple(dict.fromkeys(correction.array for correction in CORRECTIONS.values()))
P_VALUES = ("p", *CORRECTED)

_STRICTEST = {
    correction.array: correction.short for correction in sorted(CORRECTIONS.values(), key=lambda one: one.rank)
}
_OF_DYADS = {"dyad_p_max": "family-wise", "dyad_p_fdr": "false discovery rate", "dyad_p": "not corrected"}

# What a finding holds of a feature of the group test, and of one row.
_GROUP = (
    "p_low", "p_high", "statistic_low", "statistic_high", *P_VALUES, "group_statistic", "group_null_mean",
    "group_null_sd", "group_z", "slope", "t", "n_dyads",
)  # fmt: skip
_ROW = {
    "p": "dyad_p", "p_fdr": "dyad_p_fdr", "p_max": "dyad_p_max", "group_z": "z", "group_null_mean": "null_mean",
    "group_null_sd": "null_sd", "group_statistic": "value",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One feature of the group test, with all that a table shows of it, and the name of its statistic."""

    epoch: str
    channel_a: str
    channel_b: str
    band: str
    values: Mapping[str, float]
    statistic: str
    task: str = ""
    shift: str = ""

    @property
    def place(self) -> str:
        """Where it is, in words."""
        task = f", task {self.task}" * bool(self.task) + f", shift {self.shift} s" * bool(self.shift)
        return f"{self.channel_a} with {self.channel_b}, band {self.band}, epoch {self.epoch}{task}"

    @property
    def decimals(self) -> int:
        """Decimals of its statistic: three, or as many as three significant digits need where it is small."""
        size = abs(self.values["group_statistic"])
        return 3 if not 0 < size < 0.01 else min(2 - math.floor(math.log10(size)), 12)

    def text(self, name: str, decimals: int | None = None) -> str:
        """One of its values in the decimals of its statistic, or in others."""
        places = self.decimals if decimals is None else decimals
        # Adding 0 takes the sign off a negative 0.
        return f"{round(self.values[name], places) + 0.0:.{places}f}"

    def __str__(self) -> str:
        v = self.values
        numbers = "  ".join(f"{name} {number(v[name])}" for name in P_VALUES if np.isfinite(v.get(name, np.nan)))
        values = f"{self.text('group_statistic')}{self.interval} (null {self.text('group_null_mean')})"
        shift = f"{self.shift} s" * bool(self.shift)
        words = (f"{self.channel_a} - {self.channel_b}", self.task, self.epoch, self.band, shift)
        return f"{'  '.join(filter(None, words))}  {self.statistic} {values}  z {v['group_z']:.2f}  {numbers}"

    @property
    def interval(self) -> str:
        """Confidence interval of the statistic, in brackets; empty where there is none."""
        names = ("statistic_low", "statistic_high")
        if np.isnan([self.values.get(name, np.nan) for name in names]).any():
            return ""
        return f" [{', '.join(self.text(name) for name in names)}]"


def number(value: float) -> str:
    """A p-value or other small number in at most three significant digits."""
    if not np.isfinite(value):
        return "–"
    return f"{value:.3g}" if value >= 1e-4 or value == 0 else f"{value:.1e}"


@dataclass(frozen=True)
class Criterion:
    """
    When a test counts as passed.

    Attributes
    ----------
    name : str
        Variable that holds the strictest corrected p-value of the dataset.
    words : str
        What it corrects for.
    alpha : float
        Level of the test.
    """

    name: str
    words: str
    alpha: float

    @classmethod
    def of(cls, dataset: xr.Dataset) -> Criterion:
        """That of the group test."""
        return cls._strictest(dataset, _STRICTEST, ("p", "not corrected"))

    @classmethod
    def of_dyads(cls, dataset: xr.Dataset) -> Criterion:
        """That of the tests of single dyads."""
        return cls._strictest(dataset, _OF_DYADS, ("dyad_p", "not corrected"))

    @classmethod
    def _strictest(cls, dataset: xr.Dataset, kinds: Mapping[str, str], default: tuple[str, str]) -> Criterion:
        held = (kind for kind in kinds.items() if kind[0] in dataset and bool(np.isfinite(dataset[kind[0]]).any()))
        name, words = next(held, default)
        return cls(name, words, float(dataset.attrs["alpha"]))

    @property
    def text(self) -> str:
        """Such as "p_max ≤ 0.05"."""
        return f"{self.name} ≤ {self.alpha:g}"

    def __str__(self) -> str:
        return f"{self.text}, {self.words}"

    def passed(self, dataset: xr.Dataset) -> xr.DataArray:
        """Which tests pass: bool, with the axes of the p-values."""
        return dataset[self.name] <= self.alpha


def is_tested(dataset: xr.Dataset) -> bool:
    """Whether the dataset holds a group test, and not only real synchrony."""
    return "p" in dataset and "group_statistic" in dataset


def is_tested_by_dyad(dataset: xr.Dataset) -> bool:
    """Whether the dataset holds tests of single dyads."""
    return "dyad_p" in dataset and bool(np.isfinite(dataset["dyad_p"]).any())


def top_findings(dataset: xr.Dataset, *, limit: int) -> list[Finding]:
    """The features with the smallest corrected p, ties broken by p and then by the larger z."""
    strictest = Criterion.of(dataset).name
    dims, by_null = axes_of(dataset, TESTED), of_nulls(dataset)
    sources = {name: name for name in (*_GROUP, *by_null)}
    whole = dataset.assign(by_null) if by_null else dataset
    return [found for _, found in _smallest(whole, dims, sources, strictest, limit)]


def top_dyad_findings(dataset: xr.Dataset, *, limit: int) -> list[tuple[str, Finding]]:
    """Rows and features with the smallest p of single dyads, each with its dyad session; empty if untested."""
    if not is_tested_by_dyad(dataset):
        return []
    names = row_labels(dataset, ["session", *["task"] * bool(tasks_of(dataset))], " / ")
    return [(names[row], found) for row, found in _smallest(dataset, axes_of(dataset, ROW), _ROW, "p_max", limit)]


def _smallest(
    dataset: xr.Dataset, dims: tuple[str, ...], sources: Mapping[str, str], strictest: str, limit: int
) -> list[tuple[int, Finding]]:
    """Findings with the position of each along the first axis; `sources` names the variable of each value."""
    missing = np.full(int(np.prod([dataset.sizes[dim] for dim in dims])), np.nan)
    columns: dict[str, np.ndarray[Any, Any]] = {
        name: dataset[source].transpose(*dims).to_numpy().ravel() if source in dataset else missing
        for name, source in sources.items()
    }
    # A test of a dyad that was not corrected is ranked by its p.
    first = np.nan_to_num(columns[strictest], nan=2.0)
    ranked = np.lexsort((-np.abs(columns["group_z"]), columns["p"], first))[:limit]
    findings, name = [], str(dataset.attrs["statistic"])
    for index in ranked[np.isfinite(columns["p"][ranked])]:
        places = np.unravel_index(index, [dataset.sizes[dim] for dim in dims])
        labels = {dim: str(dataset[dim].values[i]) for dim, i in zip(dims, places, strict=True)}
        feature = {dim: labels[dim] for dim in axes_of(dataset, FEATURE)}
        values = {name: float(column[index]) for name, column in columns.items()}
        findings.append((int(places[0]), Finding(**feature, values=values, statistic=name, task=labels.get(TASK, ""))))
    return findings
