"""Judges a bundle on a labeled data set, through the very path that users' pictures take."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpuscle import taxonomy
from corpuscle.data.labeled import LABELED_SETS, LabeledCell, labeled_cells
from corpuscle.data.leaks import SharedSources, shared_sources
from corpuscle.errors import CorpuscleError, DataError
from corpuscle.evaluation.group_accuracy import GroupAccuracy, group_accuracy
from corpuscle.evaluation.intervals import Interval, wilson_interval
from corpuscle.evaluation.metrics import evaluate_predictions
from corpuscle.evaluation.mistakes import Mistake, most_confident_mistakes
from corpuscle.evaluation.reliability import ReliabilityBin, SetCoverage, reliability_bins, set_coverage
from corpuscle.evaluation.summary import Evaluation
from corpuscle.models.bundle import DEFAULT_MODEL, Bundle
from corpuscle.prediction.classification import BATCH, CellReader
from corpuscle.records import Failure, Prediction

__all__ = ["ModelEvaluation", "evaluate"]

_SAME_PHOTOGRAPHS = {"bloodmnist": "pbc", "kaggle": "bccd"}


@dataclass(frozen=True, slots=True)
class ModelEvaluation:
    """What a bundle is worth on one data set.

    Attributes:
        model: Name and version of the bundle.
        dataset: Data set as asked for.
        split: Split as asked for; empty for all.
        leak: Why the figures flatter, empty if nothing is known to leak.
        evaluation: The metrics over all cells that could be read.
        accepted: Share of the cells that were not refused.
        accepted_accuracy: Share of the accepted that are right; None if all were refused.
        accepted_interval: Its 95 % Wilson interval.
        set_coverage: Share of the prediction sets that hold the label.
        set_size: Mean number of classes in a prediction set.
        coverage: The same for the cells of each class.
        reliability: Accuracy at each level of confidence.
        mistakes: The most confident mistakes.
        answers: Each cell with its prediction.
        by_group: The same question asked of each group of cells, as of each photograph; None without groups.
        failures: Cells that could not be read.
        dropped: Labels that the model does not know, with their number.
        among: How many classes the answer was sought among: those that model and set have in common, where that was
            asked for; 0 for all that the model knows.
    """

    model: str
    dataset: str
    split: str
    leak: str
    evaluation: Evaluation
    accepted: float
    accepted_accuracy: float | None
    accepted_interval: Interval | None
    set_coverage: float
    set_size: float
    coverage: tuple[SetCoverage, ...]
    reliability: tuple[ReliabilityBin, ...]
    by_group: GroupAccuracy | None
    mistakes: tuple[Mistake, ...]
    answers: tuple[tuple[LabeledCell, Prediction], ...]
    failures: tuple[Failure, ...]
    dropped: dict[str, int]
    among: int = 0

    @property
    def where(self) -> str:
        """Return data set and split, and among how many classes the answer was sought if not all."""
        among = f" (answers among the {self.among} classes in common)" if self.among else ""
        return f"{self.dataset} {self.split}".strip() + among

    def summary(self) -> str:
        """Return the outcome in one line, with n, interval and, if it leaks, that word."""
        result, interval = self.evaluation, self.evaluation.accuracy_interval
        line = (
            f"{self.model} on {self.where}: accuracy {result.accuracy:.4f} "
            f"(95 % {interval.low:.4f}-{interval.high:.4f}, n = {result.n}), "
            f"balanced accuracy {result.balanced_accuracy:.4f}"
        )
        if result.balanced_accuracy_interval is not None:
            spread = result.balanced_accuracy_interval
            line += f" (95 % {spread.low:.4f}-{spread.high:.4f})"
        if self.by_group is not None:
            line += f"; {self.by_group.summary()}"
        return line + (f"; {self.leak}" if self.leak else "")

    def coverage_text(self) -> str:
        """Return the share of each class's cells whose prediction set holds the class, in one line."""
        return ", ".join(f"{item.class_name} {item.coverage:.3f} of {item.n}" for item in self.coverage)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        interval = self.accepted_interval
        return {
            "model": self.model,
            "dataset": self.dataset,
            "split": self.split,
            "leak": self.leak,
            "among": self.among,
            "summary": self.summary(),
            **self.evaluation.to_dict(),
            "accepted": self.accepted,
            "accepted_accuracy": self.accepted_accuracy,
            "accepted_accuracy_interval": interval.to_dict() if interval else None,
            "set_coverage": self.set_coverage,
            "set_size": self.set_size,
            "set_coverage_of": [item.to_dict() for item in self.coverage],
            "reliability": [item.to_dict() for item in self.reliability],
            "by_group": self.by_group.to_dict() if self.by_group else None,
            "failures": [{"file": failure.file, "reason": failure.reason} for failure in self.failures],
            "dropped_labels": self.dropped,
        }


def _leak(
    bundle: Bundle, dataset: str, split: str, judged: Sequence[LabeledCell] = (), root: str | Path | None = None
) -> str:
    """Say whether the bundle has seen these cells, with numbers where the training cells can still be listed."""
    is_folder = dataset not in LABELED_SETS
    name = Path(dataset).name if is_folder else dataset
    for row in bundle.training_data:
        trained, used = str(row.get("dataset", "")), str(row.get("split", ""))
        if name == trained and used == "adaptation":
            return "adapted to pictures of this set, without their labels"
        if name == trained and split in (used, ""):
            # Of a folder the bundle keeps the name alone.
            unless = f", unless that was another folder named {name}" if is_folder else ""
            seen = "the model was trained on these pictures" if split else "training pictures included"
            return f"leaks: {seen}{unless}"
        if is_folder or _source(name) != _source(trained):
            continue
        # The official BloodMNIST files do not say which pictures of PBC they hold.
        told_apart = name == trained or not any(item.startswith("bloodmnist") for item in (name, trained))
        measured = _shared(trained, used, judged, root) if told_apart else None
        if measured is not None:
            return measured.sentence()
        if name != trained:
            return "leaks: this split mixes pictures that the model was trained on"
    return ""


def _shared(trained: str, used: str, judged: Sequence[LabeledCell], root: str | Path | None) -> SharedSources | None:
    """Compare the judged cells with those of training; None where that cannot be done."""
    if not judged or trained not in LABELED_SETS:
        return None
    try:
        learned = labeled_cells(trained, split=used, root=root)
    except CorpuscleError:
        return None
    return shared_sources(learned, judged)


def _source(dataset: str) -> str:
    """Name the photographs that a data set is made of: `pbc-vgg19-study` and BloodMNIST are those of PBC."""
    first = re.split("[-_]", dataset)[0]
    return _SAME_PHOTOGRAPHS.get(first, first)


def _known(
    cells: Sequence[LabeledCell], classes: tuple[str, ...]
) -> tuple[list[LabeledCell], list[int], dict[str, int]]:
    """Keep the cells whose label, or an ancestor of it, the model knows; returns them, their places and the rest."""
    kept, places = [], []
    dropped: dict[str, int] = {}
    for cell in cells:
        key = taxonomy.ancestor_in(cell.class_name, classes)
        if key:
            kept.append(cell)
            places.append(classes.index(key))
        else:
            dropped[cell.class_name] = dropped.get(cell.class_name, 0) + 1
    return kept, places, dropped


def evaluate(
    dataset: str | Path,
    *,
    model: str | os.PathLike[str] | Bundle = DEFAULT_MODEL,
    split: str = "",
    root: str | Path | None = None,
    framing: str = "auto",
    in_common: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ModelEvaluation:
    """Measure a bundle on a labeled data set.

    A refused cell counts with its most probable class in accuracy and the other metrics; how many were refused, and
    how good the rest is, stands beside them. A class that the model knows and the data set lacks still counts as a
    mistake when it is predicted, unless the answer is sought among the classes in common, as published figures for
    other laboratories' pictures are.

    Args:
        dataset: One of `LABELED_SETS`, or a folder with a folder per class.
        model: Name of a shipped bundle, a bundle's folder, or a loaded bundle.
        split: `train`, `val` or `test`; all cells if empty.
        root: Folder that holds the data sets.
        framing: Which square of each picture is judged.
        in_common: Whether the answer is sought only among the classes that model and data set have in common; refusal
            and prediction sets stay those of all classes.
        progress: Called with (done, all).

    Raises:
        DataError: No cell has a label that the model knows, none can be read, or one class alone is in common.
        DatasetNotFoundError: The data set is not there.
        BundleError: The model cannot be used.
    """
    reader = CellReader(model, framing=framing)
    classes = reader.bundle.classes
    cells, places, dropped = _known(labeled_cells(dataset, split=split, root=root), classes)
    if not cells:
        raise DataError(f"{dataset} has no cell of a class that {reader.bundle.name} knows: {', '.join(classes)}.")
    answers = _answers(reader, cells, progress)
    where = (str(dataset), split, _leak(reader.bundle, str(dataset), split, cells, root))
    return replace(_judged(reader.bundle, cells, places, answers, where, in_common=in_common), dropped=dropped)


def _judged(
    bundle: Bundle,
    cells: Sequence[LabeledCell],
    places: Sequence[int],
    answers: Sequence[Prediction | Failure],
    where: tuple[str, str, str],
    *,
    in_common: bool,
) -> ModelEvaluation:
    """Compare answers with labels; `where` is data set, split and what leaks."""
    read = [index for index, answer in enumerate(answers) if isinstance(answer, Prediction)]
    if not read:
        raise DataError(f"None of the {len(cells)} pictures of {where[0]} can be read. Run `corpuscle audit` on it.")
    predictions = [answer for answer in answers if isinstance(answer, Prediction)]
    labels = np.asarray([places[index] for index in read], np.int64)
    probabilities = np.asarray([list(item.probabilities.values()) for item in predictions])
    common = sorted(set(labels.tolist()))
    if in_common:
        probabilities = _among(probabilities, common, where[0])
    files, groups = [cells[index].file for index in read], [cells[index].group for index in read]
    n_kept, n_right = _accepted(predictions, probabilities, labels)
    named = [bundle.classes[label] for label in labels]
    sets = [item.prediction_set for item in predictions]
    return ModelEvaluation(
        model=f"{bundle.name} {bundle.version}",
        dataset=where[0],
        split=where[1],
        leak=where[2],
        evaluation=evaluate_predictions(labels, probabilities, bundle.classes, groups=groups if any(groups) else None),
        accepted=n_kept / len(predictions),
        accepted_accuracy=n_right / n_kept if n_kept else None,
        accepted_interval=wilson_interval(n_right, n_kept) if n_kept else None,
        set_coverage=float(np.mean([key in held for key, held in zip(named, sets, strict=True)])),
        set_size=float(np.mean([len(held) for held in sets])),
        coverage=set_coverage(named, sets),
        reliability=reliability_bins(labels, probabilities),
        by_group=group_accuracy(groups, labels, probabilities),
        mistakes=tuple(most_confident_mistakes(files, labels, probabilities, bundle.classes)),
        answers=tuple((cells[index], item) for index, item in zip(read, predictions, strict=True)),
        failures=tuple(answer for answer in answers if isinstance(answer, Failure)),
        dropped={},
        among=len(common) if in_common else 0,
    )


def _accepted(
    predictions: Sequence[Prediction], probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> tuple[int, int]:
    """Return how many predictions were not refused, and how many of these are right."""
    kept = np.asarray([not item.refused for item in predictions])
    return int(kept.sum()), int(((probabilities.argmax(axis=1) == labels) & kept).sum())


def _among(probabilities: npt.NDArray[np.float64], kept: Sequence[int], dataset: str) -> npt.NDArray[np.float64]:
    """Give all probability (NxK) to the classes in `kept`, in proportion."""
    if len(kept) < 2:
        raise DataError(f"{dataset} has only one class in common with the model; leave out the restriction to those.")
    few = np.zeros_like(probabilities)
    # Where the others have it all, what is left is nobody's: each then gets the same.
    few[:, list(kept)] = probabilities[:, list(kept)] + 1e-12
    return np.asarray(few / few.sum(axis=1, keepdims=True))


def _answers(
    reader: CellReader, cells: Sequence[LabeledCell], progress: Callable[[int, int], None] | None
) -> list[Prediction | Failure]:
    """Judge all cells in order; those that cannot be read become failures under their own name."""
    answers: list[Prediction | Failure] = []
    loaded = _Loaded(cells)
    for answer in reader.stream(loaded, batch_size=BATCH):
        place = len(answers)
        reason = loaded.reasons.get(place, answer.reason)
        answers.append(Failure(cells[place].file, reason) if isinstance(answer, Failure) else answer)
        if progress:
            progress(len(answers), len(cells))
    return answers


class _Loaded:
    """Iterates over cells as files where the file is the crop, as arrays where it is not."""

    def __init__(self, cells: Sequence[LabeledCell]) -> None:
        self._cells = cells
        self.reasons: dict[int, str] = {}

    def __iter__(self) -> Iterator[Path | npt.NDArray[np.uint8]]:
        for place, cell in enumerate(self._cells):
            yield cell.path if cell.box is None and cell.pixels is None else self._array(place, cell)

    def _array(self, place: int, cell: LabeledCell) -> npt.NDArray[np.uint8]:
        """Cut the cell out; where that fails, keep the reason and give a picture that no reader takes."""
        try:
            return cell.read()
        except CorpuscleError as error:
            self.reasons[place] = str(error)
            return np.zeros((0, 0, 3), np.uint8)
