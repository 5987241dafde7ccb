"""How well the attributes that a bundle says fit those that people annotated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from corpuscle.evaluation.intervals import Interval, bootstrap_interval, wilson_interval
from corpuscle.evaluation.metrics import confusion_matrix
from corpuscle.evaluation.tables import aligned
from corpuscle.models.attribute_probe import AttributeProbe
from corpuscle.prediction.probing import Annotated

__all__ = ["AttributeEvaluation", "AttributeResult", "evaluate_attributes"]

Places = npt.NDArray[np.int64]
_RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class AttributeResult:
    """How well one attribute is said.

    Attributes:
        attribute: Its key.
        accuracy: Share of the cells whose annotated value is said.
        interval: Its 95 % Wilson interval.
        macro_f1: Mean F1 over the values that occur in the annotation.
        macro_f1_interval: Its 95 % bootstrap interval over cells.
        majority: Accuracy of always saying the value that is most frequent among the cells of the fit.
        by_class: Accuracy of saying the most frequent value of the annotated class: what the class alone tells.
    """

    attribute: str
    accuracy: float
    interval: Interval
    macro_f1: float
    macro_f1_interval: Interval
    majority: float
    by_class: float


@dataclass(frozen=True, slots=True)
class AttributeEvaluation:
    """How well all attributes are said of one list of cells.

    Attributes:
        model: Name and version.
        where: Which cells.
        note: What a reader has to know of them.
        n: Number of cells.
        results: One an attribute.
        unusual: Share of the cells that get a remark, with the annotated class.
    """

    model: str
    where: str
    note: str
    n: int
    results: tuple[AttributeResult, ...]
    unusual: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        rows = [
            {
                "attribute": item.attribute, "accuracy": item.accuracy, "interval": item.interval.to_dict(),
                "macro_f1": item.macro_f1, "macro_f1_interval": item.macro_f1_interval.to_dict(),
                "majority": item.majority, "by_class": item.by_class,
            }
            for item in self.results
        ]  # fmt: skip
        return {"model": self.model, "where": self.where, "note": self.note, "n": self.n, "unusual": self.unusual,
                "attributes": rows}  # fmt: skip

    def text(self) -> str:
        """Return a table for people."""
        head = ["attribute", "accuracy", "95 %", "macro F1", "95 %", "majority", "by class"]
        rows = [
            [
                item.attribute,
                f"{item.accuracy:.3f}",
                f"{item.interval.low:.3f}-{item.interval.high:.3f}",
                f"{item.macro_f1:.3f}",
                f"{item.macro_f1_interval.low:.3f}-{item.macro_f1_interval.high:.3f}",
                f"{item.majority:.3f}",
                f"{item.by_class:.3f}",
            ]
            for item in self.results
        ]
        title = f"{self.model}, {self.where}, n = {self.n}" + (f"; {self.note}" if self.note else "")
        return "\n".join([title, *aligned([head, *rows]), f"Remarked on as unusual: {self.unusual:.1%} of the cells."])


def evaluate_attributes(
    probe: AttributeProbe, given: Annotated, labels: Places, baselines: tuple[Sequence[int], Places],
    *, model: str, where: str, note: str = "",
) -> AttributeEvaluation:  # fmt: skip
    """Measure what the probes of a bundle say of annotated cells.

    Args:
        probe: The probes.
        given: Embeddings with annotated values, places in the probe's tables.
        labels: N places of the annotated classes in the probe's.
        baselines: For each attribute the value that is most frequent among the cells of the fit, and CxA the most
            frequent of each class.
        model: Name and version of the bundle.
        where: Which cells.
        note: What a reader has to know.
    """
    shares, results = probe.probabilities(given.embedding), []
    for column, (key, part) in enumerate(probe.columns().items()):
        said, truth = shares[:, part].argmax(axis=1), given.values[:, column]
        right, n = int((said == truth).sum()), len(truth)
        size = len(probe.attributes[key])

        def score(rows: Places, said: Places = said, truth: Places = truth, size: int = size) -> float:
            return _macro_f1(truth[rows], said[rows], size)

        results.append(
            AttributeResult(
                attribute=key,
                accuracy=right / n,
                interval=wilson_interval(right, n),
                macro_f1=_macro_f1(truth, said, size),
                macro_f1_interval=bootstrap_interval(score, n, resamples=_RESAMPLES),
                majority=float((truth == baselines[0][column]).mean()),
                by_class=float((truth == baselines[1][labels, column]).mean()),
            )
        )
    unusual = float(probe.unusual(shares, labels).any(axis=1).mean())
    return AttributeEvaluation(model, where, note, len(labels), tuple(results), unusual)


def _macro_f1(truth: Places, said: Places, size: int) -> float:
    """Return the mean F1 over the values that occur in the annotation."""
    table = confusion_matrix(truth, said, size)
    support, claimed = table.sum(axis=1), table.sum(axis=0)
    occurs = support > 0
    return float((2 * np.diag(table)[occurs] / (support + claimed)[occurs]).mean())
