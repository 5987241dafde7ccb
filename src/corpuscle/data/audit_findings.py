"""What an audit says: findings, gathered in a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["AuditReport", "Finding", "Severity", "listed"]

Severity = Literal["leak", "fault", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a data set, or worth knowing.

    Attributes:
        kind: What sort of thing, a fixed word such as `identical`, `overlap` or `box_outside`.
        severity: `leak` (a figure measured on the test split will flatter), `fault` (something to mend) or `note`.
        files: The pictures, annotations or tables concerned, relative to the folder of the set, with `/`.
        message: One or two sentences: what was found and what to do.
    """

    kind: str
    severity: Severity
    files: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The findings of one audit.

    Attributes:
        folder: The folder that was looked at.
        n_files: How many picture files it holds, readable or not.
        findings: Leaks first, then faults, then notes.
    """

    folder: Path
    n_files: int
    findings: tuple[Finding, ...]

    @property
    def has_leak(self) -> bool:
        """Whether anything crosses from one split to another."""
        return any(finding.severity == "leak" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that JSON can hold."""
        counts = Counter(finding.severity for finding in self.findings)
        return {
            "folder": str(self.folder),
            "n_files": self.n_files,
            "has_leak": self.has_leak,
            "counts": {severity: counts[severity] for severity in ("leak", "fault", "note")},
            "findings": [{**asdict(finding), "files": list(finding.files)} for finding in self.findings],
        }


def listed(words: Iterable[str], *, most: int = 5) -> str:
    """Join words with commas, the first few only, with a count of those left out."""
    every: Sequence[str] = list(words)
    shown = ", ".join(every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most} more"
