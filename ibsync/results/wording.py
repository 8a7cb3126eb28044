"""The sentences of a result, from those that its test left in it: the outcome, and the paragraph for the paper."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..coupling.measures import MEASURES, measure_in
from ..inference.p_values import CORRECTIONS, Correction
from .findings import Criterion, Finding, is_tested, is_tested_by_dyad, number, top_dyad_findings, top_findings
from .layout import SHIFT, asked_pairs, real_name, tasks_of, tested_values
from .lost import losses_in, lost_in_a_sentence, lost_lines

if TYPE_CHECKING:
    import xarray as xr

_REFERENCES = {
    "grinsted": "Grinsted, Moore & Jevrejeva 2004, Nonlin. Processes Geophys. 11:561",
    "phipson": "Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39",
    "sci": "Pollonini et al. 2014, Hear. Res. 309:84",
    "tddr": "Fishburn et al. 2019, NeuroImage 184:171",
}

_CONES = {
    "recording": "cells beyond the cone of influence of the recording's ends were left out",
    "epoch": "cells beyond the cone of influence of the epoch's own ends were left out",
    "none": "cells beyond the cone of influence were kept",
}


# --- what was tested --------------------------------------------------------------------------------------------------


def hypothesis(attrs: Mapping[Any, Any]) -> str:
    """One sentence: what was tested, and what the test does not exclude."""
    if "hypothesis" not in attrs:
        return "Nothing was tested: these are descriptive values without a null distribution."
    tested, leaves_open = _bare(attrs["hypothesis"]), _bare(attrs["not_excluded"])
    return f"{tested}; a small p does not exclude {leaves_open}."


def not_excluded(attrs: Mapping[Any, Any]) -> str:
    """What a small p-value leaves open, as a sentence."""
    return f"A small p does not exclude {_bare(attrs['not_excluded'])}."


def _bare(sentence: object) -> str:
    return str(sentence).strip().rstrip(".")


def null_in_words(attrs: Mapping[Any, Any]) -> str:
    """Name and size of the null, with the seed."""
    n = int(attrs["n"])
    if int(attrs["listed"]):
        return f"{attrs['null_name']}, all {n} besides the real one"
    ended = f", counts ended at {attrs['stop_at']} draws that reach the observed value" if attrs.get("stop_at") else ""
    return f"{attrs['null_name']}, {n} draws, seed {attrs['seed']}{ended}"


def null_of_rows(attrs: Mapping[Any, Any]) -> str:
    """The null whose mean stands beside each row: of a test against two nulls, the one of single dyads."""
    return str(attrs.get("row_null") or null_in_words(attrs))


# --- what was measured ------------------------------------------------------------------------------------------------


def value_in_words(dataset: xr.Dataset) -> str:
    """What the values of single rows are, such as "coherence" or "change of coherence per session"."""
    return str(dataset["value"].attrs["long_name"]) if "value" in dataset else MEASURES[real_name(dataset)].words


def statistic_in_words(dataset: xr.Dataset) -> str:
    """What the group statistic is: a mean over rows in words, a difference of groups, or a correlation."""
    held = "group_statistic" in dataset
    return str(dataset["group_statistic"].attrs["long_name"]) if held else value_in_words(dataset)


def dyads_in_words(dataset: xr.Dataset) -> str:
    """Number of dyads, or of what else a row stands for, and of sessions where there is more than one."""
    n_rows, n_dyads = dataset.sizes["dyad"], len(set(dataset["dyad"].values.tolist()))
    unit = str(dataset.attrs.get("unit", "dyad"))
    text = f"{n_dyads} {unit}{'s' * (n_dyads != 1)}"
    return text if n_rows == n_dyads else f"{text}, {n_rows} {rows_in_words(dataset)}"


def rows_in_words(dataset: xr.Dataset) -> str:
    """What the rows are where a dyad has several: its sessions, or recordings of its tasks."""
    unit = str(dataset.attrs.get("unit", "dyad"))
    return f"{unit} recordings of {len(tasks_of(dataset))} tasks" if tasks_of(dataset) else f"{unit} sessions"


def bands_in_words(dataset: xr.Dataset) -> str:
    """Bands with their limits in Hz."""
    labels = [str(label) for label in dataset["band"].values]
    if "band_low_hz" not in dataset.coords or "band_high_hz" not in dataset.coords:
        return ", ".join(labels)
    limits = zip(labels, dataset["band_low_hz"].values, dataset["band_high_hz"].values, strict=True)
    if "band_b_low_hz" not in dataset.coords:
        return ", ".join(f"{label} ({low:.3g}–{high:.3g} Hz)" for label, low, high in limits)
    of_b = zip(dataset["band_b_low_hz"].values, dataset["band_b_high_hz"].values, strict=True)
    return ", ".join(
        f"{label} ({low:.3g}–{high:.3g} Hz of first and {low_b:.3g}–{high_b:.3g} Hz of second persons)"
        for (label, low, high), (low_b, high_b) in zip(limits, of_b, strict=True)
    )


def signal_in_words(dataset: xr.Dataset, before: str = "") -> str:
    """The signal after some words; empty where it is not known."""
    return f"{before}{dataset['signal'].item()}" if "signal" in dataset.coords else ""


# --- what came out ----------------------------------------------------------------------------------------------------


def headline(dataset: xr.Dataset) -> str:
    """The outcome in one sentence."""
    if not is_tested(dataset):
        mean = float(tested_values(dataset).mean())
        what = value_in_words(dataset)
        words = f"Real synchrony of {dyads_in_words(dataset)}: mean {what} {mean:.3f}; nothing was tested."
        return " ".join(filter(None, [words, lost_in_a_sentence(losses_in(dataset.attrs))]))
    tested = int(np.isfinite(dataset["p"]).sum())
    if not tested:
        lost = lost_in_a_sentence(losses_in(dataset.attrs))
        words = dyad_by_dyad(dataset) or "No value could be tested: every one is missing."
        return " ".join(filter(None, [words, lost]))
    criterion, attrs = Criterion.of(dataset), dataset.attrs
    passed = int(criterion.passed(dataset).sum())
    strongest = f"the smallest p is that of {_strongest(dataset, criterion)}"
    if float(attrs["min_p"]) > criterion.alpha:
        strongest += f"; with this design no p can fall below {number(float(attrs['min_p']))}"
    elif attrs["caution"]:
        strongest += f"; {attrs['caution']}"
    subject = "No test shows" if not passed else f"{passed} of {tested} tests show{'s' * (passed == 1)}"
    warning = f"Warning: {attrs['warning']}." if "warning" in attrs else ""
    tested_words = f"{subject} {attrs['finding']} ({criterion}); {strongest}."
    sentences = [
        tested_words, _equivalence(dataset), dyad_by_dyad(dataset), warning, lost_in_a_sentence(losses_in(attrs)),
    ]  # fmt: skip
    return " ".join(filter(None, sentences))


def _strongest(dataset: xr.Dataset, criterion: Criterion) -> str:
    (finding,) = top_findings(dataset, limit=1)
    statistic = f"{statistic_in_words(dataset)} {finding.text('group_statistic')}"
    p = number(finding.values[criterion.name])
    return f"{finding.place}: {statistic} against {finding.text('group_null_mean')}, {criterion.name} = {p}"


def _equivalence(dataset: xr.Dataset) -> str:
    """How many statistics are within the margin that was named; empty where none was."""
    attrs = dataset.attrs
    if "margin" not in attrs:
        return ""
    margin, level = float(attrs["margin"]), 100 * (1 - 2 * float(attrs["alpha"]))
    low, high = dataset["equivalence_low"], dataset["equivalence_high"]
    inside, n = int(((low > -margin) & (high < margin)).sum()), int(np.isfinite(dataset["p"]).sum())
    return f"{inside} of {n} lie within \u00b1{margin:g}, by their {level:g} % intervals (equivalence, each by itself)."


def dyad_by_dyad(dataset: xr.Dataset) -> str:
    """How many tests of single dyads pass, where dyads were tested one by one; else empty."""
    if not is_tested_by_dyad(dataset):
        return ""
    criterion = Criterion.of_dyads(dataset)
    passed, tested = criterion.passed(dataset), np.isfinite(dataset[criterion.name])
    dims = [dim for dim in passed.dims if dim != "dyad"]
    within = " within each" if criterion.name != "dyad_p" else ""
    return (
        f"Dyad by dyad: {int(passed.sum())} of {int(tested.sum())} tests pass ({criterion}{within}), in "
        f"{int(passed.any(dims).sum())} of {dataset.sizes['dyad']} {rows_in_words(dataset)}."
    )


def summary(dataset: xr.Dataset) -> str:
    """A page of text: what the result holds, the outcome, the strongest features."""
    attrs = dataset.attrs
    lines = [
        headline(dataset),
        f"  {dyads_in_words(dataset)}, {paired_in_words(dataset)}{signal_in_words(dataset, ', ')}",
        *([f"  tasks: {', '.join(tasks_of(dataset))}"] if tasks_of(dataset) else []),
        *([f"  lags: {', '.join(f'{lag:g} s' for lag in dataset[SHIFT].values)}"] if SHIFT in dataset.dims else []),
        f"  epochs: {', '.join(str(label) for label in dataset['epoch'].values)}",
        f"  bands: {bands_in_words(dataset)}",
    ]
    if is_tested(dataset):
        lines.append(f"  null: {null_in_words(attrs)}")
        lines += _listed(f"smallest {Criterion.of(dataset).name}", top_findings(dataset, limit=5))
        single = [f"{name}: {finding}" for name, finding in top_dyad_findings(dataset, limit=5)]
        lines += _listed("smallest p of single dyads", single)
    kept = {"entered": "entered", "exchanged together": "blocks", "left out": "left_out"}
    lines += [f"  {words}: {attrs[name]}" for words, name in kept.items() if attrs.get(name)]
    lost = lost_lines(losses_in(attrs))
    lines += ["  lost:", *(f"    {line}" for line in lost)] if lost else []
    return "\n".join([*lines, f"  {hypothesis(attrs)}"])


def _listed(title: str, findings: Sequence[Finding | str]) -> list[str]:
    return [f"  {title}:", *(f"    {finding}" for finding in findings)] if findings else []


# --- the paragraph for the paper --------------------------------------------------------------------------------------


def methods(dataset: xr.Dataset) -> str:
    """The paragraph for the paper."""
    attrs = dataset.attrs
    measure = measure_in(attrs)
    estimator = _coupling_sentence if measure.needs == "coupling" else _estimator_sentence
    cited = [measure.reference] if measure.needs == "coupling" else [_REFERENCES["grinsted"]]
    sentences = [estimator(dataset), _epoch_sentence(dataset)]
    if made := settings(attrs, "preprocessing"):
        sentences.insert(0, _preprocessing_sentence(made))
        cited += [_REFERENCES["sci"]] * (made["min_sci"] > 0) + [_REFERENCES["tddr"]] * (made["motion"] == "tddr")
    if is_tested(dataset):
        corrections = _corrections(dataset)
        sentences += [_null_sentence(attrs), _correction_sentence(corrections, dataset)]
        cited += [_REFERENCES["phipson"]] * (not int(attrs["listed"])) + [made.reference for made in corrections]
        cited += names_in(attrs, "references")
        if "margin" in attrs:
            sentences.append(
                f"Equivalence was judged by two one-sided tests (Schuirmann 1987): {_equivalence(dataset)}"
            )
            cited.append("Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657")
    sentences += [f"Lost: {'; '.join(lost)}."] if (lost := lost_lines(losses_in(attrs))) else []
    sentences += [f"Of the study {attrs['selected']} was used."] if attrs.get("selected") else []
    if "accepted_changes" in attrs:
        sentences.append(f"Accepted although changed after ibsync wrote it: {attrs['accepted_changes']}.")
    versions = ", ".join(f"{name} {value}" for name, value in settings(attrs, "versions").items())
    sentences.append(f"Versions: ibsync {attrs.get('ibsync_version', 'unknown')}{', ' * bool(versions)}{versions}.")
    return " ".join([*sentences, f"References: {'; '.join(filter(None, cited))}."])


def _preprocessing_sentence(made: Mapping[str, Any]) -> str:
    motion = "motion was repaired by temporal derivative distribution repair" if made["motion"] == "tddr" else ""
    judged = (
        f"channels with a scalp coupling index below {made['min_sci']:g} (0.7 to 1.5 Hz) were left out"
        if made["min_sci"] > 0 else ""
    )  # fmt: skip
    factors = made["ppf"] if isinstance(made["ppf"], list) else [made["ppf"]]
    ppf = " and ".join(f"{factor:g}" for factor in factors)
    law = f"the modified Beer-Lambert law gave concentrations (partial pathlength factor {ppf})"
    steps = "; ".join(filter(None, (judged, motion, law)))
    return f"Raw light was turned into haemoglobin with MNE-Python {made['mne']}: {steps}."


def _estimator_sentence(dataset: xr.Dataset) -> str:
    attrs = dataset.attrs
    spec = {"voices": 12, "preset": "grinsted", "accuracy": "exact", **settings(attrs, "spec"), **attrs}
    return (
        f"Magnitude-squared wavelet transform coherence (Morlet wavelet, omega0 = 6, {spec['voices']} voices per "
        f"octave; Grinsted et al. 2004) was computed with {_computed(dataset, 'preset ' + spec['preset'] + ', ')}"
    )


def _coupling_sentence(dataset: xr.Dataset) -> str:
    measure, spec = measure_in(dataset.attrs), settings(dataset.attrs, "spec")
    windows = (
        f", in windows of {spec['window']:g} s with lags up to {spec['max_lag']:g} s," if spec.get("window") else ""
    )
    return (
        f"Signals were band-passed by a finite filter without phase (windowed sinc, Hamming; transitions a quarter of "
        f"each edge wide, 2 Hz at least and the edge at most) and made analytic; the {measure.words} "
        f"({measure.definition}){windows} was computed with {_computed(dataset)}"
    )


def paired_in_words(dataset: xr.Dataset) -> str:
    """What was paired: "4 x 4 channels", "4 channels, each with the partner's of the same name"."""
    n_a, n_b = dataset.sizes["channel_a"], dataset.sizes["channel_b"]
    noun, pairs = "regions" if "rois" in dataset.attrs else "channels", str(dataset.attrs.get("pairs", "all"))
    if pairs == "same":
        n = int(asked_pairs(dataset).sum())
        return f"{n} {noun}, each with the partner's of the same name"
    every = f"{n_a} x {n_b} {noun}"
    if pairs == "all":
        return every
    n = len(json.loads(pairs))
    return f"{n} named pair{'s' * (n > 1)} of {every}"


def _computed(dataset: xr.Dataset, how: str = "") -> str:
    """With what and of what, up to what was taken out."""
    attrs = dataset.attrs
    sfreq = f" sampled at {float(attrs['sfreq']):.4g} Hz" if "sfreq" in attrs else ""
    accuracy = {"accuracy": "exact", **settings(attrs, "spec"), **attrs}["accuracy"]
    paired = paired_in_words(dataset)
    return (
        f"ibsync {attrs.get('ibsync_version', 'of unknown version')} "
        f"({how}accuracy {accuracy}, backend {attrs.get('backend', 'not stored')}) for "
        f"{dyads_in_words(dataset)}, {paired}{',' * (',' in paired)}"
        f"{signal_in_words(dataset, ' of ')}{sfreq}.{_lags_sentence(dataset)}{_regions_sentence(dataset)}"
        f"{_controls_sentence(attrs)}"
    )


def _lags_sentence(dataset: xr.Dataset) -> str:
    lags = settings(dataset.attrs, "spec").get("lags")
    if not lags:
        return ""
    listed = ", ".join(f"{lag:g}" for lag in lags)
    cells = "samples" if measure_in(dataset.attrs).needs == "coupling" else "cells"
    return (
        f" The second person was taken {listed} s later than the first (at positive lags the first leads), over "
        f"the same {cells} at every lag."
    )


_AVERAGED = {
    "coherence": "coherence was averaged over the pairs of channels of two regions before anything was tested",
    "signal": "the standardised signals of the good channels of a region were averaged before the transform",
}


def _regions_sentence(dataset: xr.Dataset) -> str:
    regions = settings(dataset.attrs, "rois")
    if not regions:
        return ""
    listed = [
        f"{f'{who}: ' if who else ''}{name} ({', '.join(members)})"
        for who, of in regions["of"].items() for name, members in of.items()
    ]  # fmt: skip
    return f" Regions of interest were {'; '.join(listed)}; {_AVERAGED[regions['average']]}{_n_pairs(dataset)}."


def _n_pairs(dataset: xr.Dataset) -> str:
    """How many pairs of channels stand behind pairs of regions."""
    n = dataset["n_pairs"].values if "n_pairs" in dataset else np.zeros(1, int)
    return f", {n[n > 0].min()} to {n.max()} pairs of good channels by dyad and regions" if n.any() else ""


_CONTROLS_TAKEN_OUT = {
    "own": "each person's own controls were taken out of that person's channels at every cell (partial coherence)",
    "both": "the controls of both people were taken out of the channels of both at every cell (partial coherence)",
    "regression": "each person's own controls were regressed out of that person's channels in time, before the "
    "transform",
}


def _controls_sentence(attrs: Mapping[Any, Any]) -> str:
    controls = settings(attrs, "controls")
    if not controls:
        return ""
    names = ", ".join(map(str, controls["of"]))
    components = "; of the short channels, principal components" if "short" in controls["of"] else ""
    return (
        f" Of {names}, {_CONTROLS_TAKEN_OUT[controls['how']]}: {controls['n']} signals for each channel, of everybody "
        f"alike, as the mean coherence of unrelated people depends on their number{components}."
    )


def _epoch_sentence(dataset: xr.Dataset) -> str:
    spec = settings(dataset.attrs, "spec")
    compared, of_tasks = list(settings(dataset.attrs, "contrast")), names_in(dataset.attrs, "tasks")
    epochs = of_tasks or compared or [str(label) for label in dataset["epoch"].values]
    cut = (
        f"over {'all trials' if dataset.attrs.get('trials') else 'the whole recording'}"
        if epochs == ["all"]
        else f"over the {'epochs' if len(epochs) > 1 else 'epoch'} {', '.join(epochs)}"
    )
    coupling = measure_in(dataset.attrs).needs == "coupling"
    source = "filtered recording" if coupling else "transform of the whole recording"
    how = "" if epochs == ["all"] or dataset.attrs.get("trials") else f", cut from the {source}"
    how += f", of the tasks {', '.join(compared)}, each recorded by itself" if of_tasks else ""
    how += f", of the tasks {', '.join(tasks)}, each by itself" if (tasks := tasks_of(dataset)) else ""
    if coupling:
        return _sample_sentence(dataset, f"{cut}{how}")
    cone = _CONES.get(str(spec.get("coi", "recording")), _CONES["recording"])
    least = f"; values with a valid fraction below {spec['min_valid']:.3g} are missing" if "min_valid" in spec else ""
    bands = "bands" if dataset.sizes["band"] > 1 else "band"
    line = _detrend_sentence(spec) + _trial_sentence(dataset, "transformed")
    return f"Coherence was averaged over the {bands} {bands_in_words(dataset)} and {cut}{how}; {cone}{least}.{line}"


def _detrend_sentence(spec: Mapping[Any, Any]) -> str:
    return " The best fitting straight line was removed from every recording first." if spec.get("detrend") else ""


def _trial_sentence(dataset: xr.Dataset, done: str) -> str:
    """That recordings were trials, each worked on by itself."""
    n, seconds = (dataset.attrs.get(name) for name in ("trials", "trial_s"))
    if not n:
        return ""
    return (
        f" Recordings were {n} trials of {seconds} s in each dyad; every trial was {done} by itself, its ends being "
        "those of a recording, and values are over all trials together."
    )


_ENDS = {
    "recording": "samples from which the filter sees an end of the recording were left out",
    "epoch": "samples from which the filter sees an end of the epoch were left out",
    "none": "samples near the ends were kept",
}


def _sample_sentence(dataset: xr.Dataset, cut: str) -> str:
    """Over which samples a coupling was summed."""
    spec = settings(dataset.attrs, "spec")
    line = _detrend_sentence(spec) + _trial_sentence(dataset, "filtered")
    bands = "bands" if dataset.sizes["band"] > 1 else "band"
    return (
        f"It was taken in the {bands} {bands_in_words(dataset)} {cut}; {_ENDS[spec.get('coi', 'recording')]}; "
        f"values with a valid fraction below {spec.get('min_valid', 0.5):.3g} are missing.{line}"
    )


def _null_sentence(attrs: Mapping[Any, Any]) -> str:
    if int(attrs["listed"]):
        rule = "p is the share of them, the real one included, that reach the observed value"
    else:
        rule = "p = (b + 1)/(m + 1) with b of m draws reaching the observed value (Phipson & Smyth 2010)"
    if attrs["tail"] == "two-sided":
        rule += (
            " in size"
            if attrs["null_kind"] in ("group_labels", "group_residuals")
            else ", twice that of the smaller tail"
        )
    rule += f", no smaller than {number(float(attrs['min_p']))}"
    more = f" {attrs['entered']} entered." if attrs["entered"] else ""
    more += f" Not independent, and exchanged as blocks: {attrs['blocks']}." if attrs["blocks"] else ""
    more += f" Left out: {attrs['left_out']}." if attrs["left_out"] else ""
    level = f"alpha: {float(attrs['alpha']):g}"
    return f"{attrs['procedure']} ({null_in_words(attrs)}); {rule}; tail: {attrs['tail']}; {level}.{more}"


def _corrections(dataset: xr.Dataset) -> list[Correction]:
    asked = [CORRECTIONS[name] for name in names_in(dataset.attrs, "correct")]
    held = [one for one in asked if one.array in dataset and bool(np.isfinite(dataset[one.array]).any())]
    return sorted(held, key=list(CORRECTIONS.values()).index)


def _correction_sentence(corrections: Sequence[Correction], dataset: xr.Dataset) -> str:
    if not corrections:
        return "No correction for multiple tests was made."
    controlled = " and ".join(correction.controls for correction in corrections)
    return f"Over all {family_in_words(dataset)}, p was corrected for {controlled}."


def family_in_words(dataset: xr.Dataset) -> str:
    """Over what p is corrected: "channel pairs, bands and epochs of hbo and hbr together"."""
    signals, tasks = names_in(dataset.attrs, "corrected_over"), "tasks, " * bool(tasks_of(dataset))
    together = f" of {' and '.join(signals)} together" if len(signals) > 1 else ""
    pairs = "pairs of regions" if "rois" in dataset.attrs else "channel pairs"
    return f"{tasks}{pairs}, bands{', lags' * (SHIFT in dataset.dims)} and epochs{together}"


# --- attributes that hold JSON ----------------------------------------------------------------------------------------


def settings(attrs: Mapping[Any, Any], name: str) -> dict[str, Any]:
    """An attribute that holds JSON text, as a dict; empty if it is missing or not a dict."""
    value = _parsed(attrs, name)
    return value if isinstance(value, dict) else {}


def names_in(attrs: Mapping[Any, Any], name: str) -> list[str]:
    """An attribute that holds a JSON list of names; empty if it is missing."""
    value = _parsed(attrs, name)
    return [str(item) for item in value] if isinstance(value, list) else []


def _parsed(attrs: Mapping[Any, Any], name: str) -> Any:
    try:
        return json.loads(str(attrs.get(name)))
    except ValueError:
        return None
