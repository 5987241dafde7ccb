"""Judges a detector on labeled fields: does it find the cells, and does it count them?"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corpuscle.data.fields import LabeledField, erythrocyte_diameter_px, labeled_fields
from corpuscle.errors import CorpuscleError, DataError
from corpuscle.evaluation.average_precision import (
    AveragePrecision,
    TrueBoxes,
    average_precision,
    average_precision_intervals,
)
from corpuscle.evaluation.counting_errors import CountingErrors, counting_errors
from corpuscle.evaluation.intervals import Interval
from corpuscle.models.detection_bundle import DEFAULT_DETECTOR
from corpuscle.prediction.classical import ClassicalFinder
from corpuscle.prediction.detection import FieldDetector, open_detector
from corpuscle.records import CELL_KINDS, Detections, Failure

__all__ = [
    "CompletedFigures",
    "DetectorEvaluation",
    "FieldAnswer",
    "coco_average_precision",
    "count_cells",
    "evaluate_detector",
]

LEAST_SCORE = 0.02
"""Score from which detections count in the average precision."""

_ERYTHROCYTE = CELL_KINDS.index("erythrocyte")


@dataclass(frozen=True, slots=True)
class FieldAnswer:
    """One field with what was found in it.

    Attributes:
        field: The field.
        ranked: Everything found from a low score on, for the average precision.
        counted: What is counted.
    """

    field: LabeledField
    ranked: Detections
    counted: Detections


@dataclass(frozen=True, slots=True)
class CompletedFigures:
    """What a detector is worth against boxes to which this project has added cells that the annotators left out.

    The boxes added are suggestions of a detector that a reader took over, and others drawn by eye: fit for counting
    and for mAP50, less so for the tighter overlaps.

    Attributes:
        precision: Average precision.
        map50_interval: 95 % interval of its mAP50; None for a single field.
        map50_95_interval: 95 % interval of its mAP50-95.
        counting: Errors of the counts.
    """

    precision: AveragePrecision
    map50_interval: Interval | None
    map50_95_interval: Interval | None
    counting: CountingErrors

    def text(self) -> str:
        """Return what people read, in one line."""
        line = f"With the cells that the annotators left out (n = {self.precision.pictures} fields): "
        line += f"mAP50 {self.precision.map50:.4f}{_ends(self.map50_interval)}, "
        line += f"mAP50-95 {self.precision.map50_95:.4f}{_ends(self.map50_95_interval)}"
        part = self.counting.by_kind["erythrocyte"]
        if part.percentage is not None:
            line += f"; erythrocytes off by {part.percentage:.2f} %{_ends(part.percentage_interval, 2)}"
        return line

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        intervals = {"map50_interval": self.map50_interval, "map50_95_interval": self.map50_95_interval}
        ends = {key: interval.to_dict() if interval else None for key, interval in intervals.items()}
        return {**self.precision.to_dict(), **ends, "counting": self.counting.to_dict()}


@dataclass(frozen=True, slots=True)
class DetectorEvaluation:
    """What a detector is worth on one data set.

    Attributes:
        model: Name and version.
        dataset: Data set as asked for.
        split: Split as asked for; empty for all.
        leak: Why the figures flatter, empty if nothing is known to leak.
        note: What a reader has to know of the annotations.
        precision: Average precision.
        map50_interval: 95 % interval of its mAP50; None for a single field.
        map50_95_interval: 95 % interval of its mAP50-95.
        coco: mAP50 and mAP50-95 as pycocotools computes them; None where it is not installed.
        counting: Errors of the counts.
        answers: Each field with what was found.
        failures: Fields that could not be read.
        completed: The same for the fields that had a second reading, with its boxes; None where none had.
    """

    model: str
    dataset: str
    split: str
    leak: str
    note: str
    precision: AveragePrecision
    map50_interval: Interval | None
    map50_95_interval: Interval | None
    coco: tuple[float, float] | None
    counting: CountingErrors
    answers: tuple[FieldAnswer, ...]
    failures: tuple[Failure, ...]
    completed: CompletedFigures | None = None

    def summary(self) -> str:
        """Return the outcome in one line, with n, intervals and, if it leaks, that word."""
        found = self.precision
        line = f"{self.model} on {f'{self.dataset} {self.split}'.strip()} (n = {found.pictures} fields): "
        line += f"mAP50 {found.map50:.4f}{_ends(self.map50_interval)}, "
        line += f"mAP50-95 {found.map50_95:.4f}{_ends(self.map50_95_interval)}"
        errors = self.counting.by_kind
        if "leukocyte" in errors:
            part = errors["leukocyte"]
            line += f"; leukocytes exact in {part.exact:.1%}{_ends(part.exact_interval)}"
        if "erythrocyte" in errors and errors["erythrocyte"].percentage is not None:
            part = errors["erythrocyte"]
            line += f"; erythrocytes off by {part.percentage:.2f} %{_ends(part.percentage_interval, 2)}"
            line += f" (n = {part.fields})"
        if "platelet" in errors:
            part = errors["platelet"]
            line += f"; platelets off by {part.absolute:.3f} a field{_ends(part.absolute_interval, 3)}"
        return line + (f"; {self.leak}" if self.leak else "")

    def text(self) -> str:
        """Return a report for people."""
        lines = [self.summary(), "", "kind         boxes    AP50  AP50-95   exact  abs. error  % error    bias"]
        for kind, values in self.precision.by_kind.items():
            row = f"{kind:<12} {self.precision.cells[kind]:5d}  {values[0]:.4f}   {np.mean(values):.4f}"
            errors = self.counting.by_kind.get(kind)  # type: ignore[call-overload]
            if errors is not None:
                percent = f"{errors.percentage:7.2f}" if errors.percentage is not None else "      -"
                row += f"  {errors.exact:6.1%}  {errors.absolute:10.3f}  {percent}  {errors.bias:+6.2f}"
            lines.append(row)
        if self.coco is not None:
            lines += ["", f"pycocotools: mAP50 {self.coco[0]:.4f}, mAP50-95 {self.coco[1]:.4f}"]
        if self.completed is not None:
            lines += ["", self.completed.text()]
        if self.note:
            lines += ["", f"{self.note[0].upper()}{self.note[1:]}."]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        intervals = {"map50_interval": self.map50_interval, "map50_95_interval": self.map50_95_interval}
        return {
            "model": self.model,
            "dataset": self.dataset,
            "split": self.split,
            "leak": self.leak,
            "note": self.note,
            "summary": self.summary(),
            **self.precision.to_dict(),
            **{key: interval.to_dict() if interval else None for key, interval in intervals.items()},
            "pycocotools": {"map50": self.coco[0], "map50_95": self.coco[1]} if self.coco else None,
            "counting": self.counting.to_dict(),
            "completed": self.completed.to_dict() if self.completed else None,
            "failures": [{"file": failure.file, "reason": failure.reason} for failure in self.failures],
        }


def _ends(interval: Interval | None, digits: int = 4) -> str:
    return f" (95 % {interval.low:.{digits}f}-{interval.high:.{digits}f})" if interval else ""


def evaluate_detector(
    dataset: str,
    *,
    model: str | os.PathLike[str] | FieldDetector | ClassicalFinder = DEFAULT_DETECTOR,
    split: str = "",
    root: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DetectorEvaluation:
    """Measure a detector on a set of labeled fields.

    All fields of a set are shown at one scale, that of the median erythrocyte annotated in its training split; a set
    without one takes the fields judged. The average precision follows the annotations as they are: in fields whose
    erythrocytes nobody drew, every one that is found counts as a mistake. Counts of erythrocytes leave such fields out.

    Args:
        dataset: One of `FIELD_SETS`.
        model: Name of a shipped detector, a bundle's folder, `classical`, or an open detector.
        split: `train`, `val` or `test`; all fields if empty.
        root: Folder that holds the data sets.
        progress: Called with (done, all).

    Raises:
        DataError: No field can be read.
        DatasetNotFoundError: The data set is not there.
        BundleError: The model cannot be used.
    """
    detector = model if isinstance(model, (FieldDetector, ClassicalFinder)) else open_detector(model)
    fields = labeled_fields(dataset, split=split, root=root)
    scale = detector.erythrocyte_px / _diameter(dataset, fields, root)
    answers, failures = [], []
    for number, item in enumerate(fields, start=1):
        try:
            answers.append(_answer(detector, item, scale))
        except CorpuscleError as error:
            failures.append(Failure(item.file, str(error)))
        if progress:
            progress(number, len(fields))
    if not answers:
        raise DataError(f"None of the {len(fields)} fields of {dataset} can be read. Run `corpuscle audit` on it.")
    found = [answer.ranked for answer in answers]
    truth = [TrueBoxes(answer.field.boxes, answer.field.kinds) for answer in answers]
    intervals = average_precision_intervals(found, truth) if len(truth) > 1 else (None, None)
    return DetectorEvaluation(
        model=detector.name,
        dataset=dataset,
        split=split,
        leak=_leak(detector, dataset, split),
        note=_note(answers),
        precision=average_precision(found, truth),
        map50_interval=intervals[0],
        map50_95_interval=intervals[1],
        coco=coco_average_precision(found, truth),
        counting=count_cells([answer.field for answer in answers], [answer.counted for answer in answers]),
        answers=tuple(answers),
        failures=tuple(failures),
        completed=_completed(answers),
    )


def _completed(answers: Sequence[FieldAnswer]) -> CompletedFigures | None:
    """Judge the answers on the fields that had a second reading by its boxes."""
    answers = [answer for answer in answers if "erythrocyte" in answer.field.readings]
    if not answers:
        return None
    fields = [answer.field.completed() for answer in answers]
    found = [answer.ranked for answer in answers]
    truth = [TrueBoxes(item.boxes, item.kinds) for item in fields]
    map50, map50_95 = average_precision_intervals(found, truth) if len(truth) > 1 else (None, None)
    counting = count_cells(fields, [answer.counted for answer in answers])
    return CompletedFigures(average_precision(found, truth), map50, map50_95, counting)


def _diameter(dataset: str, fields: Sequence[LabeledField], root: str | Path | None) -> float:
    try:
        return erythrocyte_diameter_px(labeled_fields(dataset, split="train", root=root))
    except CorpuscleError:
        return erythrocyte_diameter_px(fields)


def _answer(detector: FieldDetector | ClassicalFinder, item: LabeledField, scale: float) -> FieldAnswer:
    """Look at one field; the network runs once for both uses."""
    image = item.read()
    if isinstance(detector, ClassicalFinder):
        found = detector.detect(image, scale=scale)
        return FieldAnswer(item, found, found)
    maps = detector.maps(image, scale=scale)
    return FieldAnswer(item, detector.decode(maps, least_score=LEAST_SCORE), detector.decode(maps))


def count_cells(fields: Sequence[LabeledField], found: Sequence[Detections]) -> CountingErrors:
    """Compare how many cells of each kind were found in fields with how many have boxes.

    Raises:
        DataError: No field is annotated.
    """
    kinds = len(CELL_KINDS)
    annotated = np.ones((len(fields), kinds), bool)
    annotated[:, _ERYTHROCYTE] = [not item.erythrocytes_unlabeled for item in fields]
    return counting_errors(
        np.asarray([np.bincount(item.kinds, minlength=kinds) for item in found], np.int64).reshape(-1, kinds),
        np.asarray([np.bincount(item.kinds, minlength=kinds) for item in fields], np.int64).reshape(-1, kinds),
        annotated,
    )


def _note(answers: Sequence[FieldAnswer]) -> str:
    bare = sum(answer.field.erythrocytes_unlabeled for answer in answers)
    again = [answer.field for answer in answers if "erythrocyte" in answer.field.readings]
    notes = []
    if again:
        drawn = sum(int((item.kinds == _ERYTHROCYTE).sum()) for item in again)
        there = sum(int((item.completed().kinds == _ERYTHROCYTE).sum()) for item in again)
        notes.append(
            f"the annotators drew {drawn} of {there} erythrocytes, and each other one found counts as a mistake"
        )
    elif bare:
        notes.append(
            f"{bare} of the {len(answers)} fields show erythrocytes that have no box: the average precision takes the "
            "annotations as they are, so that each one found there counts as a mistake"
        )
    if bare:
        notes.append(f"counts of erythrocytes leave out {bare} fields in which nobody drew any")
    return "; ".join(notes)


def _leak(detector: FieldDetector | ClassicalFinder, dataset: str, split: str) -> str:
    """Say whether the detector was trained on what it is judged on."""
    if isinstance(detector, ClassicalFinder):
        return ""
    used = {(str(row["dataset"]), str(row["split"])) for row in detector.bundle.training_data}
    if any(name == dataset and split in ("", learned) for name, learned in used):
        return "leaks: fields that the detector was trained on are among these"
    if split == "val" and any(name == dataset for name, _ in used):
        return "chosen on this split: thresholds and the best epoch"
    return ""


def coco_average_precision(found: Sequence[Detections], truth: Sequence[TrueBoxes]) -> tuple[float, float] | None:
    """Compute mAP50 and mAP50-95 with pycocotools, the field's reference; None where it is not installed.

    Args:
        found: One entry a picture.
        truth: Likewise, in the same order.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ModuleNotFoundError:
        return None
    drawn: list[dict[str, Any]] = []
    given: list[dict[str, Any]] = []
    for number, (detections, true) in enumerate(zip(found, truth, strict=True), start=1):
        for box, kind in zip(true.boxes.astype(np.float64), true.kinds, strict=True):
            side = box[2:] - box[:2]
            drawn.append({
                "id": len(drawn) + 1, "image_id": number, "category_id": int(kind) + 1, "iscrowd": 0,
                "bbox": [*box[:2].tolist(), *side.tolist()], "area": float(side.prod()),
            })  # fmt: skip
        rows = zip(detections.boxes.astype(np.float64), detections.scores, detections.kinds, strict=True)
        given += [
            {
                "image_id": number, "category_id": int(kind) + 1, "score": float(score),
                "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
            }
            for box, score, kind in rows
        ]  # fmt: skip
    if not given or not drawn:
        return (0.0, 0.0) if drawn else None
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "info": {},
            "images": [{"id": number + 1} for number in range(len(truth))],
            "categories": [{"id": number + 1, "name": kind} for number, kind in enumerate(CELL_KINDS)],
            "annotations": drawn,
        }
        reference.createIndex()
        judge = COCOeval(reference, reference.loadRes(given), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[1]), float(judge.stats[0])
