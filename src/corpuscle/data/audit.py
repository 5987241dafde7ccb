"""Looking for what makes a data set flatter or fail: leaks between splits, duplicates, contradictions, bad boxes.

Each check is a function from what was read to findings; adding one means adding it to `_findings`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

from corpuscle.data.audit_boxes import box_findings
from corpuscle.data.audit_duplicates import duplicate_findings, group_findings, source_findings
from corpuscle.data.audit_findings import AuditReport, Finding
from corpuscle.data.audit_giveaways import giveaway_findings
from corpuscle.data.audit_pictures import Scan, scan_pictures
from corpuscle.data.audit_tree import SPLIT_TABLE, Tree, read_tree
from corpuscle.data.near_duplicates import MOST_PICTURES

__all__ = ["AuditReport", "Finding", "audit"]

_ORDER: Final = {"leak": 0, "fault": 1, "note": 2}

_PBC_NAME: Final = re.compile(r"(BA|EO|ERB|IG|PMY|MY|MMY|LY|MO|BNE|SNE|NEUTROPHIL|PLATELET)_\d+")
_PBC_TWO_LABELS: Final = ("BNE_191112", "EO_225902")
_FEWEST_TO_RECOGNIZE: Final = 20


def audit(folder: Path, *, progress: Callable[[int, int], None] | None = None) -> AuditReport:
    """Look at every picture, table and box of a data set and report what is wrong.

    Found are identical, nearly identical, overlapping, turned and mirrored pictures, whether they cross splits or
    contradict each other's label; groups and source photographs that cross splits; sizes, formats and lengths of
    files that give the class away; impossible boxes; fields without erythrocyte boxes; unreadable files; and tables
    that do not fit the files. Up to 40,000 pictures every pair is compared; above, only unshifted copies are found.

    Args:
        folder: A folder per class, perhaps below split folders or with a `splits.csv`; or a VOC or a YOLO tree.
        progress: Called with how much is done and how much there is to do.

    Raises:
        NoInputError: There is no such folder, or it holds no picture.
    """
    tree = read_tree(Path(folder))
    scan = scan_pictures(tree, progress)
    findings = sorted(_findings(tree, scan), key=lambda finding: _ORDER[finding.severity])
    return AuditReport(tree.folder, len(tree.entries), tuple(findings))


def _findings(tree: Tree, scan: Scan) -> list[Finding]:
    """Run every check."""
    return [
        *tree.findings,
        *scan.findings,
        *group_findings(tree),
        *source_findings(tree),
        *duplicate_findings(tree, scan),
        *giveaway_findings(scan.pictures),
        *box_findings(tree, scan.pictures),
        *_unknown_patients(tree),
        *_published_faults(tree),
        *_search_left_out(tree),
    ]


def _unknown_patients(tree: Tree) -> list[Finding]:
    """Note that a split cannot be shown to keep patients apart."""
    if not tree.has_splits or tree.group_kinds & {"patient", "smear", "slide"}:
        return []
    message = (
        "Nothing says which patient, smear or slide a picture comes from, so that pictures of one may lie in several "
        "splits: figures measured on these splits may flatter. Add such a column to splits.csv if it can be known."
    )
    return [Finding("unknown_patients", "note", (SPLIT_TABLE,) if tree.group_kinds else (), message)]


def _published_faults(tree: Tree) -> list[Finding]:
    """Say what is known to be wrong with a recognized published set but cannot be seen in this folder."""
    stems = [PurePosixPath(entry.file).stem for entry in tree.entries]
    recognized = sum(_PBC_NAME.fullmatch(stem) is not None for stem in stems)
    absent = [stem for stem in _PBC_TWO_LABELS if stem not in stems]
    if len(stems) < _FEWEST_TO_RECOGNIZE or recognized < 0.9 * len(stems) or not absent:
        return []
    message = (
        "By their names these are pictures of the PBC set (Acevedo et al. 2020, doi 10.17632/snkd93bnjr.1). As "
        "published, it holds one picture under two labels, BNE_191112 (neutrophil) and EO_225902 (eosinophil). "
        f"This folder lacks {' and '.join(absent)}, so that the contradiction is not in it: leave out both."
    )
    return [Finding("published_fault", "note", (), message)]


def _search_left_out(tree: Tree) -> list[Finding]:
    """Say that a set was too large for the full search."""
    if len(tree.entries) <= MOST_PICTURES:
        return []
    message = (
        f"With more than {MOST_PICTURES:,} pictures, overlapping, turned and mirrored ones were not looked for. Audit "
        "parts of the set to find them."
    )
    return [Finding("search_left_out", "note", (), message)]
