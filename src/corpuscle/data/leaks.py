"""What two splits share: the one number that says whether a figure can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corpuscle.data.labeled import LabeledCell

__all__ = ["SharedSources", "shared_sources"]


@dataclass(frozen=True, slots=True)
class SharedSources:
    """How many of the sources of judged cells were learned from.

    A source is a cell's group, as a photograph or a set of duplicates. Where most cells have no group it is the file;
    else the few whose group nobody knows are left out.

    Attributes:
        judged: Number of sources of the judged cells.
        shared: How many of these are sources of training cells too.
        cells: Number of judged cells of shared sources.
        grouped: Whether sources are groups and not single files.
    """

    judged: int
    shared: int
    cells: int
    grouped: bool

    def sentence(self) -> str:
        """Return `leaks: ...` with the numbers, or nothing where no source is shared."""
        if not self.shared:
            return ""
        noun = "photographs" if self.grouped else "pictures"
        share = 100 * self.shared / self.judged
        return f"leaks: {share:.0f} % of test {noun} are also in training ({self.shared} of {self.judged})"


def shared_sources(learned: Sequence[LabeledCell], judged: Sequence[LabeledCell]) -> SharedSources:
    """Count the sources of `judged` that `learned` has as well."""
    grouped = sum(bool(cell.group) for cell in judged) > len(judged) / 2
    known = {_source(cell) for cell in learned}
    counted = [_source(cell) for cell in judged if cell.group or not grouped]
    sources = set(counted)
    shared = sources & known
    return SharedSources(len(sources), len(shared), sum(source in shared for source in counted), grouped)


def _source(cell: LabeledCell) -> str:
    return cell.group or cell.file
