"""Chooses, on `val`, from which score on a cell of each kind is counted and how much two of them may overlap.

Erythrocytes are counted right on fields all of which are drawn. A threshold that also fits fields where half of them
have no box lies too high for everybody else, so that only fields that were looked through for what the annotators left
out, and completely boxed ones, have a say in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpuscle.data.fields import LabeledField
from corpuscle.models.detection_bundle import KindRule
from corpuscle.prediction.detection import FieldDetector, FieldMaps
from corpuscle.records import CELL_KINDS, CellKind

__all__ = ["MappedField", "choose_rules"]

_LEAST_SCORES = np.round(np.arange(0.06, 0.9, 0.02), 2)
_OVERLAP_LIMITS: dict[CellKind, tuple[float, ...]] = {
    "erythrocyte": (0.3, 0.4, 0.5, 0.6, 0.7),
    "leukocyte": (0.3, 0.5),
    "platelet": (0.2, 0.4),
}
_WINDOW = 2

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MappedField:
    """A field of `val` and what the network says of it.

    Attributes:
        field: The field; the boxes of a second look, where it had one, are those that count.
        maps: Of the network.
        complete: Whether every erythrocyte has a box, as far as the stain tells.
    """

    field: LabeledField
    maps: FieldMaps
    complete: bool = True


def choose_rules(detector: FieldDetector, fields: Sequence[MappedField]) -> dict[str, KindRule]:
    """Choose the rule of each kind that counts best.

    Erythrocytes: least mean percentage error over completely boxed fields, over all where there is no such field;
    leukocytes and platelets: least mean absolute error. The mean over data
    sets counts, each with the same weight, and of each threshold's neighbors with it, so that a lucky one is not
    chosen.

    Args:
        detector: Any rules that it has are not used.
        fields: Fields of `val`, of one or more data sets.
    """
    rules = {}
    for number, kind in enumerate(CELL_KINDS):
        measure = _percentage if kind == "erythrocyte" else _absolute
        judged = _with_erythrocytes(fields) if kind == "erythrocyte" else fields
        best = (np.inf, KindRule(0.5, 0.5))
        for limit in _OVERLAP_LIMITS[kind]:
            costs = _costs(detector, judged, number, limit, measure)
            smooth = _smoothed(costs)
            place = int(smooth.argmin())
            if smooth[place] < best[0]:
                best = (float(smooth[place]), KindRule(float(_LEAST_SCORES[place]), limit))
        rules[str(kind)] = best[1]
    return rules


def _with_erythrocytes(fields: Sequence[MappedField]) -> Sequence[MappedField]:
    """Return the fields all of whose erythrocytes are drawn; those with any drawn where there is none."""
    drawn = [item for item in fields if not item.field.completed().erythrocytes_unlabeled]
    return [item for item in drawn if item.complete or "erythrocyte" in item.field.readings] or drawn


def _costs(
    detector: FieldDetector,
    fields: Sequence[MappedField],
    kind: int,
    limit: float,
    measure: Callable[[Counts, Counts], float],
) -> Counts:
    """Return the mean error over data sets at each of the least scores."""
    found: dict[str, list[Counts]] = {}
    drawn: dict[str, list[int]] = {}
    limits = tuple(limit if number == kind else 0.5 for number in range(len(CELL_KINDS)))
    for item in fields:
        cells = detector.decode(item.maps, least_score=float(_LEAST_SCORES[0]), overlap_limits=limits)
        scores = cells.scores[cells.kinds == kind]
        found.setdefault(item.field.source, []).append((scores[None] >= _LEAST_SCORES[:, None]).sum(axis=1) * 1.0)
        drawn.setdefault(item.field.source, []).append(int((item.field.completed().kinds == kind).sum()))
    errors = [
        [measure(column, np.asarray(drawn[source], np.float64)) for column in np.stack(counts, axis=1)]
        for source, counts in found.items()
    ]
    return np.mean(errors, axis=0) if errors else np.zeros(len(_LEAST_SCORES))


def _percentage(found: Counts, drawn: Counts) -> float:
    some = drawn > 0
    return float((np.abs(found - drawn)[some] / drawn[some]).mean()) if some.any() else 0.0


def _absolute(found: Counts, drawn: Counts) -> float:
    return float(np.abs(found - drawn).mean())


def _smoothed(costs: Counts) -> Counts:
    padded = np.pad(costs, _WINDOW, mode="edge")
    return np.convolve(padded, np.ones(2 * _WINDOW + 1) / (2 * _WINDOW + 1), mode="valid")
