"""Who lies next to whom in a space of embeddings: neighbors, and how well a flat map keeps them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corpuscle.errors import UsageError

__all__ = ["nearest_neighbors", "trustworthiness"]

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
_ROWS = 512


def nearest_neighbors(points: Floats, count: int) -> tuple[Places, Floats]:
    """Find the nearest other points of each point, in memory that grows with N and not with N squared.

    Args:
        points: NxD float32.
        count: How many, from 1 to N - 1.

    Returns:
        Places and Euclidean distances, Nx`count` each, nearest first.

    Raises:
        UsageError: There are not that many other points.
    """
    n = len(points)
    if not 1 <= count < n:
        raise UsageError(f"{count} neighbors cannot be found among {n} points. Give more pictures.")
    # Distances are differences of large numbers unless the points lie around the origin.
    centered = points - points.mean(axis=0)
    squares = (centered**2).sum(axis=1)
    places, distances = np.empty((n, count), np.int64), np.empty((n, count), np.float32)
    for start in range(0, n, _ROWS):
        rows = np.arange(start, min(start + _ROWS, n))
        away = squares[rows, None] + squares[None, :] - 2 * (centered[rows] @ centered.T)
        away[np.arange(len(rows)), rows] = np.inf
        near = np.argpartition(away, count - 1, axis=1)[:, :count] if count < n - 1 else np.argsort(away)[:, :count]
        exact = np.linalg.norm(centered[near] - centered[rows, None, :], axis=2)
        order = np.argsort(exact, axis=1, kind="stable")
        places[rows] = np.take_along_axis(near, order, axis=1)
        distances[rows] = np.take_along_axis(exact, order, axis=1)
    return places, distances


def trustworthiness(points: Floats, coordinates: Floats, *, neighbors: int = 12, most: int = 4000) -> float:
    """Measure how far the neighbors on a map are neighbors in the space that it shows (Venna and Kaski 2001).

    Args:
        points: NxD float32, the embeddings.
        coordinates: Nxd float32, the map.
        neighbors: How many neighbors of each point count.
        most: A larger set is measured on so many of its points, drawn with a fixed seed.

    Returns:
        1 where every neighbor on the map is a true one; less the farther off the false ones are.
    """
    if len(points) > most:
        chosen = np.random.default_rng(0).permutation(len(points))[:most]
        points, coordinates = points[chosen], coordinates[chosen]
    n = len(points)
    count = min(neighbors, max(1, n // 2 - 1))
    on_map, _ = nearest_neighbors(coordinates, count)
    centered = points - points.mean(axis=0)
    squares = (centered**2).sum(axis=1)
    penalty = 0.0
    for start in range(0, n, _ROWS):
        rows = np.arange(start, min(start + _ROWS, n))
        away = squares[rows, None] + squares[None, :] - 2 * (centered[rows] @ centered.T)
        away[np.arange(len(rows)), rows] = -np.inf
        # The rank of a map's neighbor in the space: how many points lie nearer; the point itself is rank 0.
        near = np.take_along_axis(away, on_map[rows], axis=1)
        ordered = np.sort(away, axis=1)
        for row in range(len(rows)):
            ranks = np.searchsorted(ordered[row], near[row])
            penalty += float(np.maximum(ranks - count, 0).sum())
    return 1.0 - penalty * 2.0 / (n * count * (2 * n - 3 * count - 1))
