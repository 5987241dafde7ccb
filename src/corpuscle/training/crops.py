"""Framed crops of a labeled set in one array on disk, decoded once and read by every epoch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs

from corpuscle.data.labeled import LabeledCell
from corpuscle.errors import DataError, OutputError, UnreadableImageError
from corpuscle.prediction.classification import default_workers
from corpuscle.preprocessing.transforms import PreprocessingSpec, prepare

__all__ = ["CropSet", "cache_path", "crops_of"]

Progress = Callable[[int, int], None]
_CHUNK = 256
_IN_MEMORY_BYTES = 6 * 2**30


@dataclass(frozen=True, slots=True)
class CropSet:
    """Crops and labels of one split.

    Attributes:
        crops: NxSxSx3 uint8 RGB, S being the widened side.
        labels: N int64, places in the list of classes.
        files: Names of the pictures.
        chances: N float64 that sum to 1, how likely each picture is drawn; None where all are alike and each is shown
            once an epoch.
        answers: NxK float32, the logits of a teacher; None where there is none.
        attributes: NxA int64, for each attribute of `data.attributes` the place of its value, -1 where nobody
            annotated it; None where they are not learned.
    """

    crops: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    files: tuple[str, ...]
    chances: npt.NDArray[np.float64] | None = None
    answers: npt.NDArray[np.float32] | None = None
    attributes: npt.NDArray[np.int64] | None = None


def _cache_folder() -> Path:
    """Folder of the crop caches: `$CORPUSCLE_CACHE`, else the user's cache folder."""
    given = os.environ.get("CORPUSCLE_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("corpuscle")) / "crops"


def _key(cells: Sequence[LabeledCell], spec: PreprocessingSpec, widen: float, size_px: int) -> str:
    """Hash everything that the crops depend on: files with size and time, boxes, framing, size."""
    digest = hashlib.sha256(json.dumps([spec.to_dict(), widen, size_px, "v3"], sort_keys=True).encode())
    for cell in cells:
        if cell.pixels is not None:
            state = hashlib.sha256(cell.pixels.tobytes()).hexdigest()
        else:
            try:
                found = cell.path.stat()
            except OSError as error:
                raise UnreadableImageError(
                    f"{cell.path} cannot be read: {error.strerror}. Put it back, or take it off the list."
                ) from error
            state = f"{found.st_size}|{found.st_mtime_ns}|{cell.box}"
        digest.update(f"{cell.path.absolute()}|{state}\n".encode())
    return digest.hexdigest()[:24]


def cache_path(
    cells: Sequence[LabeledCell], spec: PreprocessingSpec, *, widen: float = 1.0, fine: int = 1, purpose: str = ""
) -> Path:
    """Return the file of the cache that holds what was made of cells: their crops, or what `purpose` says.

    Args:
        cells: The cells.
        spec: How they are framed.
        widen: How much wider than the frame they are cut.
        fine: How many times finer than the network's input.
        purpose: Something for a file name that says what else was made of them; empty for the crops.

    Raises:
        UnreadableImageError: A picture is not there.
    """
    key = _key(cells, spec, widen, round(spec.input_px * widen * fine))
    return _cache_folder() / f"{key}{f'-{purpose}' if purpose else ''}.npy"


def crops_of(
    cells: Sequence[LabeledCell],
    classes: Sequence[str],
    spec: PreprocessingSpec,
    *,
    widen: float = 1.0,
    fine: int = 1,
    progress: Progress | None = None,
) -> CropSet:
    """Return the framed crops of labeled cells, from the cache where it has them.

    Args:
        cells: The cells; their classes must all be in `classes`.
        classes: Ordered keys.
        spec: Framing and white balance; `input_px * widen * fine` is the side of the crops.
        widen: How much wider than the frame to cut.
        fine: How many times finer than the network's input.
        progress: Called with (done, all).

    Raises:
        ImageError: A picture cannot be read.
        DataError: A class is not in `classes`.
        OutputError: The cache cannot be written.
    """
    size_px = round(spec.input_px * widen * fine)
    places = {key: place for place, key in enumerate(classes)}
    strange = sorted({cell.class_name for cell in cells} - set(classes))
    if strange:
        raise DataError(f"The labels hold classes that are not learned here: {', '.join(strange)}. Add or drop them.")
    labels = np.asarray([places[cell.class_name] for cell in cells], np.int64)
    path = cache_path(cells, spec, widen=widen, fine=fine)
    if not path.exists():
        _write(path, cells, spec, widen, size_px, progress)
    # Random reads from a mapped file crawl once the page cache is under pressure: map only what memory cannot hold.
    large = path.stat().st_size > _IN_MEMORY_BYTES
    crops = np.load(path, mmap_mode="r" if large else None, allow_pickle=False)
    return CropSet(crops, labels, tuple(cell.file for cell in cells))


def _write(  # noqa: PLR0917
    path: Path,
    cells: Sequence[LabeledCell],
    spec: PreprocessingSpec,
    widen: float,
    size_px: int,
    progress: Progress | None,
) -> None:
    """Cut all crops into a temporary file and give it its name only when it is whole."""
    part = path.with_suffix(f".{os.getpid()}.part")

    def crop(cell: LabeledCell) -> npt.NDArray[np.uint8]:
        return prepare(cell.read(), spec, widen=widen, size_px=size_px)[0]

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(cells), size_px, size_px, 3)}
        # Written, not mapped: a full disk then is an error with a message, where a mapped file would kill the process.
        with part.open("wb") as file, ThreadPoolExecutor(default_workers()) as pool:
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, len(cells), _CHUNK):
                chunk = cells[start : start + _CHUNK]
                for pixels in pool.map(crop, chunk):
                    file.write(pixels.tobytes())
                if progress:
                    progress(start + len(chunk), len(cells))
        part.replace(path)
    except OSError as error:
        raise OutputError(
            f"The crop cache {path.parent} cannot be written: {error.strerror}. Free some space, or set "
            "CORPUSCLE_CACHE to a folder that can be written."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
