"""Whether cells are lost or counted twice where the tiles of a large field meet, and how much memory that takes."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from corpuscle.data.drawn_mosaic import DrawnMosaic
from corpuscle.prediction.numbering import clean_detections, overlap_table
from corpuscle.prediction.ruler import measure_field
from corpuscle.prediction.tiling import Detector, FieldSource, tiles_of

__all__ = ["SeamEvaluation", "evaluate_seams"]

_SAME = 0.3
_NEAR_CELLS = 1.5
_BAND_PX = 512
_MB = 2**20

Image8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SeamEvaluation:
    """What `evaluate_seams` measured.

    Attributes:
        model: Detector by name.
        side_px: Side of the drawn field.
        tiles: Number of tiles.
        cells: Drawn cells.
        near: Those within one and a half erythrocytes of a seam.
        lost: Drawn cells that nothing was found at, near a seam and elsewhere.
        twice: Drawn cells found more than once, near a seam and elsewhere.
        invented: Found cells where none was drawn.
        kinds_right: Found cells of the right kind.
        seconds: Time.
        memory_mb: How much the process grew at its most; NaN where the system does not tell.
        picture_mb: What the field would take in memory.
    """

    model: str
    side_px: int
    tiles: int
    cells: int
    near: int
    lost: tuple[int, int]
    twice: tuple[int, int]
    invented: int
    kinds_right: int
    seconds: float
    memory_mb: float
    picture_mb: float

    def text(self) -> str:
        """Return a report for people."""
        return "\n".join(
            (
                f"{self.model} on a drawn field of {self.side_px}x{self.side_px} pixels in {self.tiles} tiles: "
                f"{self.cells} cells, {self.near} of them near a seam",
                f"lost: {self.lost[0]} near a seam, {self.lost[1]} elsewhere",
                f"counted twice: {self.twice[0]} near a seam, {self.twice[1]} elsewhere",
                f"found where nothing is: {self.invented}; of the right kind: {self.kinds_right}",
                f"{self.seconds:.0f} s; memory grew by {self.memory_mb:.0f} MB, the field has {self.picture_mb:.0f} MB",
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


class _Reported:
    """A field that says how much of it was read."""

    def __init__(self, source: FieldSource, say: Callable[[int], None]) -> None:
        self.width_px, self.height_px = source.width_px, source.height_px
        self._source, self._say, self._read = source, say, 0

    def read(self, x: int, y: int, width: int, height: int) -> Image8:
        self._read += width * height
        self._say(self._read)
        return self._source.read(x, y, width, height)


def evaluate_seams(
    detector: Detector, side_px: int, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> SeamEvaluation:
    """Detect in a drawn field of many tiles, and compare every cell with the drawing.

    Args:
        detector: What finds cells.
        side_px: Side of the field; it is painted while it is read.
        seed: Of the drawing.
        progress: Called with (pixels read, all), roughly.

    Raises:
        UsageError: The size is out of range.
    """
    drawn = DrawnMosaic(side_px, side_px, seed=seed)
    pixels = side_px**2
    source = _Reported(drawn, lambda read: progress(min(read, pixels), pixels) if progress else None)
    before, began = _peak_mb(), time.perf_counter()
    measured = measure_field(detector, source)
    found, _ = clean_detections(measured.detections, side_px, side_px)
    seconds, grown = time.perf_counter() - began, _peak_mb() - before
    hits, invented, right = _matched(drawn, found.boxes, found.kinds)
    tiles = tiles_of(detector, source, measured.ruler.scale)
    near = _near_seams(drawn, [tile.core for tile in tiles], _NEAR_CELLS * detector.erythrocyte_px)
    name = str(getattr(detector, "name", type(detector).__name__))
    return SeamEvaluation(
        name, side_px, len(tiles), len(hits), int(near.sum()), _split(hits == 0, near), _split(hits > 1, near),
        invented, right, seconds, grown, 3 * pixels / _MB,
    )  # fmt: skip


def _split(which: Mask, near: Mask) -> tuple[int, int]:
    return int((which & near).sum()), int((which & ~near).sum())


def _matched(
    drawn: DrawnMosaic, boxes: npt.NDArray[np.float32], kinds: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], int, int]:
    """Give every found cell to the drawn one that it overlaps most.

    Returns:
        How often each drawn cell was found, how many found ones lie on none, and how many have the right kind.
    """
    hits, invented, right = np.zeros(len(drawn.boxes), np.int64), 0, 0
    row_of = ((drawn.boxes[:, 1] + drawn.boxes[:, 3]) / 2 // _BAND_PX).astype(int)
    band_of = ((boxes[:, 1] + boxes[:, 3]) / 2 // _BAND_PX).astype(int)
    for band in np.unique(band_of):
        those, own = np.flatnonzero(np.abs(row_of - band) <= 1), np.flatnonzero(band_of == band)
        if not len(those):
            invented += len(own)
            continue
        overlaps, _ = overlap_table(boxes[own], drawn.boxes[those])
        best = overlaps.argmax(axis=1)
        sure = overlaps.max(axis=1) >= _SAME
        np.add.at(hits, those[best[sure]], 1)
        invented += int((~sure).sum())
        right += int((drawn.kinds[those[best[sure]]] == kinds[own[sure]]).sum())
    return hits, invented, right


def _near_seams(drawn: DrawnMosaic, cores: list[tuple[float, float, float, float]], reach_px: float) -> Mask:
    """Say which drawn cells lie near where two cores meet."""
    middles = (drawn.boxes[:, :2] + drawn.boxes[:, 2:]) / 2
    near = np.zeros(len(middles), bool)
    for axis in (0, 1):
        for seam in {core[axis] for core in cores if math.isfinite(core[axis])}:
            near |= np.abs(middles[:, axis] - seam) <= reach_px
    return near


def _peak_mb() -> float:
    """Return the most memory that this process ever held, in MB."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (_MB if sys.platform == "darwin" else 1024)
