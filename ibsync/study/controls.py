"""Controls: signals of a person whose share is taken out of the person's channels before two people are compared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.engine import Engine
from ..coupling.regions import Members
from ..coupling.transform.signals import FINE, prepare
from ..errors import InputError, PlanError, did_you_mean, require_known
from ..recordings.recording import DyadRow, Recording
from ..recordings.study_file import StudyFile
from .engines import channels_together

Floats = NDArray[np.float64]

SHORT, GLOBAL = "short", "global"
"""Controls that are not the name of one signal: all short channels, and the mean of all other channels."""

OWN_WARNING = (
    "with how='own', controls that are coherent between partners leave residuals that are coherent too, and pass for "
    "synchrony (79 of 100 simulated studies at a nominal 5): take out the controls of both, how='both'"
)

HOW = ("both", "own", "regression")
"""How controls are taken out."""

MOST_CONTROLS = 8
"""More are refused: what they leave of a cell is next to nothing, as smoothing averages over few independent values."""

_SAME_CORRELATION = 1 - 1e-9


@dataclass(frozen=True)
class Controls:
    """
    Which controls are taken out, and how.

    Parameters
    ----------
    names : tuple of str
        "short", "global", auxiliary signals or channels.
    how : {"both", "own", "regression"}
        With C the unit features of a person's controls at a cell, and u those of a channel:

        * "both": u' = normalise(u - C (C^H C)^-1 C^H u), C the controls of both people, for the channels of both,
          which is the partial coherence given all controls (`ibs.partial_wtc`);
        * "own": the same with C the person's own controls. Where the controls of two people are coherent, so is what
          they leave, and real partners pass for coherent;
        * "regression": x' = x - Z (Z^T Z)^-1 Z^T x in time, over the samples that are there, Z the person's own
          controls and a constant, before the transform.
    n_components : int
        Short channels are replaced by so many principal components of theirs.
    n_short : int
        Components that everybody has; 0 before a study has been looked at, or without short channels.
    """

    names: tuple[str, ...]
    how: str = "both"
    n_components: int = 2
    n_short: int = 0

    @classmethod
    def of(cls, controls: object, how: str, n_components: int) -> Controls | None:
        """What the words of `Study.synchrony` ask for; None for nothing.

        Raises
        ------
        PlanError
            If they are no list of names, or a word is unknown.
        """
        names = (
            (controls,) if isinstance(controls, str) else tuple(controls) if isinstance(controls, Iterable) else None
        )
        if names is None or not all(isinstance(name, str) and name for name in names):
            raise PlanError(f"controls={controls!r} must be a list of names, such as ['short', 'heart_rate']")
        require_known("how", how, HOW)
        if (
            isinstance(n_components, bool)
            or not isinstance(n_components, int)
            or not 1 <= n_components <= MOST_CONTROLS
        ):
            raise PlanError(f"n_components={n_components!r} must be a whole number from 1 to {MOST_CONTROLS}")
        if len(set(names)) < len(names):
            raise PlanError(f"controls={list(names)} names one twice: leave it out")
        if how == "both" and GLOBAL in names:
            raise PlanError(
                "how='both' does not take 'global', which is another control for every channel: use how='own' or "
                "how='regression'"
            )
        return cls(names, how, n_components) if names else None

    @property
    def single(self) -> tuple[str, ...]:
        """Controls that are one signal each."""
        return tuple(name for name in self.names if name not in (SHORT, GLOBAL))

    @property
    def apart(self) -> bool:
        """Whether every channel has a control of its own, the mean of the others."""
        return GLOBAL in self.names

    @property
    def n_common(self) -> int:
        """Controls that all channels of a person share."""
        return len(self.single) + self.n_short

    @property
    def n_taken(self) -> int:
        """Controls that are taken out of one channel."""
        return (self.n_common + self.apart) * (2 if self.how == "both" else 1)

    def n_rows(self, n_channels: int) -> int:
        """Signals that `read` gives of so many channels."""
        return n_channels if self.how == "regression" else n_channels * (1 + self.apart) + self.n_common

    @property
    def of_features(self) -> dict[str, Any]:
        """Words of `Engine.features` for the signals of `read`; of "both" with the partner's controls behind them."""
        if self.how == "regression":
            return {}
        return {"n_controls": self.n_common * (2 if self.how == "both" else 1), "apart": self.apart}

    @property
    def words(self) -> dict[str, Any]:
        """The words of `Study.null` that ask for these."""
        return {"controls": self.names, "how": self.how, "n_components": self.n_components}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able form."""
        return {"of": list(self.names), "how": self.how, "n_components": self.n_components, "n": self.n_taken}

    def __str__(self) -> str:
        return json.dumps(self.to_dict())

    # --- signals ------------------------------------------------------------------------------------------------------

    def read(
        self, study: StudyFile, recording: Recording, signal: str, x: NDArray[np.float32], start: int = 0
    ) -> NDArray[np.float32]:
        """
        Channels with what is taken out of them, as `Engine.features` takes them; of "regression" what is left.

        Parameters
        ----------
        study : StudyFile
        recording : Recording
        signal : str
        x : float32 [channel, sample]
            The person's channels; NaN for samples and whole channels that are missing.
        start : int
            First sample of `x` in the recording.

        Returns
        -------
        float32 [channel, sample]
            The channels, with "global" the mean of all others for each of them, then the common controls.
        """
        common = self.common(study, recording, signal, x.shape[1], start)
        apart = others(x) if self.apart else np.empty((0, x.shape[1]))
        if self.how != "regression":
            return np.concatenate([x, apart, common]).astype(np.float32)
        own = apart[:, None] if self.apart else np.empty((len(x), 0, x.shape[1]))
        left = [regressed(channel, np.concatenate([extra, common])) for channel, extra in zip(x, own, strict=True)]
        return np.array(left, np.float32).reshape(x.shape)

    def common(self, study: StudyFile, recording: Recording, signal: str, n_samples: int, start: int = 0) -> Floats:
        """Controls that all channels of a person share, from one sample on: float64 [control, sample]."""
        taken = slice(start, start + n_samples)
        parts = [np.empty((0, n_samples))]
        for name in self.names:
            if name == SHORT:
                near = _short_signals(study, recording, signal)[:, taken]
                parts.append(components(near, self.n_short))
            elif name != GLOBAL:
                parts.append(_single_signal(study, recording, signal, name)[None, taken].astype(np.float64))
        return np.concatenate(parts)

    # --- what a study has ---------------------------------------------------------------------------------------------

    def found_in(self, study: StudyFile, rows: Sequence[DyadRow], signal: str) -> Controls:
        """
        The same for a study: with the number of short channels' components that everybody has.

        Raises
        ------
        PlanError
            If nobody has such a control, or they are too many.
        InputError
            If a person lacks one, it does not vary, or it is one of the channels themselves.
        """
        people = list(
            dict.fromkeys((row.label, recording) for row in rows for recording in (row.recording_a, row.recording_b))
        )
        for name in self.names:
            _require_somewhere(name, [recording for _, recording in people])
        for where, recording in people:
            self._require(f"{study.path}: {where}, {recording.participant}", recording)
        n_short = 0
        if SHORT in self.names:
            n_short = min(self.n_components, *(len(short_channels(recording)) for _, recording in people))
        made = replace(self, n_short=n_short)
        if made.n_taken > MOST_CONTROLS:
            raise PlanError(
                f"{made.n_taken} controls are taken out of each channel, and smoothing leaves little beyond "
                f"{MOST_CONTROLS}: name fewer, or lower n_components"
            )
        for where, recording in {recording.id: (where, recording) for where, recording in people}.values():
            made._require_of_signals(study, where, recording, signal)
        return made

    def _require(self, where: str, recording: Recording) -> None:
        for name in self.names:
            if name == SHORT:
                missing = "has no good short channel" if not short_channels(recording) else ""
            elif name == GLOBAL:
                missing = "has fewer than two good channels for 'global'" if len(long_channels(recording)) < 2 else ""
            else:
                missing = "" if _has(recording, name) else f"has no control {name!r}"
            if missing:
                raise InputError(
                    f"{where}: {missing}, which others have; leave it out of controls, or the dyad out with "
                    "select(dyad=[...])"
                )

    def _require_of_signals(self, study: StudyFile, where: str, recording: Recording, signal: str) -> None:
        """Refuse controls that do not vary, or that are a channel."""
        common = prepare(self.common(study, recording, signal, recording.n_samples))
        names = [name for name in self.names if name != GLOBAL]
        labels = [label for name in names for label in [name] * (self.n_short if name == SHORT else 1)]
        for label, status in zip(labels, common.status, strict=True):
            if status != FINE:
                raise InputError(
                    f"{study.path}: {where}, {recording.participant}: control {label!r} does not vary or has no "
                    "sample; leave it out of controls, or the dyad out"
                )
        tested = [name for name in long_channels(recording) if name not in self.names]
        x = study.signals(recording, signal)
        chosen = prepare(x[[recording.channels.index(name) for name in tested]])
        unit, controls = ((side.x - side.mean[:, None]) * side.gain[:, None] for side in (chosen, common))
        alike = np.abs(unit @ controls.T) / recording.n_samples > _SAME_CORRELATION
        for channel, control in np.argwhere(alike):
            raise InputError(
                f"{study.path}: {where}, {recording.participant}: control {labels[control]!r} is channel "
                f"{tested[channel]!r} itself, of which nothing would be left; leave the control or the channel out"
            )


# --- recordings -------------------------------------------------------------------------------------------------------


def short_channels(recording: Recording) -> tuple[str, ...]:
    """Good channels of a recording that are short."""
    return tuple(name for name in recording.short_channels if name not in recording.bad_channels)


def long_channels(recording: Recording) -> tuple[str, ...]:
    """Good channels of a recording that are not short."""
    marks = zip(recording.channels, recording.good, recording.short_flags, strict=True)
    return tuple(name for name, good, short in marks if good and not short)


def _has(recording: Recording, name: str) -> bool:
    good = dict(zip(recording.channels, recording.good, strict=True))
    return name in recording.auxiliary or good.get(name, False)


def _require_somewhere(name: str, recordings: Sequence[Recording]) -> None:
    """Refuse a control that nobody has."""
    auxiliary = dict.fromkeys(a for recording in recordings for a in recording.auxiliary)
    channels = dict.fromkeys(c for recording in recordings for c in recording.channels)
    is_short = any(map(short_channels, recordings))
    if name == GLOBAL or (name == SHORT and is_short) or name in auxiliary or name in channels:
        return
    if name == SHORT:
        raise PlanError(
            "controls: no recording of this study has a short channel: pack it from files with positions of optodes "
            "or a channels.tsv with short_channel, or leave 'short' out"
        )
    known = [*([SHORT] if is_short else []), GLOBAL, *auxiliary, *channels]
    hint = did_you_mean(name, known) or f"there are {', '.join(known[:12])}"
    raise PlanError(f"controls: nobody has {name!r}; {hint}")


def _short_signals(study: StudyFile, recording: Recording, signal: str) -> NDArray[np.float32]:
    numbers = [recording.channels.index(name) for name in short_channels(recording)]
    return study.signals(recording, signal)[numbers]


def _single_signal(study: StudyFile, recording: Recording, signal: str, name: str) -> NDArray[np.float32]:
    if name in recording.auxiliary:
        return np.asarray(study.auxiliary(recording)[recording.auxiliary.index(name)])
    return np.asarray(study.signals(recording, signal)[recording.channels.index(name)])


# --- numbers ----------------------------------------------------------------------------------------------------------


def components(x: NDArray[np.floating], n: int) -> Floats:
    """
    First principal components of signals of unit variance: float64 [component, sample].

    Parameters
    ----------
    x : float [signal, sample]
        NaN marks a gap; a component has one where half of the signals or more have.
    n : int
        Not more than there are signals. Of as many as there are, the components span what the signals span.
    """
    ready = prepare(x)
    unit = (ready.x.astype(np.float64) - ready.mean[:, None]) * ready.gain[:, None]
    _, vectors = np.linalg.eigh(unit @ unit.T)
    out: Floats = vectors[:, ::-1][:, :n].T @ unit
    if ready.bad is not None:
        out[:, 2 * ready.bad.sum(axis=0) >= len(x)] = np.nan
    return out


def others(x: NDArray[np.floating]) -> Floats:
    """
    Mean of all other channels, for each channel: float64 [channel, sample].

    Parameters
    ----------
    x : float [channel, sample]
        NaN marks a gap; the mean is over the channels that are there, each less its own mean, and NaN where none is.
    """
    there = np.isfinite(x)
    count = there.sum(axis=1, keepdims=True)
    mean = np.where(there, x, 0).sum(axis=1, keepdims=True, dtype=np.float64) / np.maximum(count, 1)
    centred = np.where(there, x - mean, 0.0)
    total, n = centred.sum(axis=0) - centred, there.sum(axis=0) - there
    return np.asarray(np.divide(total, n, out=np.full(x.shape, np.nan), where=n > 0))


def regressed(x: NDArray[np.floating], controls: NDArray[np.floating]) -> Floats:
    """
    What is left of a signal when controls and a constant are fitted to it by least squares: float64 [sample].

    Parameters
    ----------
    x : float [sample]
    controls : float [control, sample]
        NaN marks gaps: a sample counts, and has a value, where the signal and all controls do.
    """
    there = np.isfinite(x) & np.isfinite(controls).all(axis=0)
    out = np.full(x.shape, np.nan)
    if there.any():
        columns = controls[:, there].astype(np.float64)
        columns = columns - columns.mean(axis=1, keepdims=True)
        size = np.linalg.norm(columns, axis=1, keepdims=True)
        columns = columns / np.where(size > 0, size, 1)
        y = x[there].astype(np.float64)
        y = y - y.mean()
        out[there] = y - columns.T @ np.linalg.lstsq(columns.T, y, rcond=None)[0]
    return out


def together(x: NDArray[Any], y: NDArray[Any], controls: Controls | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """
    Two people as `Engine.features` takes them: with how="both", each with the controls of both behind the channels.

    Parameters
    ----------
    x, y : [..., channel, sample]
        Signals of either (`Controls.read`), or something of the same axes.
    controls : Controls or None
    """
    if controls is None or controls.how != "both":
        return x, y
    n_x, n_y = x.shape[-2] - controls.n_common, y.shape[-2] - controls.n_common
    of_both = np.concatenate([x[..., n_x:, :], y[..., n_y:, :]], axis=-2)
    a, b = (np.concatenate([side, of_both], axis=-2) for side in (x[..., :n_x, :], y[..., :n_y, :]))
    return a, b


def measured_with_both(
    engine: Engine,
    first: NDArray[Any],
    second: NDArray[Any],
    controls: Controls,
    measure: str,
    regions: Members | None = None,
) -> Floats:
    """
    A measure of each of some first persons with each of some second persons, each without the controls of both.

    What is left of a person depends on the partner, so that every two people are a dyad of their own.

    Parameters
    ----------
    engine : Engine
    first, second : [person, channel, sample]
        Signals with controls behind the channels (`Controls.read`).
    controls : Controls
    measure : str
    regions : (bool [person or 1, region, channel], bool [person or 1, region, channel]), optional

    Returns
    -------
    float64 [first person, second person, channel_a, channel_b, band, epoch]
    """
    n = len(first), len(second)
    places = np.indices(n).reshape(2, -1)
    step = max(1, channels_together(engine.device) // max(first.shape[1], second.shape[1]))
    found = []
    for k in range(0, places.shape[1], step):
        i, j = places[:, k : k + step]
        sides = together(first[i], second[j], controls)
        a, b = (engine.features(side, **controls.of_features) for side in sides)
        members = regions and (_of_persons(regions[0], i), _of_persons(regions[1], j))
        found.append(engine.measure(a, b, measure, regions=members, by_dyad=True))
    values = np.concatenate(found)
    return values.reshape(*n, *values.shape[1:])


def _of_persons(members: NDArray[np.bool_], numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    return members[numbers if len(members) > 1 else np.zeros_like(numbers)]
