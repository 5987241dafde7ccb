"""Corrects a differential for the mistakes that its own classifier is known to make.

Cells are counted by prediction, and the confusion matrix says how often a cell of each class is predicted as each. The
shares that explain the counts best are found by expectation maximization (Dempster, Laird and Rubin 1977, Journal of
the Royal Statistical Society B 39, 1-38), which unlike inverting the matrix (Rogan and Gladen 1978, American Journal of
Epidemiology 107, 71-76) never gives a negative share. It presumes that the classifier errs on this smear as it did
where the matrix was measured: another stain breaks that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpuscle import taxonomy
from corpuscle.errors import DataError, UsageError
from corpuscle.models.bundle import Bundle
from corpuscle.prediction.proportions import Interval

__all__ = [
    "CONFUSION",
    "Confusion",
    "CorrectedShare",
    "correct_shares",
    "most_likely_shares",
    "read_confusion",
    "stated_confusion",
]

CONFUSION = "confusion matrix"
"""Name of the figure by which a bundle states its confusion matrix."""

_ROUNDS = 500
_STILL = 1e-9
_RESAMPLES = 400
_SEED = 0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CorrectedShare:
    """A corrected row of a differential: percent of the leukocytes, and its 95 % bootstrap interval in percent."""

    class_name: str
    percent: float
    interval: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"class": self.class_name, "percent": self.percent, "interval": self.interval.to_dict()}


@dataclass(frozen=True, slots=True)
class Confusion:
    """How a classifier mistakes cells: `counts[label][prediction]` of `classes`, and where that was measured."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no square table of counts."""
        k = len(self.classes)
        if k < 2 or len(self.counts) != k or any(len(row) != k or min(row) < 0 for row in self.counts):
            raise UsageError(f"A confusion matrix of {k} classes needs {k} rows of {k} counts, none negative.")


def stated_confusion(bundle: Bundle) -> Confusion:
    """Return the confusion matrix that a bundle states of itself, of its test split where it has several.

    Raises:
        UsageError: It states none.
    """
    rows = [row for row in bundle.metrics if row.get("figure") == CONFUSION]
    if not rows:
        raise UsageError(
            f"The model {bundle.name} does not state its own confusion matrix, so nothing can be corrected by it. "
            "Give an evaluation.json that `corpuscle evaluate` wrote (--confusion)."
        )
    row = max(rows, key=lambda row: (row.get("split") == "test", int(row.get("n", 0))))
    return _parsed(row, f"{row.get('dataset')}, split {row.get('split')}, {row.get('n')} cells", "classes", "value")


def read_confusion(path: Path) -> Confusion:
    """Read the confusion matrix out of an `evaluation.json` that `corpuscle evaluate` wrote.

    Raises:
        DataError: The file cannot be read or holds none.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no readable evaluation ({error}). Name an evaluation.json.") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} is no evaluation. Name an evaluation.json that `corpuscle evaluate` wrote.")
    source = f"{values.get('dataset')}, split {values.get('split')}, {values.get('n')} cells"
    return _parsed(values, source, "classes", "confusion")


def _parsed(values: Mapping[str, Any], source: str, classes: str, counts: str) -> Confusion:
    try:
        table = tuple(tuple(int(value) for value in row) for row in values[counts])
        return Confusion(tuple(str(key) for key in values[classes]), table, source)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"The confusion matrix of {source} cannot be understood ({error}). Measure it again."
        ) from error


def most_likely_shares(counts: npt.NDArray[np.floating], mistakes: Floats) -> Floats:
    """Find the shares of the true classes under which the counts by prediction are most likely.

    Args:
        counts: ...xK counts by prediction.
        mistakes: ...xKxK, the chance of each prediction (last axis) for a cell of each true class; rows add up to 1.

    Returns:
        ...xK shares, none negative, adding up to 1.
    """
    observed = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1e-300)
    shares = np.full(observed.shape, 1 / observed.shape[-1])
    for _ in range(_ROUNDS):
        expected = np.maximum(np.einsum("...j,...ji->...i", shares, mistakes), 1e-300)
        new = shares * np.einsum("...ji,...i->...j", mistakes, observed / expected)
        moved = float(np.abs(new - shares).max())
        shares = new
        if moved < _STILL:
            break
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


def correct_shares(
    counts: Mapping[str, int], classes: Sequence[str], confusion: Sequence[Sequence[int]]
) -> tuple[CorrectedShare, ...]:
    """Correct the shares of the leukocyte classes.

    The interval holds both chances, of the cells that happened to be counted and of those on which the matrix was
    measured: both are drawn anew, 400 times (Efron and Tibshirani 1993, chapter 13).

    Args:
        counts: Cells by predicted class.
        classes: The K classes of the matrix.
        confusion: KxK, cells by label (row) and prediction (column).

    Returns:
        A row for each class of the differential among `classes`; none where no cell was counted.

    Raises:
        UsageError: A counted class is not in the matrix, or a class of it has no cell.
    """
    strangers = [key for key, value in counts.items() if value and key not in classes]
    if strangers:
        raise UsageError(f"The confusion matrix lacks the counted class {strangers[0]}. Measure it with this model.")
    table = np.asarray(confusion, np.float64)
    if (table.sum(axis=1) == 0).any():
        empty = classes[int(np.argmin(table.sum(axis=1)))]
        raise UsageError(f"The confusion matrix has no cell of the class {empty}, so nothing can be corrected by it.")
    numbers = np.array([counts.get(key, 0) for key in classes], np.float64)
    if numbers.sum() == 0:
        return ()
    rows = [place for place, key in enumerate(classes) if taxonomy.cell_class(key).in_differential]
    point = _among(most_likely_shares(numbers, table / table.sum(axis=1, keepdims=True)), rows)
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(int(numbers.sum()), numbers / numbers.sum(), size=_RESAMPLES).astype(np.float64)
    # A class that was never mistaken for another in the sample may be all the same: half a cell in each place.
    mistakes = np.stack([rng.dirichlet(row + 0.5 / len(classes), size=_RESAMPLES) for row in table], axis=1)
    many = _among(most_likely_shares(drawn, mistakes), rows)
    low, high = np.quantile(many, [0.025, 0.975], axis=0)
    method = f"bootstrap of counts and confusion matrix, {_RESAMPLES} resamples"
    return tuple(
        CorrectedShare(
            classes[row],
            100 * float(point[place]),
            Interval(100 * float(min(low[place], point[place])), 100 * float(max(high[place], point[place])), 0.95,
                     method),
        )
        for place, row in enumerate(rows)
    )  # fmt: skip


def _among(shares: Floats, rows: Sequence[int]) -> Floats:
    """Return the shares of some classes among themselves."""
    chosen = shares[..., list(rows)]
    return np.asarray(chosen / np.maximum(chosen.sum(axis=-1, keepdims=True), 1e-300))
