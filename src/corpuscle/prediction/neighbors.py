"""Which intervals of a line lie together: only such boxes can overlap, so that no cell is compared with all others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["pairs_up_to"]

_MOST_AT_ONCE = 2**20

Places = npt.NDArray[np.int64]


def pairs_up_to(starts: npt.NDArray[np.floating], ends: npt.NDArray[np.floating]) -> Iterator[tuple[Places, Places]]:
    """Yield pairs of places, block by block, so that memory does not grow with a crowd.

    Args:
        starts: N numbers.
        ends: N numbers; each is no less than its start.

    Yields:
        Two lists of places: all pairs, each once, of which one starts between the start and the end of the other, both
        included. The one that starts first stands in the first list.
    """
    order = np.argsort(starts, kind="stable")
    starts = starts[order]
    firsts = np.arange(len(order))
    counts = np.searchsorted(starts, ends[order], side="right") - firsts - 1
    # A block holds as many cells as have about `_MOST_AT_ONCE` partners together, and one at least.
    blocks = np.cumsum(counts) // _MOST_AT_ONCE
    for block in np.unique(blocks):
        own = firsts[blocks == block]
        number = counts[own]
        first = np.repeat(own, number)
        skipped = np.repeat(np.cumsum(number) - number, number)
        yield order[first], order[first + 1 + np.arange(len(first)) - skipped]
