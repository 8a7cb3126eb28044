"""Results as a BIDS derivative: a description of the dataset, and a table with its data dictionary for each dyad."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..recordings.names import as_path
from .layout import tested_values
from .result import Result

if TYPE_CHECKING:
    import pandas as pd

_DESCRIPTION = "dataset_description.json"
COLUMNS: dict[str, dict[str, str]] = {
    "epoch": {"Description": "Stretch of the recording"},
    "signal": {"Description": "Signal: hbo, hbr or hbt (haemoglobin), or eeg"},
    "channel_a": {"Description": "Channel of the first person"},
    "channel_b": {"Description": "Channel of the second person"},
    "band": {"Description": "Band of frequencies, by its label"},
    "band_low": {"Description": "Lower edge of the band", "Units": "Hz"},
    "band_high": {"Description": "Upper edge of the band", "Units": "Hz"},
    "shift": {"Description": "Time by which the second person was taken later", "Units": "s"},
    "value": {"Description": "What was tested, or the measure of synchrony where nothing was"},
    "null_mean": {"Description": "Mean of the value under the null"},
    "null_sd": {"Description": "Standard deviation of the value under the null"},
    "z": {"Description": "Value less the null's mean, divided by its standard deviation"},
    "p": {"Description": "p-value of the dyad against its own surrogates"},
    "p_fdr": {"Description": "p corrected for the false discovery rate within the dyad's recording"},
    "p_max": {"Description": "p corrected family-wise within the dyad's recording"},
    "valid_fraction": {"Description": "Share of the cells of band and epoch that entered the value"},
}


def write_bids(results: Sequence[Result], folder: str | os.PathLike[str]) -> list[Path]:
    """
    Write one table for each dyad, session and task, with a data dictionary, into a folder of BIDS derivatives.

    ``dataset_description.json`` names ibsync, its version, the study's checksum and the methods; tables lie in
    ``dyad-LABEL/ses-LABEL/dyad-LABEL_ses-LABEL_task-LABEL_desc-SIGNAL_synchrony.tsv``, of other questions in
    ``..._plasticity.tsv`` and so on. BIDS has no entity for two people yet, so ``dyad`` takes the place of ``sub``; the
    data dictionary names both people. All tables of a result have the same columns.

    Parameters
    ----------
    results : sequence of Result
        Of one study, such as HbO and HbR, each of another signal or question.
    folder : path-like
        A folder that is not there yet, or an empty one.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    InputError
        If there is no result, the folder holds something or cannot be written, or BIDS cannot tell two tables apart.

    Examples
    --------
    >>> write_bids([result], "derivatives/ibsync")
    """
    root = as_path(folder)
    if not results:
        raise InputError(f"{root}: no result was given: give one, or several of one study")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root}: there is something already; name a new folder, or empty this one")
    files = {Path(_DESCRIPTION): _json(_description(results))}
    taken: dict[Path, tuple[int, str]] = {}
    for number, result in enumerate(results):
        table = _table(result)
        for row in range(result.dataset.sizes["dyad"]):
            labels = _labels(result, row)
            name, told = _file_name(result, labels), " / ".join(filter(None, labels.values()))
            if name in taken:
                of, other = taken[name]
                raise InputError(
                    f"{root}: {other} and {told} would both be {name}.tsv: BIDS keeps letters and digits of labels only"
                    if of == number
                    else f"{root}: two results would be {name}.tsv: export each into a folder of its own"
                )
            taken[name] = number, told
            of_row = table[(table[list(labels)] == list(labels.values())).all(axis="columns")].drop(columns=[*labels])
            files[name.with_suffix(".tsv")] = of_row.to_csv(sep="\t", index=False, na_rep="n/a")
            files[name.with_suffix(".json")] = _json(_dictionary(result, row, list(map(str, of_row))))
    _write(root, files)
    return [root / name for name in files]


def _write(root: Path, files: Mapping[Path, str]) -> None:
    """All files or none: the folder takes its name when it is whole."""
    try:
        root.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".ibsync-", dir=root.absolute().parent) as made:
            whole = Path(made) / "whole"
            for name, text in files.items():
                (whole / name).parent.mkdir(parents=True, exist_ok=True)
                (whole / name).write_text(text, encoding="utf-8")
            if root.exists():
                root.rmdir()
            whole.rename(root)
    except OSError as error:
        raise InputError(f"{root}: cannot be written: {error.strerror or error}") from error


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _labels(result: Result, row: int) -> dict[str, str]:
    """Dyad, session and task of a row."""
    coords = result.dataset.coords
    return {name: str(coords[name].values[row]) if name in coords else "" for name in ("dyad", "session", "task")}


def _file_name(result: Result, labels: Mapping[str, str]) -> Path:
    """``dyad-01/ses-1/dyad-01_ses-1_task-talk_desc-hbo_synchrony``, without ending."""
    told = dict(zip(("dyad", "ses", "task"), labels.values(), strict=True))
    told["desc"] = str(result.dataset["signal"].item())
    entities = {key: re.sub(r"[^0-9a-zA-Z]", "", text) for key, text in told.items()}
    unsaid = next((key for key, text in told.items() if text and not entities[key]), None)
    if unsaid is not None:
        noun = {"ses": "session"}.get(unsaid, unsaid)
        raise InputError(
            f"{noun} {told[unsaid]!r} has no letter or digit of the Latin alphabet, and BIDS keeps nothing else: give "
            "it another label in the study"
        )
    entities["dyad"] = entities["dyad"].removeprefix("dyad") or entities["dyad"]
    known = [f"{key}-{label}" for key, label in entities.items() if label]
    folders = [entity for entity in known if entity.startswith(("dyad-", "ses-"))]
    question = str(result.dataset.attrs.get("question", "test"))
    return Path(*folders, "_".join([*known, "synchrony" if question == "test" else question]))


def _table(result: Result) -> pd.DataFrame:
    """Values of all rows with the edges of their bands; what has no number in any row is left out."""
    table, dataset = result.to_frame(), result.dataset
    edges = {}
    for edge in ("low", "high"):
        if f"band_{edge}_hz" in dataset.coords:
            of_band = dict(zip(dataset["band"].values, dataset[f"band_{edge}_hz"].values, strict=True))
            edges[f"band_{edge}"] = table["band"].map(of_band)
    table = table.assign(**edges)[table["dyad"] != "(all)"].dropna(subset="value")
    labels = ["dyad", "session", "task"]
    return table[[*labels, *(name for name in COLUMNS if name in table)]].dropna(axis="columns", how="all")


def _dictionary(result: Result, row: int, columns: Sequence[str]) -> dict[str, Any]:
    dataset = result.dataset
    about = tested_values(dataset).attrs
    value = {"Description": str(about["long_name"]), "Units": str(about["units"])}
    people = {
        f"{order}Person": str(dataset[f"person_{letter}"].values[row])
        for order, letter in (("First", "a"), ("Second", "b")) if f"person_{letter}" in dataset.coords
    }  # fmt: skip
    known = {**COLUMNS, "value": value}
    return {"Hypothesis": result.hypothesis, **people, **{name: known[name] for name in columns}}


def _description(results: Sequence[Result]) -> dict[str, Any]:
    attrs = results[0].dataset.attrs
    return {
        "Name": "Inter-brain synchrony",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "ibsync", "Version": str(attrs["ibsync_version"])}],
        "SourceDatasets": [{"Study": str(attrs.get("study", "")), "SHA256": str(attrs.get("study_sha256", ""))}],
        "HowToAcknowledge": "Grinsted, Moore & Jevrejeva (2004), Nonlin. Processes Geophys. 11, 561; ibsync",
        "Methods": [result.methods() for result in results],
    }
