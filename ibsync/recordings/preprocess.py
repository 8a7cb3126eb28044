"""From raw light to haemoglobin, by MNE's own steps: optical density, scalp coupling, motion, Beer-Lambert."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, require_known

if TYPE_CHECKING:
    import mne

RAW_KINDS = ("fnirs_cw_amplitude", "fnirs_od")
MOTIONS = ("tddr", "none")
HEARTBEAT_HZ = 1.5 + 0.3
"""Highest frequency that the scalp coupling index looks at, with the width of its filter."""
_NAME = re.compile(r"S(\d+)_D(\d+) (\d+)")


@dataclass(frozen=True)
class Preprocessing:
    """
    How raw light becomes haemoglobin.

    Parameters
    ----------
    min_sci : float
        Smallest scalp coupling index (Pollonini et al. 2014) of a good channel: the correlation of its wavelengths from
        0.7 to 1.5 Hz, where the heart beats. 0 judges none.
    motion : {"tddr", "none"}
        Temporal derivative distribution repair (Fishburn et al. 2019) of the optical density, or nothing.
    ppf : float or one for each wavelength
        Partial pathlength factor of the modified Beer-Lambert law.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    min_sci: float = 0.75
    motion: str = "tddr"
    ppf: float | tuple[float, ...] = 6.0

    def __post_init__(self) -> None:
        """Check the words."""
        require_known("motion", self.motion, MOTIONS)
        if not _is_number(self.min_sci) or not 0 <= self.min_sci < 1:
            raise InputError(f"min_sci={self.min_sci!r} must be a number from 0 to below 1")
        factors = self.ppf if isinstance(self.ppf, Sequence) and not isinstance(self.ppf, str) else [self.ppf]
        if not factors or not all(_is_number(x) and 0 < x < math.inf for x in factors):
            raise InputError(f"ppf={self.ppf!r} must be a positive number, or one for each wavelength")
        several = isinstance(self.ppf, Sequence)
        object.__setattr__(self, "ppf", tuple(map(float, factors)) if several else float(factors[0]))
        object.__setattr__(self, "min_sci", float(self.min_sci))

    @classmethod
    def asked(cls, given: object) -> Preprocessing | None:
        """What `pack` is asked for: True takes the defaults, a mapping names others, False or None is none."""
        if given is None or given is False or isinstance(given, cls):
            return given or None
        if given is True:
            return cls()
        if not isinstance(given, Mapping):
            raise InputError(f"preprocess={given!r}: write True, or a mapping such as {{'min_sci': 0.5}}")
        for word in given:
            require_known("preprocess", str(word), tuple(cls.__dataclass_fields__))
        words: dict[str, Any] = {
            word: tuple(value) if isinstance(value, list) else value for word, value in given.items()
        }
        return cls(**words)

    def to_dict(self) -> dict[str, Any]:
        """Parameters and the version of MNE, as JSON can carry them."""
        ppf = list(self.ppf) if isinstance(self.ppf, tuple) else self.ppf
        return {"min_sci": self.min_sci, "motion": self.motion, "ppf": ppf, "mne": _mne().__version__}


def preprocess(
    raw: mne.io.BaseRaw, *, min_sci: float = 0.75, motion: str = "tddr", ppf: float | tuple[float, ...] = 6.0
) -> mne.io.BaseRaw:
    """Haemoglobin of raw light.

    Parameters
    ----------
    raw : mne.io.Raw
        Intensity or optical density of one person.
    min_sci, motion, ppf
        As `Preprocessing`.

    Returns
    -------
    mne.io.Raw
        HbO and HbR in mol/L. Channels with a low scalp coupling index, or a sample without light, are among its bads.

    Raises
    ------
    InputError
        If it holds no raw light, a channel lacks a wavelength, or MNE is not installed.

    Notes
    -----
    `mne.preprocessing.nirs`: optical_density, scalp_coupling_index, temporal_derivative_distribution_repair,
    beer_lambert_law.

    Examples
    --------
    >>> import mne
    >>> raw = mne.io.read_raw_snirf("docs/data/two-dyads/sub-132A/nirs/sub-132A_task-rest_nirs.snirf")
    >>> haemoglobin = preprocess(raw, min_sci=0.5)
    """
    words = Preprocessing(min_sci, motion, ppf)
    density, bad = coupled(raw, words)
    made = haemoglobin(density, words)
    made.info["bads"] = sorted({*made.info["bads"], *(f"{name} {kind}" for name in bad for kind in ("hbo", "hbr"))})
    return made


def coupled(raw: mne.io.BaseRaw, words: Preprocessing, name: str = "raw") -> tuple[mne.io.BaseRaw, dict[str, str]]:
    """
    Optical density of a copy, and its bad channels ("S1_D1") with the reason.

    Raises
    ------
    InputError
        As `preprocess`.
    """
    mne = _mne()
    if not isinstance(raw, mne.io.BaseRaw):
        raise InputError(f"{name} is a {type(raw).__name__}: give an mne.io.Raw, such as mne.io.read_raw_snirf(path)")
    nirs = mne.preprocessing.nirs
    kinds = set(raw.get_channel_types()) & set(RAW_KINDS)
    if len(kinds) != 1:
        what = " and ".join(sorted(kinds)) or ", ".join(sorted(set(raw.get_channel_types())))
        raise InputError(f"{name}: holds {what}; preprocessing begins with raw intensity or optical density alone")
    light = raw.copy().pick(list(kinds)).load_data(verbose="error")
    _require_wavelengths(light.ch_names, name)
    places = np.array([channel["loc"][3:9] for channel in light.info["chs"]])
    distances = np.linalg.norm(places[:, :3] - places[:, 3:], axis=1)
    if not (np.isfinite(distances) & (distances > 0)).all():
        raise InputError(f"{name}: has no positions of optodes, whose distance the Beer-Lambert law needs; add them")
    is_dark = ~np.isfinite(light._data) | ((light._data <= 0) & ("fnirs_cw_amplitude" in kinds))
    bad = {
        _optodes(channel): f"no light in {n} samples"
        for channel, n in zip(light.ch_names, is_dark.sum(axis=1).tolist(), strict=True)
        if n
    }
    dark = [_optodes(channel) in bad for channel in light.ch_names]
    light._data[dark] = 1.0  # of no use, and the steps know neither NaN nor 0
    density = nirs.optical_density(light, verbose="error") if "fnirs_cw_amplitude" in kinds else light
    if words.min_sci > 0:
        if density.info["sfreq"] <= 2 * HEARTBEAT_HZ:
            raise InputError(
                f"{name}: is sampled at {density.info['sfreq']:g} Hz, and the scalp coupling index looks at heartbeats "
                f"up to {HEARTBEAT_HZ:g} Hz: judge no channel by it, min_sci=0 (--min-sci 0)"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a filter longer than a short recording
            index = nirs.scalp_coupling_index(density, verbose="error")
        for channel, sci in zip(density.ch_names, index.tolist(), strict=True):
            if not sci >= words.min_sci:
                bad.setdefault(_optodes(channel), f"scalp coupling index below {words.min_sci:g}")
    return density, bad


def haemoglobin(density: mne.io.BaseRaw, words: Preprocessing) -> mne.io.BaseRaw:
    """HbO and HbR in mol/L of optical density."""
    nirs = _mne().preprocessing.nirs
    if words.motion == "tddr":
        density = nirs.temporal_derivative_distribution_repair(density, verbose="error")
    try:
        return nirs.beer_lambert_law(density, ppf=words.ppf)
    except ValueError as error:
        raise InputError(f"ppf={words.ppf!r}: {error}") from None


def light_of(
    samples: NDArray[np.float64],
    sfreq: float,
    channels: Sequence[tuple[int, int, float]],
    optodes_mm: Mapping[str, Sequence[float]],
    kind: str = "fnirs_cw_amplitude",
) -> mne.io.BaseRaw:
    """
    Raw light as MNE holds it.

    Parameters
    ----------
    samples : float64 [channel, time]
    sfreq : float
        Hz.
    channels : sequence of (source, detector, wavelength in nm)
    optodes_mm : mapping of channel ("S1_D1") to (x, y, z, x, y, z)
        Positions of source and detector in mm; z may be NaN.
    kind : str
        MNE's type of the channels.
    """
    mne = _mne()
    order = sorted(range(len(channels)), key=lambda k: channels[k])
    names = [f"S{source}_D{detector} {round(nm)}" for source, detector, nm in (channels[k] for k in order)]
    info = mne.create_info(names, sfreq, kind, verbose="error")
    for entry, k in zip(info["chs"], order, strict=True):
        source, detector, nm = channels[k]
        place = np.array(optodes_mm.get(f"S{source}_D{detector}", (np.nan,) * 6), float) / 1000
        place[[2, 5]] = np.nan_to_num(place[[2, 5]])  # flat positions have no height
        entry["loc"][:3] = (place[:3] + place[3:]) / 2
        entry["loc"][3:9], entry["loc"][9] = place, round(nm)
    return mne.io.RawArray(np.array(samples, float)[order], info, verbose="error")


def _require_wavelengths(names: Sequence[str], where: str) -> None:
    of: dict[str, set[str]] = {}
    for name in names:
        if not _NAME.fullmatch(name):
            raise InputError(f"{where}: the channel {name!r} is not named as 'S1_D1 760'; rename it")
        of.setdefault(_optodes(name), set()).add(name.rpartition(" ")[2])
    every = set().union(*of.values())
    for channel, wavelengths in of.items():
        if len(every) < 2 or wavelengths != every:
            raise InputError(
                f"{where}: {channel} has light of {', '.join(sorted(wavelengths))} nm alone; haemoglobin needs two "
                "wavelengths and more, the same in every channel: leave the channel out"
            )


def _optodes(name: str) -> str:
    return name.partition(" ")[0]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)


def _mne() -> Any:
    try:
        import mne
    except ImportError as error:
        raise InputError("preprocessing needs MNE; install it with: pip install 'ibsync[mne]'") from error
    return mne
