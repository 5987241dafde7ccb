"""Speed of networks beside each other: alone, on one thread, taking turns."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from corpuscle.models.bundle import Bundle
from corpuscle.prediction.engine import Engine

__all__ = ["network_rates"]

_CELLS = 8
_TURNS = 5
_LEAST_SECONDS = 0.2


def network_rates(
    bundles: Sequence[Bundle], *, progress: Callable[[int, int], None] | None = None
) -> tuple[float, ...]:
    """Measure how many cells a second each bundle's network judges, without decoding and framing.

    Each network gets batches of 8 made-up cells on one thread of onnxruntime. After a warm-up that is not counted the
    networks take turns, five each of at least 0.2 s, so that a machine that slows down slows all of them.

    Args:
        bundles: What is measured, in this order.
        progress: Called with (turns done, all turns).

    Returns:
        Cells a second of each bundle, the median of its turns; they hold for this machine and moment.

    Raises:
        BundleError: onnxruntime cannot run a graph.
    """
    runs = [_batch_runner(bundle) for bundle in bundles]
    repeats = [math.ceil(_LEAST_SECONDS / max(_warm_seconds(run), 1e-6)) for run in runs]
    seconds: list[list[float]] = [[] for _ in runs]
    for turn in range(_TURNS):
        for run, times, taken in zip(runs, repeats, seconds, strict=True):
            start = time.perf_counter()
            for _ in range(times):
                run()
            taken.append((time.perf_counter() - start) / times)
        if progress:
            progress(turn + 1, _TURNS)
    return tuple(_CELLS / statistics.median(taken) for taken in seconds)


def _batch_runner(bundle: Bundle) -> Callable[[], object]:
    """Return a function that judges one batch."""
    engine, side = Engine(bundle), bundle.preprocessing.input_px
    batch = np.random.default_rng(0).normal(size=(_CELLS, 3, side, side)).astype(np.float32)
    return lambda: engine.run(batch)


def _warm_seconds(run: Callable[[], object]) -> float:
    """Return how long the second call takes; the first one also prepares memory."""
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
