"""Synchrony of a dyad as a container of MNE-Connectivity, which is imported here and only when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, PlanError, require_known
from .layout import SHIFT

if TYPE_CHECKING:
    import xarray as xr


def to_mne_connectivity(
    real: xr.Dataset,
    dyad: str,
    *,
    session: str = "",
    task: str = "",
    epoch: str | None = None,
    value: str | None = None,
) -> Any:
    """
    One dyad's values as MNE-Connectivity keeps them.

    Parameters
    ----------
    real : xarray.Dataset
        From `Study.synchrony`.
    dyad : str
        Its label.
    session, task : str
        Which of the dyad's rows, where it has several.
    epoch : str, optional
        Which epoch, where there are several.
    value : str, optional
        Variable; default: the first, such as "coherence" or "plv".

    Returns
    -------
    mne_connectivity.SpectralConnectivity
        Nodes are the channels of the first person, named "a: Cz", then those of the second one; connections are all
        pairs between them; frequencies are the centres of bands in Hz.

    Raises
    ------
    InputError
        If MNE-Connectivity is not installed.
    PlanError
        If that is not in the dataset, or is several values.

    Examples
    --------
    >>> to_mne_connectivity(real, "d1").get_data()  # doctest: +SKIP
    """
    try:
        from mne_connectivity import SpectralConnectivity
    except ImportError as error:
        raise InputError("this needs MNE-Connectivity; install it with: pip install mne-connectivity") from error
    if SHIFT in real.dims:
        raise PlanError("MNE-Connectivity has no lags: choose one, such as real.isel(shift=0)")
    name = next(iter(real.data_vars)) if value is None else value
    require_known("value", name, [str(variable) for variable in real.data_vars])
    row = real["dyad"].values == dyad
    for coordinate, label in (("session", session), ("task", task)):
        row &= (real[coordinate].values == label) | (not label)
    if row.sum() != 1:
        raise PlanError(f"dyad {dyad!r} has {row.sum()} rows of that session and task: name one of them")
    epochs = [str(label) for label in real["epoch"].values]
    if epoch is None and len(epochs) > 1:
        raise PlanError(f"epoch is missing: name one of {', '.join(epochs)}")
    chosen = epochs[0] if epoch is None else epoch
    require_known("epoch", chosen, epochs)
    values = real[str(name)].isel(dyad=int(np.flatnonzero(row)[0])).sel(epoch=chosen)
    data = values.transpose("channel_a", "channel_b", "band").to_numpy()
    n_a, n_b, n_bands = data.shape
    names = [f"a: {channel}" for channel in real["channel_a"].values]
    names += [f"b: {channel}" for channel in real["channel_b"].values]
    centres = np.sqrt(real["band_low_hz"].to_numpy() * real["band_high_hz"].to_numpy())
    return SpectralConnectivity(
        data.reshape(n_a * n_b, n_bands), freqs=centres.tolist(), n_nodes=n_a + n_b, names=names,
        indices=(np.repeat(np.arange(n_a), n_b), n_a + np.tile(np.arange(n_b), n_a)), method=str(name),
    )  # fmt: skip
