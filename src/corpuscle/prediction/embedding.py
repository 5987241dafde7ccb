"""Feature vectors of many cells with their predictions and thumbnails: what a map of cells is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpuscle import taxonomy
from corpuscle.data.images import find_images
from corpuscle.data.labeled import LABELED_SETS, LabeledCell, labeled_cells
from corpuscle.errors import CorpuscleError, DatasetNotFoundError, NoInputError, UnknownNameError
from corpuscle.models.bundle import DEFAULT_MODEL, Bundle
from corpuscle.prediction.classification import CellReader, worker_count
from corpuscle.prediction.engine import Outputs
from corpuscle.preprocessing.framing import Picture
from corpuscle.preprocessing.transforms import cut
from corpuscle.records import Failure, Prediction

__all__ = ["THUMBNAIL_PX", "EmbeddedCells", "Specimen", "embed_cells", "find_specimens"]

THUMBNAIL_PX = 40
_BATCH = 16
_WHITE = np.full(3, 240, np.float32)


@dataclass(frozen=True, slots=True)
class Specimen:
    """One cell to embed.

    Attributes:
        file: Name to show.
        label: A key of the taxonomy; empty where nobody labeled it.
        source: Where it comes from: the data set or the path that was given.
        cell: How to read it.
    """

    file: str
    label: str
    source: str
    cell: LabeledCell

    def read(self) -> Path | npt.NDArray[np.uint8]:
        """Return the file where it is the crop, else the crop, HxWx3 uint8 RGB.

        Raises:
            ImageError: It cannot be read.
        """
        whole = self.cell.box is None and self.cell.pixels is None
        return self.cell.path if whole else self.cell.read()


@dataclass(frozen=True, slots=True)
class EmbeddedCells:
    """Cells with what the network saw in them, row by row.

    Attributes:
        specimens: N cells.
        predictions: What was said of each.
        embeddings: NxD float32.
        thumbnails: NxTxTx3 uint8 RGB, the square that was judged.
        failures: Cells that could not be read; not among the N.
    """

    specimens: tuple[Specimen, ...]
    predictions: tuple[Prediction, ...]
    embeddings: npt.NDArray[np.float32]
    thumbnails: npt.NDArray[np.uint8]
    failures: tuple[Failure, ...]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.specimens)


def find_specimens(
    paths: Sequence[str | os.PathLike[str]],
    *,
    split: str = "",
    root: str | Path | None = None,
    without: str | os.PathLike[str] | None = None,
    on_lost: Callable[[str, str], None] | None = None,
) -> list[Specimen]:
    """List the cells of data sets, files, folders and glob patterns.

    A picture in a folder that is named like a cell class, in any known spelling, has that label.

    Args:
        paths: Names of `LABELED_SETS`, or paths. A path that exists wins over a data set of the same name.
        split: Split of the data sets; all if empty.
        root: Folder that holds the data sets.
        without: A folder that is passed over in folders and patterns, as that into which a command writes.
        on_lost: Is told of what leads to nothing, its name and a sentence; without it that is an error.

    Raises:
        NoInputError: A path does not exist or holds no picture; with `on_lost`, none leads to any.
        DatasetNotFoundError: A data set is not there; with `on_lost`, none leads to any cell.
    """
    first: CorpuscleError | None = None
    found: list[Specimen] = []
    for item in paths:
        name = str(os.fspath(item))
        try:
            found += _found_under(name, split, root, without, on_lost)
        except (NoInputError, DatasetNotFoundError) as error:
            if on_lost is None:
                raise
            first = first or error
            on_lost(name, str(error))
    if first and not found:
        raise first
    return found


def _found_under(
    name: str,
    split: str,
    root: str | Path | None,
    without: str | os.PathLike[str] | None,
    on_lost: Callable[[str, str], None] | None,
) -> list[Specimen]:
    """List the cells of one data set or path."""
    if name in LABELED_SETS and not Path(name).exists():
        cells = labeled_cells(name, split=split, root=root)
        return [Specimen(cell.file, cell.class_name, name, cell) for cell in cells]
    source = Path(name).name or name
    labeled = [(path, _label_of(path)) for path in find_images([name], without=without, on_lost=on_lost)]
    return [Specimen(str(path), label, source, LabeledCell(str(path), path, label, "")) for path, label in labeled]


def _label_of(path: Path) -> str:
    """Return the class that the folder of a picture is named after, or nothing."""
    try:
        return taxonomy.resolve(path.parent.name)
    except UnknownNameError:
        return ""


def embed_cells(
    specimens: Sequence[Specimen],
    *,
    model: str | os.PathLike[str] | Bundle | CellReader = DEFAULT_MODEL,
    framing: str = "auto",
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> EmbeddedCells:
    """Run the network of a bundle over cells and keep their feature vectors.

    Args:
        specimens: The cells.
        model: Name of a shipped bundle, a bundle's folder, a loaded bundle, or a reader, which has its own framing.
        framing: Which square of each picture is judged.
        workers: Threads; one a processor if 0.
        progress: Called with (done, all).

    Raises:
        UsageError: The number of workers is below 0.
        NoInputError: None of the cells can be read.
        BundleError: The model cannot be used.
    """
    reader = model if isinstance(model, CellReader) else CellReader(model, framing=framing)
    chunks = [specimens[start : start + _BATCH] for start in range(0, len(specimens), _BATCH)]
    rows: list[_Row] = []
    failures: list[Failure] = []
    done = 0
    with ThreadPoolExecutor(worker_count(workers)) as pool:
        for part in pool.map(lambda chunk: list(_embedded(reader, chunk)), chunks):
            for item in part:
                if isinstance(item, Failure):
                    failures.append(item)
                else:
                    rows.append(item)
            done += len(part)
            if progress:
                progress(done, len(specimens))
    if not rows:
        first = f" The first: {failures[0].reason}" if failures else ""
        raise NoInputError(f"None of the {len(specimens)} pictures can be read.{first}")
    return EmbeddedCells(
        tuple(row[0] for row in rows),
        tuple(row[1] for row in rows),
        np.stack([row[2] for row in rows]),
        np.stack([row[3] for row in rows]),
        tuple(failures),
    )


_Row = tuple[Specimen, Prediction, npt.NDArray[np.float32], npt.NDArray[np.uint8]]


def _embedded(reader: CellReader, chunk: Sequence[Specimen]) -> Iterator[_Row | Failure]:
    """Embed a few cells, in order."""
    seen: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]] = []

    def visit(picture: Picture, prediction: Prediction, outputs: Outputs) -> None:
        seen.append((outputs.embedding[0], cut(picture, prediction.framing, THUMBNAIL_PX, background=_WHITE)))

    sources: list[Path | npt.NDArray[np.uint8]] = []
    reasons: dict[int, str] = {}
    for place, specimen in enumerate(chunk):
        try:
            sources.append(specimen.read())
        except CorpuscleError as error:
            reasons[place] = str(error)
            sources.append(np.zeros((0, 0, 3), np.uint8))  # a picture that no reader takes
    answers = reader.read(sources, visit=visit)
    kept = iter(seen)
    for place, (specimen, answer) in enumerate(zip(chunk, answers, strict=True)):
        if isinstance(answer, Failure):
            yield Failure(specimen.file, reasons.get(place, answer.reason))
        else:
            yield (specimen, answer, *next(kept))
