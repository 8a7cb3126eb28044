"""What can go wrong, in three kinds: the data, the request, the machine; and how an unknown word is refused."""

import difflib
from collections.abc import Iterable


class IbsyncError(Exception):
    """Base of every error that ibsync raises on purpose; its text is one line that names the fix."""


class InputError(IbsyncError):
    """A file, recording, dyad or channel cannot be used as it is."""


class PlanError(IbsyncError):
    """What was asked for cannot be computed: a band, a design, a setting, a memory budget."""


class DeviceError(IbsyncError):
    """The backend that was asked for is missing or failed."""


_CALLED_OTHERWISE = {"fdr_bh": "fdr", "bh": "fdr", "fwer": "max", "bonferroni": "max", "regions": "rois"}
"""Words of other programs, where the one that looks most alike means something else."""


def require_known(name: str, value: object, known: Iterable[str], *others: str) -> None:
    """Refuse a word that is none of those known, with these, what else is valid, and the nearest word."""
    words = list(known)
    if not isinstance(value, str) or value not in words:
        valid = ", ".join([*map(repr, words), *others])
        parts = [f"{name}={value!r} is unknown", f"valid are {valid}", did_you_mean(value, words)]
        raise PlanError("; ".join(filter(None, parts)))


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """A question that names the known word most like an unknown one; empty if none is."""
    words = list(known)
    meant = _CALLED_OTHERWISE.get(str(value).lower(), "")
    near = [meant] if meant in words else difflib.get_close_matches(str(value), words, 1)
    return f"did you mean {near[0]!r}?" if near else ""
