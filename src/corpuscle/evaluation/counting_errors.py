"""How far counts of the cells of a field lie from those of an annotator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from corpuscle.errors import DataError
from corpuscle.evaluation.intervals import Interval, bootstrap_interval, wilson_interval
from corpuscle.records import CELL_KINDS, CellKind

__all__ = ["CountingErrors", "KindErrors", "counting_errors"]

_LEAST_FIELDS = 5


@dataclass(frozen=True, slots=True)
class KindErrors:
    """Errors of the counts of one kind.

    Attributes:
        fields: Number of fields.
        exact: Share of the fields whose count is right.
        exact_interval: Its 95 % Wilson interval.
        absolute: Mean absolute error, cells a field.
        absolute_interval: Its 95 % bootstrap interval; None for fewer than five fields.
        percentage: Mean absolute error in percent of the annotator's count, over fields with such cells; None if none.
        percentage_interval: Its 95 % bootstrap interval; None for fewer than five such fields.
        bias: Mean of found less drawn, cells a field.
    """

    fields: int
    exact: float
    exact_interval: Interval
    absolute: float
    absolute_interval: Interval | None
    percentage: float | None
    percentage_interval: Interval | None
    bias: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {key: getattr(self, key) for key in self.__dataclass_fields__}
        return {key: value.to_dict() if isinstance(value, Interval) else value for key, value in values.items()}


@dataclass(frozen=True, slots=True)
class CountingErrors:
    """Errors of the counts of each kind; a kind that nowhere was annotated is left out."""

    by_kind: dict[CellKind, KindErrors]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {kind: errors.to_dict() for kind, errors in self.by_kind.items()}


def counting_errors(
    found: npt.NDArray[np.int64], drawn: npt.NDArray[np.int64], annotated: npt.NDArray[np.bool_]
) -> CountingErrors:
    """Compare counts.

    Args:
        found: FxK int64, cells found in each field of each kind of `CELL_KINDS`.
        drawn: FxK int64, cells that the annotator drew.
        annotated: FxK bool, whether the annotator drew that kind in that field at all; others do not count.

    Raises:
        DataError: The arrays do not fit, or no field is annotated.
    """
    if not found.shape == drawn.shape == annotated.shape or found.shape[1:] != (len(CELL_KINDS),):
        raise DataError(f"Counts of shape {found.shape}, {drawn.shape} and {annotated.shape} cannot be compared.")
    by_kind: dict[CellKind, KindErrors] = {}
    for number, kind in enumerate(CELL_KINDS):
        rows = annotated[:, number]
        if rows.any():
            by_kind[kind] = _kind_errors(found[rows, number], drawn[rows, number])
    if not by_kind:
        raise DataError("No field is annotated, so counts cannot be compared. Name annotated fields.")
    return CountingErrors(by_kind)


def _kind_errors(found: npt.NDArray[np.int64], drawn: npt.NDArray[np.int64]) -> KindErrors:
    away = np.abs(found - drawn).astype(np.float64)
    some = drawn > 0
    shares = 100 * away[some] / drawn[some]
    right = int((away == 0).sum())
    return KindErrors(
        fields=len(found),
        exact=right / len(found),
        exact_interval=wilson_interval(right, len(found)),
        absolute=float(away.mean()),
        absolute_interval=_mean_interval(away),
        percentage=float(shares.mean()) if len(shares) else None,
        percentage_interval=_mean_interval(shares),
        bias=float((found - drawn).mean()),
    )


def _mean_interval(values: Sequence[float] | npt.NDArray[np.float64]) -> Interval | None:
    numbers = np.asarray(values)
    if len(numbers) < _LEAST_FIELDS:
        return None
    return bootstrap_interval(lambda rows: float(numbers[rows].mean()), len(numbers), resamples=1000)
