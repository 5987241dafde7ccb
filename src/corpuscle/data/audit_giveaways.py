"""Properties of files that tell the class without a look at the cell, so that a model may learn them instead."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from corpuscle.data.audit_findings import Finding, listed
from corpuscle.data.audit_pictures import Scanned

__all__ = ["giveaway_findings"]

_FEWEST = 5
_PURITY = 0.95
_CHANCE = 1e-4
_SEPARATION = 0.97
_FEWEST_TO_SEPARATE = 10

_ADVICE = {
    "size_gives_class": "Crop all pictures to one size before training.",
    "format_gives_class": "Write all pictures anew in one format and quality.",
    "file_size_gives_class": "Write all pictures anew with the same software and settings.",
}


def giveaway_findings(pictures: Sequence[Scanned]) -> list[Finding]:
    """List sizes, formats and file lengths that only one class has, or almost only one."""
    labeled = [one for one in pictures if one.entry.label]
    if len({one.entry.label for one in labeled}) < 2:
        return []
    sizes = [f"{one.header.width_px}x{one.header.height_px}" for one in labeled]
    formats = [f"{one.header.format} {one.header.encoding}" for one in labeled]
    findings = _by_value(labeled, sizes, "size_gives_class", "size")
    findings += _by_value(labeled, formats, "format_gives_class", "format and encoding")
    if not findings:
        findings += _by_number(labeled)
    return findings


def _by_value(labeled: Sequence[Scanned], values: Sequence[str], kind: str, what: str) -> list[Finding]:
    """List values that one class holds (almost) alone although it is not (almost) the whole set."""
    overall = Counter(one.entry.label for one in labeled)
    holders: dict[str, list[Scanned]] = defaultdict(list)
    for one, value in zip(labeled, values, strict=True):
        holders[value].append(one)
    if len(holders) < 2:
        return []
    findings = []
    for value, members in sorted(holders.items()):
        label, count = Counter(one.entry.label for one in members).most_common(1)[0]
        if len(members) < _FEWEST or count < _PURITY * len(members):
            continue
        if _chance(count, len(members), overall[label], len(labeled)) > _CHANCE:
            continue
        files = tuple(sorted(one.entry.file for one in members))
        message = (
            f"The {what} {value} gives the class away: {count} of its {len(members)} pictures are {label} "
            f"({listed(files, most=3)}). {_ADVICE[kind]}"
        )
        findings.append(Finding(kind, "fault", files, message))
    return findings


def _chance(count: int, drawn: int, of_class: int, total: int) -> float:
    """Return how likely it is that at least `count` of `drawn` pictures are of a class by chance (Fisher's test)."""

    def log_ways(size: int, chosen: int) -> float:
        return math.lgamma(size + 1) - math.lgamma(chosen + 1) - math.lgamma(size - chosen + 1)

    whole = log_ways(total, drawn)
    return math.fsum(
        math.exp(log_ways(of_class, hits) + log_ways(total - of_class, drawn - hits) - whole)
        for hits in range(count, min(drawn, of_class) + 1)
        if drawn - hits <= total - of_class
    )


def _by_number(labeled: Sequence[Scanned]) -> list[Finding]:
    """List classes that a single threshold on the length of the file tells from all others."""
    sizes = np.array([one.size_bytes for one in labeled])
    labels = np.array([one.entry.label for one in labeled])
    findings = []
    for label in sorted(set(labels.tolist())):
        inside, outside = np.sort(sizes[labels == label]), np.sort(sizes[labels != label])
        if min(len(inside), len(outside)) < _FEWEST_TO_SEPARATE:
            continue
        separation, threshold, smaller = _best_threshold(inside, outside)
        if separation < _SEPARATION:
            continue
        side = "below" if smaller else "above"
        message = (
            f"The length of the file gives the class {label} away: a threshold of {threshold} bytes tells it from all "
            f"others with a balanced accuracy of {separation:.2f} ({label} lies {side}). "
            f"{_ADVICE['file_size_gives_class']}"
        )
        files = tuple(sorted(one.entry.file for one in labeled if one.entry.label == label))
        findings.append(Finding("file_size_gives_class", "fault", files, message))
    return findings


def _best_threshold(inside: NDArray[np.int64], outside: NDArray[np.int64]) -> tuple[float, int, bool]:
    """Return the best balanced accuracy of one threshold, that threshold, and whether the class lies below it."""
    thresholds = np.unique(np.concatenate([inside, outside]))
    low_inside = np.searchsorted(inside, thresholds, side="left") / len(inside)
    low_outside = np.searchsorted(outside, thresholds, side="left") / len(outside)
    difference = low_inside - low_outside
    best = int(np.argmax(np.abs(difference)))
    return float(0.5 + abs(difference[best]) / 2), int(thresholds[best]), bool(difference[best] > 0)
