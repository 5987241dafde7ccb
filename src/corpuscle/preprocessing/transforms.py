"""The one crop, resize and scaling, shared by training, export and prediction."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.preprocessing.framing import (
    FRAMINGS,
    FramingSpec,
    Picture,
    background_color,
    frame_cell,
    frame_center,
    frame_whole,
    shape_of,
    shrink,
)
from corpuscle.preprocessing.unlit import with_light
from corpuscle.records import Framing

__all__ = ["PreprocessingSpec", "cut", "frame", "prepare", "to_batch"]

Image8 = npt.NDArray[np.uint8]
_NOTHING_STAINED = "no stained cell found near the center, so a centered square is judged"
WHITE = 240
"""Grey value that the empty slide is brought to when the white balance is on."""
_CANVAS_PX = 2**24
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_FINE = 4


@dataclass(frozen=True, slots=True)
class PreprocessingSpec:
    """All that stands between a decoded picture and the network; a bundle carries it.

    Attributes:
        input_px: Side of the network's square input.
        framing: How the square is chosen in the picture.
        white_balance: Whether the empty slide is brought to the same light grey in every picture.
        mean: Subtracted from each channel after scaling to [0, 1].
        std: Divisor of each channel after that.
        resampling: `bilinear` or `bicubic`, either with antialiasing.
    """

    input_px: int = 128
    framing: FramingSpec = field(default_factory=FramingSpec)
    white_balance: bool = True
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    resampling: str = "bilinear"

    def __post_init__(self) -> None:
        """Refuse what no picture can be prepared with."""
        if self.resampling not in _FILTERS:
            raise UnknownNameError("resampling", str(self.resampling), tuple(_FILTERS))
        if not isinstance(self.input_px, int) or self.input_px < 8 or self.input_px > 1024:
            raise UsageError(f"input_px must be a whole number between 8 and 1024, not {self.input_px!r}.")
        if not isinstance(self.white_balance, bool):
            raise UsageError(f"white_balance must be true or false, not {self.white_balance!r}.")
        numbers = (*self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, numbers)) or min(self.std) <= 0:
            raise UsageError("mean and std need three finite numbers each, and every std must be above 0.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PreprocessingSpec:
        """Read what `to_dict` wrote.

        Raises:
            UsageError: A key is unknown or a value impossible.
        """
        if not isinstance(values, dict):
            raise UsageError("The preprocessing specification must be a table of names and values.")
        try:
            plain = dict(values)
            plain["framing"] = FramingSpec(**plain.get("framing", {}))
            for key in ("mean", "std"):
                if key in plain:
                    plain[key] = tuple(float(number) for number in plain[key])
            return cls(**plain)
        except (TypeError, ValueError) as error:
            raise UsageError(f"The preprocessing specification has a wrong entry: {error}.") from error


def frame(
    image: Picture,
    spec: FramingSpec,
    *,
    framing: str = "auto",
    small: Image8 | None = None,
    background: npt.NDArray[np.float32] | None = None,
) -> Framing:
    """Choose the square of `image` to judge.

    Args:
        image: HxWx3 RGB.
        spec: The bundle's framing.
        framing: One of `FRAMINGS`; `auto` is the method of `spec`. `cell` and `field` fall back on the center.
        small: The picture shrunk by `shrink` and shown `with_light`, where the caller has it already.
        background: Color of the empty slide, where the caller has it already.

    Raises:
        UnknownNameError: `framing` is not one of `FRAMINGS`.
    """
    if framing not in FRAMINGS:
        raise UnknownNameError("framing", framing, FRAMINGS)
    method = spec.method if framing == "auto" else framing
    if method == "whole":
        return frame_whole(image)
    if method == "center":
        return frame_center(image, spec)
    found = frame_cell(image, spec, anywhere=method == "field", small=small, background=background)
    return found or frame_center(image, spec, _NOTHING_STAINED)


def cut(
    image: Picture,
    square: Framing,
    size_px: int,
    *,
    background: npt.NDArray[np.float32],
    resampling: str = "bilinear",
) -> Image8:
    """Cut a square out of a picture and resize it with antialiasing.

    Args:
        image: HxWx3 RGB.
        square: The square; what lies outside the picture is filled with the background.
        size_px: Side of the answer.
        background: Three float32 in [0, 255].
        resampling: `bilinear` or `bicubic`.

    Returns:
        size_px x size_px x 3 uint8 RGB.
    """
    return np.asarray(_cut_picture(image, square, size_px, background=background, resampling=resampling))


def _cut_picture(
    image: Picture, square: Framing, size_px: int, *, background: npt.NDArray[np.float32], resampling: str
) -> Image.Image:
    """Cut as `cut` does, for Pillow."""
    height, width = shape_of(image)
    x_min, y_min, side = square.x_min, square.y_min, square.side_px
    # Only the part that is needed is copied: a huge picture with a small cell stays cheap.
    left, top = max(0, int(x_min)), max(0, int(y_min))
    right, bottom = min(width, max(0, int(x_min + side) + 2)), min(height, max(0, int(y_min + side) + 2))
    before_x, before_y = max(0, math.ceil(-x_min)), max(0, math.ceil(-y_min))
    after_x, after_y = max(0, math.ceil(x_min + side - width)), max(0, math.ceil(y_min + side - height))
    empty = right <= left or bottom <= top
    if empty or before_x or before_y or after_x or after_y:
        color = (round(float(background[0])), round(float(background[1])), round(float(background[2])))
        across, down = max(0, right - left) + before_x + after_x, max(0, bottom - top) + before_y + after_y
        if across * down > _CANVAS_PX:
            return _cut_sparse(image, square, size_px, color)
        picture = Image.new("RGB", (across, down), color)
        if not empty:
            picture.paste(_part(image, (left, top, right, bottom)), (before_x, before_y))
        left, top = left - before_x, top - before_y
    else:  # a part of its own also for what Pillow holds: other offsets round otherwise
        picture = _part(image, (left, top, right, bottom))
    box = (x_min - left, y_min - top, min(x_min - left + side, picture.width), min(y_min - top + side, picture.height))
    if resampling == "bilinear":
        picture, box = _reduced(picture, box, int(side / size_px))
    return picture.resize((size_px, size_px), _FILTERS[resampling], box=box, reducing_gap=3.0)


def _reduced(
    picture: Image.Image, box: tuple[float, float, float, float], factor: int
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """Average whole blocks of `factor` pixels before what is left is resampled, which takes less time.

    Blocks begin at the box and not at the picture, so that a margin around the picture changes nothing.

    Returns:
        The smaller picture, and the box in its pixels.
    """
    if factor < 2:
        return picture, box
    left, top = int(box[0]), int(box[1])
    right, bottom = min(picture.width, math.ceil(box[2])), min(picture.height, math.ceil(box[3]))
    small = picture.reduce(factor, box=(left, top, right, bottom))
    x_min, y_min = (box[0] - left) / factor, (box[1] - top) / factor
    return small, (x_min, y_min, (box[2] - left) / factor, (box[3] - top) / factor)


def _part(image: Picture, box: tuple[int, int, int, int]) -> Image.Image:
    """Copy a part (x_min, y_min, x_max, y_max in pixels) of a picture."""
    if isinstance(image, Image.Image):
        return image.crop(box)
    left, top, right, bottom = box
    return Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))


def _cut_sparse(image: Picture, square: Framing, size_px: int, color: tuple[int, int, int]) -> Image.Image:
    """Cut a huge square of which the picture fills little, in memory that does not grow with the square.

    A picture of 2 x 50,000 pixels has few pixels, but the square around it has more than any memory. The part that
    shows is resized on its own and laid on a canvas of four times the answer's side, to a quarter of a pixel.
    """
    height, width = shape_of(image)
    scale = _FINE * size_px / square.side_px
    left, top = max(0, math.floor(square.x_min)), max(0, math.floor(square.y_min))
    right = min(width, math.ceil(square.x_min + square.side_px))
    bottom = min(height, math.ceil(square.y_min + square.side_px))
    canvas = Image.new("RGB", (_FINE * size_px, _FINE * size_px), color)
    if right > left and bottom > top:
        part = _part(image, (left, top, right, bottom))
        size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
        place = (round((left - square.x_min) * scale), round((top - square.y_min) * scale))
        canvas.paste(part.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0), place)
    return canvas.reduce(_FINE)


def prepare(
    image: Picture, spec: PreprocessingSpec, *, framing: str = "auto", widen: float = 1.0, size_px: int | None = None
) -> tuple[Image8, Framing]:
    """Frame, cut, resize and white-balance one picture; what got no light is shown as empty slide.

    Args:
        image: HxWx3 RGB.
        spec: The bundle's preprocessing.
        framing: One of `FRAMINGS`.
        widen: Factor on the side of the square, so that training has room to move it.
        size_px: Side of the answer; the network's input size if not given.

    Returns:
        The crop (size x size x 3 uint8 RGB) and what was framed.
    """
    small, _ = shrink(image)
    background = background_color(small)
    lit = with_light(small, background)
    chosen = frame(image, spec.framing, framing=framing, small=lit, background=background)
    extra = chosen.side_px * (widen - 1) / 2
    square = Framing(chosen.method, chosen.x_min - extra, chosen.y_min - extra, chosen.side_px * widen)
    crop = cut(image, square, size_px or spec.input_px, background=background, resampling=spec.resampling)
    if lit is not small:
        crop = with_light(crop, background)
    if spec.white_balance:
        crop = _white_balanced(crop, background)
    return crop, _with_measures(chosen, shape_of(image), background)


def _with_measures(chosen: Framing, shape: tuple[int, int], background: npt.NDArray[np.float32]) -> Framing:
    """Add the light of the empty slide and, around a found cell, the distance from the border of the picture."""
    reach = math.inf
    if chosen.method == "cell":
        x, y = chosen.x_min + chosen.side_px / 2, chosen.y_min + chosen.side_px / 2
        reach = min(x, y, shape[1] - x, shape[0] - y) / chosen.side_px
    return replace(chosen, light=min(background.tolist()), reach=reach)


def _white_balanced(crop: Image8, background: npt.NDArray[np.float32]) -> Image8:
    """Bring the empty slide to a light grey."""
    rows = crop.reshape(crop.shape[0], -1)  # whole rows at once: three channels alone are too short to be fast
    values = np.multiply(rows, np.tile(WHITE / background, crop.shape[1]), dtype=np.float32)
    np.add(values, np.float32(0.5), out=values)
    np.minimum(values, np.float32(255), out=values)
    return values.astype(np.uint8).reshape(crop.shape)


def to_batch(crops: npt.NDArray[np.uint8], spec: PreprocessingSpec) -> npt.NDArray[np.float32]:
    """Turn crops (NxHxWx3 uint8) into the network's batch (Nx3xHxW float32, scaled by the spec's mean and std)."""
    scale = (1.0 / (255.0 * np.asarray(spec.std))).astype(np.float32)
    shift = (-np.asarray(spec.mean) / np.asarray(spec.std)).astype(np.float32)
    batch = crops.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    batch *= scale[None, :, None, None]
    batch += shift[None, :, None, None]
    return batch
