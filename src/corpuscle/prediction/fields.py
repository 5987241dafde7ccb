"""From fields to cells: every cell found, numbered, classified; the function behind `corpuscle count`."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from corpuscle.data.images import read_picture
from corpuscle.errors import CorpuscleError, UnreadableImageError, UsageError
from corpuscle.models.bundle import DEFAULT_MODEL, Bundle
from corpuscle.models.detection_bundle import DEFAULT_DETECTOR, DetectionBundle
from corpuscle.prediction.cell_naming import CellNamer
from corpuscle.prediction.cell_sizes import small_leukocytes_as_platelets
from corpuscle.prediction.classification import CellReader, default_workers, files_of, not_a_source, worker_count
from corpuscle.prediction.clumps import find_clumps
from corpuscle.prediction.counting import Differential, differential_of
from corpuscle.prediction.detection import open_detector
from corpuscle.prediction.lit_fields import light_up
from corpuscle.prediction.numbering import clean_detections, reading_order
from corpuscle.prediction.ruler import Measured, measure_field, usual_size
from corpuscle.prediction.tiling import ArraySource, Detector, FieldSource
from corpuscle.records import CELL_KINDS, Detections, Failure, FieldCell, FieldReading

__all__ = [
    "FieldReader",
    "PartOfSlide",
    "SmearCount",
    "count",
]

Image8 = npt.NDArray[np.uint8]
_SURVEYED = 9


@dataclass(frozen=True, slots=True)
class PartOfSlide:
    """A field that is a part of a slide and is read in parts.

    Attributes:
        file: The slide as the user named it.
        source: Its pixels.
        origin_px: Top left in full pixels of the slide.
        downsample: Full pixels that one pixel of `source` is wide.
        um_per_px: Micrometers a pixel of `source` is wide, as the slide says; 0 if it does not.
    """

    file: str
    source: FieldSource
    origin_px: tuple[float, float] = (0.0, 0.0)
    downsample: float = 1.0
    um_per_px: float = 0.0


Field = str | os.PathLike[str] | Image8 | PartOfSlide
OnField = Callable[[FieldReading, FieldSource], None]


@dataclass(frozen=True, slots=True)
class SmearCount:
    """What was counted in the fields of one smear.

    Attributes:
        readings: One for each field that could be read, in the order given.
        failures: The others.
        differential: Of all fields together.
    """

    readings: tuple[FieldReading, ...]
    failures: tuple[Failure, ...]
    differential: Differential


class FieldReader:
    """Finds, numbers and names the cells of fields. Opening takes most of a second; keep it for many fields."""

    def __init__(
        self,
        model: str | os.PathLike[str] | Bundle | CellReader = DEFAULT_MODEL,
        *,
        detector: str | os.PathLike[str] | Detector = DEFAULT_DETECTOR,
        um_per_px: float = 0.0,
    ) -> None:
        """Open a classifier and a detector.

        Args:
            model: Name of a shipped bundle, a bundle's folder, a loaded bundle, or a reader of cells.
            detector: Name of a shipped detector, its folder, or a detector.
            um_per_px: Micrometers a pixel is wide; measured by the erythrocytes of each field if 0.

        Raises:
            BundleError: One of them cannot be used.
        """
        self.cells = model if isinstance(model, CellReader) else CellReader(model)
        self.detector: Detector = open_detector(detector) if isinstance(detector, (str, os.PathLike)) else detector
        self.um_per_px = um_per_px
        self._namer = CellNamer(self.cells)

    @property
    def bundle(self) -> Bundle:
        """The classifier's bundle."""
        return self.cells.bundle

    def describe(self) -> dict[str, Any]:
        """Name the classifier and the detector with the hashes of their graphs, as plain values."""
        bundle = self.bundle
        return {
            "classifier": {
                "name": bundle.name,
                "version": bundle.version,
                "sha256": bundle.files.get(bundle.graph, ""),
                "training_data": [_trained_on(row) for row in bundle.training_data],
            },
            "detector": _described(self.detector),
        }

    def read(self, field: Field) -> FieldReading:
        """Read one field.

        Args:
            field: A file, an array HxWx3 uint8 RGB, or a part of a slide.

        Raises:
            ImageError: It cannot be read.
        """
        return self.read_with_pixels(field)[0]

    def read_with_pixels(self, field: Field) -> tuple[FieldReading, FieldSource]:
        """Read one field as `read` does, and hand back its pixels too."""
        return self._read(field, 0.0)

    def _surveyed(self, fields: Sequence[Field]) -> dict[int, Measured]:
        """Return what was measured of up to nine fields, by their places; one that cannot be read is passed over."""
        some = sorted({round(at) for at in np.linspace(0, len(fields) - 1, _SURVEYED)})
        with ThreadPoolExecutor(default_workers()) as pool:
            found = pool.map(self._measured, (fields[place] for place in some))
            return {place: measured for place, measured in zip(some, found, strict=True) if measured}

    def _measured(self, field: Field) -> Measured | None:
        try:
            part = _opened(field)
            return measure_field(self.detector, light_up(part.source)[0], um_per_px=part.um_per_px)
        except CorpuscleError:
            return None

    def _read(
        self, field: Field, usual_um_per_px: float, known: Measured | None = None
    ) -> tuple[FieldReading, FieldSource]:
        part = _opened(field)
        hashed = _sha256(Path(os.fspath(field))) if isinstance(field, (str, os.PathLike)) else ""
        source, unlit = light_up(part.source)
        measured = known or measure_field(
            self.detector, source, um_per_px=self.um_per_px or part.um_per_px, usual_um_per_px=usual_um_per_px
        )
        size = (source.width_px, source.height_px)
        sized = small_leukocytes_as_platelets(measured.detections, measured.ruler.um_per_px, *size)
        found, on_border = clean_detections(sized, *size)
        if unlit is not None:
            on_border |= unlit.cut(found.boxes)
        erythrocyte_px = self.detector.erythrocyte_px / measured.ruler.scale
        order = reading_order(found.boxes, erythrocyte_px)
        found = Detections(found.boxes[order], found.scores[order], found.kinds[order])
        cells = self._cells(source, found, on_border[order], erythrocyte_px)
        notes = [measured.ruler.note] if measured.ruler.note else []
        if not cells:
            notes.append("No cell was found in this field.")
        reading = FieldReading(
            part.file, source.width_px, source.height_px, tuple(cells), measured.ruler, tuple(notes), hashed,
            part.origin_px, part.downsample,
        )  # fmt: skip
        return reading, part.source

    def _cells(
        self, source: FieldSource, found: Detections, on_border: npt.NDArray[np.bool_], erythrocyte_px: float
    ) -> list[FieldCell]:
        """Name the cells and put all that is known of each into its record."""
        touching, clumps = find_clumps(found.boxes, found.kinds)
        names = self._namer.name(source, found, erythrocyte_px)
        cells = []
        for place in range(len(found)):
            x_min, y_min, x_max, y_max = (float(edge) for edge in found.boxes[place])
            cells.append(
                FieldCell(
                    number=place + 1,
                    kind=CELL_KINDS[int(found.kinds[place])],
                    box=(x_min, y_min, x_max, y_max),
                    score=min(max(float(found.scores[place]), 0.0), 1.0),
                    on_border=bool(on_border[place]),
                    touching=bool(touching[place]),
                    clump=int(clumps[place]),
                    **names[place],
                )
            )
        return cells

    def stream(
        self, fields: Field | Iterable[Field], *, workers: int = 0, on_field: OnField | None = None
    ) -> Generator[FieldReading | Failure, None, None]:
        """Read any number of fields, in order, in memory that does not grow with their number.

        Args:
            fields: Files, arrays or parts of slides. Those of a list are taken as one smear: some are surveyed first,
                so that a field with few erythrocytes is read at the magnification of the others.
            workers: Threads, each with a field of its own; one a processor if 0. Numbers do not depend on it.
            on_field: Called in the worker with each reading and its pixels, as for drawing; may raise CorpuscleError.
        """
        count = worker_count(workers)
        many = _as_many(fields)
        several = isinstance(many, Sequence) and len(many) > 1 and not self.um_per_px
        known = self._surveyed(cast(Sequence[Field], many)) if several else {}
        usual = usual_size([measured.ruler.um_per_px for measured in known.values() if measured.ruler.um_per_px])
        # A field that could tell its magnification itself need not be looked at again.
        known = {place: measured for place, measured in known.items() if measured.ruler.um_per_px}
        source = enumerate(many)
        pending: deque[Future[FieldReading | Failure]] = deque()
        with ThreadPoolExecutor(count) as pool:
            try:
                while True:
                    while len(pending) < count + 1 and (chunk := list(islice(source, 1))):
                        place, field = chunk[0]
                        pending.append(pool.submit(self._one, field, usual, on_field, known.pop(place, None)))
                    if not pending:
                        return
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _one(
        self, field: Field, usual: float, on_field: OnField | None, known: Measured | None
    ) -> FieldReading | Failure:
        """Read one field; what is wrong with its file becomes a failure, what is wrong with the output does not."""
        try:
            reading, source = self._read(field, usual, known)
        except CorpuscleError as error:
            if isinstance(error, UsageError):
                raise
            name = field.file if isinstance(field, PartOfSlide) else field
            return Failure(os.fspath(name) if isinstance(name, (str, os.PathLike)) else "", str(error))
        if on_field is not None:
            on_field(reading, source)
        return reading


def count(
    fields: Field | Iterable[Field],
    *,
    model: str | os.PathLike[str] | Bundle = DEFAULT_MODEL,
    detector: str | os.PathLike[str] | Detector = DEFAULT_DETECTOR,
    um_per_px: float = 0.0,
    interval: str = "wilson",
    workers: int = 0,
    on_error: str = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> SmearCount:
    """Find, number, name and count the cells in the fields of one smear.

    Args:
        fields: One or many of: a file, a folder (searched through), a glob pattern, an array HxWx3 uint8 RGB, a part
            of a slide.
        model: The classifier: name of a shipped bundle, a bundle's folder, or a loaded bundle.
        detector: Name of a shipped detector, its folder, or a detector.
        um_per_px: Micrometers a pixel is wide; measured by the erythrocytes of each field if 0.
        interval: `wilson`, `exact`, `simultaneous` or `sison-glaz`: how the differential's intervals are made.
        workers: Threads; one a processor if 0.
        on_error: `raise` at the first field that cannot be read, or `keep` going.
        progress: Called with (done, all).

    Raises:
        UsageError: An option is none of the above.
        NoInputError: A path does not exist or holds no picture.
        ImageError: A field cannot be read.
        BundleError: A model cannot be used.
    """
    if on_error not in ("raise", "keep"):
        raise UsageError(f"on_error must be 'raise' or 'keep', not {on_error!r}.")
    found = _all_fields(fields)
    reader = FieldReader(model, detector=detector, um_per_px=um_per_px)
    readings: list[FieldReading] = []
    failures: list[Failure] = []
    for answer in reader.stream(found, workers=workers):
        if isinstance(answer, FieldReading):
            readings.append(answer)
        elif on_error == "raise":
            raise UnreadableImageError(answer.reason)
        else:
            failures.append(answer)
        if progress:
            progress(len(readings) + len(failures), len(found))
    return SmearCount(tuple(readings), tuple(failures), differential_of(readings, interval=interval))


def _described(detector: Detector) -> dict[str, Any]:
    """Name a detector; one that is no network has neither a hash nor training data."""
    bundle = getattr(detector, "bundle", None)
    if not isinstance(bundle, DetectionBundle):
        return {"name": str(getattr(detector, "name", type(detector).__name__)), "version": "", "sha256": ""}
    return {
        "name": bundle.name,
        "version": bundle.version,
        "sha256": bundle.files.get(bundle.graph, ""),
        "training_data": [_trained_on(row) for row in bundle.training_data],
    }


def _trained_on(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row.get(key) for key in ("dataset", "split", "n", "sha256")}


def _all_fields(fields: Field | Iterable[Field]) -> Sequence[Field]:
    """List every field that is asked for; paths may stand for many."""
    found: list[Field] = []
    for item in _as_many(fields):
        found += [item] if isinstance(item, (np.ndarray, PartOfSlide)) else files_of(item)
    return found


def _as_many(fields: Field | Iterable[Field]) -> Iterable[Field]:
    """Return one field as a list of one, and many as they are."""
    single = isinstance(fields, (str, os.PathLike, np.ndarray, PartOfSlide))
    return [cast(Field, fields)] if single else cast(Iterable[Field], fields)


def _opened(field: Field) -> PartOfSlide:
    """Read the pixels of a field, unless it is a slide, which is read in parts."""
    if isinstance(field, PartOfSlide):
        return field
    if isinstance(field, np.ndarray):
        return PartOfSlide("", ArraySource(_checked(field)))
    if not isinstance(field, (str, os.PathLike)):
        raise UnreadableImageError(not_a_source(field))
    return PartOfSlide(os.fspath(field), ArraySource(read_picture(field)))


def _checked(image: npt.NDArray[np.generic]) -> Image8:
    """Refuse an array that is no picture."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UnreadableImageError(
            f"A field must be an array HxWx3 of uint8 (RGB), not {image.dtype} of shape {image.shape}. Convert it."
        )
    return np.ascontiguousarray(image).view(np.uint8)


def _sha256(path: Path) -> str:
    """Hash a file that was just read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableImageError(f"{path} went away while it was read ({error}). Copy it again.") from error
