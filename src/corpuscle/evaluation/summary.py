"""What an evaluation found, as a record, as JSON and as a table for a person."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from corpuscle.evaluation.intervals import Interval

__all__ = ["Averages", "ClassEvaluation", "Evaluation"]

_NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Averages:
    """Precision, recall and F1 averaged over the classes that have pictures; each in [0, 1]."""

    precision: float
    recall: float
    f1: float

    def to_dict(self) -> dict[str, float]:
        """Return the averages as a dictionary that JSON can hold."""
        return {"precision": self.precision, "recall": self.recall, "f1": self.f1}


@dataclass(frozen=True, slots=True)
class ClassEvaluation:
    """How one class fared; None stands for "not measured".

    Attributes:
        class_name: The class, a key of the taxonomy.
        support: Number of pictures labeled with it.
        predicted: Number of pictures predicted as it.
        precision: Share of `predicted` that is right, in [0, 1]; 0 where the class has pictures and was never
            predicted.
        precision_interval: 95 % Wilson interval of the precision; None where the class was never predicted.
        recall: Share of `support` that was found, in [0, 1]; None without support.
        recall_interval: 95 % Wilson interval of the recall; None without support.
        f1: Harmonic mean of precision and recall, in [0, 1]; None without support.
        auc: Area under the ROC curve of this class against the rest, in [0, 1]; None where one side is empty.
    """

    class_name: str
    support: int
    predicted: int
    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None
    auc: float | None

    def to_dict(self) -> dict[str, object]:
        """Return the class's numbers as a dictionary that JSON can hold."""
        return {
            "class": self.class_name,
            "support": self.support,
            "predicted": self.predicted,
            "precision": self.precision,
            "precision_interval": _interval_dict(self.precision_interval),
            "recall": self.recall,
            "recall_interval": _interval_dict(self.recall_interval),
            "f1": self.f1,
            "auc": self.auc,
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good a set of predictions is.

    Attributes:
        n: Number of pictures.
        group_count: Number of groups they come from; None where groups were not given.
        classes: Class names in the order of the matrix.
        accuracy: Share of pictures whose most probable class is the label, in [0, 1].
        accuracy_interval: 95 % Wilson interval, which takes the pictures to be independent.
        accuracy_group_interval: 95 % bootstrap interval that draws whole groups; None without groups.
        balanced_accuracy: Mean recall of the classes that have pictures, in [0, 1].
        balanced_accuracy_interval: 95 % bootstrap interval, of groups where given; each draw averages over the classes
            it holds. None where it cannot be drawn.
        macro: Averages in which each class with pictures counts the same.
        weighted: Averages in which each class counts by its pictures.
        macro_auc: Mean of the one-against-rest AUCs that were measured, in [0, 1]; None where none was.
        calibration_error: Expected calibration error over 15 bins, in [0, 1].
        brier_score: Mean squared distance of the probabilities from the label, in [0, 2].
        negative_log_likelihood: Mean of minus the natural logarithm of the label's probability, 0 or more.
        per_class: One entry a class, in the order of `classes`.
        confusion: Pictures by label (row) and prediction (column), shape (k, k), int64, read-only.
        notes: What a reader has to know about these numbers, in sentences.
    """

    n: int
    group_count: int | None
    classes: tuple[str, ...]
    accuracy: float
    accuracy_interval: Interval
    accuracy_group_interval: Interval | None
    balanced_accuracy: float
    balanced_accuracy_interval: Interval | None
    macro: Averages
    weighted: Averages
    macro_auc: float | None
    calibration_error: float
    brier_score: float
    negative_log_likelihood: float
    per_class: tuple[ClassEvaluation, ...]
    confusion: NDArray[np.int64] = field(compare=False)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return everything as a dictionary that JSON can hold; what was not measured is None."""
        return {
            "n": self.n,
            "group_count": self.group_count,
            "classes": list(self.classes),
            "accuracy": self.accuracy,
            "accuracy_interval": self.accuracy_interval.to_dict(),
            "accuracy_group_interval": _interval_dict(self.accuracy_group_interval),
            "balanced_accuracy": self.balanced_accuracy,
            "balanced_accuracy_interval": _interval_dict(self.balanced_accuracy_interval),
            "macro": self.macro.to_dict(),
            "weighted": self.weighted.to_dict(),
            "macro_auc": self.macro_auc,
            "calibration_error": self.calibration_error,
            "brier_score": self.brier_score,
            "negative_log_likelihood": self.negative_log_likelihood,
            "per_class": [entry.to_dict() for entry in self.per_class],
            "confusion": self.confusion.tolist(),
            "notes": list(self.notes),
        }

    def report_text(self) -> str:
        """Return a classification report as plain text: the totals, a table with a line a class, and the notes."""
        groups = "" if self.group_count is None else f" from {self.group_count} groups"
        lines = [f"n = {self.n} pictures{groups}, {len(self.classes)} classes", ""]
        lines += self._totals()
        lines += ["", *self._table()]
        if self.notes:
            lines += ["", *(f"Note: {note}" for note in self.notes)]
        lines += ["", "Preliminary. Not a medical device."]
        return "\n".join(lines) + "\n"

    def _totals(self) -> list[str]:
        rows = [("accuracy", _number(self.accuracy), _interval_text(self.accuracy_interval))]
        if self.accuracy_group_interval is not None:
            rows.append(("", "", _interval_text(self.accuracy_group_interval)))
        rows += [
            ("balanced accuracy", _number(self.balanced_accuracy), _interval_text(self.balanced_accuracy_interval)),
            ("macro AUC, one against rest", _number(self.macro_auc), ""),
            ("calibration error, 15 bins", _number(self.calibration_error), ""),
            ("Brier score", _number(self.brier_score), ""),
            ("negative log-likelihood", _number(self.negative_log_likelihood), ""),
        ]
        return [f"{name:<28}{value:>6}  {interval}".rstrip() for name, value, interval in rows]

    def _table(self) -> list[str]:
        rows = [("class", "precision", "recall", "95 % of recall", "F1", "AUC", "support")]
        for entry in self.per_class:
            interval = entry.recall_interval
            ends = "" if interval is None else f"{interval.low:.4f}-{interval.high:.4f}"
            numbers = (_number(entry.precision), _number(entry.recall), ends, _number(entry.f1), _number(entry.auc))
            rows.append((entry.class_name, *numbers, str(entry.support)))
        for name, mean, auc in (("macro mean", self.macro, self.macro_auc), ("weighted mean", self.weighted, None)):
            auc_text = _number(auc) if name == "macro mean" else ""
            numbers = (_number(mean.precision), _number(mean.recall), "", _number(mean.f1), auc_text)
            rows.append((name, *numbers, str(self.n)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]


def _interval_dict(interval: Interval | None) -> dict[str, float | str] | None:
    return None if interval is None else interval.to_dict()


def _number(value: float | None) -> str:
    return _NOT_MEASURED if value is None else f"{value:.4f}"


def _interval_text(interval: Interval | None) -> str:
    if interval is None:
        return "interval not measured"
    return f"{100 * interval.confidence:g} % interval {interval.low:.4f} to {interval.high:.4f} ({interval.method})"
