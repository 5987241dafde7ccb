"""What is usual in the blood of healthy adults: a table with its sources, and flags that respect the interval."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from corpuscle.errors import UsageError

__all__ = ["REFERENCE_RANGES", "ReferenceRange", "flag_of", "reference_range"]

_DACIE = (
    "Bain, Bates, Laffan, Lewis (editors), Dacie and Lewis Practical Haematology, 12th edition, Elsevier 2017, "
    "chapter 2, differential white cell count of adults"
)
_NOT_SEEN = "threshold of this project: healthy adults have none in the blood, and a classifier errs now and then"


@dataclass(frozen=True, slots=True)
class ReferenceRange:
    """What is usual in adults.

    Attributes:
        class_name: A key of the taxonomy.
        low: Lower end in percent of the leukocytes.
        high: Upper end in percent of the leukocytes.
        source: Where the range is from.
    """

    class_name: str
    low: float
    high: float
    source: str

    def __post_init__(self) -> None:
        """Refuse ends that stand the wrong way round."""
        if not 0 <= self.low < self.high <= 100:
            raise UsageError(f"A range of {self.low} to {self.high} % is none. Give the lower end first.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


REFERENCE_RANGES: tuple[ReferenceRange, ...] = (
    ReferenceRange("neutrophil", 40, 80, _DACIE),
    ReferenceRange("lymphocyte", 20, 40, _DACIE),
    ReferenceRange("monocyte", 2, 10, _DACIE),
    ReferenceRange("eosinophil", 1, 6, _DACIE),
    ReferenceRange("basophil", 0, 2, _DACIE),
    ReferenceRange("immature_granulocyte", 0, 1, _NOT_SEEN),
)
"""Adults, in percent of the leukocytes. They differ between laboratories, ages and peoples: use your own where you
have them."""


def reference_range(class_name: str) -> ReferenceRange | None:
    """Return what is usual of a class, or None where no range is known."""
    return next((row for row in REFERENCE_RANGES if row.class_name == class_name), None)


def flag_of(low: float, high: float, reference: ReferenceRange) -> str:
    """Compare an interval (percent) with a range.

    Returns:
        `low` or `high` where all of the interval lies outside, `within` where all of it lies inside, else `unsure`:
        the number of cells does not tell.
    """
    if high < reference.low:
        return "low"
    if low > reference.high:
        return "high"
    return "within" if low >= reference.low and high <= reference.high else "unsure"
