"""Eleven ways in which a picture of a blood cell can be spoilt, each in five severities, drawn from a seed.

The kinds and their parameters are those that MedMNIST-C (Di Salvo et al. 2024, arXiv 2406.17536) chose for blood
cells; this is an implementation of our own. Lengths in pixels are meant for a picture of 224 x 224 and grow with the
shorter side of another one. The marks of the stain are drawn here, where MedMNIST-C pastes scanned ink.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance

from corpuscle.errors import UnknownNameError, UsageError

__all__ = ["CORRUPTIONS", "PROTOCOL_PX", "SEVERITIES", "Corruption", "corrupt"]

Image8 = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Level = tuple[float, ...]

PROTOCOL_PX = 224
"""Shorter side of the pictures that the parameters are meant for."""

SEVERITIES = (1, 2, 3, 4, 5)

_MARK_PX = (14.0, 14.0, 14.0, 14.0, 18.0)
_BUBBLE_ALPHA, _RIM_ALPHA, _RIM_PX = 100, 130, 2.0
_LEAST_BUBBLES, _LEAST_RADIUS_PX = 7, 3.0
_MOTION_DEGREES = 45.0


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to spoil a picture.

    Attributes:
        name: Key of `CORRUPTIONS`.
        levels: Parameters of the five severities.
        about: What the parameters are.
        apply: Takes a picture (HxWx3 uint8 RGB), one level and a random generator.
    """

    name: str
    levels: tuple[Level, ...]
    about: str
    apply: Callable[[Image8, Level, np.random.Generator], Image8]


def corrupt(image: Image8, name: str, severity: int, *, seed: int = 0) -> Image8:
    """Spoil a picture.

    Chance depends on the picture's pixels, the kind and the seed alone, so that the same call gives the same picture
    and that the five severities of one picture share their places and angles.

    Args:
        image: HxWx3 uint8 RGB.
        name: A key of `CORRUPTIONS`.
        severity: 1 (mild) to 5.
        seed: 0 or more; another one gives other places and angles.

    Returns:
        A picture of the same shape and dtype.

    Raises:
        UnknownNameError: There is no such kind.
        UsageError: The severity or the picture is not of that form.
    """
    if name not in CORRUPTIONS:
        raise UnknownNameError("corruption", name, tuple(CORRUPTIONS))
    if severity not in SEVERITIES:
        raise UsageError(f"A severity is a whole number from 1 to 5, not {severity!r}.")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UsageError(f"Only a picture HxWx3 of uint8 can be spoilt, not {image.dtype} of shape {image.shape}.")
    kind = CORRUPTIONS[name]
    pixels = np.ascontiguousarray(image)
    rng = np.random.default_rng([seed, zlib.crc32(pixels.tobytes()), zlib.crc32(name.encode())])
    return kind.apply(pixels, kind.levels[severity - 1], rng)


def _unit(image: Image8) -> float:
    """Return how many pixels of this picture are one pixel of the protocol."""
    return float(min(image.shape[:2])) / PROTOCOL_PX


def _pixelate(image: Image8, level: Level, rng: np.random.Generator) -> Image8:  # noqa: ARG001
    height, width = image.shape[:2]
    share = level[0] / _unit(image)
    small = (min(width, max(1, int(width * share))), min(height, max(1, int(height * share))))
    picture = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX))


def _jpeg(image: Image8, level: Level, rng: np.random.Generator) -> Image8:  # noqa: ARG001
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "JPEG", quality=int(level[0]))
    with Image.open(packed) as picture:
        return np.asarray(picture.convert("RGB"))


def _defocus(image: Image8, level: Level, rng: np.random.Generator) -> Image8:  # noqa: ARG001
    """Blur by a disk, the shape of an aperture, whose edge is smoothed by a Gaussian over three pixels."""
    radius, edge = level[0] * _unit(image), level[1]
    reach = math.ceil(radius) + 1
    across = np.arange(-reach, reach + 1)
    disk = (across[:, None] ** 2 + across[None, :] ** 2 <= radius**2).astype(np.float32)
    side = math.exp(-1 / (2 * edge**2))
    profile = np.asarray([side, 1.0, side], np.float32) / (1 + 2 * side)
    for axis in (0, 1):
        disk = np.apply_along_axis(np.convolve, axis, disk, profile, "same")
    return _to_bytes(_convolved(image, disk / disk.sum()))


def _convolved(image: Image8, kernel: Floats) -> Floats:
    """Convolve with a small square kernel of odd side; the picture goes on mirrored beyond its border."""
    reach = kernel.shape[0] // 2
    reach_y, reach_x = min(reach, image.shape[0] - 1), min(reach, image.shape[1] - 1)
    padded = np.pad(image, ((reach_y, reach_y), (reach_x, reach_x), (0, 0)), mode="reflect")
    padded = np.pad(padded, ((reach - reach_y,) * 2, (reach - reach_x,) * 2, (0, 0)), mode="edge")
    size = (padded.shape[0] + 2 * reach, padded.shape[1] + 2 * reach)
    spectrum = np.fft.rfft2(kernel, size)[..., None] * np.fft.rfft2(padded.astype(np.float32), size, axes=(0, 1))
    full = np.fft.irfft2(spectrum, size, axes=(0, 1))
    height, width = image.shape[:2]
    return np.asarray(full[2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width], np.float32)


def _motion(image: Image8, level: Level, rng: np.random.Generator) -> Image8:
    """Smear along a line at a random angle, with weights of half a Gaussian."""
    length = 2 * math.ceil(level[0] * _unit(image)) + 1
    sigma = level[1] * _unit(image)
    angle = math.radians(rng.uniform(-_MOTION_DEGREES, _MOTION_DEGREES))
    steps = np.arange(length)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    rows, columns = np.arange(image.shape[0]), np.arange(image.shape[1])
    total = np.zeros(image.shape, np.float32)
    for step, weight in zip(steps, weights, strict=True):
        y = np.clip(rows + round(step * math.sin(angle)), 0, image.shape[0] - 1)
        x = np.clip(columns + round(step * math.cos(angle)), 0, image.shape[1] - 1)
        total += np.float32(weight) * image[y][:, x]
    return _to_bytes(total)


def _brightness(image: Image8, level: Level, rng: np.random.Generator) -> Image8:  # noqa: ARG001
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(image)).enhance(level[0]))


def _contrast(image: Image8, level: Level, rng: np.random.Generator) -> Image8:  # noqa: ARG001
    return np.asarray(ImageEnhance.Contrast(Image.fromarray(image)).enhance(level[0]))


def _saturate(image: Image8, level: Level, rng: np.random.Generator) -> Image8:  # noqa: ARG001
    """Add to the saturation of HSV, hue and value kept; a pure grey has the hue red there."""
    pixels = image.astype(np.float32)
    value = pixels.max(axis=2, keepdims=True)
    chroma = value - pixels.min(axis=2, keepdims=True)
    wanted = value * np.minimum(chroma / np.maximum(value, 1) + np.float32(level[0]), 1)
    direction = np.where(chroma > 0, (value - pixels) / np.maximum(chroma, 1), np.asarray([0, 1, 1], np.float32))
    return _to_bytes(value - wanted * direction)


def _stain_deposit(image: Image8, level: Level, rng: np.random.Generator) -> Image8:
    """Lay up to `level[0]` dark marks with a ragged, soft edge over the picture."""
    places, shapes = rng.uniform(size=(3, 2)), rng.normal(size=(3, 2, 5))
    count = 1 + int(rng.uniform() * level[0])
    radius = level[1] * _unit(image)
    height, width = image.shape[:2]
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None, :]
    light = np.ones((height, width), np.float32)
    for place, shape in zip(places[:count], shapes[:count], strict=True):
        y, x = _between(place[0], height, radius), _between(place[1], width, radius)
        angle, away = np.arctan2(rows - y, columns - x), np.hypot(rows - y, columns - x)
        edge = np.ones_like(away)
        for wave in range(5):
            edge += 0.12 / (wave + 1) ** 0.5 * (
                shape[0, wave] * np.sin((wave + 2) * angle) + shape[1, wave] * np.cos((wave + 2) * angle)
            )  # fmt: skip
        light *= 1 - 0.9 * np.clip((radius * np.maximum(edge, 0.2) - away) / (0.15 * radius) + 0.5, 0, 1)
    return _to_bytes(image * light[..., None])


def _between(share: float, side: int, radius: float) -> float:
    """Return a place along a side that keeps this distance from both ends where there is room for it."""
    radius = min(radius, side / 2)
    return radius + share * (side - 2 * radius)


def _bubble(image: Image8, level: Level, rng: np.random.Generator) -> Image8:
    """Lay up to `level[1]` whitish disks of a radius of up to `level[0]` over the picture."""
    unit = _unit(image)
    chances = rng.uniform(size=(1 + int(max(most for _, most in CORRUPTIONS["bubble"].levels)), 3))
    count = _LEAST_BUBBLES + int(chances[0, 0] * (level[1] - _LEAST_BUBBLES + 1))
    height, width = image.shape[:2]
    layer = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(layer)
    for size, down, across in chances[1 : count + 1]:
        radius = unit * (_LEAST_RADIUS_PX + size * (level[0] - _LEAST_RADIUS_PX))
        y, x = _between(down, height, radius), _between(across, width, radius)
        for reach, alpha in ((radius + _RIM_PX * unit, _RIM_ALPHA), (radius, _BUBBLE_ALPHA)):
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=alpha)
    picture = Image.fromarray(image)
    picture.paste((255, 255, 255), (0, 0), layer)
    return np.asarray(picture)


def _to_bytes(pixels: npt.NDArray[np.floating]) -> Image8:
    return np.asarray(np.clip(pixels + 0.5, 0, 255), np.uint8)


def _singles(*values: float) -> tuple[Level, ...]:
    return tuple((value,) for value in values)


CORRUPTIONS: dict[str, Corruption] = {
    item.name: item
    for item in (
        Corruption("pixelate", _singles(0.6, 0.5, 0.4, 0.3, 0.25), "share of the resolution kept", _pixelate),
        Corruption("jpeg_compression", _singles(50, 30, 15, 10, 7), "JPEG quality", _jpeg),
        Corruption(
            "defocus_blur", ((2, 0.01), (3, 0.1), (4, 0.1), (5, 0.1), (6, 0.1)), "radius, softness of edge", _defocus
        ),
        Corruption("motion_blur", ((3, 3), (5, 5), (10, 5), (10, 7), (10, 9)), "radius, sigma", _motion),
        Corruption("brightness_up", _singles(1.1, 1.2, 1.3, 1.35, 1.4), "factor", _brightness),
        Corruption("brightness_down", _singles(0.9, 0.8, 0.7, 0.6, 0.5), "factor", _brightness),
        Corruption("contrast_up", _singles(1.1, 1.15, 1.2, 1.25, 1.3), "factor", _contrast),
        Corruption("contrast_down", _singles(0.9, 0.8, 0.7, 0.6, 0.5), "factor", _contrast),
        Corruption("saturate", _singles(0.05, 0.1, 0.13, 0.17, 0.2), "added to the saturation", _saturate),
        Corruption(
            "stain_deposit", tuple(zip((1, 2, 3, 3, 3), _MARK_PX, strict=True)), "most marks, radius", _stain_deposit
        ),
        Corruption("bubble", ((5, 10), (7, 10), (10, 10), (12, 12), (15, 12)), "largest radius, most bubbles", _bubble),
    )
}
"""The eleven kinds by name."""
