"""Training pictures for a detector: windows of fields at random scale and turn, alone or four together, with boxes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from corpuscle.data.fields import LabeledField, erythrocyte_diameter_px
from corpuscle.models.assignment import FieldTargets
from corpuscle.models.detector import STEP_PX
from corpuscle.preprocessing.field_scaling import FieldSpec, scaled_field
from corpuscle.preprocessing.transforms import WHITE
from corpuscle.records import CELL_KINDS
from corpuscle.training.detection_recipe import FieldAugmentation

__all__ = ["CachedField", "FieldSample", "cached_fields", "collated", "draw_sample"]

Boxes = npt.NDArray[np.float32]

_FINE = 1.4
"""How much larger than the network sees them erythrocytes are kept, so that enlarging finds real pixels."""

_LEAST_VISIBLE = 0.9
"""Less of a cell inside a window is ignored: whether cells at the border are drawn is learned at real borders only."""

_BEYOND = 0.3
"""How far a window is drawn beyond the field before it is put back, so that many windows end at a real border."""

_LEAST_SIDE_PX = 3.0
_LEAST_FILL = 0.6
"""A field that is shown whole is at least this much of the largest size at which it fits."""

_ERYTHROCYTE = CELL_KINDS.index("erythrocyte")


@dataclass(frozen=True, slots=True)
class CachedField:
    """A decoded, balanced and scaled field.

    Attributes:
        picture: HxWx3 uint8 RGB, `_FINE` times larger than the network sees it.
        boxes: Nx4 float32, xyxy in pixels of `picture`.
        kinds: N int64, an index into `CELL_KINDS`.
        ignore: Mx4 float32, places of which nothing is known.
        ignore_erythrocytes: Lx4 float32, places of which nothing is known but that leukocytes and platelets have boxes.
        wanted: N float32, the share of a full score that is wanted of each cell.
    """

    picture: npt.NDArray[np.uint8]
    boxes: Boxes
    kinds: npt.NDArray[np.int64]
    ignore: Boxes
    ignore_erythrocytes: Boxes
    wanted: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FieldSample:
    """One training picture.

    Attributes:
        picture: SxSx3 uint8 RGB.
        boxes: Nx4 float32, xyxy in pixels.
        kinds: N int64.
        ignore: Mx4 float32: where no kind is judged.
        ignore_erythrocytes: Lx4 float32: where erythrocytes are not judged.
        wanted: N float32: the share of a full score that is wanted of each cell.
    """

    picture: npt.NDArray[np.uint8]
    boxes: Boxes
    kinds: npt.NDArray[np.int64]
    ignore: Boxes
    ignore_erythrocytes: Boxes
    wanted: npt.NDArray[np.float32]


def cached_fields(
    fields: Sequence[LabeledField],
    spec: FieldSpec,
    *,
    added_score: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[CachedField]:
    """Decode fields of one data set and bring them all to one scale, by their median erythrocyte.

    Args:
        fields: Of one magnification.
        spec: The network's view.
        added_score: Share of a full score that is wanted of cells that the second reading added.
        progress: Called with (done, all).

    Raises:
        DataError: No whole erythrocyte has a box.
        ImageError: A picture cannot be read.
    """
    scale = spec.erythrocyte_px * _FINE / erythrocyte_diameter_px(fields)
    cached = []
    for number, item in enumerate(fields, start=1):
        image = item.read()
        picture = scaled_field(image, scale, spec)
        factor = np.tile((picture.shape[1] / image.shape[1], picture.shape[0] / image.shape[0]), 2).astype(np.float32)
        open_places = _open_places(item, image)
        cached.append(
            CachedField(
                picture, item.boxes * factor, item.kinds, item.ignore * factor, open_places * factor,
                _wanted(item, added_score),
            )
        )  # fmt: skip
        if progress:
            progress(number, len(fields))
    return cached


def _wanted(item: LabeledField, added: float) -> npt.NDArray[np.float32]:
    """Return the share of a full score that is wanted of each cell."""
    wanted = np.ones(len(item.boxes), np.float32)
    wanted[np.flatnonzero(item.added)] = added
    return wanted


def _open_places(item: LabeledField, image: npt.NDArray[np.uint8]) -> Boxes:
    """Return where erythrocytes may be that nobody drew, Lx4 in pixels of the field: all of a field without any box."""
    height, width = image.shape[:2]
    return np.asarray([[0, 0, width, height]] if item.erythrocytes_unlabeled else [], np.float32).reshape(-1, 4)


def draw_sample(
    fields: Sequence[CachedField], number: int, plan: FieldAugmentation, rng: np.random.Generator
) -> FieldSample:
    """Make one training picture out of a field, or of it and three others.

    Args:
        fields: All training fields.
        number: The field that must be in it.
        plan: Ranges of the changes.
        rng: Source of all random numbers.
    """
    side = plan.canvas_px
    shade = np.clip(WHITE * np.exp(rng.normal(0, 0.06, 3)), 0, 255).astype(np.uint8)
    canvas = np.broadcast_to(shade, (side, side, 3)).copy()
    windows = [(0, 0, side, side)]
    if rng.random() < plan.mosaic:
        x, y = (int(value) for value in rng.integers(round(0.35 * side), round(0.65 * side), 2))
        windows = [(0, 0, x, y), (x, 0, side, y), (0, y, x, side), (x, y, side, side)]
    parts = []
    for place, window in enumerate(windows):
        chosen = fields[number if place == 0 else int(rng.integers(len(fields)))]
        parts.append(_lay(canvas, window, chosen, plan, rng))
    return FieldSample(canvas, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def _lay(
    canvas: npt.NDArray[np.uint8],
    window: tuple[int, int, int, int],
    item: CachedField,
    plan: FieldAugmentation,
    rng: np.random.Generator,
) -> tuple[Boxes, npt.NDArray[np.int64], Boxes, Boxes, npt.NDArray[np.float32]]:
    """Lay a random part of a field into a window of the canvas; returns the columns of a sample but for its picture."""
    left, top, right, bottom = window
    picture, turned = _turned(item.picture, np.concatenate([item.boxes, item.ignore, item.ignore_erythrocytes]), rng)
    size = np.asarray(picture.shape[1::-1], np.float64)
    room = np.asarray((right - left, bottom - top), np.float64)
    smallest, largest = plan.smallest, plan.largest
    if rng.random() < plan.whole:
        largest = float(np.clip((room / size).min() * _FINE, smallest, largest))
        smallest = max(smallest, _LEAST_FILL * largest)
    zoom = math.exp(rng.uniform(math.log(smallest), math.log(largest))) / _FINE
    stretch = math.exp(rng.uniform(-plan.stretch, plan.stretch))
    factors = np.asarray((zoom * stretch, zoom / stretch))
    wanted = room / factors
    # A field smaller than its window lies somewhere in it, beside empty slide; of a larger one a part is seen.
    spare = size - wanted
    beyond = _BEYOND * np.abs(spare)
    corner = np.clip(
        rng.uniform(np.minimum(spare, 0) - beyond, np.maximum(spare, 0) + beyond),
        np.minimum(spare, 0), np.maximum(spare, 0),
    )  # fmt: skip
    start, end = np.maximum(corner, 0), np.minimum(corner + wanted, size)
    x0, y0 = np.round((start - corner) * factors).astype(int)
    x1, y1 = np.round((end - corner) * factors).astype(int)
    if x1 <= x0 or y1 <= y0:
        empty = np.zeros((0, 4), np.float32)
        return empty, np.zeros(0, np.int64), empty, empty, np.zeros(0, np.float32)
    part = Image.fromarray(picture).resize(
        (int(x1 - x0), int(y1 - y0)), Image.Resampling.BILINEAR, box=(*start.tolist(), *end.tolist()), reducing_gap=2.0
    )
    canvas[top + y0 : top + y1, left + x0 : left + x1] = np.asarray(part)
    shift = np.asarray((left, top)) - corner * factors
    boxes = (turned * np.tile(factors, 2) + np.tile(shift, 2)).astype(np.float32)
    frame = np.asarray((left + x0, top + y0, left + x1, top + y1), np.float32)
    count = len(item.boxes) + len(item.ignore)
    cut, kept, ignored = _visible(boxes[:count], len(item.boxes), frame)
    return cut[kept], item.kinds[kept], ignored, _inside(boxes[count:], frame), item.wanted[kept]


def _inside(boxes: Boxes, frame: Boxes) -> Boxes:
    """Cut boxes at the frame; what lies beside it is left out."""
    cut = np.concatenate([np.clip(boxes[:, :2], frame[:2], frame[2:]), np.clip(boxes[:, 2:], frame[:2], frame[2:])], 1)
    inside: Boxes = cut[(cut[:, 2:] > cut[:, :2]).all(1)]
    return inside


def _visible(boxes: Boxes, count: int, frame: Boxes) -> tuple[Boxes, npt.NDArray[np.bool_], Boxes]:
    """Cut boxes at the frame.

    Returns:
        The first `count` of them, cut; which of these cells are learned; and what is ignored: cells of which too little
        is left, and the other boxes.
    """
    cut = np.concatenate([np.clip(boxes[:, :2], frame[:2], frame[2:]), np.clip(boxes[:, 2:], frame[:2], frame[2:])], 1)
    sides, whole = cut[:, 2:] - cut[:, :2], boxes[:, 2:] - boxes[:, :2]
    share = sides.prod(1) / np.maximum(whole.prod(1), 1e-6)
    there = (sides > 0).all(1)
    kept = there & (share >= _LEAST_VISIBLE) & (sides >= _LEAST_SIDE_PX).all(1)
    kept[count:] = False
    return cut[:count], kept[:count], cut[there & ~kept]


def _turned(
    picture: npt.NDArray[np.uint8], boxes: Boxes, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], Boxes]:
    """Turn a picture by a multiple of 90 degrees or mirror it, and its boxes with it."""
    mirrored, upside, swapped = rng.random(3) < 0.5
    boxes = boxes.copy()
    if mirrored:
        picture = picture[:, ::-1]
        boxes[:, [0, 2]] = picture.shape[1] - boxes[:, [2, 0]]
    if upside:
        picture = picture[::-1]
        boxes[:, [1, 3]] = picture.shape[0] - boxes[:, [3, 1]]
    if swapped:
        picture = picture.transpose(1, 0, 2)
        boxes = boxes[:, [1, 0, 3, 2]]
    return np.ascontiguousarray(picture), boxes


def collated(samples: Sequence[FieldSample]) -> tuple[torch.Tensor, FieldTargets]:
    """Put samples together.

    Returns:
        Nx3xSxS float32 in [0, 1], and what is known of them.
    """
    pictures = torch.from_numpy(np.stack([item.picture for item in samples]))
    side = samples[0].picture.shape[0] // STEP_PX
    known = np.ones((len(samples), len(CELL_KINDS), side, side), np.float32)
    for number, item in enumerate(samples):
        for box in item.ignore:
            known[number, :, *_rows_and_columns(box)] = 0
        for box in item.ignore_erythrocytes:
            known[number, _ERYTHROCYTE, *_rows_and_columns(box)] = 0
    targets = FieldTargets(
        [torch.from_numpy(item.boxes) for item in samples],
        [torch.from_numpy(item.kinds) for item in samples],
        torch.from_numpy(known),
        [torch.from_numpy(item.wanted) for item in samples],
    )
    return pictures.permute(0, 3, 1, 2).to(torch.float32).div_(255.0), targets


def _rows_and_columns(box: Boxes) -> tuple[slice, slice]:
    left, top, right, bottom = box / STEP_PX
    return slice(math.floor(top), math.ceil(bottom)), slice(math.floor(left), math.ceil(right))
