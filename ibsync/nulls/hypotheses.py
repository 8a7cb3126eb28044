"""The nulls of partners and of surrogate signals in words: names, hypotheses, what a small p leaves open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NullHypothesis:
    """
    A null hypothesis in words.

    Attributes
    ----------
    kind : str
        As in `Study.null`, or the name that a question gives it.
    name : str
        What is exchanged or replaced.
    statement : str
        What holds under the null; follows "the hypothesis that".
    not_excluded : str
        What a small p leaves open; follows "does not exclude".
    """

    kind: str
    name: str
    statement: str
    not_excluded: str


_INDEPENDENT = "shared stimuli, shared physiology, and power or motion locked to the conditions"
_NOT_NEURAL = (
    "mutual entrainment that is not neural (systemic physiology, synchrony of speech or movement, events in the "
    "room during one session), nor does it show causality"
)

REPAIRED = NullHypothesis(
    "repair", "re-pairing of partners",
    "nothing ties a person to their own partner beyond what ties them to any partner in the same paradigm", _NOT_NEURAL,
)  # fmt: skip
REMATCHED = NullHypothesis(
    "repair", "re-matching of all persons, values averaged over both orders of the two",
    "nothing ties two partners to each other beyond what ties any two persons in the same paradigm", _NOT_NEURAL,
)  # fmt: skip

# kind: name, hypothesis, what a small p leaves open
_SURROGATES = {
    "phase": (
        "Fourier phase randomisation of the second person",
        "the two persons' signals are independent, one of them stationary, linear and Gaussian", _INDEPENDENT,
    ),
    "iaaft": (
        "iterated amplitude-adjusted Fourier surrogates of the second person",
        "the two persons' signals are independent, one of them a static monotone function of a linear Gaussian process",
        _INDEPENDENT,
    ),
    "shift": (
        "circular shifts of the second person",
        "the two persons' signals are independent, one of them stationary", f"{_INDEPENDENT}, and slow drift",
    ),
    "block": (
        "blocks of the second person's recording in another order",
        "the blocks of one person's signal are exchangeable", f"{_INDEPENDENT}, and power added by block edges",
    ),
    "trial": (
        "exchange of trials within dyads",
        "within each dyad and epoch nothing ties a person's trial to the partner's trial of the same time",
        "slow states and physiology that change over trials, stimuli that differ between trials",
    ),
    "ar1": (
        "AR(1) noise for both persons", "both signals are independent AR(1) noise",
        f"narrow-band physiology (Mayer waves), {_INDEPENDENT}",
    ),
    "ar": (
        "autoregressive noise for both persons", "both signals are independent autoregressive noise",
        f"narrow-band physiology, {_INDEPENDENT}",
    ),
}  # fmt: skip
SURROGATES = {kind: NullHypothesis(kind, *words) for kind, words in _SURROGATES.items()}

AR_WARNING = (
    "autoregressive noise is no calibrated null for fNIRS: of independent simulated recordings with a Mayer wave and "
    "breathing 42 in 100 were called coherent at a nominal 5; use kind='repair' or 'phase' for inference"
)


def null_hypothesis(kind: str, roles: str = "fixed") -> NullHypothesis:
    """The hypothesis of a null of `Study.null`, by its kind and, for re-pairing, its roles."""
    if kind == "repair":
        return REMATCHED if roles == "interchangeable" else REPAIRED
    return SURROGATES[kind]
