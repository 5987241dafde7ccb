"""Says which cells of a field touch, and which lie together in a clump."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from corpuscle.prediction.neighbors import pairs_up_to
from corpuscle.records import CELL_KINDS

__all__ = ["LEAST_CLUMP", "find_clumps"]

LEAST_CLUMP = 3
"""Cells that lie together before they are called a clump; leukocytes and pairs are said to touch."""

_NEAR = {"erythrocyte": 0.85, "leukocyte": 0.95, "platelet": 1.5}
"""Distance of two middles, in mean diameters, under which cells of a kind lie together. Platelets clump loosely."""


def find_clumps(
    boxes: npt.NDArray[np.floating], kinds: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Find cells of one kind that lie against each other.

    Args:
        boxes: Nx4, in the order of the cells' numbers.
        kinds: N indices into `CELL_KINDS`.

    Returns:
        For each cell whether it touches another of its kind, and the number of its clump: from 1 in the order of the
        first cell of each, 0 for a cell in none.
    """
    values = boxes.astype(np.float64)
    middles = (values[:, :2] + values[:, 2:]) / 2
    diameters = np.sqrt((values[:, 2:] - values[:, :2]).prod(axis=1))
    parent = list(range(len(values)))
    touching = np.zeros(len(values), bool)
    for place, other in _pairs(middles, diameters, kinds):
        touching[place] = touching[other] = True
        first, second = _root(parent, place), _root(parent, other)
        parent[max(first, second)] = min(first, second)
    roots = np.array([_root(parent, place) for place in range(len(values))], np.int64)
    members = np.bincount(roots, minlength=len(values)) if len(roots) else np.zeros(0, np.int64)
    numbers = {int(root): number for number, root in enumerate(np.flatnonzero(members >= LEAST_CLUMP), start=1)}
    return touching, np.array([numbers.get(int(root), 0) for root in roots], np.int64)


def _root(parent: list[int], place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


def _pairs(
    middles: npt.NDArray[np.float64], diameters: npt.NDArray[np.float64], kinds: npt.NDArray[np.int64]
) -> Iterator[tuple[int, int]]:
    """Yield the pairs of cells of one kind that lie together."""
    for kind, name in enumerate(CELL_KINDS):
        own = np.flatnonzero(kinds == kind)
        if len(own) < 2:
            continue
        x, y, size = middles[own, 0], middles[own, 1], diameters[own]
        for first, second in pairs_up_to(x, x + _NEAR[name] * float(size.max())):
            reach = _NEAR[name] * (size[first] + size[second]) / 2
            near = np.flatnonzero(np.hypot(x[second] - x[first], y[second] - y[first]) < reach)
            yield from zip(own[first[near]].tolist(), own[second[near]].tolist(), strict=True)
