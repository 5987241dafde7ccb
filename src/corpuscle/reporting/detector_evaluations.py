"""A detector's evaluation as a folder of files, and on the detector's own card."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from corpuscle.errors import DataError, NoInputError
from corpuscle.evaluation.detector import DetectorEvaluation, evaluate_detector
from corpuscle.evaluation.intervals import Interval
from corpuscle.files import make_folder, written_whole
from corpuscle.models.detection_bundle import DetectionBundle, write_detection_manifest
from corpuscle.models.detector_card import detector_card
from corpuscle.prediction.detection import FieldDetector
from corpuscle.records import CELL_KINDS

__all__ = ["enter_detector_figures", "measure_detector", "write_detector_evaluation"]


def write_detector_evaluation(result: DetectorEvaluation, folder: Path) -> tuple[Path, ...]:
    """Write report, figures, counts of each field and all boxes, and return the files.

    Raises:
        OutputError: The folder cannot be written.
    """
    make_folder(folder)
    with written_whole(folder / "report.txt") as part:
        part.write_text(result.text() + "\n", encoding="utf-8")
    with written_whole(folder / "evaluation.json") as part:
        part.write_text(json.dumps(result.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    columns = [f"{kind}s_{what}" for kind in CELL_KINDS for what in ("found", "drawn")]
    _write_table(folder / "counts.csv", ["file", *columns, "erythrocytes_unlabeled"], _counts(result))
    head = ["file", "kind", "x_min", "y_min", "x_max", "y_max", "score", "counted"]
    _write_table(folder / "boxes.csv", head, _boxes(result))
    return tuple(folder / name for name in ("report.txt", "evaluation.json", "counts.csv", "boxes.csv"))


def _write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with written_whole(path) as part, part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


def _counts(result: DetectorEvaluation) -> Iterable[Sequence[object]]:
    for answer in result.answers:
        found = np.bincount(answer.counted.kinds, minlength=len(CELL_KINDS)).tolist()
        drawn = np.bincount(answer.field.kinds, minlength=len(CELL_KINDS)).tolist()
        pairs = [number for pair in zip(found, drawn, strict=True) for number in pair]
        yield [answer.field.file, *pairs, answer.field.erythrocytes_unlabeled]


def _boxes(result: DetectorEvaluation) -> Iterable[Sequence[object]]:
    for answer in result.answers:
        counted = {box.tobytes() for box in answer.counted.boxes}
        cells = answer.ranked
        for box, score, kind in zip(cells.boxes, cells.scores, cells.kinds, strict=True):
            edges = [f"{edge:.1f}" for edge in box]
            yield [answer.field.file, CELL_KINDS[kind], *edges, f"{score:.4f}", box.tobytes() in counted]


def enter_detector_figures(bundle: DetectionBundle, result: DetectorEvaluation) -> DetectionBundle:
    """Put an evaluation's figures on the card, in place of older ones of the same data set and split.

    Raises:
        OutputError: The bundle's folder cannot be written.
    """
    new = _figures(result)
    names = {(row["dataset"], row["split"]) for row in new}
    kept = [row for row in bundle.metrics if (row["dataset"], row["split"]) not in names]
    changed = dataclasses.replace(bundle, metrics=(*kept, *new))
    with written_whole(bundle.folder / "README.md") as part:
        part.write_text(detector_card(changed), encoding="utf-8")
    return write_detection_manifest(changed)


def _figures(result: DetectorEvaluation) -> list[dict[str, Any]]:
    found, errors = result.precision, result.counting.by_kind
    rows: list[tuple[str, float, Interval | None, int]] = [
        ("mAP50", found.map50, result.map50_interval, found.pictures),
        ("mAP50-95", found.map50_95, result.map50_95_interval, found.pictures),
    ]
    if "leukocyte" in errors:
        part = errors["leukocyte"]
        rows.append(
            ("share of fields with the exact number of leukocytes", part.exact, part.exact_interval, part.fields)
        )
    if "erythrocyte" in errors and errors["erythrocyte"].percentage is not None:
        part = errors["erythrocyte"]
        ends = part.percentage_interval
        rows.append(("erythrocytes, mean absolute error in percent", part.percentage or 0.0, ends, part.fields))
    if "platelet" in errors:
        part = errors["platelet"]
        rows.append(("platelets, mean absolute error a field", part.absolute, part.absolute_interval, part.fields))
    told = [(*row, "; ".join(part for part in (result.leak, result.note) if part)) for row in rows]
    if result.completed is not None:
        again, also = result.completed, "with those that the annotators left out"
        part = again.counting.by_kind["erythrocyte"]
        n, what = again.precision.pictures, f"erythrocytes, mean absolute error in percent, {also}"
        told.append((f"mAP50, {also}", again.precision.map50, again.map50_interval, n, result.leak))
        told.append((f"mAP50-95, {also}", again.precision.map50_95, again.map50_95_interval, n, result.leak))
        told.append((what, part.percentage or 0.0, part.percentage_interval, n, result.leak))
    return [
        {
            "dataset": result.dataset, "split": result.split or "all", "figure": name, "value": value,
            "interval": [ends.low, ends.high] if ends else None, "n": fields, "seeds": 1, "note": note,
        }
        for name, value, ends, fields, note in told
    ]  # fmt: skip


def measure_detector(
    bundle: DetectionBundle,
    datasets: Sequence[str],
    *,
    root: str | Path | None = None,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[DetectionBundle, list[str]]:
    """Measure a fresh detector once on the test split of each data set.

    Args:
        bundle: The bundle.
        datasets: Sets of labeled fields.
        root: Folder that holds the data sets.
        folder: Folder of the run; `evaluation/NAME` below it then gets report and tables.
        progress: Called with (done, all).

    Returns:
        The bundle with the figures on its card, and a line for each evaluation.

    Raises:
        OutputError: The bundle's folder cannot be written.
    """
    lines = []
    for name in datasets:
        try:
            result = evaluate_detector(name, model=FieldDetector(bundle), split="test", root=root, progress=progress)
        except (DataError, NoInputError):
            continue
        lines.append(result.summary())
        if folder is not None:
            write_detector_evaluation(result, folder / "evaluation" / name)
        bundle = enter_detector_figures(bundle, result)
    return bundle, lines
