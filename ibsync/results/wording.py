"""The sentences of a result: what was tested, what came out, and the paragraph for the paper."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

ALPHA = 0.05
FEATURE = ("epoch", "channel_a", "channel_b", "band")

_INDEPENDENT = "shared stimuli, shared physiology, and power or motion locked to the conditions"
_NOT_NEURAL = (
    "mutual entrainment that is not neural (systemic physiology, synchrony of speech or movement, events in the "
    "room during one session), nor does it show causality"
)
_CONDITIONS = (
    "whatever else differs between the conditions and acts on both persons (stimuli, physiology, movement, signal "
    "power), nor does it show that the difference is specific to real partners"
)
_SESSIONS = (
    "whatever else changes from session to session and acts on both persons (practice, familiarity, physiology, "
    "movement)"
)

# kind of null ("rematch": re-pairing of interchangeable roles): (the null hypothesis, what a small p leaves open)
HYPOTHESES: dict[str, tuple[str, str]] = {
    "repair": (
        "nothing ties a person to their own partner beyond what ties them to any partner in the same paradigm",
        _NOT_NEURAL,
    ),
    "rematch": (
        "nothing ties two partners to each other beyond what ties any two persons in the same paradigm",
        _NOT_NEURAL,
    ),
    "phase": ("the two persons' signals are independent, one of them stationary, linear and Gaussian", _INDEPENDENT),
    "iaaft": (
        "the two persons' signals are independent, one of them a static monotone function of a linear Gaussian process",
        _INDEPENDENT,
    ),
    "shift": ("the two persons' signals are independent, one of them stationary", _INDEPENDENT + ", and slow drift"),
    "ar1": ("both signals are independent AR(1) noise", "narrow-band physiology (Mayer waves), " + _INDEPENDENT),
    "ar": ("both signals are independent autoregressive noise", "narrow-band physiology, " + _INDEPENDENT),
    "trial": (
        "within each dyad and epoch nothing ties a person's trial to the partner's trial of the same time",
        "slow states and physiology that change over trials, stimuli that differ between trials",
    ),
    "block": ("the blocks of one person's signal are exchangeable", _INDEPENDENT + ", and power added by block edges"),
    "sign_flip": (
        "the two conditions do not differ: each dyad's difference is as likely to have the other sign",
        _CONDITIONS,
    ),
    "condition_labels": (
        "none of the conditions differ: the labels of each dyad's conditions may be exchanged",
        _CONDITIONS,
    ),
    "session_slopes": (
        "synchrony does not change on average: each dyad's slope is as likely to have the other sign",
        _SESSIONS,
    ),
    "session_order": (
        "no dyad changes at all: the sessions of each dyad could as well have come in any other order",
        "changes of single dyads that cancel in the mean, likeness of sessions close in time, or " + _SESSIONS,
    ),
    "group_labels": (
        "the groups change alike: any dyad could as well have been in the other group",
        "whatever else differs between the groups (people, equipment, number and spacing of sessions) or, where they "
        "differ in size, a mere difference of spread",
    ),
    "outcome": (
        "the outcome is as likely to go with any other's synchrony as with its own",
        "anything that varies along with both (severity, age, movement, signal quality, a trend over sessions), nor "
        "does it show that one causes the other",
    ),
    "transfer_gain": (
        "a person's synchrony with probe partners is as likely to go with any other's gain as with the own",
        "anything of the person that acts on both (the person's own rhythms, movement or signal quality, which raise "
        "synchrony with anybody; familiarity with the task), nor does it show that training causes it",
    ),
    "transfer_change": (
        "synchrony with probe partners does not change on average: each unit's change is as likely to have the other "
        "sign",
        "whatever else changes from before to after (practice, familiarity with the task, the persons' own rhythms or "
        "movement), as there is no untrained group, or that other trained partners would have another effect",
    ),
    "relations_relationship": (
        "what a dyad has beyond its two persons in one session is as likely to be any other dyad's in the next",
        "what two persons share without interaction (place, time of day, equipment, stimuli of their own), or persons "
        "whose values scatter more than those of others",
    ),
    "relations_person": (
        "it does not matter whose synchrony it is: values are exchangeable over persons",
        "what a person brings along without interaction (rhythms, movement, signal quality), a state of single "
        "sessions, or persons whose values scatter more than those of others",
    ),
    "relations_partner": (
        "it does not matter with whom: values are exchangeable over partners",
        "what a partner brings along without interaction (rhythms, movement, signal quality), a state of single "
        "sessions, or partners whose values scatter more than those of others",
    ),
}

AR_WARNING = (
    "autoregressive noise is no calibrated null for fNIRS: of independent simulated recordings with a Mayer wave and "
    "breathing 42 in 100 were called coherent at a nominal 5; use kind='repair' or 'phase' for inference"
)

ORDER_WARNING = (
    "exchanging the order of sessions tests that no dyad changes at all and that sessions are exchangeable; where "
    "dyads change in different directions or sessions close in time are alike, it rejects too often (14 to 20 of 100 "
    "simulated studies at a nominal 5): test a mean change with kind='sign_flip'"
)

TAILS = {"greater": "above the null", "less": "below the null", "two-sided": "different from the null"}

MEASURES = {
    "coherence": "coherence",
    "phase_consistency": "phase consistency",
    "in_phase": "share of coherent in-phase cells",
    "a_leads": "share of coherent cells in which the first person leads",
    "b_leads": "share of coherent cells in which the second person leads",
    "anti_phase": "share of coherent anti-phase cells",
    "above": "share of coherent cells",
}

NULLS = {
    "repair": "re-pairing of partners",
    "rematch": "re-matching of all persons, values averaged over both orders of the two",
    "phase": "Fourier phase randomisation of the second person",
    "iaaft": "iterated amplitude-adjusted Fourier surrogates of the second person",
    "shift": "circular shifts of the second person",
    "block": "blocks of the second person's recording in another order",
    "trial": "exchange of trials within dyads",
    "ar1": "AR(1) noise for both persons",
    "ar": "autoregressive noise for both persons",
    "sign_flip": "sign flips over dyads",
    "condition_labels": "exchange of condition labels within dyads",
    "session_slopes": "sign flips of slopes over dyads",
    "session_order": "exchange of the order of sessions within dyads",
    "group_labels": "exchange of groups among dyads",
    "outcome": "permutation of the outcome",
    "transfer_gain": "permutation over persons",
    "transfer_change": "sign flips of changes over persons",
    "relations_relationship": "exchange of persons in all sessions but the first",
    "relations_person": "exchange of values over persons",
    "relations_partner": "exchange of values over partners",
}

# Nulls whose p in both tails is that of the absolute value.
_FLIPPED = ("sign_flip", "condition_labels", "outcome", "session_slopes", "transfer_change")

# The same words for a contrast of conditions and a change over sessions, to be followed by what it is compared with.
CONTRAST_TAILS = {"greater": "above", "less": "below", "two-sided": "different from"}

OUTCOME_TAILS = {"greater": "a positive", "less": "a negative", "two-sided": "an"}

REFERENCES = {
    "grinsted": "Grinsted, Moore & Jevrejeva 2004, Nonlin. Processes Geophys. 11:561",
    "phipson": "Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39",
    "freedman": "Freedman & Lane 1983, J. Bus. Econ. Stat. 1:292",
    "warner": "Warner, Kenny & Stoto 1979, J. Pers. Soc. Psychol. 37:1742",
    "fdr": "Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57:289",
    "fdr_by": "Benjamini & Yekutieli 2001, Ann. Stat. 29:1165",
    "max": "Westfall & Young 1993, Resampling-Based Multiple Testing, Wiley",
    "cluster": "Maris & Oostenveld 2007, J. Neurosci. Methods 164:177",
    "tfce": "Smith & Nichols 2009, NeuroImage 44:83",
}

# What else is known of a feature; the slope of a result of `ibs.plasticity` is one of rows and not meant.
_OF_FEATURE = ("slope", "t", "n_dyads")
P_VALUES = ("p", "p_fdr", "p_max", "p_cluster", "p_tfce")

CONES = {
    "recording": "cells beyond the cone of influence of the recording's ends were left out",
    "epoch": "cells beyond the cone of influence of the epoch's own ends were left out",
    "none": "cells beyond the cone of influence were kept",
}


@dataclass(frozen=True)
class Finding:
    """One feature of the group test, with all that a table shows of it."""

    epoch: str
    channel_a: str
    channel_b: str
    band: str
    values: Mapping[str, float]
    measure: str = "coherence"

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
        place = f"{self.channel_a} - {self.channel_b}  {self.epoch}  {self.band}"
        values = f"{self.text('group_statistic')}{self.interval} (null {self.text('group_null_mean')})"
        return f"{place}  {self.measure} {values}  z {v['group_z']:.2f}  {numbers}"

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


def criterion(dataset: xr.Dataset) -> tuple[str, str]:
    """The strictest corrected p-value in the dataset: its name, and its words."""
    strictest = {
        "p_max": "family-wise",
        "p_tfce": "family-wise, threshold-free enhancement",
        "p_cluster": "family-wise, whole clusters",
        "p_fdr": "false discovery rate",
    }
    for name, words in strictest.items():
        if name in dataset and bool(np.isfinite(dataset[name]).any()):
            return name, words
    return "p", "not corrected"


def top_findings(dataset: xr.Dataset, *, limit: int) -> list[Finding]:
    """The features with the smallest corrected p, ties broken by p and then by the larger z."""
    limits = ("p_low", "p_high", "statistic_low", "statistic_high")
    names = (*limits, *P_VALUES, "group_statistic", "group_null_mean", "group_null_sd", "group_z", *_OF_FEATURE)
    size = int(np.prod([dataset.sizes[dim] for dim in FEATURE]))
    there = [name for name in names if name in dataset and set(dataset[name].dims) == set(FEATURE)]
    flat = {name: dataset[name].transpose(*FEATURE).to_numpy().ravel() for name in there}
    columns = {name: flat.get(name, np.full(size, np.nan)) for name in names}
    ranked = np.lexsort((-np.abs(columns["group_z"]), columns["p"], columns[criterion(dataset)[0]]))
    order = ranked[:limit][np.isfinite(columns["p"][ranked[:limit]])]
    places = np.unravel_index(order, [dataset.sizes[dim] for dim in FEATURE])
    labels = [[str(dataset[dim].values[i]) for i in place] for dim, place in zip(FEATURE, places, strict=True)]
    values = [{name: float(columns[name][index]) for name in names} for index in order]
    measure = _statistic(dataset.attrs) or ("slope" if change_in_words(dataset.attrs) else "coherence")
    return [Finding(e, a, b, band, v, measure) for e, a, b, band, v in zip(*labels, values, strict=True)]


def top_dyad_findings(dataset: xr.Dataset, *, limit: int) -> list[tuple[str, Finding]]:
    """Rows and features with the smallest p of single dyads, each with its dyad session; empty if untested."""
    if not _tested_one_by_one(dataset):
        return []
    dims = ("dyad", *FEATURE)
    sources = {
        "p": "dyad_p",
        "p_fdr": "dyad_p_fdr",
        "p_max": "dyad_p_max",
        "group_z": "z",
        "group_null_mean": "null_mean",
    }
    sources |= {"group_null_sd": "null_sd", "group_statistic": "statistic" if "statistic" in dataset else "coherence"}
    flat = {name: dataset[source].transpose(*dims).to_numpy().ravel() for name, source in sources.items()}
    ranked = np.lexsort((-np.abs(flat["group_z"]), flat["p"], np.nan_to_num(flat["p_max"], nan=2.0)))[:limit]
    found = []
    for index in ranked[np.isfinite(flat["p"][ranked])]:
        row, *place = np.unravel_index(index, [dataset.sizes[dim] for dim in dims])
        epoch, a, b, band = (str(dataset[dim].values[i]) for dim, i in zip(FEATURE, place, strict=True))
        session = str(dataset["session"].values[row]) if "session" in dataset.coords else ""
        name = " / ".join(word for word in (str(dataset["dyad"].values[row]), session) if word)
        found.append((name, Finding(epoch, a, b, band, {key: float(values[index]) for key, values in flat.items()})))
    return found


def _tested_one_by_one(dataset: xr.Dataset) -> bool:
    return "dyad_p" in dataset and bool(np.isfinite(dataset["dyad_p"]).any())


def is_tested(dataset: xr.Dataset) -> bool:
    """Whether the dataset holds a group test, and not only real synchrony."""
    return "p" in dataset and "group_statistic" in dataset


def hypothesis(attrs: Mapping[Any, Any]) -> str:
    """One sentence: what was tested, and what the test does not exclude."""
    kind = _kind(attrs)
    if not kind:
        return "Nothing was tested: these are descriptive values without a null distribution."
    null, leaves_open = HYPOTHESES.get(kind, (f"the null hypothesis of kind {kind}", "what that null does not vary"))
    tested = str(attrs.get("hypothesis") or f"Tested: {_tail_in_words(attrs)}, against the hypothesis that {null}")
    leaves_open = str(attrs.get("not_excluded") or leaves_open)
    if leaves_open in tested:
        return tested
    return f"{tested.strip().rstrip('.')}; a small p does not exclude {leaves_open.strip().rstrip('.')}."


def _kind(attrs: Mapping[Any, Any]) -> str:
    """Kind of the null, as in `HYPOTHESES`; empty if nothing was tested."""
    kind = str(attrs.get("null_kind", ""))
    return "rematch" if kind == "repair" and attrs.get("roles") == "interchangeable" else kind


def _tail_in_words(attrs: Mapping[Any, Any]) -> str:
    tail = str(attrs.get("tail", "greater"))
    if outcome_in_words(attrs):
        return f"{OUTCOME_TAILS.get(tail, 'an')} {outcome_in_words(attrs)}"
    if transfer_in_words(attrs) or relations_in_words(attrs):
        return transfer_in_words(attrs) or relations_in_words(attrs)
    if not _difference(attrs):
        return f"{_measure(attrs)} of real partners {TAILS.get(tail, TAILS['greater'])}"
    way = CONTRAST_TAILS.get(tail, CONTRAST_TAILS["greater"])
    return f"{_difference(attrs)} of real partners {way} {_contrast_reference(attrs)}"


def _difference(attrs: Mapping[Any, Any]) -> str:
    """What was tested where that is a difference and may have either sign; else empty."""
    contrast = contrast_in_words(attrs)
    return f"contrast {contrast}" if contrast else change_in_words(attrs)


def change_in_words(attrs: Mapping[Any, Any]) -> str:
    """The change over sessions that was tested, such as "change of coherence per session"; empty if it was none."""
    change = settings(attrs, "change")
    if not change:
        return ""
    between = f"difference {' - '.join(change['between'])} in " if change.get("between") else ""
    return f"{between}change of {_measure(attrs)} per {change['per']}"


def change_leaves_open(kind: str, taken_off: str) -> str:
    """
    What a small p of a change over sessions leaves open.

    Parameters
    ----------
    kind : str
        "session_slopes", "session_order" or "group_labels".
    taken_off : str
        Kind of the null whose mean was subtracted from each value; empty for raw values.
    """
    specific = "nor does it show that the change is specific to real partners"
    more = {
        "": f"or a change of rhythms, noise or length of the recordings, which moves raw coherence; {specific}",
        "repair": "nor does it show that what partners share more and more is neural",
    }
    return f"{HYPOTHESES[kind][1]}, {more.get(taken_off, specific)}"


def _measure(attrs: Mapping[Any, Any]) -> str:
    """What was tested, in words."""
    return MEASURES.get(str(attrs.get("measure", "coherence")), "coherence")


def row_in_words(attrs: Mapping[Any, Any]) -> str:
    """What the values of single rows are, such as "coherence" or "change of coherence per session"."""
    measure, change = _measure(attrs), settings(attrs, "change")
    if attrs.get("null_kind") == "outcome":
        less = " less the mean of its null" * int(attrs.get("less_null_mean", 0))
        return f"change of {measure}{less} per session" if attrs.get("level") == "slope" else f"{measure}{less}"
    if change:
        return change_in_words({**attrs, "change": json.dumps({**change, "between": []})})
    contrast = contrast_in_words(attrs)
    return f"{measure}, {contrast}" if contrast else measure


def session_in_words(attrs: Mapping[Any, Any]) -> str:
    """What was measured in each session where a change over sessions was tested."""
    less = " less the mean of its null" if settings(attrs, "change").get("taken_off") else ""
    return f"{_measure(attrs)}{less}"


def group_in_words(attrs: Mapping[Any, Any]) -> str:
    """What the group statistic is: a mean over rows in words, a difference of groups, or a correlation."""
    if attrs.get("null_kind") == "outcome":
        kind = "partial correlation" if _names(attrs, "covariates") else "correlation"
        return f"{kind} with {str(attrs.get('outcome'))!r}"
    return change_in_words(attrs) or row_in_words(attrs)


def subject(attrs: Mapping[Any, Any]) -> str:
    """What a result is about, as a heading says it."""
    if attrs.get("null_kind") == "outcome":
        level, name = attrs.get("level"), repr(str(attrs.get("outcome")))
        related = "change of synchrony" if level == "slope" else "synchrony"
        return f"{related} and {name}{' over the sessions of each dyad' * (level == 'within')}"
    change = settings(attrs, "change")
    if change:
        groups = f", {' and '.join(change['between'])}" if change.get("between") else ""
        return f"change over sessions{groups}"
    contrast = contrast_in_words(attrs)
    return f"contrast {contrast}" if contrast else "wavelet transform coherence"


def contrast_in_words(attrs: Mapping[Any, Any]) -> str:
    """The contrast of conditions that was tested, such as "talk - rest"; empty if it was none."""
    return weights_in_words(settings(attrs, "contrast"))


def weights_in_words(weights: Mapping[str, float]) -> str:
    """Weighted sum of conditions, such as "talk - 0.5 rest - 0.5 read"; those of weight 0 are not named."""
    words = ""
    for name, weight in weights.items():
        size = "" if abs(weight) == 1 else f"{abs(weight):.3g} "
        sign = (" - " if weight < 0 else " + ") if words else ("-" if weight < 0 else "")
        words += f"{sign}{size}{name}" if weight else ""
    return words


def outcome_in_words(attrs: Mapping[Any, Any]) -> str:
    """The association with an outcome that was tested, in words; empty if it was none."""
    if attrs.get("null_kind") != "outcome":
        return ""
    level, lag = str(attrs.get("level", "mean")), int(attrs.get("lag", 0))
    side = "the slope of synchrony over sessions" if level == "slope" else "synchrony"
    later = f" {lag} session{'s' * (lag > 1)} later" if lag else ""
    held = _names(attrs, "covariates")
    given = f", given {' and '.join(map(repr, held))}," if held else ""
    where = "over the sessions of each dyad" if level == "within" else "over dyads"
    of_outcome = {"change": "the change in ", "slope": "the slope over sessions of "}
    what = f"{of_outcome.get(str(attrs.get('outcome_level')), '')}{str(attrs.get('outcome'))!r}"
    return f"association of {side} with {what}{later}{given} {where}"


def _statistic(attrs: Mapping[Any, Any]) -> str:
    """Name of the group statistic where it is no mean over dyads; else empty."""
    if outcome_in_words(attrs) or attrs.get("null_kind") == "transfer_gain":
        return "correlation"
    if relations_in_words(attrs):
        return "variance"
    return "change" if attrs.get("null_kind") == "transfer_change" else ""


def transfer_in_words(attrs: Mapping[Any, Any]) -> str:
    """The transfer to other partners that was tested, with its tail, in words; empty if it was none."""
    told, tail = settings(attrs, "transfer"), str(attrs.get("tail", "two-sided"))
    if not told:
        return ""
    if told["kind"] == "change":
        way = CONTRAST_TAILS.get(tail, CONTRAST_TAILS["two-sided"])
        return f"a change of {_measure(attrs)} with {told['probe']} from before training to after {way} zero"
    given = f", given {' and '.join(map(repr, told['covariates']))}," if told["covariates"] else ""
    return (
        f"{OUTCOME_TAILS.get(tail, 'an')} association of {_gain_in_words(told)} with {_probe_in_words(told)}{given} "
        "over persons"
    )


def _gain_in_words(told: Mapping[str, Any]) -> str:
    return {
        "slope": f"the slope of synchrony with {told['trained']} over sessions",
        "change": f"the change of synchrony with {told['trained']} from the first session to the last",
        "level": f"synchrony with {told['trained']}",
    }[str(told["gain"])]


def _probe_in_words(told: Mapping[str, Any]) -> str:
    if told["change"]:
        return f"the change of synchrony with {told['probe']} from before training to after"
    return f"synchrony with {told['probe']}" + " after training" * bool(told["after"])


def transfer_leaves_open(kind: str, gain: str, taken_off: str) -> str:
    """
    What a small p of a transfer leaves open.

    Parameters
    ----------
    kind : {"gain", "change"}
    gain : {"slope", "change", "level"}
    taken_off : str
        Kind of the null whose mean was subtracted from each value; empty for raw values.
    """
    level = "; a level with one partner that goes with the level with another is no gain" * (gain == "level")
    raw = "; raw coherence also follows the rhythms, noise and length of the recordings of either person"
    return HYPOTHESES[f"transfer_{kind}"][1] + level * (kind == "gain") + raw * (not taken_off)


def entered_in_words(attrs: Mapping[Any, Any]) -> str:
    """How many persons or dyads and sessions entered a test over them; empty where nothing is known of it."""
    told = settings(attrs, "transfer")
    if not told:
        return str(attrs.get("entered", ""))
    return (
        f"{told['n_persons']} persons ({told['n_trained']} sessions with {told['n_trained_partners']} trained "
        f"partners, {told['n_probe']} probes after training and {told['n_before']} before, with "
        f"{told['n_probe_partners']} partners)"
    )


def _transfer_sentence(attrs: Mapping[Any, Any]) -> str:
    """What was taken of each person, how much of it there was, and what was exchanged."""
    told = settings(attrs, "transfer")
    less = f"The {_measure(attrs)} of each row was taken less the mean of its null ({told['taken_off']}). "
    entered = f"{entered_in_words(attrs)} entered. "
    order = "" if told["after"] else "No times told which probes came after training, and all were taken. "
    if told["kind"] == "change":
        units = f"over {told['n_units']} units, persons who share a probe partner being one," if told["shared"] else ""
        what = f"The mean change of {_measure(attrs)} with {told['probe']} from before training to after was tested"
        return f"{less * bool(told['taken_off'])}{entered}{what} {units or 'over persons'} by flipping its signs"
    held = "what the covariates leave of it (Freedman & Lane 1983)" if told["covariates"] else "the second"
    among = "among persons with the same shared partners" if told["shared"] else "over persons"
    kind = "partial correlation" if told["covariates"] else "correlation"
    return (
        f"{less * bool(told['taken_off'])}{entered}{order}The association of {_gain_in_words(told)} with "
        f"{_probe_in_words(told)} was tested by the {kind}, with {held} permuted {among}; the {100 * told['level']:g} "
        "% interval of its slope is that of the slopes which this test does not reject"
    )


def relations_in_words(attrs: Mapping[Any, Any]) -> str:
    """The part of synchrony that was tested, in words; empty if it was none."""
    part = settings(attrs, "relations").get("part")
    return f"a {part} part of the variance of {_measure(attrs)} above zero" if part else ""


def _relations_sentence(attrs: Mapping[Any, Any]) -> str:
    """How the variance was taken apart, and what was exchanged."""
    told = settings(attrs, "relations")
    less = f"The {_measure(attrs)} of each row was taken less the mean of its null ({told['taken_off']}). "
    round_robin = told["design"] == "round robin"
    whom = f"{told['n_persons']} persons" + f" with {told['n_partners']} partners" * (not round_robin)
    sessions = f"{told['n_sessions']} session{'s' * (told['n_sessions'] > 1)}"
    scattered = {"person": "values of each partner were exchanged over persons",
                 "partner": "values of each person were exchanged over partners"}  # fmt: skip
    if round_robin:
        scattered = dict.fromkeys(scattered, "whole meetings were exchanged")
    drawn = {"relationship": "people traded places in all sessions but the first", **scattered}[told["part"]]
    return (
        f"{less * bool(told['taken_off'])}Variance over the {told['n_dyads']} dyads of a {told['design']} ({whom}, "
        f"{sessions}) was taken apart by the social relations model, with moment estimates (Warner, Kenny & Stoto "
        f"1979); the {told['part']} part was tested by its variance, while {drawn}"
    )


def _contrast_reference(attrs: Mapping[Any, Any]) -> str:
    return "that of re-paired ones" if attrs.get("null_kind") == "repair" else "zero"


def not_excluded(attrs: Mapping[Any, Any]) -> str:
    """What a small p-value leaves open."""
    kind = _kind(attrs)
    return str(attrs.get("not_excluded") or HYPOTHESES.get(kind, ("", "what that null does not vary"))[1])


def headline(dataset: xr.Dataset) -> str:
    """The outcome in one sentence."""
    if not is_tested(dataset):
        mean = float(dataset["coherence"].mean())
        return f"Real synchrony of {dyads_in_words(dataset)}: mean coherence {mean:.3f}; nothing was tested."
    name, words = criterion(dataset)
    tested = int(np.isfinite(dataset["p"]).sum())
    if not tested:
        return dyad_by_dyad(dataset) or "No value could be tested: every one is missing."
    kept = int((dataset[name] <= ALPHA).sum())
    label = f"{name} ≤ {ALPHA}, {words}"
    contrast, change = contrast_in_words(dataset.attrs), change_in_words(dataset.attrs)
    measure = "difference of coherence" if contrast else change or _measure(dataset.attrs)
    measure = _statistic(dataset.attrs) or measure
    strongest = f"the smallest p is that of {_place(top_findings(dataset, limit=1)[0], name, measure)}"
    if float(dataset.attrs.get("min_p", 0.0)) > ALPHA:
        strongest += f"; with this design no p can fall below {number(float(dataset.attrs['min_p']))}"
    elif dataset.attrs.get("caution"):
        strongest += f"; {dataset.attrs['caution']}"
    subject = "No test" if not kept else f"{kept} of {tested} tests"
    more = [dyad_by_dyad(dataset)] + [f"Warning: {w}." for w in [dataset.attrs.get("warning")] if w]
    return " ".join([f"{subject} {_relation(dataset, kept)} ({label}); {strongest}.", *filter(None, more)])


def dyad_by_dyad(dataset: xr.Dataset) -> str:
    """How many tests of single dyads pass, where dyads were tested one by one; else empty."""
    if not _tested_one_by_one(dataset):
        return ""
    kinds = (("dyad_p_max", "family-wise"), ("dyad_p_fdr", "false discovery rate"), ("dyad_p", "not corrected"))
    name, words = next((n, w) for n, w in kinds if bool(np.isfinite(dataset[n]).any()))
    passed = dataset[name] <= ALPHA
    tested = np.isfinite(dataset[name])
    dims = [dim for dim in passed.dims if dim != "dyad"]
    within = " within each" if name != "dyad_p" else ""
    return (
        f"Dyad by dyad: {int(passed.sum())} of {int(tested.sum())} tests pass ({name} ≤ {ALPHA}, {words}{within}), in "
        f"{int(passed.any(dims).sum())} of {dataset.sizes['dyad']} dyad sessions."
    )


def _relation(dataset: xr.Dataset, kept: int) -> str:
    if _statistic(dataset.attrs) or _difference(dataset.attrs):
        article = "" if _statistic(dataset.attrs) else "the "
        return f"{'show' if kept > 1 else 'shows'} {article}{_tail_in_words(dataset.attrs)}"
    partners = "re-paired partners" if dataset.attrs.get("null_kind") == "repair" else "the null"
    tail = str(dataset.attrs.get("tail", "greater"))
    way = {"less": "less coherent than", "two-sided": "unlike"}.get(tail, "more coherent than")
    if (measure := _measure(dataset.attrs)) != "coherence":
        of = {"less": "a smaller", "two-sided": "another"}.get(tail, "a larger")
        return f"{'show' if kept > 1 else 'shows'} {of} {measure} of real partners than {partners}"
    return f"{'show' if kept > 1 else 'shows'} real partners {way} {partners}"


def _place(finding: Finding, name: str, measure: str) -> str:
    v = finding.values
    return (
        f"{finding.channel_a} with {finding.channel_b}, band {finding.band}, epoch {finding.epoch}: {measure} "
        f"{finding.text('group_statistic')} against {finding.text('group_null_mean')}, {name} = {number(v[name])}"
    )


def dyads_in_words(dataset: xr.Dataset) -> str:
    """Number of dyads, or of what else a row stands for, and of sessions where there is more than one."""
    n_rows, n_dyads = dataset.sizes["dyad"], len(set(dataset["dyad"].values.tolist()))
    unit = str(dataset.attrs.get("unit", "dyad"))
    text = f"{n_dyads} {unit}{'s' * (n_dyads != 1)}"
    return text if n_rows == n_dyads else f"{text}, {n_rows} {unit} sessions"


def bands_in_words(dataset: xr.Dataset) -> str:
    """Bands with their limits in Hz."""
    labels = [str(label) for label in dataset["band"].values]
    if "band_low_hz" not in dataset.coords or "band_high_hz" not in dataset.coords:
        return ", ".join(labels)
    limits = zip(labels, dataset["band_low_hz"].values, dataset["band_high_hz"].values, strict=True)
    return ", ".join(f"{label} ({low:.3g}–{high:.3g} Hz)" for label, low, high in limits)


def null_in_words(attrs: Mapping[Any, Any]) -> str:
    """Kind and size of the null, with the seed."""
    kind = _kind(attrs) or "no"
    name = NULLS.get(kind, f"{kind} surrogates")
    n_draws = int(attrs.get("n_draws", 0))
    if int(attrs.get("exact", 0)):
        return f"{name}, all {n_draws} besides the real one"
    ended = f", counts ended at {attrs['stop_at']} draws that reach the observed value" if attrs.get("stop_at") else ""
    return f"{name}, {n_draws} draws, seed {attrs.get('seed', 'not stored')}{ended}"


def summary(dataset: xr.Dataset) -> str:
    """A page of text: what the result holds, the outcome, the strongest features."""
    sizes = dataset.sizes
    signal = f", {dataset['signal'].item()}" if "signal" in dataset.coords else ""
    lines = [
        headline(dataset),
        f"  {dyads_in_words(dataset)}, {sizes['channel_a']} x {sizes['channel_b']} channels{signal}",
        f"  epochs: {', '.join(str(label) for label in dataset['epoch'].values)}",
        f"  bands: {bands_in_words(dataset)}",
    ]
    if is_tested(dataset):
        group = [f"    {finding}" for finding in top_findings(dataset, limit=5)]
        single = [f"    {name}: {finding}" for name, finding in top_dyad_findings(dataset, limit=5)]
        lines.append(f"  null: {null_in_words(dataset.attrs)}")
        lines += [f"  smallest {criterion(dataset)[0]}:", *group] if group else []
        lines += ["  smallest p of single dyads:", *single] if single else []
    if entered_in_words(dataset.attrs):
        lines.append(f"  entered: {entered_in_words(dataset.attrs)}")
    if dataset.attrs.get("blocks"):
        lines.append(f"  exchanged together: {dataset.attrs['blocks']}")
    if dataset.attrs.get("left_out"):
        lines.append(f"  left out: {dataset.attrs['left_out']}")
    return "\n".join([*lines, f"  {hypothesis(dataset.attrs)}"])


def settings(attrs: Mapping[Any, Any], name: str) -> dict[str, Any]:
    """An attribute that holds JSON text, as a dict; empty if it is missing or not a dict."""
    try:
        value = json.loads(str(attrs.get(name, "{}")))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _names(attrs: Mapping[Any, Any], name: str) -> list[str]:
    """An attribute that holds a JSON list of names; empty if it is missing."""
    try:
        value = json.loads(str(attrs.get(name, "[]")))
    except ValueError:
        return []
    return [str(item) for item in value] if isinstance(value, list) else []


def methods(dataset: xr.Dataset) -> str:
    """The paragraph for the paper."""
    attrs = dataset.attrs
    corrections = _corrections(dataset) if is_tested(dataset) else []
    sentences = [_estimator_sentence(dataset), _epoch_sentence(dataset)]
    cited = ["grinsted"]
    if is_tested(dataset):
        sentences += [_null_sentence(dataset), _correction_sentence(corrections, _names(attrs, "corrected_over"))]
        cited += ["phipson"] * (not int(attrs.get("exact", 0))) + corrections
        held = _names(attrs, "covariates") if outcome_in_words(attrs) else settings(attrs, "transfer").get("covariates")
        cited += ["freedman"] * bool(held) + ["warner"] * bool(relations_in_words(attrs))
    versions = ", ".join(f"{name} {value}" for name, value in settings(attrs, "versions").items())
    sentences.append(f"Versions: ibsync {attrs.get('ibsync_version', 'unknown')}{', ' * bool(versions)}{versions}.")
    return " ".join([*sentences, f"References: {'; '.join(REFERENCES[key] for key in cited)}."])


def _estimator_sentence(dataset: xr.Dataset) -> str:
    attrs, sizes = dataset.attrs, dataset.sizes
    spec = {"voices": 12, "preset": "grinsted", "accuracy": "exact", **settings(attrs, "spec"), **attrs}
    signal = f" of {dataset['signal'].item()}" if "signal" in dataset.coords else ""
    sfreq = f" sampled at {float(attrs['sfreq']):.4g} Hz" if "sfreq" in attrs else ""
    return (
        f"Magnitude-squared wavelet transform coherence (Morlet wavelet, omega0 = 6, {spec['voices']} voices per "
        f"octave; Grinsted et al. 2004) was computed with ibsync {attrs.get('ibsync_version', 'of unknown version')} "
        f"(preset {spec['preset']}, accuracy {spec['accuracy']}, backend {attrs.get('backend', 'not stored')}) for "
        f"{dyads_in_words(dataset)}, {sizes['channel_a']} x {sizes['channel_b']} channel pairs{signal}{sfreq}."
    )


def _epoch_sentence(dataset: xr.Dataset) -> str:
    spec = settings(dataset.attrs, "spec")
    epochs = list(settings(dataset.attrs, "contrast")) or [str(label) for label in dataset["epoch"].values]
    cut = (
        "over the whole recording"
        if epochs == ["all"]
        else f"over the {'epochs' if len(epochs) > 1 else 'epoch'} {', '.join(epochs)}"
    )
    how = "" if epochs == ["all"] else ", cut from the transform of the whole recording"
    cone = CONES.get(str(spec.get("coi", "recording")), CONES["recording"])
    least = f"; values with a valid fraction below {spec['min_valid']:.3g} are missing" if "min_valid" in spec else ""
    bands = "bands" if dataset.sizes["band"] > 1 else "band"
    return f"Coherence was averaged over the {bands} {bands_in_words(dataset)} and {cut}{how}; {cone}{least}."


def _null_sentence(dataset: xr.Dataset) -> str:
    attrs = dataset.attrs
    tail = str(attrs.get("tail", "greater"))
    if int(attrs.get("exact", 0)):
        rule = "p is the exact share of them, the real one included, that reach the observed value"
    else:
        rule = "p = (b + 1)/(m + 1) with b of m draws reaching the observed value (Phipson & Smyth 2010)"
    if tail == "two-sided":
        flipped = attrs.get("null_kind") in _FLIPPED
        rule += " in absolute value" if flipped else ", twice that of the smaller tail"
    floor = f", no smaller than {number(float(attrs['min_p']))}" if "min_p" in attrs else ""
    contrast = contrast_in_words(attrs)
    unit = f"Of each dyad the contrast {contrast} was taken, as the mean over its sessions. " * bool(contrast)
    unit += _change_sentence(attrs)
    left_out = f" Left out: {attrs['left_out']}." if attrs.get("left_out") else ""
    entered = f" {attrs['entered']} entered." if attrs.get("entered") else ""
    entered += f" Not independent, and exchanged as blocks: {attrs['blocks']}." if attrs.get("blocks") else ""
    left_out = entered + left_out
    compared = _related(attrs) or f"{unit}{_compared(attrs)} under the null"
    return f"{compared} ({null_in_words(attrs)}); {rule}{floor}; tail: {tail}.{left_out}"


def _related(attrs: Mapping[Any, Any]) -> str:
    """What was tested and what was exchanged, where that was no mean over dyads; else empty."""
    if outcome_in_words(attrs):
        return _outcome_sentence(attrs)
    if transfer_in_words(attrs):
        return _transfer_sentence(attrs)
    return _relations_sentence(attrs) if relations_in_words(attrs) else ""


def _compared(attrs: Mapping[Any, Any]) -> str:
    """What was compared with what, up to the name of the null."""
    change = settings(attrs, "change")
    if change.get("between"):
        first, second = change["between"]
        return f"The mean slope of group {first} minus that of group {second} was compared with the same difference"
    return f"The mean {'slope' if change else _measure(attrs)} over dyads was compared with the same mean"


def _change_sentence(attrs: Mapping[Any, Any]) -> str:
    """How the change over sessions of a dyad was computed; empty where none was."""
    change = settings(attrs, "change")
    if not change:
        return ""
    taken_off = f", in each less the mean of its null ({change['null']})" if change.get("null") else ""
    return (
        f"Of each dyad the least-squares slope of {_measure(attrs)} per {change['per']} was taken over the sessions "
        f"present{taken_off}. "
    )


def _outcome_sentence(attrs: Mapping[Any, Any]) -> str:
    """What was related to what, and what was exchanged."""
    less = f"The {_measure(attrs)} of each row was taken less the mean of its null. " * int(
        attrs.get("less_null_mean", 0)
    )
    held = _names(attrs, "covariates")
    what = "what the covariates leave of the outcome (Freedman & Lane 1983)" if held else "the outcome"
    among = "within each dyad" if attrs.get("level") == "within" else "over dyads"
    among += " that share a person, and over those that share nobody" if int(attrs.get("shared_persons", 0)) else ""
    kind = "partial correlation" if held else "correlation"
    return f"{less}The {outcome_in_words(attrs)}, was tested by the {kind}, with {what} permuted {among}"


def _corrections(dataset: xr.Dataset) -> list[str]:
    made = [
        key
        for key in ("fdr", "max", "cluster", "tfce")
        if f"p_{key}" in dataset and bool(np.isfinite(dataset[f"p_{key}"]).any())
    ]
    by_yekutieli = "fdr_by" in str(dataset.attrs.get("correct", ""))
    return ["fdr_by" if key == "fdr" and by_yekutieli else key for key in made]


def _correction_sentence(corrections: list[str], signals: Sequence[str]) -> str:
    words = {
        "fdr": "the false discovery rate (Benjamini & Hochberg 1995)",
        "fdr_by": "the false discovery rate under any dependence (Benjamini & Yekutieli 2001)",
        "max": "the family-wise error rate by the step-down maximum of z over features (Westfall & Young 1993)",
        "cluster": "the family-wise error rate by the largest cluster mass (Maris & Oostenveld 2007)",
        "tfce": "the family-wise error rate by threshold-free cluster enhancement (Smith & Nichols 2009)",
    }
    if not corrections:
        return "No correction for multiple tests was made."
    controlled = " and ".join(words[key] for key in corrections)
    together = f" of {' and '.join(signals)} together" if len(signals) > 1 else ""
    return f"Over all channel pairs, bands and epochs{together}, p was corrected for {controlled}."
