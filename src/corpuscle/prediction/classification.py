"""From pictures to predictions: the one function behind the library, the command line and every page."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpuscle.data.images import find_images, read_picture
from corpuscle.errors import CorpuscleError, UnknownNameError, UnreadableImageError, UsageError
from corpuscle.models.bundle import DEFAULT_MODEL, Bundle, load_bundle
from corpuscle.prediction.calibration import energy, prediction_set, softmax
from corpuscle.prediction.describing import open_describer
from corpuscle.prediction.engine import Engine, Outputs
from corpuscle.prediction.refusal import refusal_reasons
from corpuscle.preprocessing.framing import FRAMINGS, Picture, shape_of
from corpuscle.preprocessing.quality import Quality, faults, measure_quality, remarks
from corpuscle.preprocessing.transforms import prepare, to_batch
from corpuscle.records import Failure, Framing, Prediction

__all__ = [
    "CellReader",
    "Visitor",
    "all_sources",
    "classify",
    "default_workers",
    "files_of",
    "not_a_source",
    "worker_count",
]

Image8 = npt.NDArray[np.uint8]
Source = str | os.PathLike[str] | Image8
Visitor = Callable[[Picture, Prediction, Outputs], None]
"""Is shown each judged picture with its prediction and what the network gave for it, a batch of one with features."""
_CELL_METHODS = ("cell", "field")
BATCH = 16
"""Pictures a call of the network; larger ones are no faster on a CPU."""
_HELD_PIXELS = 2**22
"""A larger picture is not held until its batch was judged; it is read again for a visitor."""


def default_workers() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def worker_count(workers: int) -> int:
    """Return how many threads a number of workers stands for: itself, or one a processor if 0.

    Raises:
        UsageError: It is below 0.
    """
    if workers < 0:
        raise UsageError(f"There can be no {workers} workers; give 0 for one a processor, or 1 and more.")
    return workers or default_workers()


def all_sources(sources: Source | Iterable[Source]) -> list[Source]:
    """List every picture that one or many sources stand for; folders and patterns stand for many.

    Raises:
        UsageError: Something is neither a path nor an array.
        NoInputError: A path does not exist or holds no picture.
    """
    items = [sources] if isinstance(sources, (str, os.PathLike, np.ndarray)) else list(sources)
    found: list[Source] = []
    for item in items:
        found += [item] if isinstance(item, np.ndarray) else files_of(item)
    return found


def files_of(item: object) -> list[Path]:
    """List the pictures that a file, a folder or a pattern stands for.

    Raises:
        UsageError: It is no path.
        NoInputError: It does not exist or holds no picture.
    """
    if not isinstance(item, (str, os.PathLike)):
        raise UsageError(not_a_source(item))
    return find_images([item])


def not_a_source(item: object) -> str:
    """Say what to give instead of something that is neither a path nor an array."""
    return f"A picture is named by a path or given as an array HxWx3 of uint8 (RGB), not as {type(item).__name__}."


class CellReader:
    """Names single cells with one bundle. Loading takes most of a second; keep it for many pictures."""

    def __init__(
        self, model: str | os.PathLike[str] | Bundle = DEFAULT_MODEL, *, framing: str = "auto", describe: bool = False
    ) -> None:
        """Load a bundle.

        Args:
            model: Name of a shipped bundle, a bundle's folder, or a loaded bundle.
            framing: One of `FRAMINGS`: which square of each picture is judged.
            describe: Whether each cell is described in words as well, with the known cells next to it.

        Raises:
            BundleError: The bundle cannot be used.
            UnknownNameError: There is no such framing.
            UsageError: The bundle holds nothing to describe a cell with.
        """
        if framing not in FRAMINGS:
            raise UnknownNameError("framing", framing, FRAMINGS)
        self.bundle = model if isinstance(model, Bundle) else load_bundle(model)
        self.framing = framing
        self._engine = Engine(self.bundle)
        self._reference = self.bundle.reference()
        self._describer = open_describer(self.bundle) if describe else None

    def read_crops(self, crops: Image8, framings: Sequence[Framing], files: Sequence[str]) -> list[Prediction]:
        """Judge crops that are prepared already.

        Args:
            crops: NxSxSx3 uint8 RGB at the network's size, framed and white-balanced.
            framings: What each shows of its picture.
            files: Names to report.
        """
        return self._judge(self.run_network(to_batch(crops, self.bundle.preprocessing)), crops, framings, files)

    def _judge(
        self, outputs: Outputs, crops: Image8, framings: Sequence[Framing], files: Sequence[str]
    ) -> list[Prediction]:
        probabilities = softmax(outputs.logits, self.bundle.temperature)
        strange = self.strangeness(outputs)
        answers = [
            self._prediction(row, float(value), framing, file, measure_quality(crop, framing))
            for row, value, framing, file, crop in zip(probabilities, strange, framings, files, crops, strict=True)
        ]
        return self._describer.describe(answers, outputs.embedding) if self._describer else answers

    def strangeness(self, outputs: Outputs) -> npt.NDArray[np.float64]:
        """Say how foreign the cells are to the bundle, N float64; it refuses above 1."""
        distances = self._reference.distance(outputs.embedding)
        return self.bundle.refusal.strangeness(distances, energy(outputs.logits, self.bundle.temperature))

    def run_network(self, batch: npt.NDArray[np.float32], *, features: bool = False) -> Outputs:
        """Run the network alone on a batch (Nx3xSxS float32, scaled as the bundle's preprocessing says)."""
        return self._engine.run(batch, features=features)

    def _prediction(
        self, probabilities: npt.NDArray[np.float64], strange: float, framing: Framing, file: str, quality: Quality
    ) -> Prediction:
        rule, classes = self.bundle.refusal, self.bundle.classes
        place = int(probabilities.argmax())
        confidence = float(probabilities[place])
        method = self.bundle.preprocessing.framing.method if self.framing == "auto" else self.framing
        reasons = refusal_reasons(probabilities, strange, framing, self.bundle, wants_cell=method in _CELL_METHODS)
        reasons += faults(quality)
        return Prediction(
            file=file,
            class_name=classes[place],
            confidence=confidence,
            probabilities=dict(zip(classes, (float(value) for value in probabilities), strict=True)),
            refused=bool(reasons),
            reason="; ".join(reasons),
            prediction_set=prediction_set(probabilities, classes, rule),
            distance=max(strange, 0.0),
            framing=framing,
            notes=remarks(quality),
        )

    def read(self, sources: Sequence[Source], *, visit: Visitor | None = None) -> list[Prediction | Failure]:
        """Judge a few pictures in one batch, in order; one that cannot be read becomes a `Failure`.

        Args:
            sources: Files, or arrays HxWx3 uint8 RGB.
            visit: Is shown each picture that was judged, in order.
        """
        answers: list[Prediction | Failure | None] = []
        crops: list[Image8] = []
        framings: list[Framing] = []
        files: list[str] = []
        seen: list[Picture | Source] = []
        for source in sources:
            name = str(os.fspath(source)) if isinstance(source, (str, os.PathLike)) else ""
            try:
                image = _opened(source)
                crop, framing = prepare(image, self.bundle.preprocessing, framing=self.framing)
            except CorpuscleError as error:
                answers.append(Failure(name, str(error)))
                continue
            answers.append(None)
            crops.append(crop)
            framings.append(framing)
            files.append(name)
            if visit:
                seen.append(image if math.prod(shape_of(image)) <= _HELD_PIXELS else source)
        if not crops:
            return [answer for answer in answers if answer is not None]
        stacked = np.stack(crops)
        outputs = self.run_network(to_batch(stacked, self.bundle.preprocessing), features=visit is not None)
        judged = self._judge(outputs, stacked, framings, files)
        if visit and outputs.features is not None:
            for row, (shown, prediction) in enumerate(zip(seen, judged, strict=True)):
                one = Outputs(*(item[row : row + 1] for item in (outputs.logits, outputs.embedding, outputs.features)))
                visit(read_picture(shown) if isinstance(shown, (str, os.PathLike)) else shown, prediction, one)
        predictions = iter(judged)
        return [answer if answer is not None else next(predictions) for answer in answers]

    def stream(
        self,
        sources: Source | Iterable[Source],
        *,
        workers: int = 0,
        batch_size: int = BATCH,
        visit: Visitor | None = None,
    ) -> Generator[Prediction | Failure, None, None]:
        """Judge any number of pictures, in order, in memory that does not grow with their number.

        Each worker thread decodes, frames and judges its own batch. Batches are the same whatever the number of
        workers, so the numbers are too.

        Args:
            sources: One or many files or arrays.
            workers: Threads; one a processor if 0.
            batch_size: Pictures a batch.
            visit: Is shown each picture that was judged, by the thread that judged it.

        Raises:
            UsageError: The number of workers is below 0.
        """
        count = worker_count(workers)
        source = iter([sources] if isinstance(sources, (str, os.PathLike, np.ndarray)) else sources)
        pending: deque[Future[list[Prediction | Failure]]] = deque()
        with ThreadPoolExecutor(count) as pool:
            try:
                while True:
                    while len(pending) < 2 * count and (chunk := list(islice(source, batch_size))):
                        pending.append(pool.submit(self.read, chunk, visit=visit))
                    if not pending:
                        return
                    yield from pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()


def _opened(source: Source) -> Picture:
    """Read a picture, or check an array."""
    if isinstance(source, np.ndarray):
        return _checked(source)
    if not isinstance(source, (str, os.PathLike)):
        raise UsageError(not_a_source(source))
    return read_picture(source)


def _checked(image: npt.NDArray[np.generic]) -> Image8:
    """Refuse an array that is no picture."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UnreadableImageError(
            f"A picture must be an array HxWx3 of uint8 (RGB), not {image.dtype} of shape {image.shape}. Convert it."
        )
    return np.ascontiguousarray(image).view(np.uint8)


def classify(
    sources: Source | Iterable[Source],
    *,
    model: str | os.PathLike[str] | Bundle = DEFAULT_MODEL,
    framing: str = "auto",
    workers: int = 0,
    on_error: str = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> list[Prediction | Failure]:
    """Say which cell each picture shows.

    Args:
        sources: One or many of: a file, a folder (searched through), a glob pattern, an array HxWx3 uint8 RGB.
        model: Name of a shipped bundle, a bundle's folder, or a loaded bundle.
        framing: Which square of a picture is judged: `auto`, `cell`, `field`, `center` or `whole`.
        workers: Threads; one a processor if 0.
        on_error: `raise` at the first picture that cannot be read, or `keep` going and return a `Failure` for it.
        progress: Called with (done, all).

    Returns:
        A `Prediction` for each picture, in order; with `on_error="keep"` a `Failure` where one could not be read.

    Raises:
        UsageError: `on_error` is neither.
        NoInputError: A path does not exist or holds no picture.
        ImageError: A picture cannot be read.
        BundleError: The model cannot be used.
    """
    if on_error not in ("raise", "keep"):
        raise UsageError(f"on_error must be 'raise' or 'keep', not {on_error!r}.")
    found = all_sources(sources)
    reader = CellReader(model, framing=framing)
    answers: list[Prediction | Failure] = []
    for answer in reader.stream(found, workers=workers):
        if isinstance(answer, Failure) and on_error == "raise":
            raise UnreadableImageError(answer.reason)
        answers.append(answer)
        if progress:
            progress(len(answers), len(found))
    return answers
