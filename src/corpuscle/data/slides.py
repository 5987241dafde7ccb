"""Whole slides: pyramids of TIFF kind (TIFF, SVS, NDPI) through tifffile, other makes through openslide, if installed.

Nothing is read before it is asked for, and then only the tiles that are needed, so that memory stays bounded however
large a slide is.
"""

from __future__ import annotations

import io
import math
import re
import threading
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corpuscle.errors import MissingExtraError, UnreadableImageError, UsageError

__all__ = ["SLIDE_SUFFIXES", "SlidePart", "open_slide", "parse_region"]

SLIDE_SUFFIXES = frozenset({".svs", ".ndpi", ".scn", ".bif", ".mrxs", ".vms", ".btf"})
"""Endings by which a file is taken for a slide; a `.tif` is one where a region or a level is asked for."""

_OTHER_MAKES = frozenset({".mrxs", ".vms"})
_CACHED_TILES = 64
_MICROMETERS = {2: 25_400.0, 3: 10_000.0}
_PLAUSIBLE_UM = (0.02, 4.0)
_JPEG = (6, 7)

Image8 = NDArray[np.uint8]
Region = tuple[int, int, int, int]


def parse_region(text: str) -> Region:
    """Read `x,y,width,height` in full pixels of a slide.

    Raises:
        UsageError: It is no region.
    """
    parts = text.split(",")
    try:
        x, y, width, height = (int(part) for part in parts)
    except ValueError:
        raise UsageError(
            f"The region {text!r} is not x,y,width,height in whole pixels, such as 0,0,4000,3000."
        ) from None
    if min(x, y) < 0 or min(width, height) < 1:
        raise UsageError(f"The region {text!r} needs a corner from 0 on and a width and height of 1 or more.")
    return x, y, width, height


class _Level(Protocol):
    """One level of a pyramid."""

    width_px: int
    height_px: int

    def read(self, x: int, y: int, width: int, height: int) -> Image8: ...


class SlidePart:
    """A part of one level of a slide, read in parts.

    Attributes:
        width_px: Width in pixels of the level.
        height_px: Height likewise.
        origin_px: Top left in full pixels of the slide.
        downsample: Full pixels that one of its pixels is wide.
        um_per_px: Micrometers one of its pixels is wide, as the slide says; 0 if it does not.
    """

    def __init__(self, level: _Level, region: Region, downsample: float, um_per_px: float) -> None:
        """Cut a region (x, y, width, height in pixels of the level) out of a level."""
        self._level = level
        self._x, self._y, self.width_px, self.height_px = region
        self.origin_px = (self._x * downsample, self._y * downsample)
        self.downsample = downsample
        self.um_per_px = um_per_px

    def read(self, x: int, y: int, width: int, height: int) -> Image8:
        """Return a part, height x width x 3 uint8 RGB.

        Raises:
            UnreadableImageError: The slide is damaged there.
        """
        return self._level.read(self._x + x, self._y + y, width, height)


def open_slide(path: Path, *, level: int = 0, region: Region | None = None) -> SlidePart:
    """Open a part of a slide.

    Args:
        path: The slide.
        level: 0 is the full size, 1 the next smaller one.
        region: x, y, width, height in full pixels of the slide, whatever the level; all of it if not given.

    Raises:
        MissingExtraError: The package that reads slides is not installed.
        UnreadableImageError: The slide cannot be read.
        UsageError: It has no such level, or the region lies outside.
    """
    if path.suffix.lower() in _OTHER_MAKES:
        levels, um_per_px = _openslide_levels(path)
    else:
        levels, um_per_px = _tiff_levels(path)
    if level >= len(levels):
        raise UsageError(f"{path} has the levels 0 to {len(levels) - 1}, not {level}. Choose one of them.")
    full, chosen = levels[0], levels[level]
    factor = full.width_px / chosen.width_px
    x, y, width, height = region or (0, 0, full.width_px, full.height_px)
    if x >= full.width_px or y >= full.height_px:
        raise UsageError(
            f"The region {region} lies outside of {path}, which is {full.width_px} x {full.height_px} pixels."
        )
    left, top = int(x / factor), int(y / factor)
    right = min(chosen.width_px, math.ceil((x + width) / factor))
    bottom = min(chosen.height_px, math.ceil((y + height) / factor))
    part = (left, top, max(1, right - left), max(1, bottom - top))
    return SlidePart(chosen, part, factor, um_per_px * factor)


def _tiff_levels(path: Path) -> tuple[list[_Level], float]:
    try:
        import tifffile
    except ModuleNotFoundError as error:
        raise MissingExtraError("Reading whole slides", "wsi") from error
    try:
        with tifffile.TiffFile(path) as file:
            pages = _pyramid(file)
            levels: list[_Level] = [_TiffLevel(path, page) for page in pages]
            return levels, _pixel_size(pages[0])
    except UnreadableImageError:
        raise
    except Exception as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise UnreadableImageError(
            f"{path} is no slide that can be read ({reason}); save it as pyramidal TIFF."
        ) from error


def _pyramid(file: Any) -> list[Any]:
    """Return the pages of a pyramid, the largest first."""
    levels = [level.keyframe for level in file.series[0].levels]
    if len(levels) > 1:
        return levels
    # Some programs write the levels as pages of their own, each about a whole part of the one before.
    first = levels[0]
    others = [series.keyframe for series in file.series[1:]]
    shape = first.imagewidth / first.imagelength
    alike = [page for page in others if page.is_tiled and abs(page.imagewidth / page.imagelength / shape - 1) < 0.02]
    return [first, *sorted(alike, key=lambda page: -page.imagewidth)]


def _pixel_size(page: Any) -> float:
    """Return the micrometers a pixel is wide as the slide says, 0 if it does not or is not believable."""
    value = 0.0
    found = re.search(r"MPP\s*=\s*([0-9.]+)", page.description or "")
    if found:
        value = float(found[1])
    elif "XResolution" in page.tags:
        number, divisor = page.tags["XResolution"].value
        unit = int(page.tags["ResolutionUnit"].value) if "ResolutionUnit" in page.tags else 2
        if number and unit in _MICROMETERS:
            value = _MICROMETERS[unit] * divisor / number
    # 72 dots an inch and the like are what programs write that do not know.
    return value if _PLAUSIBLE_UM[0] <= value <= _PLAUSIBLE_UM[1] else 0.0


class _TiffLevel:
    """One level of a pyramid of TIFF kind; a few tiles are kept, as neighbors are asked for next."""

    def __init__(self, path: Path, page: Any) -> None:
        self._path, self._page = path, page
        self.width_px, self.height_px = int(page.imagewidth), int(page.imagelength)
        self._wide = int(page.tilewidth) if page.is_tiled else self.width_px
        self._tall = int(page.tilelength) if page.is_tiled else int(min(page.rowsperstrip, self.height_px))
        if page.planarconfig != 1 or page.samplesperpixel not in (1, 3, 4) or page.dtype not in ("uint8", "uint16"):
            raise UnreadableImageError(f"{path} is no color slide of 8 or 16 bits; save it as RGB.")
        self._across = math.ceil(self.width_px / self._wide)
        # All that a tile needs is taken now, as the file is closed afterwards.
        self._places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        self._tables, self._decode = page.jpegtables, page.decode
        self._tiles: OrderedDict[int, Image8] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, x: int, y: int, width: int, height: int) -> Image8:
        """Put a part together from the tiles that it touches."""
        answer = np.empty((height, width, 3), np.uint8)
        for row in range(y // self._tall, (y + height - 1) // self._tall + 1):
            for column in range(x // self._wide, (x + width - 1) // self._wide + 1):
                tile = self._tile(row * self._across + column)
                left, top = column * self._wide, row * self._tall
                x_min, y_min = max(x, left), max(y, top)
                x_max, y_max = min(x + width, left + tile.shape[1]), min(y + height, top + tile.shape[0])
                part = tile[y_min - top : y_max - top, x_min - left : x_max - left]
                answer[y_min - y : y_max - y, x_min - x : x_max - x] = part
        return answer

    def _tile(self, number: int) -> Image8:
        with self._lock:
            if number in self._tiles:
                self._tiles.move_to_end(number)
                return self._tiles[number]
            try:
                tile = self._decoded(number)
            except Exception as error:
                raise UnreadableImageError(
                    f"{self._path} cannot be decoded at tile {number} ({error}); copy it again, or install imagecodecs "
                    "for its compression."
                ) from error
            self._tiles[number] = tile
            if len(self._tiles) > _CACHED_TILES:
                self._tiles.popitem(last=False)
            return tile

    def _decoded(self, number: int) -> Image8:
        """Read and decode one tile or strip; an empty one is white."""
        page = self._page
        tall = self._tall if page.is_tiled else min(self._tall, self.height_px - number * self._tall)
        offset, size = self._places[number]
        if size == 0:
            return np.full((tall, self._wide, 3), 255, np.uint8)
        with self._path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        if int(page.compression) in _JPEG:
            return _from_jpeg(data, self._tables, plain=int(page.photometric) == 2)
        pixels = np.asarray(self._decode(data, number)[0])
        pixels = pixels.reshape(-1, *pixels.shape[-2:])
        return _as_rgb(pixels[:tall])


def _from_jpeg(data: bytes, tables: bytes | None, *, plain: bool) -> Image8:
    """Decode a tile whose tables stand once for all tiles; Pillow must be told where the colors are plain RGB."""
    head = tables[:-2] if tables else data[:2]
    if plain:
        head += b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    with Image.open(io.BytesIO(head + data[2:]), formats=("JPEG",)) as picture:
        return np.asarray(picture.convert("RGB"))


def _as_rgb(pixels: NDArray[Any]) -> Image8:
    """Bring a decoded tile to HxWx3 uint8."""
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    return np.ascontiguousarray(pixels[..., :3], np.uint8)


def _openslide_levels(path: Path) -> tuple[list[_Level], float]:
    try:
        openslide = _import_openslide()
    except (ModuleNotFoundError, OSError) as error:
        raise UnreadableImageError(
            f"{path} is read through openslide, which is not installed. Install it with: "
            "pip install openslide-python openslide-bin"
        ) from error
    try:
        slide = openslide.OpenSlide(str(path))
        levels: list[_Level] = [_OpenSlideLevel(slide, place) for place in range(slide.level_count)]
        return levels, float(slide.properties.get("openslide.mpp-x", 0) or 0)
    except Exception as error:
        raise UnreadableImageError(f"{path} is no slide that openslide can read ({error}); copy it again.") from error


def _import_openslide() -> ModuleType:
    from importlib import import_module

    return import_module("openslide")


class _OpenSlideLevel:
    """One level of a slide that openslide reads."""

    def __init__(self, slide: Any, level: int) -> None:
        self._slide, self._level = slide, level
        self.width_px, self.height_px = slide.level_dimensions[level]
        self._factor = float(slide.level_downsamples[level])

    def read(self, x: int, y: int, width: int, height: int) -> Image8:
        """Read a part; what was not scanned is white."""
        corner = (round(x * self._factor), round(y * self._factor))
        picture = self._slide.read_region(corner, self._level, (width, height))
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))
