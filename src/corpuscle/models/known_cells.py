"""The cells that a network learned from, as points: file name and label of each, no picture.

`known_cells.safetensors` in a bundle's folder holds them, 8 bits a number, along the principal axes of their
embeddings. A bundle without it predicts as before.
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
"""Room for the points; the names take about 5 bytes a cell more."""
_MOST_CELLS: Final = 40_000
_MOST_NAMES_BYTES: Final = 16_000_000
_LEAST_AXES: Final = 8


@dataclass(frozen=True)
class KnownCells:
    """An index of known cells.

    Attributes:
        files: N names, data set and path.
        classes: Keys that labels are places of.
        labels: N uint8.
        points: NxR int8; times `steps` they are the cells' places along the axes.
        steps: R float32.
        center: D float32, mean embedding.
        axes: DxR float32, orthonormal columns.
        unit: Median distance of a known cell to the nearest other one, more than 0.
    """

    files: tuple[str, ...]
    classes: tuple[str, ...]
    labels: npt.NDArray[np.uint8]
    points: npt.NDArray[np.int8]
    steps: Floats
    center: Floats
    axes: Floats
    unit: float

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        n, r = len(self.files), len(self.steps)
        fits = self.labels.shape == (n,) and self.points.shape == (n, r) and self.axes.shape == (len(self.center), r)
        if not (n and r and fits and self.unit > 0) or int(self.labels.max()) >= len(self.classes):
            raise UsageError(f"An index of {n} cells with {r} numbers each does not fit its arrays.")

    @cached_property
    def _places(self) -> Floats:
        return self.points.astype(np.float32) * self.steps

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
    n, width = embeddings.shape
    center = embeddings.mean(axis=0, dtype=np.float64)
    centered = embeddings - center
    spread, vectors = np.linalg.eigh(centered.T @ centered)
    count = min(width, max(_LEAST_AXES, _MOST_BYTES // n))
    axes = vectors[:, np.argsort(-spread, kind="stable")[:count]]
    places = centered @ axes
    steps = np.maximum(np.abs(places).max(axis=0), 1e-9) / 127
    return KnownCells(
        files=tuple(" ".join(name.splitlines()) for name in files),
        classes=tuple(classes),
        labels=labels.astype(np.uint8),
        points=np.rint(places / steps).astype(np.int8),
        steps=steps.astype(np.float32),
        center=center.astype(np.float32),
        axes=axes.astype(np.float32),
        unit=max(unit, 1e-9),
    )


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
    }
    arrays = {key: getattr(known, key) for key in ("labels", "points", "steps", "center", "axes")}
    arrays["names"] = np.frombuffer(zlib.compress(names, 9), np.uint8)
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
            arrays = {key: file.get_tensor(key) for key in ("labels", "points", "steps", "center", "axes", "names")}
        names = zlib.decompressobj().decompress(arrays.pop("names").tobytes(), _MOST_NAMES_BYTES)
        known = KnownCells(
            files=tuple(names.decode("utf-8", "surrogateescape").split("\n")),
            classes=tuple(map(str, json.loads(about["classes"]))),
            unit=float(about["unit"]),
            **arrays,
        )
    except (OSError, KeyError, TypeError, ValueError, SafetensorError, UsageError, zlib.error) as error:
        raise BundleError(f"{path} cannot be read ({error}). Get the bundle again.") from error
    if about.get("graph_sha256") != bundle.files.get(bundle.graph) or len(known.center) != len(
        bundle.reference().means[0]
    ):
        raise BundleError(f"{path} was made for another network. Run `corpuscle enrich {bundle.folder}` again.")
    return known
