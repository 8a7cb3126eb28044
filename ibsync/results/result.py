"""The outcome of a run as two labelled datasets: saved and loaded whole, tabulated, described in words."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compiled.choice import choice
from ..coupling.measures import MEASURES, PHASES, fisher_z, measure_named
from ..coupling.wavelet_coherence import Coherence
from ..errors import InputError, PlanError
from . import wording
from .findings import is_tested
from .layout import ARRAYS, NULL_ARRAYS, SHIFT, SLOPE, STATISTIC, TASK, VALUE, axes_of, real_name
from .lost import losses_in, lost_table
from .netcdf import dataset_bytes, encode_attrs, load_datasets
from .netcdf import save_dataset as save_dataset
from .pages import fragment
from .record import SETTINGS, Record
from .report_tables import findings
from .result_set import mixed_set
from .tidy_table import tidy_table

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def _nothing() -> xr.Dataset:
    import xarray as xr

    return xr.Dataset()


_FEW = 5


@dataclass(frozen=True, repr=False)
class Result:
    """
    Real synchrony, its null distribution and the test of one against the other.

    Parameters
    ----------
    dataset : xarray.Dataset
        Dimensions dyad (one row per dyad, session and task), epoch, channel_a, channel_b, band, and shift where the
        spec has several lags. `value` is what was
        tested of each row, with its unit and its name. A task is a condition: where there are several, what was found
        over dyads (`p`, `group_statistic`) has the further dimension tested_task. `attrs["kind"]` is "result", or
        "synchrony" where nothing has been tested yet; `attrs` also hold the settings of the test and its sentences.
    null : xarray.Dataset
        Draws of the null and their histograms; empty where nothing has been tested. In the file it is the group "null".
    maps : xarray.Dataset
        Coherence and phase over time and period of one channel pair of one dyad, as `ibs.plot.wtc` draws them. A run
        of a plan adds it, of the smallest p; otherwise it is empty. In the file it is the group "maps".

    Examples
    --------
    >>> result = test(real, null)
    >>> result.to_frame()
    >>> result.save("result.nc")
    """

    dataset: xr.Dataset
    null: xr.Dataset = field(default_factory=_nothing)
    maps: xr.Dataset = field(default_factory=_nothing)

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
        """The outcome in one sentence: how many features survive correction at alpha, and the strongest."""
        return wording.headline(self.dataset)

    def methods(self) -> str:
        """A paragraph for a paper: estimator, settings, null, corrections, seed, versions, references."""
        return wording.methods(self.dataset)

    @property
    def lost(self) -> pd.DataFrame:
        """
        Table of what has no value, or one of less than was asked for.

        Returns
        -------
        pandas.DataFrame
            Columns dyad, session, task, person, epoch, band, channel, what ("no value", "cut" or "not exchanged"),
            reason, fix; "(all)" for every one. Empty where nothing is lost.
        """
        return lost_table(losses_in(self.dataset.attrs))

    def to_frame(self) -> pd.DataFrame:
        """
        Tidy table: the group test first, then one row per dyad, session and task, of the pairs that were asked for.

        Returns
        -------
        pandas.DataFrame
            Columns dyad, session, task, epoch, group, signal, channel_a, channel_b, band, value (what was tested: see
            `dataset["value"].attrs`), null_mean, null_sd, z, p, p_fdr, p_max, valid_fraction, n_dyads (of the group
            test), and shift (s) where the spec has several lags. In rows of the group test dyad, session and group are
            "(all)", and so is task unless several were tested, each by itself. In rows of one dyad p, p_fdr and p_max
            are those of its own
            surrogates, corrected within the row, and NaN after re-pairing, which only tests the group.
        """
        return tidy_table(self.dataset)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """
        Write a netCDF-4 file that plain xarray opens, whole or not at all; the null is its group "null".

        Where the folder is gone or full, the file is kept beside the path under another name, else in the working
        folder, else in the temporary folder, and the error says where.

        Parameters
        ----------
        path : str or path-like
            The file; an older result is replaced.
        overwrite : bool
            Replace a file that is no result of ibsync's.

        Returns
        -------
        pathlib.Path
            The file that was written.

        Raises
        ------
        InputError
            If the file cannot be written there, or something else has its name.
        """
        return save_dataset(self.dataset, path, null=self.null, maps=self.maps, overwrite=overwrite)

    def to_bytes(self) -> bytes:
        """The content of the file that `save` writes."""
        return dataset_bytes(self.dataset, self.null, self.maps)

    def __str__(self) -> str:
        return wording.summary(self.dataset)

    def __repr__(self) -> str:
        return f"Result({self.kind}, {wording.dyads_in_words(self.dataset)}: {self.headline})"

    def _repr_html_(self) -> str:
        found = findings(self.dataset, limit=_FEW) if is_tested(self.dataset) else None
        return fragment("notebook.html", "result", self, found.table if found else None)


def build_result(rows: xr.Dataset, arrays: Mapping[str, Any], record: Record) -> Result:
    """
    A Result from the rows of a test, its arrays, and what is to be kept of it.

    Parameters
    ----------
    rows : xarray.Dataset
        Real synchrony, or the units of the test; not changed. Holds `value` unless `arrays` do.
    arrays : mapping of str to array
        Arrays by the names of `ARRAYS` and `NULL_ARRAYS`, of any shape that can be turned into theirs; those of other
        names are left out. `group_statistic`, `group_null_mean`, `group_null_sd` and `p` must be there. Bins of
        `null_hist` divide the range of the measure evenly unless `hist_center` says otherwise.
    record : Record

    Returns
    -------
    Result
        With `attrs["kind"] == "result"`.
    """
    import xarray as xr

    words, sizes = record.words, dict(rows.sizes)
    units = {VALUE: words.value.unit, STATISTIC: words.statistic.unit, SLOPE: words.slope.unit}
    names = {"value": words.value.words, "group_statistic": words.statistic.words, "slope": words.slope.words}
    given = {"value": rows["value"].to_numpy(), **arrays} if "value" in rows else dict(arrays)
    if "group_z" not in given:
        z = np.subtract(given["group_statistic"], given["group_null_mean"]) / given["group_null_sd"]
        given["group_z"] = z
    if "null_hist" in given and "hist_center" not in given:
        n_bins, (low, high) = given["null_hist"].shape[-1], measure_named(record.measure).range
        given["hist_center"] = low + (high - low) * (np.arange(n_bins) + 0.5) / n_bins

    def labelled(table: Mapping[str, tuple[tuple[str, ...], str, str]]) -> dict[str, Any]:
        axes = {name: axes_of(rows, dims) for name, (dims, *_) in table.items()}
        return {
            name: (axes[name], np.reshape(given[name], [sizes.get(dim, -1) for dim in axes[name]]),
                   {"units": units.get(unit, unit), "long_name": names.get(name, meaning)})
            for name, (_, unit, meaning) in table.items() if name in given
        }  # fmt: skip

    attrs = {name: value for name, value in rows.attrs.items() if name not in SETTINGS}
    dataset = rows.assign(labelled(ARRAYS))
    dataset.attrs = {**attrs, **encode_attrs({**record.attrs(str(rows["signal"].item())), "kind": "result"})}
    null = xr.Dataset(
        labelled(NULL_ARRAYS), {dim: rows[dim].values for dim in (TASK, "epoch", "band", SHIFT) if dim in sizes}
    )
    return Result(dataset, null.set_coords([name for name in ("hist_center",) if name in null]))


def variables_of(
    means: Any, measure: str, centre_hz: Any, dims: tuple[str, ...]
) -> dict[str, tuple[tuple[str, ...], Any, dict[str, str]]]:
    """
    The variables of what `Engine.coherence` gave.

    Parameters
    ----------
    means : Coherence or Coupled
        Arrays with the axes `dims`.
    measure : str
        What the value of a `Coupled` is.
    centre_hz, dims
        As `mean_variables`.
    """
    if isinstance(means, Coherence):
        of = (means.coherence, means.coherency, means.valid_fraction)
        return mean_variables(*of, centre_hz, dims, shares=means.shares, above=means.above)
    about = MEASURES[measure]
    numbers = {
        measure: (means.value, about.unit, about.definition),
        "valid_fraction": (means.valid_fraction, "1", "share of the band x epoch's samples that entered"),
    }
    numbers["n_samples"] = (means.n_samples, "1", "samples that entered")
    if means.lag is not None:
        numbers["lag"] = (means.lag, "s", "lag of the value; positive: a leads")
    return {name: (dims, values, {"units": u, "long_name": text}) for name, (values, u, text) in numbers.items()}


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
    # NaN put into a complex array has the imaginary part 0.
    imaginary, phase = (np.where(np.isnan(coherency), np.nan, x) for x in (coherency.imag, np.angle(coherency)))
    numbers = {
        "coherence": (coherence, "1", MEASURES["coherence"].definition),
        "fisher_z": (fisher_z(coherence), "1", "artanh of the square root of coherence; for models"),
        "coherency_re": (coherency.real, "1", "real part of the mean complex coherency"),
        "coherency_im": (imaginary, "1", MEASURES["imaginary_coherency"].definition),
        "phase": (phase, "rad", "angle of the mean complex coherency; positive: a leads"),
        "phase_consistency": (np.abs(coherency), "1", MEASURES["phase_consistency"].definition),
        "phase_lag": (
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


def measure_values(real: xr.Dataset, name: str) -> xr.DataArray:
    """
    A measure of every row, from the variables of `mean_variables`: dimensions as there.

    Parameters
    ----------
    real : xarray.Dataset
        From `Study.synchrony`.
    name : str
        One of `measures.MEASURES`.

    Raises
    ------
    PlanError
        If the measure is unknown, or needs shares of cells that were not counted.
    """
    measure = measure_named(name)
    words = {"units": measure.unit, "long_name": measure.definition}
    held = name if measure.needs == "coupling" else "coherence"
    if held not in real:
        raise PlanError(f"measure {name!r} needs {held!r}, and real holds {real_name(real)!r}: compute it anew")
    if measure.needs == "coupling":
        return real[name].assign_attrs(words)
    if measure.needs == "shares" and "share_above" not in real:
        raise PlanError(f"measure {name!r} needs shares of cells: compute with Study.synchrony(..., shares=True)")
    means = Coherence(real["coherence"].to_numpy(), np.empty(0, complex), real["valid_fraction"].to_numpy())
    if measure.needs == "coherency":
        coherency = real["coherency_re"].to_numpy() + 1j * real["coherency_im"].to_numpy()
        means = replace(means, coherency=coherency)
    if measure.needs == "shares":
        shares = np.stack([real[f"share_{phase}"].to_numpy() for phase in PHASES], axis=-1)
        means = replace(means, shares=shares, above=real["share_above"].to_numpy())
    return real["coherence"].copy(data=measure.of(means)).assign_attrs(words)


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
        With ibsync_version, versions (JSON), blas (linear algebra, with the kernel that it chose for the processor),
        loops (the build of the compiled loops, or "NumPy") and created (ISO 8601, UTC) besides the above.
    """
    versions = {name: _version(name) for name in ("numpy", "scipy", "h5py", "xarray")}
    attrs: dict[str, object] = {
        "ibsync_version": _version("ibsync"),
        "versions": {"python": python_version(), **versions},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "study_sha256": study_sha256,
        "blas": _blas(),
        "loops": choice().build,
    }
    if spec is not None:
        attrs["spec"] = spec
    if seed is not None:
        attrs["seed"] = seed
    return encode_attrs({**attrs, **more})


def _blas() -> str:
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    words = (f"{pool['internal_api']} {pool['version']} {pool.get('architecture') or ''}".strip() for pool in pools)
    return ", ".join(sorted(set(words))) or "unknown"


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def load(path: str | os.PathLike[str], *, accept_changes: bool = False) -> Result:
    """
    A Result, or saved real synchrony, read back from its file.

    Parameters
    ----------
    path : str or path-like
        A file written by `Result.save` or `save_dataset`.
    accept_changes : bool
        Take a file that was changed after ibsync wrote it; `methods()` then says so.

    Returns
    -------
    Result
        Its `kind` says which of the two the file holds.

    Raises
    ------
    InputError
        If the file is missing, cut short, damaged, changed, written by another version of ibsync, or none of ibsync's.

    Warns
    -----
    RuntimeWarning
        If a file that was written together with this one is now of another run.

    Examples
    --------
    >>> load("result.nc").to_frame()
    """
    groups = load_datasets(path, accept_changes=accept_changes)
    dataset = groups["/"]
    if dataset.attrs.get("kind") not in ("result", "synchrony"):
        raise InputError(f"{path}: not a results file of ibsync; give a file written by save() or `ibsync run`")
    if mixed := mixed_set(path, dataset.attrs):
        warnings.warn(mixed, RuntimeWarning, stacklevel=2)
        dataset.attrs["warning"] = "; ".join(filter(None, [dataset.attrs.get("warning"), mixed]))
    return Result(dataset, *(groups.get(f"/{name}", _nothing()) for name in ("null", "maps")))
