"""What runs of a study are worth on another laboratory's pictures, as they are and fitted to them without labels."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from corpuscle.evaluation.model import ModelEvaluation, evaluate
from corpuscle.files import written_whole
from corpuscle.models.bundle import Bundle
from corpuscle.prediction.embedding import find_specimens
from corpuscle.training.adaptation import adapt, can_adapt

__all__ = ["ABROAD", "abroad_rows", "measure_abroad"]

ABROAD = "abroad.json"
"""File of a run that holds what `measure_abroad` measured."""


def measure_abroad(bundle: Bundle, dataset: str, folder: Path, *, root: str | Path | None = None) -> dict[str, Any]:
    """Judge a bundle on another laboratory's cells, among the classes in common, and write `abroad.json`.

    It is judged twice: as it is, and with its norms measured on the very cells that are judged, which is what a user
    who adapts a model to the pictures at hand does; no label is looked at. A network without norms that could be
    measured is judged once.

    Args:
        bundle: The bundle.
        dataset: A labeled set, with a split behind a colon if not all of it is meant, as `pbc:val`.
        folder: Folder of the run.
        root: Folder that holds the data sets.

    Raises:
        DataError: The set is missing, or has fewer than two classes in common with the bundle.
        NoInputError: It holds too few cells to adapt to.
        OutputError: The folder cannot be written.
    """
    name, _, split = dataset.partition(":")
    plain = evaluate(name, model=bundle, split=split, root=root, in_common=True)
    values = {"dataset": name, "split": split, "n": plain.evaluation.n, "classes": plain.among,
              "plain": _values(plain), "adapted": None}  # fmt: skip
    if can_adapt(bundle):
        with tempfile.TemporaryDirectory() as place:
            fitted = adapt(bundle, find_specimens([name], split=split, root=root), Path(place) / "adapted")
            values["adapted"] = _values(evaluate(name, model=fitted.bundle, split=split, root=root, in_common=True))
    with written_whole(folder / ABROAD) as part:
        part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return values


def _values(result: ModelEvaluation) -> dict[str, Any]:
    spread = result.evaluation.balanced_accuracy_interval
    return {
        "balanced_accuracy": result.evaluation.balanced_accuracy,
        "interval": [spread.low, spread.high] if spread else None,
        "calibration_error": result.evaluation.calibration_error,
    }


def abroad_rows(rows: Iterable[tuple[str, Sequence[dict[str, Any]]]]) -> list[str]:
    """Return the table of a study's page, one line a row; nothing where no run went abroad.

    Args:
        rows: Label of each row, and its finished runs, one a seed, as `collect_study` gathers them.
    """
    lines = []
    for label, runs in rows:
        found = [run for run in runs if run.get("abroad")]
        if not found:
            continue
        first = found[0]["abroad"]
        home = _mean([run["test"]["balanced_accuracy"] for run in found])
        where = f"{first['dataset']} {first['split']}".strip()
        cells = [label, str(found[0]["facts"]["dataset"]), f"{home:.4f}", f"{where}, {first['classes']} classes"]
        cells += [str(first["n"]), str(len(found))]
        for key in ("plain", "adapted"):
            cells += _figure([run["abroad"][key] for run in found if run["abroad"][key]])
        lines.append(f"| {' | '.join(cells)} |")
    if not lines:
        return []
    head = ("run", "trained on", "balanced accuracy on its test split", "judged on", "n", "seeds",
            "balanced accuracy there", "seeds from-to", "fitted to those pictures without labels",
            "seeds from-to ")  # fmt: skip
    note = (
        "Answers are sought among the classes in common. Figures are means over the seeds. An interval is that of one "
        "training, the ends being means over the seeds as well: by bootstrap over photographs where the set has them. "
        "It says how far the cells decide; from-to says how far the training does."
    )
    return ["## In another laboratory", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines, "", note, ""]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _figure(results: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Return the mean over seeds with its interval, and the seeds' range; empty for one seed."""
    if not results:
        return "none to fit", ""
    values = [float(result["balanced_accuracy"]) for result in results]
    ends = [result["interval"] for result in results if result["interval"]]
    text = f"{_mean(values):.4f}"
    if ends:
        low, high = (_mean([pair[side] for pair in ends]) for side in (0, 1))
        text += f" ({low:.4f}-{high:.4f})"
    return text, f"{min(values):.4f}-{max(values):.4f}" if len(values) > 1 else ""
