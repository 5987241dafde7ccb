"""Pictures that show no cell a model knows, by kind: what a refusal has to see."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from corpuscle.data.annotations import LabeledBox, read_voc
from corpuscle.data.catalog import data_root, locate
from corpuscle.data.images import read_image
from corpuscle.errors import DataError, UnknownNameError, UsageError

__all__ = ["STRANGERS", "strangers"]

Image8 = npt.NDArray[np.uint8]
_SIDE_PX = 208
_LEAST_BOX_PX = 40.0
_MARGIN = 0.15
_TRIES = 200
_WORDS = (
    "Smear 12",
    "PATIENT",
    "x100",
    "2024-05-17",
    "May-Grünwald",
    "slide",
    "report",
    "page 3",
    "error",
    "leukocytes",
)


def strangers(kind: str, n: int, *, seed: int = 0, split: str = "val", root: str | Path | None = None) -> list[Image8]:
    """Return pictures of one kind that is no known cell.

    Args:
        kind: One of `STRANGERS`. `erythrocyte` (crops by box) and `background` (squares that meet no box) come from
            BCCD photographs, one each at most; the others are made from the seed.
        n: How many at most; BCCD may hold fewer.
        seed: 0 or more.
        split: Which list of BCCD photographs is used.
        root: Folder that holds the data sets.

    Returns:
        Pictures HxWx3 uint8 RGB.

    Raises:
        UnknownNameError: There is no such kind.
        UsageError: `n` is below 1.
        DatasetNotFoundError: BCCD is needed and not there.
        DataError: BCCD cannot be read, or has no such picture.
    """
    if kind not in STRANGERS:
        raise UnknownNameError("kind of picture", kind, STRANGERS)
    if n < 1:
        raise UsageError(f"At least one picture must be asked for, not {n}.")
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    if kind in _MADE:
        return [_MADE[kind](rng) for _ in range(n)]
    found = list(_from_bccd(kind, n, rng, locate("bccd", data_root(root)), split))
    if not found:
        raise DataError(f"The list {split} of BCCD gives no picture of the kind {kind}. Choose another list.")
    return found


def _from_bccd(kind: str, n: int, rng: np.random.Generator, folder: Path, split: str) -> Iterator[Image8]:
    """Cut one square out of each photograph until there are enough."""
    listing = folder / "ImageSets" / "Main" / f"{split}.txt"
    try:
        stems = listing.read_text(encoding="utf-8").split()
    except OSError as error:
        raise DataError(f"{listing} cannot be read ({error.strerror}). BCCD has the lists train, val, test.") from error
    count = 0
    for place in rng.permutation(len(stems)):
        if count == n:
            return
        field = read_voc(folder / "Annotations" / f"{stems[place]}.xml")
        image = read_image(folder / "JPEGImages" / f"{stems[place]}.jpg")
        choose = _erythrocyte_square if kind == "erythrocyte" else _background_square
        square = choose(image, field.boxes, rng)
        if square is not None:
            left, top, side = square
            count += 1
            yield np.ascontiguousarray(image[max(0, top) : top + side, max(0, left) : left + side])


def _erythrocyte_square(
    image: Image8, boxes: tuple[LabeledBox, ...], rng: np.random.Generator
) -> tuple[int, int, int] | None:
    """Choose an erythrocyte whose square, with a margin, meets no leukocyte and no platelet."""
    others = [box for box in boxes if box.name != "RBC"]
    for place in rng.permutation(len(boxes)):
        box = boxes[place]
        width, height = box.x_max - box.x_min, box.y_max - box.y_min
        if box.name != "RBC" or min(width, height) < _LEAST_BOX_PX:
            continue
        side = int((1 + 2 * _MARGIN) * max(width, height))
        left, top = int((box.x_min + box.x_max - side) / 2), int((box.y_min + box.y_max - side) / 2)
        inside = min(left, top) >= 0 and left + side <= image.shape[1] and top + side <= image.shape[0]
        if inside and not any(_meets(other, left, top, side) for other in others):
            return left, top, side
    return None


def _background_square(
    image: Image8, boxes: tuple[LabeledBox, ...], rng: np.random.Generator
) -> tuple[int, int, int] | None:
    """Choose a square that meets no box at all."""
    if not boxes:
        return None
    for _ in range(_TRIES):
        side = int(rng.integers(50, 120))
        left, top = int(rng.integers(image.shape[1] - side)), int(rng.integers(image.shape[0] - side))
        if not any(_meets(box, left, top, side) for box in boxes):
            return left, top, side
    return None


def _meets(box: LabeledBox, left: int, top: int, side: int) -> bool:
    across = box.x_min < left + side and box.x_max > left
    return across and box.y_min < top + side and box.y_max > top


def _color(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue


def _blank(rng: np.random.Generator) -> Image8:
    """One color, with a little of a camera's noise in every other picture."""
    picture = np.full((_SIDE_PX, _SIDE_PX, 3), _color(rng), np.float32)
    if rng.random() < 0.5:
        picture += rng.normal(0, 3, picture.shape)
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def _noise(rng: np.random.Generator) -> Image8:
    """Independent noise, in blocks of 1 to 16 pixels."""
    block = int(2 ** rng.integers(0, 5))
    small = rng.integers(0, 256, (_SIDE_PX // block, _SIDE_PX // block, 3), dtype=np.uint8)
    return np.asarray(small.repeat(block, axis=0).repeat(block, axis=1))


def _ramp(rng: np.random.Generator) -> Image8:
    """A run from one color to another at some angle, or a grey ramp that starts anew."""
    rows, columns = np.mgrid[0:_SIDE_PX, 0:_SIDE_PX] / _SIDE_PX
    if rng.random() < 0.5:
        grey = (columns + rng.random()) % 1 * 255
        return np.asarray(np.repeat(grey[..., None], 3, axis=2), np.uint8)
    angle = rng.uniform(0, 2 * np.pi)
    share = np.cos(angle) * columns + np.sin(angle) * rows
    share = (share - share.min()) / np.ptp(share)
    first, second = np.asarray(_color(rng)), np.asarray(_color(rng))
    return np.asarray(first + share[..., None] * (second - first), np.uint8)


def _text(rng: np.random.Generator) -> Image8:
    """Lines of print on paper."""
    canvas = Image.new("RGB", (_SIDE_PX, _SIDE_PX), (int(rng.integers(215, 256)),) * 3)
    draw, size, top = ImageDraw.Draw(canvas), int(rng.integers(12, 40)), float(rng.integers(0, 20))
    ink = (int(rng.integers(0, 90)), int(rng.integers(0, 90)), int(rng.integers(0, 140)))
    while top < _SIDE_PX:
        line = " ".join(_WORDS[int(rng.integers(len(_WORDS)))] for _ in range(3))
        draw.text((float(rng.integers(-10, 20)), top), line, fill=ink, font=ImageFont.load_default(size=size))
        top += 1.3 * size
    return np.asarray(canvas)


def _shapes(rng: np.random.Generator) -> Image8:
    """Disks, boxes and lines of any color on any ground."""
    canvas = Image.new("RGB", (_SIDE_PX, _SIDE_PX), _color(rng))
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(1, 7))):
        left, top = (int(value) for value in rng.integers(0, _SIDE_PX - 40, 2))
        box = (left, top, left + int(rng.integers(20, 120)), top + int(rng.integers(20, 120)))
        kind = int(rng.integers(3))
        if kind == 0:
            draw.ellipse(box, fill=_color(rng))
        elif kind == 1:
            draw.rectangle(box, fill=_color(rng))
        else:
            draw.line(box, fill=_color(rng), width=int(rng.integers(2, 12)))
    return np.asarray(canvas)


_MADE: dict[str, Callable[[np.random.Generator], Image8]] = {
    "blank": _blank,
    "noise": _noise,
    "ramp": _ramp,
    "text": _text,
    "shapes": _shapes,
}

STRANGERS = ("erythrocyte", "background", *_MADE)
"""Kinds of pictures without a known cell."""
