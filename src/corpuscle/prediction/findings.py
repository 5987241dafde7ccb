"""What a hematologist would look at again: suggestions with the cells behind them, never a diagnosis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from corpuscle import taxonomy
from corpuscle.errors import UsageError
from corpuscle.prediction.counting import Differential
from corpuscle.prediction.proportions import wilson_interval
from corpuscle.prediction.reference_ranges import flag_of, reference_range
from corpuscle.prediction.refusal import UNLIKE
from corpuscle.records import FieldCell, FieldReading

__all__ = ["Finding", "find_findings"]

_LEFT_SHIFT_PERCENT = 10.0
"""Band forms above this share count as a left shift (Bone et al. 1992, Chest 101, 1644-1655)."""

_FEWEST_CELLS = 3
"""One or two cells are no increase, whatever their share of a few."""

_FEWEST_LEUKOCYTES = 25
"""With fewer no share is called unusual, although an interval may say so."""

_ALIKE = 3
_ALIKE_SHARE = 0.05
_FEW_PLATELETS_PER_100_ERYTHROCYTES = 2.0
"""150 to 400 billion platelets beside 4 to 5.5 trillion erythrocytes in a liter are 3 to 10 per 100."""

_LEAST_ERYTHROCYTES = 200
_WORDS = {
    ("eosinophil", "high"): ("eosinophilia", "Many eosinophils"),
    ("basophil", "high"): ("basophilia", "Many basophils"),
    ("monocyte", "high"): ("monocytosis", "Many monocytes"),
    ("lymphocyte", "high"): ("lymphocytosis", "Many lymphocytes"),
    ("lymphocyte", "low"): ("lymphopenia", "Few lymphocytes"),
    ("neutrophil", "high"): ("neutrophilia", "Many neutrophils"),
    ("neutrophil", "low"): ("neutropenia", "Few neutrophils"),
}

Cell = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at again.

    Attributes:
        key: A short name that stays the same, such as `left_shift`.
        text: One sentence with the numbers, for a person to read; a suggestion and no diagnosis.
        cells: File and number of each cell behind it; empty where it is about cells that are missing.
    """

    key: str
    text: str
    cells: tuple[Cell, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a finding that says nothing."""
        if not self.key or not self.text:
            raise UsageError("A finding needs a key and a sentence.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        cells = [{"file": file, "number": number} for file, number in self.cells]
        return {"key": self.key, "text": self.text, "cells": cells}


def find_findings(readings: Sequence[FieldReading], differential: Differential) -> tuple[Finding, ...]:
    """List what to look at again in the fields of one smear.

    A share is a finding only where all of its 95 % interval lies outside of what is usual in adults. Percentages alone
    are relative: without a leukocyte count nobody knows whether a class has many cells or the others few.

    Args:
        readings: The fields.
        differential: Their differential.
    """
    found = [*_left_shift(readings, differential), *_erythroblasts(readings, differential)]
    found += [*_shares(readings, differential), *_alike(readings), *_platelets(readings)]
    return tuple(found)


def _cells(readings: Sequence[FieldReading], wanted: Callable[[FieldCell], bool]) -> tuple[Cell, ...]:
    return tuple((reading.file, cell.number) for reading in readings for cell in reading.cells if wanted(cell))


def _of_class(readings: Sequence[FieldReading], *keys: str) -> tuple[Cell, ...]:
    """List the counted cells of some classes."""
    return _cells(
        readings,
        lambda cell: cell.kind == "leukocyte" and cell.class_name in keys and not cell.refused and not cell.on_border,
    )


def _left_shift(readings: Sequence[FieldReading], differential: Differential) -> Iterator[Finding]:
    immature = [row.key for row in taxonomy.CLASSES if "immature_granulocyte" in (row.key, row.parent)]
    cells, n = _of_class(readings, *immature), differential.n
    reference = reference_range("immature_granulocyte")
    if cells and n and reference:
        ends = wilson_interval(len(cells), n)
        if flag_of(100 * ends.low, 100 * ends.high, reference) == "high":
            yield Finding(
                "left_shift", f"Immature granulocytes: {_share(len(cells), n)}. Look for a left shift.", cells
            )
    bands = _of_class(readings, "band_neutrophil")
    if bands and n and 100 * wilson_interval(len(bands), n).low > _LEFT_SHIFT_PERCENT:
        yield Finding("left_shift_bands", f"Band neutrophils: {_share(len(bands), n)}. Look for a left shift.", bands)


def _share(count: int, n: int) -> str:
    ends = wilson_interval(count, n)
    return f"{count} of {n}, {100 * count / n:.1f} % (95 % {100 * ends.low:.1f}-{100 * ends.high:.1f})"


def _erythroblasts(readings: Sequence[FieldReading], differential: Differential) -> Iterator[Finding]:
    cells = _of_class(readings, "erythroblast")
    if not cells:
        return
    ends, per_100 = differential.erythroblast_interval, differential.erythroblasts_per_100
    rate = f", {per_100:.1f} per 100 leukocytes (95 % {ends.low:.1f}-{ends.high:.1f})" if ends and per_100 else ""
    yield Finding(
        "erythroblasts",
        f"Erythroblasts: {len(cells)}{rate}. In adults' peripheral blood there should be none; look at each, as small "
        "lymphocytes resemble them.",
        cells,
    )


def _shares(readings: Sequence[FieldReading], differential: Differential) -> Iterator[Finding]:
    """Yield the classes whose whole interval lies outside of what is usual; finer classes count for their parent."""
    if differential.n < _FEWEST_LEUKOCYTES:
        return
    for (key, flag), (name, words) in _WORDS.items():
        finer = [row.key for row in taxonomy.CLASSES if key in (row.key, row.parent)]
        count = sum(row.n for row in differential.shares if row.class_name in finer)
        reference, ends = reference_range(key), wilson_interval(count, differential.n)
        own = differential.share(key)
        low, high = 100 * ends.low, 100 * ends.high
        if own and own.interval and own.n == count:
            low, high = own.interval.low, own.interval.high
        if reference and flag_of(low, high, reference) == flag and (flag == "low" or count >= _FEWEST_CELLS):
            others = "many" if flag == "low" else "few"
            text = (
                f"{words}: {count} of {differential.n}, {100 * count / differential.n:.1f} % (95 % {low:.1f}-{high:.1f}"
                f"); usual in adults are {reference.low:g} to {reference.high:g} %. A relative {name} may mean "
                f"{others} of the others: a leukocyte count tells."
            )
            yield Finding(name, text, _of_class(readings, *finer))


def _alike(readings: Sequence[FieldReading]) -> Iterator[Finding]:
    """Yield refused leukocytes that look alike: refused for being strange, and resembling the same class."""
    leukocytes = [cell for reading in readings for cell in reading.cells if cell.kind == "leukocyte"]
    inside = sum(not cell.on_border for cell in leukocytes)
    strange = Counter(cell.class_name for cell in leukocytes if _strange(cell))
    for key, count in sorted(strange.items()):
        if count < _ALIKE or count < _ALIKE_SHARE * inside:
            continue
        name = taxonomy.cell_class(key).name_en
        cells = _cells(readings, lambda cell, key=key: _strange(cell) and cell.class_name == key)  # type: ignore[misc]
        yield Finding(
            "refused_alike",
            f"{count} of {inside} leukocytes were refused as unlike the known cells, all of them nearest to the class "
            f"{name}. They may be a kind of cell that the model does not know; look at them together.",
            cells,
        )


def _strange(cell: FieldCell) -> bool:
    return cell.kind == "leukocyte" and cell.refused and not cell.on_border and UNLIKE in cell.reason


def _platelets(readings: Sequence[FieldReading]) -> Iterator[Finding]:
    erythrocytes = sum(reading.count("erythrocyte") for reading in readings)
    platelets = sum(reading.count("platelet") for reading in readings)
    clumped = _cells(readings, lambda cell: cell.kind == "platelet" and cell.clump > 0)
    if clumped:
        yield Finding(
            "platelet_clumps",
            f"{len(clumped)} of {platelets} platelets lie in clumps, so their count may be too low. Look at the "
            "feathered edge.",
            clumped,
        )
    if erythrocytes < _LEAST_ERYTHROCYTES:
        return
    high = 100 * wilson_interval(min(platelets, erythrocytes), erythrocytes).high
    if high < _FEW_PLATELETS_PER_100_ERYTHROCYTES:
        yield Finding(
            "few_platelets",
            f"Only {platelets} platelets beside {erythrocytes} erythrocytes. Look for clumps at the feathered edge, "
            "and compare with a platelet count.",
        )
