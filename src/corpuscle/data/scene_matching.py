"""From described points to guesses how two pictures could lie over each other.

Descriptions are whitened and compared by blocks of matrix products; points of similar brightness only, which
spares most of the work. Two points of one picture that agree with two of another on one shift, turn and scale make a
guess. Guesses are cheap and often wrong; whoever uses them has to check the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from corpuscle.data.keypoints import Keypoints

__all__ = ["Hypothesis", "match_keypoints"]

_DIMENSIONS: Final = 32
_ALIKE: Final = 0.86
_BRIGHTNESS_TOLERANCES: Final = (30.0, 20.0, 14.0, 10.0, 8.0, 6.0)
_PAIR_BUDGET: Final = 12_000_000_000
_ROWS: Final = 1024
_COLUMNS: Final = 4096
_MOST_IN_PAIR: Final = 24
_MOST_GUESSES: Final = 60_000
_VOTES_AT_ONCE: Final = 500_000
_TURN_TOLERANCE_RAD: Final = 0.35
_LARGEST_ZOOM: Final = 1.3

_Found = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]

T = TypeVar("T", complex, NDArray[np.complex128])


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A guess how one picture lies over another: places are complex numbers, x + iy, in pixels.

    Attributes:
        first: Number of one picture.
        second: Number of the other, larger than `first`.
        votes: How many points agree.
        factor: Turn and zoom: a place p of the first is `factor * p + offset` in the second.
        offset: Shift.
        mirrored: Whether p is first replaced by its complex conjugate.
    """

    first: int
    second: int
    votes: int
    factor: complex
    offset: complex
    mirrored: bool

    def moved(self, places: T) -> T:
        """Return where places of the first picture lie in the second."""
        return self.factor * (np.conj(places) if self.mirrored else places) + self.offset


@dataclass(frozen=True, slots=True)
class _Matches:
    """Pairs of points that look alike, of pictures `first` < `second`; all arrays have shape (n,)."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    start: NDArray[np.complex128]
    end: NDArray[np.complex128]
    turn: NDArray[np.float64]


def match_keypoints(points: Sequence[Keypoints], progress: Callable[[float], None] | None = None) -> list[Hypothesis]:
    """Guess which pictures show the same scene, from points that look alike.

    Args:
        points: Points of all pictures, whose `picture` numbers are those to be returned.
        progress: Called with the share that is done, in 0..1.

    Returns:
        The guesses, those with most votes first; at most 60,000.
    """
    if not any(len(part.picture) for part in points):
        return []
    order = np.argsort(np.concatenate([part.brightness for part in points]), kind="stable")
    plain, mirrored = _described(points, order)
    brightness = np.concatenate([part.brightness for part in points])[order]
    picture = np.concatenate([part.picture for part in points])[order]
    tolerance = _tolerance(brightness)
    found: list[_Found] = []
    for top in range(0, len(plain), _ROWS):
        bottom = min(top + _ROWS, len(plain))
        end = int(np.searchsorted(brightness, brightness[bottom - 1] + tolerance, side="right"))
        for left in range(top, end, _COLUMNS):
            right = min(left + _COLUMNS, end)
            for flag, described in ((False, plain), (True, mirrored)):
                likeness = described[top:bottom] @ plain[left:right].T
                rows, columns = np.divmod(np.flatnonzero(likeness > _ALIKE), right - left)
                rows, columns = rows + top, columns + left
                kept = (columns > rows) & (picture[rows] != picture[columns])
                found.append(
                    (rows[kept].astype(np.int32), columns[kept].astype(np.int32), np.full(int(kept.sum()), flag))
                )
        if progress is not None:
            progress(bottom / len(plain))
    rows, columns, flags = (np.concatenate([part[place] for part in found]) for place in range(3))
    del found
    _, group, size = np.unique(
        _pair_key(picture[rows], picture[columns], flags), return_inverse=True, return_counts=True
    )
    several = size[group] >= 2
    return _guesses(_matches(points, order, (rows[several], columns[several], flags[several])))


def _pair_key(first: NDArray[np.int64], second: NDArray[np.int64], flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number the pairs of pictures, mirrored ones apart; the order within a pair does not matter."""
    key: NDArray[np.int64] = (np.minimum(first, second) << 32 | np.maximum(first, second)) << 1 | flags
    return key


def _tolerance(brightness: NDArray[np.float32]) -> float:
    """Choose how much the brightness of one point may differ between pictures: as much as the time allows."""
    places = np.arange(len(brightness))
    for tolerance in _BRIGHTNESS_TOLERANCES:
        pairs = int((np.searchsorted(brightness, brightness + np.float32(tolerance), side="right") - places).sum())
        if pairs <= _PAIR_BUDGET:
            return tolerance
    return _BRIGHTNESS_TOLERANCES[-1]


def _described(
    points: Sequence[Keypoints], order: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Reduce the discs to whitened principal components of length 1; the second array is of the mirrored discs."""
    count = sum(len(part.picture) for part in points)
    every = max(1, count // 20_000)
    sample = np.concatenate([part.discs[::every] for part in points]).astype(np.float32)
    values, vectors = np.linalg.eigh(sample.T @ sample / max(1, len(sample)))
    values, vectors = values[::-1][: _DIMENSIONS + 1], vectors[:, ::-1][:, :_DIMENSIONS]
    # The variance of the first component left out keeps faint ones, which are mostly noise, from being blown up.
    basis = (vectors / np.sqrt(np.maximum(values[:_DIMENSIONS] + values[-1], 1e-12))).astype(np.float32)
    described = []
    for name in ("discs", "mirrored"):
        reduced = np.concatenate([getattr(part, name).astype(np.float32) @ basis for part in points])[order]
        described.append(reduced / np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-6))
    return described[0], described[1]


def _matches(
    points: Sequence[Keypoints],
    order: NDArray[np.int64],
    found: _Found,
) -> _Matches:
    """Give matched points their pictures, places and turns, sorted by pair of pictures."""
    rows, columns, flags = found
    picture = np.concatenate([part.picture for part in points])[order]
    place = np.concatenate([part.x + 1j * part.y for part in points])[order].astype(np.complex128)
    angle = np.concatenate([part.angle for part in points])[order].astype(np.float64)
    swapped = picture[rows] > picture[columns]
    rows, columns = np.where(swapped, columns, rows), np.where(swapped, rows, columns)
    by_pair = np.lexsort((flags, picture[columns], picture[rows]))
    rows, columns, flags = rows[by_pair], columns[by_pair], flags[by_pair]
    return _Matches(
        first=picture[rows],
        second=picture[columns],
        mirrored=flags,
        start=np.where(flags, np.conj(place[rows]), place[rows]),
        end=place[columns],
        turn=np.where(flags, angle[columns] + angle[rows], angle[columns] - angle[rows]),
    )


def _guesses(matches: _Matches) -> list[Hypothesis]:
    """Let the matches of each pair of pictures vote for one shift and turn, and keep pairs with two votes or more."""
    key = _pair_key(matches.first, matches.second, matches.mirrored)
    _, begin, count = np.unique(key, return_index=True, return_counts=True)
    several = count >= 2
    begin, count = begin[several], np.minimum(count[several], _MOST_IN_PAIR)
    # All votes of a family of a hundred turned pictures would not fit into memory at once.
    part = np.cumsum(count * count) // _VOTES_AT_ONCE
    guesses: list[Hypothesis] = []
    for number in np.unique(part):
        chosen = part == number
        guesses += _voted(matches, begin[chosen], count[chosen])
    return sorted(guesses, key=lambda guess: (-guess.votes, guess.first, guess.second))[:_MOST_GUESSES]


def _voted(matches: _Matches, begin: NDArray[np.int64], count: NDArray[np.int64]) -> list[Hypothesis]:
    """Find the best guess of each run of `count` matches from `begin`, all of one pair of pictures."""
    rows = np.concatenate([np.arange(start, start + n) for start, n in zip(begin, count, strict=True)])
    part = _Matches(**{field.name: getattr(matches, field.name)[rows] for field in fields(_Matches)})
    begin = np.cumsum(count) - count
    leader, voter = _all_ordered_pairs(begin, count)
    agree = _agree(part, leader, voter)
    votes = np.bincount(leader, weights=agree, minlength=len(rows)).astype(np.int64)
    best = np.array([start + int(np.argmax(votes[start : start + n])) for start, n in zip(begin, count, strict=True)])
    best = best[votes[best] >= 2]
    is_best = np.zeros(len(rows), dtype=bool)
    is_best[best] = True
    used = is_best[leader] & agree
    factor, offset = _fitted(part, leader[used], voter[used], best)
    sound = (np.abs(factor) < _LARGEST_ZOOM) & (np.abs(factor) > 1 / _LARGEST_ZOOM)
    return [
        Hypothesis(
            int(part.first[row]), int(part.second[row]), int(votes[row]), complex(turn), complex(shift),
            mirrored=bool(part.mirrored[row]),
        )
        for row, turn, shift in zip(best[sound], factor[sound], offset[sound], strict=True)
    ]  # fmt: skip


def _all_ordered_pairs(
    begin: NDArray[np.int64], count: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List all (leader, voter) rows inside each run of `count` rows from `begin`, a row with itself included."""
    squares = count * count
    run = np.repeat(np.arange(len(begin)), squares)
    within = np.arange(int(squares.sum())) - np.repeat(np.cumsum(squares) - squares, squares)
    return begin[run] + within // count[run], begin[run] + within % count[run]


def _agree(matches: _Matches, leader: NDArray[np.int64], voter: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which voters lie where the shift and turn of their leader put them; a point votes once."""
    away = matches.start[voter] - matches.start[leader]
    expected = matches.end[leader] + np.exp(1j * matches.turn[leader]) * away
    error_px = np.abs(matches.end[voter] - expected)
    difference = np.angle(np.exp(1j * (matches.turn[voter] - matches.turn[leader])))
    agree = (error_px <= 2.5 + 0.1 * np.abs(away)) & (np.abs(difference) <= _TURN_TOLERANCE_RAD)
    # Two matches of the same point, or of points a pixel apart, are one piece of evidence.
    other = (np.abs(away) > 1.5) & (np.abs(matches.end[voter] - matches.end[leader]) > 1.5)
    chosen: NDArray[np.bool_] = agree & (other | (leader == voter))
    return chosen


def _fitted(
    matches: _Matches, leader: NDArray[np.int64], voter: NDArray[np.int64], best: NDArray[np.int64]
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Fit turn, zoom and shift to the agreeing matches of each leader by least squares over complex numbers."""

    def summed(values: NDArray[np.complex128]) -> NDArray[np.complex128]:
        size = len(matches.first)
        real = np.bincount(leader, weights=values.real, minlength=size)
        imaginary = np.bincount(leader, weights=values.imag, minlength=size)
        total: NDArray[np.complex128] = real + 1j * imaginary
        return total

    number = np.maximum(np.bincount(leader, minlength=len(matches.first)), 1)
    start, end = matches.start[voter], matches.end[voter]
    start_mean, end_mean = summed(start) / number, summed(end) / number
    start_away, end_away = start - start_mean[leader], end - end_mean[leader]
    spread = summed(start_away * np.conj(start_away)).real
    covariance = summed(end_away * np.conj(start_away))
    factor = covariance[best] / np.maximum(spread[best], 1e-9)
    # Points close together fix the shift well, but neither turn nor zoom: take the turn of the leading match.
    near = spread[best] / number[best] < 25
    factor = np.where(near, np.exp(1j * matches.turn[best]), factor)
    return factor, end_mean[best] - factor * start_mean[best]
