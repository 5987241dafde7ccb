"""Which pictures show the same scene: copies, recompressed ones, crops, overlapping fields, turned and mirrored ones.

Every pair is looked at, in two steps. Candidates come from comparing descriptions of points (`keypoints`) by blocks of
matrix products, and from comparing tiny versions of the whole pictures. A candidate counts only if, laid over each
other, the details of both pictures correlate wherever they overlap; cells that merely look alike do not pass this.

Brightness and magnification are taken to be the same within a data set: a copy whose brightness was changed by more
than a few gray values is not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corpuscle.data.keypoints import FILL, Keypoints, band_pass, find_keypoints
from corpuscle.data.scene_matching import Hypothesis, match_keypoints

__all__ = ["MOST_PICTURES", "Components", "SceneIndex", "ScenePair"]

MOST_PICTURES: Final = 40_000
"""Above this the search for points is left out, since its time grows with the square of the number of pictures."""

_POINT_BUDGET: Final = 240_000
_PIXEL_BUDGET: Final = 200_000_000
_LONG_SIDE_PX: Final = (96, 200)
_POINTS_EACH: Final = (8, 100)
_TINY_PX: Final = 24
_ALIKE_TINY: Final = 0.96
_EQUAL_TINY: Final = 0.99
_MOST_ALIGNED: Final = 50_000
_SAME_DETAILS: Final = 0.66
_SAME_IN_A_CORNER: Final = 0.8
_CORNER: Final = 0.25
_LEAST_OVERLAP: Final = 0.12
_PERHAPS_SAME: Final = 0.35
_SURELY_SAME: Final = 0.9
_LEAST_SAMPLES: Final = 80
_TURN_RAD: Final = 0.09
_BATCH: Final = 64

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class ScenePair:
    """Two pictures of the same scene.

    Attributes:
        first: Number of one picture, in the order in which they were added.
        second: Number of the other one, larger than `first`.
        similarity: Correlation of their details where they overlap, in 0.66..1.
        overlap: Share of the smaller picture that the other one covers, in 0..1.
        shift: How far one is shifted against the other, as a share of the long side.
        turned: Whether one is turned by more than 5 degrees or mirrored.
    """

    first: int
    second: int
    similarity: float
    overlap: float
    shift: float
    turned: bool

    @property
    def is_copy(self) -> bool:
        """Whether both are one picture, at most recompressed, resized, or cut and shifted by a few percent."""
        return not self.turned and self.shift <= 0.04 and self.overlap >= 0.9


class Components:
    """Sets of numbers that are linked, directly or through others (union-find)."""

    def __init__(self, count: int) -> None:
        """Start with each of `count` numbers alone."""
        self._parent = list(range(count))
        self._size = [1] * count

    def root(self, number: int) -> int:
        """Return the number that stands for the set of `number`."""
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def size(self, number: int) -> int:
        """Return how many numbers are in the set of `number`."""
        return self._size[self.root(number)]

    def link(self, first: int, second: int) -> None:
        """Join the sets of two numbers."""
        first, second = self.root(first), self.root(second)
        if first != second:
            self._parent[second] = first
            self._size[first] += self._size[second]

    def groups(self) -> list[list[int]]:
        """List the sets of two numbers and more, each sorted."""
        members: dict[int, list[int]] = defaultdict(list)
        for number in range(len(self._parent)):
            members[self.root(number)].append(number)
        return [group for group in members.values() if len(group) > 1]


class SceneIndex:
    """Collects reduced pictures one by one and then lists the pairs that show the same scene."""

    def __init__(self, typical_side_px: int, count: int) -> None:
        """Prepare for about `count` pictures whose long side is typically `typical_side_px` pixels."""
        # Small sets can afford larger reduced pictures, in which smaller overlaps are found.
        long_side = np.clip(np.sqrt(_PIXEL_BUDGET / max(1, count)), *_LONG_SIDE_PX)
        self._factor = min(1.0, float(long_side) / max(1, typical_side_px))
        self._points_each = int(np.clip(_POINT_BUDGET // max(1, count), *_POINTS_EACH))
        self._with_points = count <= MOST_PICTURES
        self._details: list[NDArray[np.int8]] = []
        self._tiny: list[NDArray[np.uint8]] = []
        self._waiting: dict[tuple[int, int], list[tuple[int, NDArray[np.uint8]]]] = defaultdict(list)
        self._points: list[Keypoints] = []

    def add(self, image: NDArray[np.uint8]) -> None:
        """Add a picture, HxWx3 uint8 RGB; it is not kept."""
        gray = Image.fromarray(image).convert("L")
        size = (max(1, round(gray.width * self._factor)), max(1, round(gray.height * self._factor)))
        small = np.asarray(gray.resize(size, Image.Resampling.BOX) if size != gray.size else gray)
        self._tiny.append(np.asarray(gray.resize((_TINY_PX, _TINY_PX), Image.Resampling.BOX)))
        waiting = self._waiting[small.shape]
        waiting.append((len(self._details), small))
        self._details.append(np.empty((0, 0), np.int8))
        if len(waiting) == _BATCH:
            self._flush(small.shape)

    def _flush(self, shape: tuple[int, int]) -> None:
        """Work off the waiting pictures of one size together."""
        waiting = self._waiting.pop(shape, [])
        if not waiting:
            return
        numbers = np.array([number for number, _ in waiting])
        stack = np.stack([small for _, small in waiting]).astype(np.float32)
        for number, details in zip(numbers, band_pass(stack), strict=True):
            self._details[number] = details
        if self._with_points:
            self._points.append(find_keypoints(stack, self._points_each).of_pictures(numbers))

    def pairs(self, progress: Progress | None = None) -> list[ScenePair]:
        """List the pairs of pictures that show the same scene, the most similar first.

        In a family of more than a dozen pictures not every pair is listed, but they are all linked.

        Args:
            progress: Called with the share that is done, in 0..1.
        """
        for shape in list(self._waiting):
            self._flush(shape)
        found = {(pair.first, pair.second): pair for pair in self._aligned_pairs()}
        families = Components(len(self._details))
        for first, second in found:
            families.link(first, second)
        hypotheses = match_keypoints(self._points, progress) if self._points else []
        for guess in hypotheses:
            key = (guess.first, guess.second)
            crowded = families.size(guess.first) > 12 and families.root(guess.first) == families.root(guess.second)
            if key in found or crowded:
                continue
            pair = self._verified(guess)
            if pair is not None:
                found[key] = pair
                families.link(*key)
        return sorted(found.values(), key=lambda pair: (-pair.similarity, pair.first, pair.second))

    def _aligned_pairs(self) -> list[ScenePair]:
        """Find pairs that match without any shift, from versions of 24x24 pixels."""
        tiny = np.array(self._tiny, dtype=np.float32).reshape(len(self._tiny), _TINY_PX**2)
        tiny -= tiny.mean(axis=1, keepdims=True)
        norm = np.linalg.norm(tiny, axis=1, keepdims=True)
        tiny /= np.maximum(norm, 1e-6)
        blank = norm[:, 0] < _TINY_PX  # a standard deviation below one gray value: no scene to recognize
        candidates: list[tuple[float, int, int]] = []
        for start in range(0, len(tiny), 1024):
            products = tiny[start : start + 1024] @ tiny[start:].T
            for row, column in zip(*np.nonzero(products > _ALIKE_TINY), strict=True):
                if column > row and not (blank[start + row] or blank[start + column]):
                    candidates.append((float(products[row, column]), int(start + row), int(start + column)))
            if len(candidates) > 2 * _MOST_ALIGNED:
                candidates = sorted(candidates, reverse=True)[:_MOST_ALIGNED]
        pairs = []
        for likeness, first, second in sorted(candidates, reverse=True)[:_MOST_ALIGNED]:
            if self._details[first].shape == self._details[second].shape:
                pair = self._verified(Hypothesis(first, second, 0, 1 + 0j, 0j, mirrored=False))
            elif likeness >= _EQUAL_TINY:
                pair = ScenePair(first, second, likeness, 1.0, 0.0, turned=False)
            else:
                pair = None
            if pair is not None:
                pairs.append(pair)
        return pairs

    def _verified(self, guess: Hypothesis) -> ScenePair | None:
        """Lay one picture over the other and compare details; try shifts of a pixel where they nearly agree."""
        first, second = self._details[guess.first], self._details[guess.second]
        # Most guesses are wrong, and a thousand samples show it.
        score, overlap = _laid_over(first, second, guess, samples=1_000)
        if score < _PERHAPS_SAME or overlap < 0.8 * _LEAST_OVERLAP:
            return None
        nudges = [complex(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)] if score < _SURELY_SAME else [0j]
        moved = [replace(guess, offset=guess.offset + nudge) for nudge in nudges]
        score, overlap = max(_laid_over(first, second, one, samples=5_000) for one in moved)
        needed = _SAME_IN_A_CORNER if overlap < _CORNER else _SAME_DETAILS
        if score < needed or overlap < _LEAST_OVERLAP:
            return None
        height, width = first.shape
        center = complex((width - 1) / 2, (height - 1) / 2)
        other = complex((second.shape[1] - 1) / 2, (second.shape[0] - 1) / 2)
        shift = abs(guess.moved(center) - other) / max(height, width)
        turned = guess.mirrored or abs(np.angle(guess.factor)) > _TURN_RAD
        return ScenePair(guess.first, guess.second, score, overlap, float(shift), turned=bool(turned))


def _laid_over(
    first: NDArray[np.int8], second: NDArray[np.int8], guess: Hypothesis, *, samples: int
) -> tuple[float, float]:
    """Return the correlation of the details of two pictures where they overlap, and the share that overlaps."""
    step = max(1, int(np.sqrt(first.size / samples)))
    y, x = np.mgrid[0 : first.shape[0] : step, 0 : first.shape[1] : step]
    values = first[y, x].ravel()
    places = guess.moved((x + 1j * y).ravel()[values != FILL])
    values = values[values != FILL]
    left, top = np.floor(places.real).astype(np.int64), np.floor(places.imag).astype(np.int64)
    height, width = second.shape
    inside = (left >= 0) & (top >= 0) & (left < width - 1) & (top < height - 1)
    values, left, top, places = values[inside], left[inside], top[inside], places[inside]
    corners = second[[top, top, top + 1, top + 1], [left, left + 1, left, left + 1]]
    whole = ~(corners == FILL).any(axis=0)
    right_share, low_share = (places.real - left)[whole], (places.imag - top)[whole]
    corners = corners[:, whole].astype(np.float32)
    upper = corners[0] * (1 - right_share) + corners[1] * right_share
    lower = corners[2] * (1 - right_share) + corners[3] * right_share
    a, b = values[whole].astype(np.float32), upper * (1 - low_share) + lower * low_share
    smaller = min(np.count_nonzero(first != FILL), np.count_nonzero(second != FILL)) / step**2
    if len(a) < min(_LEAST_SAMPLES, 0.5 * smaller):
        return 0.0, 0.0
    a, b = a - a.mean(), b - b.mean()
    score = float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1.0))
    return score, min(1.0, len(a) / max(1.0, smaller))
