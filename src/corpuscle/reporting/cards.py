"""Measured figures on a bundle's own card."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpuscle.errors import DataError, NoInputError
from corpuscle.evaluation.model import ModelEvaluation, evaluate
from corpuscle.files import written_whole
from corpuscle.models.bundle import Bundle, write_manifest
from corpuscle.models.card import RELIABILITY, model_card
from corpuscle.prediction.correction import CONFUSION
from corpuscle.reporting.evaluations import write_evaluation

__all__ = ["enter_figures", "measure_bundle"]

_ABROAD = "bccd-leukocytes"


def _figures(bundle: Bundle, result: ModelEvaluation) -> list[dict[str, Any]]:
    evaluation = result.evaluation
    spread = evaluation.balanced_accuracy_interval
    learned = "other photographs" if _learned(bundle, result.dataset) else "no picture"
    abroad = f"another laboratory, {learned} of it in training" if result.dataset == _ABROAD else ""
    among = f"answers among the {result.among} classes in common" if result.among else ""
    note = result.leak or ", ".join(part for part in (abroad, among) if part)
    rows = [
        ("accuracy", evaluation.accuracy, evaluation.accuracy_interval),
        ("balanced accuracy", evaluation.balanced_accuracy, spread),
        ("calibration error (15 bins)", evaluation.calibration_error, None),
        ("share accepted", result.accepted, None),
        ("accuracy among the accepted", result.accepted_accuracy, result.accepted_interval),
        ("prediction sets that hold the label", result.set_coverage, None),
    ]
    own = {"dataset": result.dataset, "split": result.split or "all", "n": evaluation.n, "seeds": 1, "note": note}
    matrix = {"figure": CONFUSION, "classes": list(evaluation.classes), "value": evaluation.confusion.tolist()}
    honesty = {"figure": RELIABILITY, "value": [item.to_dict() for item in result.reliability]}
    return [
        {
            "dataset": result.dataset, "split": result.split or "all", "figure": name, "value": value,
            "interval": [interval.low, interval.high] if interval else None, "n": evaluation.n, "seeds": 1,
            "note": note,
        }
        for name, value, interval in rows
        if value is not None
    ] + [own | matrix, own | honesty]  # fmt: skip


def _learned(bundle: Bundle, dataset: str) -> bool:
    """Say whether a bundle has learned from some pictures of a set."""
    return any(row.get("dataset") == dataset for row in bundle.training_data)


def enter_figures(bundle: Bundle, result: ModelEvaluation) -> Bundle:
    """Put an evaluation's figures on the card, in place of older ones of the same data set and split.

    Raises:
        OutputError: The bundle's folder cannot be written.
    """
    new = _figures(bundle, result)
    names = {(row["dataset"], row["split"]) for row in new}
    kept = [row for row in bundle.metrics if (row["dataset"], row["split"]) not in names]
    changed = dataclasses.replace(bundle, metrics=(*kept, *new))
    with written_whole(bundle.folder / "README.md") as part:
        part.write_text(model_card(changed), encoding="utf-8")
    return write_manifest(changed)


def measure_bundle(
    bundle: Bundle,
    dataset: str,
    *,
    root: str | Path | None = None,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Bundle, list[str]]:
    """Measure a fresh bundle once on its data set's test split, and abroad where those pictures are at hand.

    Args:
        bundle: The bundle.
        dataset: What it was trained on.
        root: Folder that holds the data sets.
        folder: Folder of the run; `evaluation/test` below it then gets report, tables and pictures.
        progress: Called with (done, all).

    Returns:
        The bundle with the figures on its card, and a line for each evaluation.

    Raises:
        OutputError: The bundle's folder cannot be written.
    """
    lines = []
    # Where some photographs of the other laboratory were learned, those of its test list alone are fair.
    for name, split in ((dataset, "test"), (_ABROAD, "test" if _learned(bundle, _ABROAD) else "")):
        try:
            result = evaluate(name, model=bundle, split=split, root=root, progress=progress)
        except (DataError, NoInputError):
            continue
        lines.append(result.summary())
        if folder is not None and name == dataset:
            write_evaluation(result, folder / "evaluation" / split)
        bundle = enter_figures(bundle, result)
    return bundle, lines
