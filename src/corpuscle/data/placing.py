"""Finds places for the cells of a drawn field: apart, touching, or heaped in clumps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

__all__ = ["Place", "Placer"]

_TRIES = 200
_CROWDED_TRIES = 30


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell lies: row and column of its middle, and its radius, in pixels."""

    row: float
    column: float
    radius: float


class Placer:
    """Lays discs on a field so that none hides another; the same generator gives the same places."""

    def __init__(self, height: float, width: float, rng: np.random.Generator) -> None:
        """Begin with an empty field of `height` x `width` pixels."""
        self._height, self._width, self._rng = height, width, rng
        self._bins: dict[tuple[int, int], list[Place]] = {}
        self._bin_px = 1.0
        self._largest = 0.0

    def reserve(self, largest_radius: float) -> None:
        """Say how large the largest disc will be, before the first is laid."""
        self._largest = largest_radius
        self._bin_px = max(2 * largest_radius, 1.0)

    def put(self, radius: float, *, gap: float = 1.05, whole: bool = False) -> Place | None:
        """Lay a disc anywhere.

        Args:
            radius: Of the disc.
            gap: Least distance of two middles, in sums of radii; below 1 discs may overlap.
            whole: Whether the disc must lie inside the field; else its middle must.

        Returns:
            The place, or None where no room was found.
        """
        margin = radius + 1 if whole else 0.0
        if self._height <= 2 * margin or self._width <= 2 * margin:
            return None
        for _ in range(_TRIES):
            row = self._rng.uniform(margin, self._height - margin)
            column = self._rng.uniform(margin, self._width - margin)
            place = Place(float(row), float(column), radius)
            if self._free(place, gap):
                return self._lay(place)
        return None

    def put_beside(self, other: Place, radius: float, *, distance: float, gap: float) -> Place | None:
        """Lay a disc against another one.

        Args:
            other: The disc to lie against.
            radius: Of the new disc.
            distance: Of the two middles, in sums of radii.
            gap: Least distance from all other discs, in sums of radii.
        """
        for _ in range(_CROWDED_TRIES):
            angle = self._rng.uniform(0, 2 * np.pi)
            reach = distance * (other.radius + radius)
            row, column = other.row + reach * np.sin(angle), other.column + reach * np.cos(angle)
            place = Place(float(row), float(column), radius)
            inside = 0 <= row < self._height and 0 <= column < self._width
            if inside and self._free(place, gap, ignored=other):
                return self._lay(place)
        return None

    def _free(self, place: Place, gap: float, *, ignored: Place | None = None) -> bool:
        return all(
            np.hypot(place.row - other.row, place.column - other.column) >= gap * (place.radius + other.radius)
            for other in self._around(place)
            if other is not ignored
        )

    def _around(self, place: Place) -> Iterable[Place]:
        row, column = int(place.row // self._bin_px), int(place.column // self._bin_px)
        for y in (-1, 0, 1):
            for x in (-1, 0, 1):
                yield from self._bins.get((row + y, column + x), ())

    def _lay(self, place: Place) -> Place:
        key = (int(place.row // self._bin_px), int(place.column // self._bin_px))
        self._bins.setdefault(key, []).append(place)
        return place
