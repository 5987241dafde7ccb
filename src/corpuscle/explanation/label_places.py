"""Finds a place beside each point of a chart for its label, so that no label hides a label, a point or a bar."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Box", "leader", "place_labels"]

Point = tuple[float, float]

_DISTANCES: Final = (16, 26, 40, 58, 80, 106, 136, 170, 210, 260, 320, 390)
_DIRECTIONS: Final = 24
_ORDERS: Final = 12
_PADDING_PX: Final = 5
_STEP_PX: Final = 3
_CLEAR_PX: Final = 11


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels: left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Say whether both share some area."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, point: Point) -> bool:
        """Say whether a point lies inside."""
        return self.left < point[0] < self.right and self.top < point[1] < self.bottom

    def grown(self, by: float) -> Box:
        """Return the box with all edges moved outward."""
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def nearest(self, point: Point) -> Point:
        """Return the place of the box that is nearest to a point."""
        return min(max(point[0], self.left), self.right), min(max(point[1], self.top), self.bottom)


def leader(point: Point, label: Box) -> tuple[Point, Point]:
    """Return the ends of the line that leads from a point to its label."""
    return point, label.nearest(point)


def place_labels(
    points: Sequence[Point], sizes: Sequence[tuple[float, float]], obstacles: Sequence[Box], area: Box
) -> tuple[Box, ...] | None:
    """Find a place for the label of each point.

    Labels keep clear of each other, of all obstacles and of each other's leaders, and no leader runs through another
    point; near places, and among them those at the right, come first. Several orders of placing are tried from a
    fixed seed and the one with the shortest leaders is kept, so the same input gives the same places.

    Args:
        points: Center of each point in pixels.
        sizes: Width and height of each point's label in pixels.
        obstacles: What no label may cover: markers and bars, those of the labeled point too.
        area: What no label may leave.

    Returns:
        A box a label, or None where no order has room for all of them.
    """
    choices = [
        _choices(point, size, [*obstacles, *_beyond(area)], [other for other in points if other != point])
        for point, size in zip(points, sizes, strict=True)
    ]
    order = sorted(range(len(points)), key=lambda number: len(choices[number]))
    shuffle = random.Random(0).shuffle
    best: tuple[float, tuple[Box, ...]] | None = None
    for _ in range(_ORDERS):
        found = _placed(points, choices, order)
        if found and (best is None or found[0] < best[0]):
            best = found
        shuffle(order)
    return best[1] if best else None


def _beyond(area: Box) -> list[Box]:
    """Return the four strips around an area, so that leaving it is to meet an obstacle."""
    wide = area.grown(10_000)
    return [
        Box(wide.left, wide.top, area.left, wide.bottom),
        Box(area.right, wide.top, wide.right, wide.bottom),
        Box(wide.left, wide.top, wide.right, area.top),
        Box(wide.left, area.bottom, wide.right, wide.bottom),
    ]


def _choices(
    point: Point, size: tuple[float, float], obstacles: Sequence[Box], others: Sequence[Point]
) -> list[tuple[float, Box]]:
    """List the free places of one label with what each costs, cheapest first."""
    width, height = size
    found = []
    for distance in _DISTANCES:
        for step in range(_DIRECTIONS):
            angle = 2 * math.pi * step / _DIRECTIONS
            across, up = math.cos(angle), math.sin(angle)
            x, y = point[0] + across * (distance + width / 2), point[1] - up * (distance + height / 2)
            box = Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            if any(box.overlaps(other) for other in obstacles):
                continue
            start, end = leader(point, box)
            if any(_distance(other, start, end) < _CLEAR_PX for other in others):
                continue
            # At one distance the right side is a little better than the left, and a side than a slant.
            found.append((math.dist(start, end) + 4 * (1 - across) + 30 * abs(up), box))
    return sorted(found, key=lambda choice: choice[0])


def _distance(point: Point, start: Point, end: Point) -> float:
    """Return how far a point lies from a line between two places."""
    run, rise = end[0] - start[0], end[1] - start[1]
    length = run * run + rise * rise
    along = ((point[0] - start[0]) * run + (point[1] - start[1]) * rise) / length if length else 0.0
    along = min(max(along, 0.0), 1.0)
    return math.dist(point, (start[0] + along * run, start[1] + along * rise))


def _placed(
    points: Sequence[Point], choices: Sequence[list[tuple[float, Box]]], order: Sequence[int]
) -> tuple[float, tuple[Box, ...]] | None:
    """Place the labels one after another; returns the sum of costs and the boxes, None where one found no room."""
    boxes: dict[int, Box] = {}
    lines: list[list[Point]] = []
    total = 0.0
    for number in order:
        for cost, box in choices[number]:
            line = _steps(*leader(points[number], box))
            kept = box.grown(_PADDING_PX)
            if any(kept.overlaps(other) or any(map(other.holds, line)) for other in boxes.values()):
                continue
            if any(kept.holds(step) for other in lines for step in other):
                continue
            boxes[number] = box
            lines.append(line)
            total += cost
            break
        else:
            return None
    return total, tuple(boxes[number] for number in range(len(points)))


def _steps(start: Point, end: Point) -> list[Point]:
    """Return points along a line, a few pixels apart."""
    count = max(1, math.ceil(math.dist(start, end) / _STEP_PX))
    return [
        (start[0] + (end[0] - start[0]) * step / count, start[1] + (end[1] - start[1]) * step / count)
        for step in range(count + 1)
    ]
