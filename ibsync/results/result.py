"""The outcome of a run as one labelled dataset: saved and loaded whole, tabulated, described in words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import numpy as np

from ..coupling.measures import PHASES, fisher_z
from ..errors import InputError, PlanError
from ..recordings.whole_files import check_writable as check_writable
from . import wording
from .netcdf import encode_attrs, load_dataset
from .netcdf import save_dataset as save_dataset

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

FEATURE = ("epoch", "channel_a", "channel_b", "band")
ROW = ("dyad", *FEATURE)
NUMBERS = ("coherence", "null_mean", "null_sd", "z", "p", "p_fdr", "p_max", "valid_fraction")
COLUMNS = ("dyad", "session", "epoch", "signal", "channel_a", "channel_b", "band", *NUMBERS, "is_pseudo")

# name: (dimensions, unit, what it is)
TEST_ARRAYS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "null_mean": (ROW, "1", "mean coherence of the row's null partners"),
    "null_sd": (ROW, "1", "standard deviation of the coherence of the row's null partners"),
    "z": (ROW, "1", "(coherence - null_mean) / null_sd"),
    "percentile": (ROW, "%", "rank of the row's coherence among its null partners; descriptive, not a test"),
    "statistic": (ROW, "1", "the measure that was tested, where it is not the coherence of the row"),
    "dyad_p": (ROW, "1", "p-value of the row against its own surrogates, not corrected"),
    "dyad_p_fdr": (ROW, "1", "dyad_p adjusted for the false discovery rate within the row"),
    "dyad_p_max": (ROW, "1", "dyad_p adjusted for the family-wise error rate within the row, by the maximum of z"),
    "dyad_exceedances": (ROW, "1", "number of the row's draws at least as extreme as its observed value"),
    "dyad_draws": (ROW, "1", "number of draws that were looked at"),
    "group_statistic": (FEATURE, "1", "mean coherence over dyads"),
    "group_null_mean": (FEATURE, "1", "mean of the group statistic over the draws of the null"),
    "group_null_sd": (FEATURE, "1", "standard deviation of the group statistic over the draws of the null"),
    "group_z": (FEATURE, "1", "(group_statistic - group_null_mean) / group_null_sd"),
    "statistic_low": (
        FEATURE,
        "1",
        "lower end of the confidence interval of group_statistic, by inversion of the test",
    ),
    "statistic_high": (FEATURE, "1", "upper end of the confidence interval of group_statistic"),
    "student_low": (FEATURE, "1", "lower end of its interval by Student's t, which takes values to be normal"),
    "student_high": (FEATURE, "1", "upper end of its interval by Student's t"),
    "exceedances": (FEATURE, "1", "number of draws at least as extreme as the observed statistic"),
    "p": (FEATURE, "1", "permutation p-value, not corrected"),
    "p_low": (FEATURE, "1", "lower end of the Clopper-Pearson 95 % interval of p"),
    "p_high": (FEATURE, "1", "upper end of the Clopper-Pearson 95 % interval of p"),
    "p_fdr": (FEATURE, "1", "p adjusted for the false discovery rate"),
    "p_max": (FEATURE, "1", "p adjusted for the family-wise error rate, by the step-down maximum over features"),
    "p_max_single": (FEATURE, "1", "p adjusted for the family-wise error rate, by the maximum in a single step"),
    "cluster": (FEATURE, "1", "number of the feature's cluster, its sign that of z; 0 outside clusters"),
    "p_cluster": (FEATURE, "1", "family-wise p of the feature's cluster, by the largest cluster mass"),
    "p_tfce": (FEATURE, "1", "family-wise p by the largest threshold-free enhanced z"),
    "n_dyads": (FEATURE, "1", "number of dyads in the group statistic"),
    "n_near_ties": (FEATURE, "1", "number of draws that equal the observed statistic within rounding"),
    "null_hist": (("epoch", "band", "hist_bin"), "1", "draws of the group statistic, averaged over channel pairs"),
    "pooled_statistic": (("epoch", "band"), "1", "observed group statistic, averaged over channel pairs"),
    "null_max": (("draw",), "1", "largest group z over all features, per draw"),
    "hist_center": (("hist_bin",), "1", "centre of the histogram bin"),
    "hist_edge_low": (("hist_bin",), "1", "lower edge of the histogram bin"),
}
REQUIRED = ("group_statistic", "group_null_mean", "group_null_sd", "p")


@dataclass(frozen=True)
class Result:
    """
    Real synchrony, its null distribution and the test of one against the other.

    Parameters
    ----------
    dataset : xarray.Dataset
        Dimensions dyad (one row per dyad and session), epoch, channel_a, channel_b, band. `attrs["kind"]` is "result",
        or "synchrony" where nothing has been tested yet.
    """

    dataset: xr.Dataset

    @property
    def kind(self) -> str:
        """What the dataset holds: "result" or "synchrony"."""
        return str(self.dataset.attrs.get("kind", "result"))

    @property
    def hypothesis(self) -> str:
        """What was tested and what the test cannot exclude, in one sentence."""
        return wording.hypothesis(self.dataset.attrs)

    @property
    def headline(self) -> str:
        """The outcome in one sentence: how many features survive correction, and the strongest."""
        return wording.headline(self.dataset)

    def methods(self) -> str:
        """A paragraph for a paper: estimator, settings, null, corrections, seed, versions, references."""
        return wording.methods(self.dataset)

    def to_frame(self) -> pd.DataFrame:
        """
        Tidy table: the group test first, then one row per dyad and session.

        Returns
        -------
        pandas.DataFrame
            Columns dyad, session, epoch, signal, channel_a, channel_b, band, coherence (magnitude-squared, 0..1; the
            measure where another was tested), null_mean, null_sd, z, p, p_fdr, p_max, valid_fraction, is_pseudo. In
            rows of the group test dyad and session are "(all)". In rows of one dyad p, p_fdr and p_max are those of
            its own surrogates, corrected within the row, and NaN after re-pairing, which only tests the group.
        """
        return to_frame(self.dataset)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """
        Write a netCDF-4 file that plain xarray opens, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            The file; replaced if it exists.

        Returns
        -------
        pathlib.Path
            The file that was written.
        """
        return save_dataset(self.dataset, path)

    def __str__(self) -> str:
        return wording.summary(self.dataset)


def build_result(real: xr.Dataset, test_arrays: Mapping[str, object], attrs: Mapping[str, object]) -> Result:
    """
    A Result from real synchrony and the arrays of its test.

    Parameters
    ----------
    real : xarray.Dataset
        Output of `Study.synchrony`; not changed.
    test_arrays : mapping of str to array
        Arrays by the names and with the axes of `TEST_ARRAYS`; also numbers, and (dims, array) for further names.
        `group_statistic`, `group_null_mean`, `group_null_sd` and `p` must be there. Bins of `null_hist` divide 0..1
        evenly unless `hist_center` or `hist_edge_low` says otherwise.
    attrs : mapping of str to value
        Settings of the test, such as null_kind, n_draws, exact, seed, tail, correct; they join those of `real`.

    Returns
    -------
    Result
        With `attrs["kind"] == "result"`.
    """
    missing = [name for name in REQUIRED if name not in test_arrays]
    assert not missing, f"test_arrays lack {missing}"
    variables = {name: _variable(name, values) for name, values in test_arrays.items()}
    merged = real.assign(variables)
    if "null_hist" in merged and not {"hist_center", "hist_edge_low"} & set(variables):
        n_bins = merged.sizes["hist_bin"]
        merged["hist_center"] = _variable("hist_center", (np.arange(n_bins) + 0.5) / n_bins)
    merged = merged.set_coords([name for name in ("hist_center", "hist_edge_low") if name in merged])
    if "group_z" not in merged:
        z = (merged["group_statistic"] - merged["group_null_mean"]) / merged["group_null_sd"]
        merged["group_z"] = _variable("group_z", z.transpose(*FEATURE).to_numpy())
    return Result(merged.assign_attrs(encode_attrs({**real.attrs, **attrs, "kind": "result"})))


def _variable(name: str, values: Any) -> tuple[tuple[str, ...], Any, dict[str, str]]:
    if isinstance(values, tuple):
        dims, array = values
        return dims, array, {}
    array = np.asarray(values)
    dims, unit, meaning = TEST_ARRAYS.get(name, ((), "1", name))
    return dims if array.ndim else (), array, {"units": unit, "long_name": meaning}


def mean_variables(
    coherence: Any,
    coherency: Any,
    valid_fraction: Any,
    centre_hz: Any,
    dims: tuple[str, ...],
    *,
    shares: Any = None,
    above: Any = None,
) -> dict[str, tuple[tuple[str, ...], Any, dict[str, str]]]:
    """
    The variables of band means, from the arrays of `Engine.coherence`.

    Parameters
    ----------
    coherence, valid_fraction : float64 [...]
    coherency : complex128 [...]
    centre_hz : float64
        Band centres in Hz, broadcastable to `coherence`.
    dims : tuple of str
        Names of the axes.
    shares : float64 [..., 4], optional
        With `above`, float64 [...]: shares of cells by phase.
    """
    phase = np.where(np.isnan(coherency), np.nan, np.angle(coherency))
    numbers = {
        "coherence": (coherence, "1", "mean magnitude-squared coherence"),
        "fisher_z": (fisher_z(coherence), "1", "artanh of the square root of coherence; for models"),
        "coherency_re": (coherency.real, "1", "real part of the mean complex coherency"),
        "coherency_im": (coherency.imag, "1", "imaginary part of the mean complex coherency"),
        "phase": (phase, "rad", "angle of the mean complex coherency; positive: a leads"),
        "phase_consistency": (np.abs(coherency), "1", "modulus of the mean complex coherency"),
        "lag": (
            phase / (2 * np.pi * centre_hz),
            "s",
            "phase at band centre as time, within half a period; ambiguous by whole periods",
        ),
        "valid_fraction": (valid_fraction, "1", "share of the band x epoch's cells that entered"),
    }
    if shares is not None:
        numbers["share_above"] = (above, "1", "share of the cells that are coherent: R2 above the level")
        for k, name in enumerate(PHASES):
            words = name.replace("_", " ")
            numbers[f"share_{name}"] = (shares[..., k], "1", f"share of the coherent cells with phase class {words}")
    return {name: (dims, values, {"units": u, "long_name": text}) for name, (values, u, text) in numbers.items()}


def provenance(
    *, spec: object = None, seed: int | None = None, study_sha256: str = "", **more: object
) -> dict[str, str | int | float]:
    """
    Attributes that say where a dataset comes from.

    Parameters
    ----------
    spec : WTC or mapping, optional
        Settings of the estimator; stored as JSON text under "spec".
    seed : int, optional
        Seed of the null; left out if None.
    study_sha256 : str
        Digest of the study file, 64 hexadecimal digits.
    **more
        Further attributes, encoded for netCDF.

    Returns
    -------
    dict of str to (str, int or float)
        With ibsync_version, versions (JSON) and created (ISO 8601, UTC) besides the above.
    """
    versions = {name: _version(name) for name in ("numpy", "scipy", "h5py", "xarray")}
    attrs: dict[str, object] = {
        "ibsync_version": _version("ibsync"),
        "versions": {"python": python_version(), **versions},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "study_sha256": study_sha256,
    }
    if spec is not None:
        attrs["spec"] = spec
    if seed is not None:
        attrs["seed"] = seed
    return encode_attrs({**attrs, **more})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def load(path: str | os.PathLike[str]) -> Result:
    """
    A Result, or saved real synchrony, read back from its file.

    Parameters
    ----------
    path : str or path-like
        A file written by `Result.save` or `save_dataset`.

    Returns
    -------
    Result
        Its `kind` says which of the two the file holds.

    Raises
    ------
    InputError
        If the file is missing, cut short, damaged, or not one of ibsync's.
    """
    dataset = load_dataset(path)
    if dataset.attrs.get("kind") not in ("result", "synchrony") or "coherence" not in dataset:
        raise InputError(f"{path}: not a results file of ibsync; give a file written by save() or `ibsync run`")
    return Result(dataset)


def to_frame(dataset: xr.Dataset) -> pd.DataFrame:
    """Tidy table of a result or of real synchrony; see `Result.to_frame`."""
    import pandas as pd

    of_row: dict[str, str | None] = dict.fromkeys(("coherence", "null_mean", "null_sd", "z", "valid_fraction"))
    of_row |= {"coherence": "statistic" if "statistic" in dataset else "coherence"}
    of_row |= {"p": "dyad_p", "p_fdr": "dyad_p_fdr", "p_max": "dyad_p_max"}
    tables = [_columns(dataset, ROW, of_row)]
    if "group_statistic" in dataset:
        group = dataset.assign(valid_fraction=dataset["valid_fraction"].mean("dyad"))
        sources = {
            "coherence": "group_statistic",
            "null_mean": "group_null_mean",
            "null_sd": "group_null_sd",
            "z": "group_z",
            **dict.fromkeys(("p", "p_fdr", "p_max", "valid_fraction")),
        }
        tables.insert(0, _columns(group, FEATURE, sources))
    return pd.concat([pd.DataFrame(table, columns=list(COLUMNS)) for table in tables], ignore_index=True)


def _columns(dataset: xr.Dataset, dims: tuple[str, ...], sources: Mapping[str, str | None]) -> dict[str, Any]:
    """One flat array per column; `sources` names the variable of a column where it differs from the column."""
    shape = tuple(dataset.sizes[dim] for dim in dims)
    size = int(np.prod(shape))
    numbers = {
        column: dataset[source or column].transpose(*dims).to_numpy().reshape(size)
        for column, source in sources.items()
        if (source or column) in dataset
    }
    # Arrays, because pandas gives a column that was made from a lone NaN the dtype object.
    absent = {name: np.full(size, np.nan) for name in NUMBERS}
    labels = {"dyad": _same("(all)", size), "session": _same("(all)", size)}
    labels |= {dim: _spread(dataset[dim].to_numpy(), dims.index(dim), shape) for dim in dims}
    if "dyad" in dims:
        has_sessions = "session" in dataset.coords
        labels["session"] = _spread(dataset["session"].to_numpy(), 0, shape) if has_sessions else _same("", size)
    signal = str(dataset["signal"].item()) if "signal" in dataset.coords else ""
    return {**absent, **labels, "signal": _same(signal, size), **numbers, "is_pseudo": np.zeros(size, bool)}


def _same(label: str, size: int) -> np.ndarray[Any, np.dtype[np.object_]]:
    return np.full(size, label, dtype=object)


def _spread(labels: np.ndarray[Any, Any], axis: int, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Labels of one axis repeated over all others: object [size]."""
    along = [1] * len(shape)
    along[axis] = shape[axis]
    return np.broadcast_to(labels.astype(object).reshape(along), shape).reshape(-1)


# --- rows -------------------------------------------------------------------------------------------------------------


def refuse_rows_twice(dataset: xr.Dataset) -> None:
    """
    Raise PlanError if a dyad stands twice in one session and task: it would count twice.

    Parameters
    ----------
    dataset : xarray.Dataset
        Real synchrony, one row per dyad, session and task.
    """
    names = [name for name in ("dyad", "session", "task") if name in dataset.coords]
    seen = set()
    for key in zip(*(dataset[name].values.astype(str).tolist() for name in names), strict=True):
        if key in seen:
            session = f" has session {key[1]!r} twice" if "session" in names else " stands twice"
            raise PlanError(f"dyad {key[0]!r}{session}; leave one of the rows out")
        seen.add(key)
