"""The leukocyte differential: how many cells of each class among how many, and how sure that is. Numpy only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from corpuscle import taxonomy
from corpuscle.errors import UsageError
from corpuscle.prediction.correction import Confusion, CorrectedShare, correct_shares
from corpuscle.prediction.proportions import Interval, exact_interval, proportion_intervals
from corpuscle.prediction.reference_ranges import ReferenceRange, flag_of, reference_range
from corpuscle.records import FieldCell, FieldReading

__all__ = [
    "FEW_CELLS",
    "TOO_FEW_CELLS",
    "ClassShare",
    "Differential",
    "differential_of",
    "make_differential",
]

TOO_FEW_CELLS = 100
"""Below this many leukocytes a differential comes with a warning."""

FEW_CELLS = 200
"""Below this many leukocytes a differential comes with a note; 200 is what the ICSH recommends counting."""

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class ClassShare:
    """One row of a differential.

    Attributes:
        class_name: A key of the taxonomy.
        n: How many cells.
        percent: Of the leukocytes counted; None where none was.
        interval: 95 % interval in percent; None where nothing was counted.
        reference: What is usual in adults; None where no range is known.
        flag: `low` or `high` if all of the interval lies outside of the range, `within` if all lies inside, `unsure`
            if an end of the range lies in the interval, empty without range or cells.
    """

    class_name: str
    n: int
    percent: float | None
    interval: Interval | None
    reference: ReferenceRange | None = None
    flag: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "class": self.class_name,
            "n": self.n,
            "percent": self.percent,
            "interval": self.interval.to_dict() if self.interval else None,
            "reference": self.reference.to_dict() if self.reference else None,
            "flag": self.flag,
        }


@dataclass(frozen=True, slots=True)
class Differential:
    """A leukocyte differential and what belongs beside it.

    Attributes:
        n: Leukocytes counted: named, not refused, not cut by the edge of a field.
        shares: One row a class, in the order of the taxonomy; they add up to 100 %.
        method: How the intervals were made.
        erythroblasts: How many; they are no part of `n`.
        erythroblasts_per_100: Per 100 leukocytes; None where no leukocyte was counted.
        erythroblast_interval: 95 % interval of that.
        refused: Cells found as leukocytes that the classifier declined to name.
        on_border: Cells found as leukocytes that the edge of a field cuts; they are left out.
        unnamed: Cells found as leukocytes that no classifier was asked about.
        fields: How many fields were counted.
        warning: What must be read before the numbers, empty if nothing.
        note: What should be read beside the numbers, empty if nothing.
        corrected: Shares corrected for the classifier's own mistakes, where that was asked for.
        correction_source: Where those mistakes were measured.
    """

    n: int
    shares: tuple[ClassShare, ...]
    method: str
    erythroblasts: int = 0
    erythroblasts_per_100: float | None = None
    erythroblast_interval: Interval | None = None
    refused: int = 0
    on_border: int = 0
    unnamed: int = 0
    fields: int = 0
    warning: str = ""
    note: str = ""
    corrected: tuple[CorrectedShare, ...] = field(default=())
    correction_source: str = ""

    def share(self, class_name: str) -> ClassShare | None:
        """Return the row of a class, or None where the differential has none."""
        return next((row for row in self.shares if row.class_name == class_name), None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        ends = self.erythroblast_interval
        return {
            "n": self.n,
            "interval_method": self.method,
            "classes": [row.to_dict() for row in self.shares],
            "erythroblasts": {
                "n": self.erythroblasts,
                "per_100_leukocytes": self.erythroblasts_per_100,
                "interval": ends.to_dict() if ends else None,
            },
            "refused": self.refused,
            "on_border": self.on_border,
            "unnamed": self.unnamed,
            "fields": self.fields,
            "warning": self.warning,
            "note": self.note,
            "corrected": [row.to_dict() for row in self.corrected],
            "correction_source": self.correction_source,
        }


def differential_of(
    readings: Iterable[FieldReading], *, interval: str = "wilson", confusion: Confusion | None = None
) -> Differential:
    """Count the leukocytes of the fields of one smear together.

    Args:
        readings: The fields.
        interval: `wilson`, `exact`, `simultaneous` or `sison-glaz`.
        confusion: How the classifier mistakes cells, to correct for it as well.

    Raises:
        UnknownNameError: There is no such interval.
    """
    counts: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    fields = 0
    for reading in readings:
        fields += 1
        for cell in reading.cells:
            if cell.kind == "leukocyte":
                _sort_in(cell, counts, left_out)
    plain = make_differential(counts, interval=interval, confusion=confusion)
    return replace(
        plain, fields=fields, refused=left_out["refused"], on_border=left_out["border"], unnamed=left_out["unnamed"]
    )


def _sort_in(cell: FieldCell, counts: Counter[str], left_out: Counter[str]) -> None:
    """Count one leukocyte, or the reason why it does not count; the edge of the field comes first."""
    if cell.on_border:
        left_out["border"] += 1
    elif not cell.class_name:
        left_out["unnamed"] += 1
    elif cell.refused:
        left_out["refused"] += 1
    else:
        counts[cell.class_name] += 1


def make_differential(
    counts: Mapping[str, int], *, interval: str = "wilson", confusion: Confusion | None = None
) -> Differential:
    """Make a differential of counts by class.

    Classes outside of the denominator (erythroblasts, platelets, erythrocytes) do not change any percentage. The
    interval of erythroblasts per 100 leukocytes is that of their share of both together (Clopper-Pearson), turned
    into odds.

    Args:
        counts: How many cells of each class, by key of the taxonomy; other spellings are refused.
        interval: `wilson`, `exact`, `simultaneous` or `sison-glaz`.
        confusion: How the classifier mistakes cells, to correct for it as well.

    Raises:
        UnknownNameError: A class is unknown, or there is no such interval.
        UsageError: A count is negative.
    """
    for key, value in counts.items():
        taxonomy.cell_class(key)
        if value < 0:
            raise UsageError(f"There cannot be {value} cells of the class {key}. Count from 0.")
    classes = _rows(counts)
    numbers = [int(counts.get(key, 0)) for key in classes]
    n = sum(numbers)
    ends = proportion_intervals(numbers, interval, _CONFIDENCE)
    shares = tuple(_share(key, value, n, end) for key, value, end in zip(classes, numbers, ends, strict=True))
    erythroblasts = int(counts.get("erythroblast", 0))
    per_100, spread = _per_100(erythroblasts, n)
    corrected: tuple[CorrectedShare, ...] = ()
    if confusion is not None:
        corrected = correct_shares(counts, confusion.classes, confusion.counts)
    warning, note = _remarks(n)
    method = next((end.method for end in ends if end), interval)
    return Differential(
        n, shares, method, erythroblasts, per_100, spread, warning=warning, note=note, corrected=corrected,
        correction_source=confusion.source if confusion else "",
    )  # fmt: skip


def _rows(counts: Mapping[str, int]) -> list[str]:
    """List the classes to show: the six of every differential, or finer ones where cells are named so."""
    finer = [row.key for row in taxonomy.CLASSES if row.in_differential and row.parent and counts.get(row.key, 0)]
    parents = {taxonomy.cell_class(key).parent for key in finer}
    return [
        row.key
        for row in taxonomy.CLASSES
        if row.in_differential
        and (row.key in finer or (not row.parent and (row.key not in parents or counts.get(row.key, 0))))
    ]


def _share(key: str, value: int, n: int, interval: Interval | None) -> ClassShare:
    reference = reference_range(key)
    if interval is None:
        return ClassShare(key, value, None, None, reference)
    percent = Interval(100 * interval.low, 100 * interval.high, interval.confidence, interval.method)
    flag = flag_of(percent.low, percent.high, reference) if reference else ""
    return ClassShare(key, value, 100 * value / n, percent, reference, flag)


def _per_100(erythroblasts: int, n: int) -> tuple[float | None, Interval | None]:
    """Return erythroblasts per 100 leukocytes and its interval."""
    if n == 0:
        return None, None
    ends = exact_interval(erythroblasts, erythroblasts + n, _CONFIDENCE)
    low, high = (100 * share / max(1 - share, 1e-12) for share in (ends.low, ends.high))
    return 100 * erythroblasts / n, Interval(low, high, _CONFIDENCE, "exact (Clopper-Pearson), as odds")


def _remarks(n: int) -> tuple[str, str]:
    """Say what a small number of cells means."""
    if n == 0:
        return "No leukocyte could be counted, so there is no differential.", ""
    if n < TOO_FEW_CELLS:
        return (
            f"Only {n} {'leukocyte was' if n == 1 else 'leukocytes were'} counted. A differential needs "
            f"{TOO_FEW_CELLS} at least; read the intervals, and count more fields.",
            "",
        )
    if n < FEW_CELLS:
        return "", f"{n} leukocytes were counted; {FEW_CELLS} give narrower intervals."
    return "", ""
