"""From a whole microscope field to the detector's input: one scale, one color of the empty slide, one padding."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpuscle.errors import UsageError
from corpuscle.preprocessing.framing import Picture, background_color, shrink
from corpuscle.preprocessing.transforms import WHITE

__all__ = ["STRIDE_PX", "FieldSpec", "field_batch", "scaled_field"]

Image8 = npt.NDArray[np.uint8]

STRIDE_PX = 16
"""Sides of the network's input are multiples of this, so that every stage halves them evenly."""


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """All that stands between a decoded field and a detector; its bundle carries it.

    Attributes:
        erythrocyte_px: Median diameter of the erythrocytes, in pixels of the network's input, that it was trained for.
        white_balance: Whether the empty slide is brought to the same light grey in every picture.
        mean: Subtracted from each channel after scaling to [0, 1].
        std: Divisor of each channel after that.
    """

    erythrocyte_px: float = 44.0
    white_balance: bool = True
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)

    def __post_init__(self) -> None:
        """Refuse what no field can be prepared with."""
        if not 4 <= self.erythrocyte_px <= 512:
            raise UsageError(f"erythrocyte_px must lie between 4 and 512, not {self.erythrocyte_px}.")
        if not isinstance(self.white_balance, bool):
            raise UsageError(f"white_balance must be true or false, not {self.white_balance!r}.")
        numbers = (*self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, numbers)) or min(self.std) <= 0:
            raise UsageError("mean and std need three finite numbers each, and every std must be above 0.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FieldSpec:
        """Read what `to_dict` wrote.

        Raises:
            UsageError: A key is unknown or a value impossible.
        """
        if not isinstance(values, dict):
            raise UsageError("The specification of fields must be a table of names and values.")
        try:
            plain = dict(values)
            for key in ("mean", "std"):
                if key in plain:
                    plain[key] = tuple(float(number) for number in plain[key])
            return cls(**plain)
        except (TypeError, ValueError) as error:
            raise UsageError(f"The specification of fields has a wrong entry: {error}.") from error


def scaled_field(image: Picture, scale: float, spec: FieldSpec) -> Image8:
    """Bring a field to the detector's scale and color.

    Args:
        image: HxWx3 RGB.
        scale: Factor on both sides, more than 0.
        spec: The bundle's.

    Returns:
        hxwx3 uint8 RGB, h and w being `scale` times H and W, rounded, at least 1.
    """
    whole = image if isinstance(image, Image.Image) else Image.fromarray(image)
    size = (max(1, round(whole.width * scale)), max(1, round(whole.height * scale)))
    resized = whole.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0) if size != whole.size else whole
    if spec.white_balance:
        resized = resized.point(_white_table(background_color(shrink(whole)[0])))
    return np.asarray(resized)


def _white_table(background: npt.NDArray[np.float32]) -> list[int]:
    """Return 256 values a channel that bring the empty slide to a light grey."""
    values = np.arange(256, dtype=np.float32)[None, :] * (WHITE / background)[:, None]
    table: list[int] = np.minimum(values + np.float32(0.5), np.float32(255)).astype(np.uint8).ravel().tolist()
    return table


def field_batch(field: Image8, spec: FieldSpec) -> npt.NDArray[np.float32]:
    """Turn a scaled field into the network's batch of one.

    Args:
        field: HxWx3 uint8 RGB, of `scaled_field`.
        spec: The bundle's.

    Returns:
        1x3xhxw float32, scaled by the spec's mean and std; h and w are H and W rounded up to multiples of `STRIDE_PX`,
        the picture in the upper left corner and empty slide beside it.
    """
    height, width = field.shape[:2]
    rows, columns = (-(-side // STRIDE_PX) * STRIDE_PX for side in (height, width))
    scale = (1.0 / (255.0 * np.asarray(spec.std))).astype(np.float32)
    shift = (-np.asarray(spec.mean) / np.asarray(spec.std)).astype(np.float32)
    batch = np.full((1, 3, rows, columns), WHITE, np.float32)
    batch[0, :, :height, :width] = field.transpose(2, 0, 1)
    batch *= scale[None, :, None, None]
    batch += shift[None, :, None, None]
    return batch
