"""The nulls of partners and of surrogate signals in words: names, hypotheses, what a small p leaves open."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .repairing import Repairing


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
    others : str
        With what real partners are compared.
    holds : bool
        Whether what is exchanged is exchangeable under the hypothesis; else the test is approximate.
    """

    kind: str
    name: str
    statement: str
    not_excluded: str
    others: str = "the null"
    holds: bool = True


_INDEPENDENT = "shared stimuli, shared physiology, and power or motion locked to the conditions"
_NOT_NEURAL = (
    "mutual entrainment that is not neural (systemic physiology, synchrony of speech or movement, events in the "
    "room during one session), nor does it show causality"
)

REPAIRED = NullHypothesis(
    "repair", "re-pairing of partners",
    "real partners are like pseudo-dyads of the same paradigm", _NOT_NEURAL,
    "re-paired partners",
)  # fmt: skip
WITHIN_PERSON = NullHypothesis(
    "repair", "re-pairing of partners within the person whom they share",
    "real partners are like pseudo-dyads of the same shared person and another of their partners",
    _NOT_NEURAL, "re-paired partners of the same person",
)  # fmt: skip
OVER_PERSONS = NullHypothesis(
    "repair", "re-pairing of partners over all persons whom they share",
    "real partners are like pseudo-dyads of the same paradigm, and any partner could have met any of the shared "
    "persons",
    _NOT_NEURAL, "re-paired partners of all persons",
)  # fmt: skip
REMATCHED = NullHypothesis(
    "repair", "re-matching of all persons, values averaged over both orders of the two",
    "real partners are like any two persons of the same paradigm", _NOT_NEURAL,
    "re-paired partners",
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
        "within each dyad and epoch a trial is as like the partner's trial of the same time as any other",
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


def repairing_hypothesis(design: Repairing) -> NullHypothesis:
    """The hypothesis of a re-pairing: who is exchanged, and whether those have the same occasions."""
    null = REMATCHED if design.roles == "interchangeable" else REPAIRED
    if design.shares_people:
        null = WITHIN_PERSON if design.within_person else OVER_PERSONS
    if len(set(design.units)) < len(design):
        null = replace(null, name=f"{null.name}, dyads that share a recording moving together")
    if not design.same_attendance:
        null = replace(
            null, name=f"{null.name}, approximate where persons missed sessions", holds=False,
            statement=f"{null.statement} (approximate where persons missed sessions)",
        )  # fmt: skip
    return null
