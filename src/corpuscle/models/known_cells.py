"""The cells that a network learned from, as points: file name and label of each, no picture.

`known_cells.safetensors` in a bundle's folder holds them along the principal axes of their embeddings, rounded to one
step for all axes, so that those along which cells hardly differ take next to no room once deflated. A bundle without
the file predicts as before.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from corpuscle.errors import BundleError, UsageError
from corpuscle.files import written_whole
from corpuscle.models.bundle import OPTIONAL_FILES, Bundle
from corpuscle.records import KnownCell

__all__ = ["KNOWN_CELLS_FILE", "KnownCells", "make_known_cells", "read_known_cells", "write_known_cells"]

KNOWN_CELLS_FILE: Final = OPTIONAL_FILES[1]
Floats = npt.NDArray[np.float32]
_MOST_BYTES: Final = 850_000
"""Room for the points; the names take about 5 bytes a cell more, and the axes 2 bytes a number."""
_LEVELS: Final = (127, 100, 80, 60, 45, 32, 24, 16)
"""Steps from the center to the farthest cell, tried until the points have room."""
_MOST_AXES: Final = 192
_MOST_CELLS: Final = 40_000
_MOST_NAMES_BYTES: Final = 16_000_000


@dataclass(frozen=True)
class KnownCells:
    """An index of known cells.

    Attributes:
        files: N names, data set and path.
        classes: Keys that labels are places of.
        labels: N uint8.
        points: NxR int8; times `step` they are the cells' places along the axes.
        step: More than 0.
        center: D float32, mean embedding.
        axes: DxR float32, orthonormal columns.
        unit: Median distance of a known cell to the nearest other one, more than 0.
    """

    files: tuple[str, ...]
    classes: tuple[str, ...]
    labels: npt.NDArray[np.uint8]
    points: npt.NDArray[np.int8]
    step: float
    center: Floats
    axes: Floats
    unit: float

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        n, r = len(self.files), self.axes.shape[-1]
        fits = self.labels.shape == (n,) and self.points.shape == (n, r) and self.axes.shape == (len(self.center), r)
        if not (n and r and fits and self.unit > 0 and self.step > 0) or int(self.labels.max()) >= len(self.classes):
            raise UsageError(f"An index of {n} cells with {r} numbers each does not fit its arrays.")

    @cached_property
    def _places(self) -> Floats:
        return self.points.astype(np.float32) * np.float32(self.step)

    @cached_property
    def _squares(self) -> Floats:
        return np.asarray((self._places**2).sum(axis=1), np.float32)

    def nearest(self, embedding: Floats, count: int = 3) -> list[tuple[KnownCell, ...]]:
        """Find the nearest known cells of embeddings (NxD float32), nearest first.

        Distances are measured along the axes that are kept, plus what of the embedding lies beside them.
        """
        count = min(count, len(self.files))
        centered = embedding - self.center
        queries = centered @ self.axes
        beside = np.maximum((centered**2).sum(axis=1) - (queries**2).sum(axis=1), 0)
        away = self._squares - 2 * (queries @ self._places.T)
        near = np.argpartition(away, count - 1, axis=1)[:, :count]
        exact = ((self._places[near] - queries[:, None]) ** 2).sum(axis=2)
        answers = []
        for row, (places, squares) in enumerate(zip(near, exact, strict=True)):
            order = np.argsort(squares, kind="stable")
            answers.append(
                tuple(
                    KnownCell(
                        self.files[place],
                        self.classes[self.labels[place]],
                        float(np.sqrt(square + beside[row]) / self.unit),
                    )
                    for place, square in zip(places[order].tolist(), squares[order].tolist(), strict=True)
                )
            )
        return answers


def make_known_cells(
    embeddings: Floats, files: Sequence[str], labels: npt.NDArray[np.int64], classes: Sequence[str], *, unit: float
) -> KnownCells:
    """Quantize embeddings of known cells into an index of at most about 1 MB.

    Args:
        embeddings: NxD float32.
        files: N names; a line break in one becomes a space.
        labels: N places in `classes`.
        classes: Keys of the taxonomy.
        unit: Median distance of a cell to the nearest other one, more than 0.

    Raises:
        UsageError: There is no cell, or the lengths differ.
    """
    if not len(files) or not len(files) == len(embeddings) == len(labels) or len(classes) > 256:
        raise UsageError(f"{len(files)} names, {len(embeddings)} embeddings, {len(labels)} labels make no index.")
    if len(files) > _MOST_CELLS:
        chosen = np.sort(np.random.default_rng(0).permutation(len(files))[:_MOST_CELLS])
        embeddings, labels, files = embeddings[chosen], labels[chosen], [files[place] for place in chosen]
    center = embeddings.mean(axis=0, dtype=np.float64)
    centered = embeddings - center
    spread, vectors = np.linalg.eigh(centered.T @ centered)
    axes = vectors[:, np.argsort(-spread, kind="stable")[:_MOST_AXES]].astype(np.float16).astype(np.float32)
    places = centered @ axes
    farthest = max(float(np.abs(places).max()), 1e-9)
    for levels in _LEVELS:
        step = farthest / levels
        points = np.rint(places / step).astype(np.int8)
        if len(_deflated(points)) <= _MOST_BYTES:
            break
    return KnownCells(
        files=tuple(" ".join(name.splitlines()) for name in files),
        classes=tuple(classes),
        labels=labels.astype(np.uint8),
        points=points,
        step=step,
        center=center.astype(np.float32),
        axes=axes,
        unit=max(unit, 1e-9),
    )


def _deflated(points: npt.NDArray[np.int8]) -> bytes:
    """Compress points axis by axis."""
    return zlib.compress(np.ascontiguousarray(points.T).tobytes(), 9)


def write_known_cells(bundle: Bundle, known: KnownCells) -> Path:
    """Write an index into a bundle's folder; `write_manifest` must follow.

    Raises:
        OutputError: The folder cannot be written.
    """
    names = "\n".join(known.files).encode("utf-8", "surrogateescape")
    about = {
        "graph_sha256": bundle.files[bundle.graph],
        "classes": json.dumps(known.classes),
        "unit": repr(known.unit),
        "step": repr(known.step),
    }
    arrays = {
        "labels": known.labels,
        "center": known.center,
        "axes": known.axes.astype(np.float16),
        "points": np.frombuffer(_deflated(known.points), np.uint8),
        "names": np.frombuffer(zlib.compress(names, 9), np.uint8),
    }
    path = bundle.folder / KNOWN_CELLS_FILE
    with written_whole(path) as part:
        save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, part, metadata=about)
    return path


def read_known_cells(bundle: Bundle) -> KnownCells | None:
    """Read the index of a bundle; None where it has none.

    Raises:
        BundleError: The file is damaged, or was made for another network.
    """
    if KNOWN_CELLS_FILE not in bundle.files:
        return None
    path = bundle.folder / KNOWN_CELLS_FILE
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in ("labels", "points", "center", "axes", "names")}
        names = zlib.decompressobj().decompress(arrays["names"].tobytes(), _MOST_NAMES_BYTES)
        axes = arrays["axes"].astype(np.float32)
        count = len(arrays["labels"]) * axes.shape[1]
        points = zlib.decompressobj().decompress(arrays["points"].tobytes(), count + 1)
        known = KnownCells(
            files=tuple(names.decode("utf-8", "surrogateescape").split("\n")),
            classes=tuple(map(str, json.loads(about["classes"]))),
            labels=arrays["labels"],
            points=np.frombuffer(points, np.int8).reshape(axes.shape[1], -1).T,
            step=float(about["step"]),
            center=arrays["center"],
            axes=axes,
            unit=float(about["unit"]),
        )
    except (OSError, IndexError, KeyError, TypeError, ValueError, SafetensorError, UsageError, zlib.error) as error:
        raise BundleError(f"{path} cannot be read ({error}). Get the bundle again.") from error
    if about.get("graph_sha256") != bundle.files.get(bundle.graph) or len(known.center) != len(
        bundle.reference().means[0]
    ):
        raise BundleError(f"{path} was made for another network. Run `corpuscle enrich {bundle.folder}` again.")
    return known
