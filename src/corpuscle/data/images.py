"""Reading pictures: every file or byte string becomes HxWx3 uint8 RGB, or an error that says what to do.

The format is taken from the content, never from the name. What is done with unusual pictures:

- rotation noted in EXIF or in a TIFF tag is applied;
- transparency (alpha channel, palette or single transparent color) is laid over white, the color of an empty field;
- gray, black-and-white, palette, CMYK and other color spaces become RGB as Pillow converts them;
- 16-bit gray is divided by 257, so that its full range 0..65535 becomes 0..255 (a camera that fills only 12 of the
  16 bits gives a dark picture: rescale it first); 16-bit color loses its low byte;
- floating-point gray is refused, because the file does not say which values are black and white;
- of a picture with several pages or moments only the first is read.
"""

from __future__ import annotations

import glob
import io
import os
import stat
import threading
import warnings
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from corpuscle.errors import ImageError, ImageTooLargeError, NoInputError, UnreadableImageError

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "ImageHeader",
    "decode_image",
    "find_images",
    "read_header",
    "read_image",
    "read_picture",
]

MAX_PIXELS: Final = 100_000_000
"""Limit of one crop or field: 10,000x10,000 passes. Whole slides are larger and must be cut into fields."""

IMAGE_SUFFIXES: Final = frozenset({".bmp", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Endings, in lower case, by which pictures are recognized inside a folder."""

# Named through the plugins, so that both are loaded here and Pillow does not load all its other formats to find them.
_FORMATS: Final = (
    "JPEG",
    "PNG",
    "BMP",
    TiffImagePlugin.TiffImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
)
_READABLE: Final = "PNG, JPEG, TIFF, WebP or BMP"
_ORIENTATION_TAG: Final = 0x0112
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# `warnings.catch_warnings` changes state of the whole process, so only one thread may be inside it.
_WARNINGS_LOCK: Final = threading.Lock()


class _PillowSilenced:
    """Keep Pillow's warnings (size, broken EXIF, strange tags) from the user, who gets errors or a picture instead."""

    def __enter__(self) -> None:
        _WARNINGS_LOCK.acquire()
        self._caught = warnings.catch_warnings()
        self._caught.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, *exception: object) -> None:
        self._caught.__exit__(None, None, None)
        _WARNINGS_LOCK.release()


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read one picture file.

    Args:
        path: The file; its suffix does not matter.
        max_pixels: Width times height above which the file is refused before decoding. Pillow's own limit, twice
            `PIL.Image.MAX_IMAGE_PIXELS`, holds as well.

    Returns:
        The picture, HxWx3 RGB, uint8 in 0..255, C-contiguous and writable.

    Raises:
        UnreadableImageError: No such file, no file, no permission, no picture, a damaged one, or another format.
        ImageTooLargeError: More than `max_pixels` pixels.
    """
    return _as_array(read_picture(path, max_pixels=max_pixels))


def read_picture(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read one picture file as `read_image` does, but as Pillow holds it (mode RGB), which saves a copy."""
    name = os.fspath(path)
    try:
        mode = Path(name).stat().st_mode
        if stat.S_ISDIR(mode):
            raise UnreadableImageError(f"{name} is a folder; name a picture file inside it.")
        if not stat.S_ISREG(mode):
            raise UnreadableImageError(f"{name} is no ordinary file; copy the picture into a file and name that.")
        with Path(name).open("rb") as file:
            return _decode(file, name, max_pixels)
    except FileNotFoundError:
        raise UnreadableImageError(f"{name} does not exist; check the spelling of the path.") from None
    except PermissionError:
        raise UnreadableImageError(f"{name} may not be read by this user; change its permissions.") from None
    except (OSError, ValueError) as error:
        raise UnreadableImageError(f"{name!r} cannot be opened ({error}); check the path and the disk.") from error


def decode_image(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode one picture that is already in memory.

    Args:
        data: The content of a picture file.
        name: What to call it in error messages.
        max_pixels: As for `read_image`.

    Returns:
        The picture, HxWx3 RGB, uint8 in 0..255, C-contiguous and writable.

    Raises:
        UnreadableImageError: No picture, a damaged one, or a format that is not read.
        ImageTooLargeError: More than `max_pixels` pixels.
    """
    return _as_array(_decode(io.BytesIO(data), name, max_pixels))


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What a picture file says of itself before it is decoded.

    Attributes:
        format: `PNG`, `JPEG`, `TIFF`, `WEBP` or `BMP`.
        width_px: Width before any rotation noted in the file.
        height_px: Height, likewise.
        encoding: How it was written: the color mode and, for JPEG, a short hash of the quantization tables, which
            tells quality settings apart.
    """

    format: str
    width_px: int
    height_px: int
    encoding: str


def read_header(data: bytes, *, name: str) -> ImageHeader:
    """Read the header of a picture that is already in memory.

    Raises:
        UnreadableImageError: No picture, a damaged header, or a format that is not read.
        ImageTooLargeError: More pixels than Pillow's own limit.
    """
    file = io.BytesIO(data)
    try:
        with _PillowSilenced():
            image = Image.open(file, formats=_FORMATS)
    except Exception as error:
        raise _as_image_error(error, file, name, MAX_PIXELS) from error
    tables = getattr(image, "quantization", None)
    encoding = image.mode if tables is None else f"{image.mode} {zlib.crc32(repr(sorted(tables.items())).encode()):08x}"
    return ImageHeader(str(image.format), image.width, image.height, encoding)


def _decode(file: BinaryIO, name: str, max_pixels: int) -> Image.Image:
    """Decode an open file, turning whatever goes wrong inside Pillow into one of our errors."""
    try:
        with _PillowSilenced():
            image = Image.open(file, formats=_FORMATS)
        width, height = image.size
        if width * height > max_pixels:
            raise ImageTooLargeError(
                f"{name} has {width} x {height} pixels, over the limit of {max_pixels:,}; cut it into fields first."
            )
        if image.format == "TIFF":  # reads its tags once more while loading, and may warn again
            with _PillowSilenced():
                image.load()
        else:
            image.load()
        return _to_rgb(_upright(image), name)
    except ImageError:
        raise
    except Exception as error:
        raise _as_image_error(error, file, name, max_pixels) from error


def _as_image_error(error: Exception, file: BinaryIO, name: str, max_pixels: int) -> ImageError:
    """Say in one sentence why decoding failed; decoders fed hostile bytes fail in any way, not with OSError alone."""
    if isinstance(error, Image.DecompressionBombError):
        return ImageTooLargeError(f"{name} has more pixels than the limit of {max_pixels:,}; cut it into fields first.")
    if isinstance(error, UnidentifiedImageError):
        return UnreadableImageError(_not_a_picture(file, name))
    if isinstance(error, MemoryError):
        return ImageTooLargeError(f"{name} does not fit into the free memory; cut it into smaller fields.")
    if "truncated" in str(error).lower():
        return UnreadableImageError(f"{name} is cut off before its end; copy it again from its source.")
    reason = str(error).rstrip(".") or type(error).__name__
    return UnreadableImageError(
        f"{name} is a damaged picture or of a rare kind ({reason}); copy it again, or save it as 8-bit PNG."
    )


def _not_a_picture(file: BinaryIO, name: str) -> str:
    """Say why nothing was recognized: an empty file is a different fault than a foreign one."""
    if file.seek(0, os.SEEK_END) == 0:
        return f"{name} is empty (0 bytes); copy it again from its source."
    return f"{name} is no {_READABLE} picture, or its first bytes are damaged; save it in one of these formats."


def _upright(image: Image.Image) -> Image.Image:
    """Apply the rotation that the camera noted; TIFF files were already turned by Pillow while loading."""
    if image.format == "TIFF" or not ("exif" in image.info or "Raw profile type exif" in image.info):
        return image
    try:
        with _PillowSilenced():
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001  broken side notes are no reason to refuse whole pixels
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Bring any mode of Pillow to RGB, as the top of this file describes."""
    if image.mode == "F":
        raise UnreadableImageError(
            f"{name} holds floating-point values without a stated black and white; save it as 8-bit or 16-bit picture."
        )
    if image.mode.startswith("I"):
        gray = np.asarray(image)
        if gray.min() < 0 or gray.max() > 65535:
            raise UnreadableImageError(f"{name} has gray values outside 0..65535; save it as 8-bit or 16-bit picture.")
        return Image.fromarray(((gray.astype(np.uint32) + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in {"LA", "La", "PA", "RGBA", "RGBa"} or "transparency" in image.info:
        # La and RGBa (premultiplied) convert only to their plain twins.
        plain = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)).convert("RGBA")
        white = Image.new("RGBA", plain.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, plain)
    return image if image.mode == "RGB" else image.convert("RGB")


def _as_array(picture: Image.Image) -> NDArray[np.uint8]:
    return np.array(picture, dtype=np.uint8, order="C")


def find_images(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    suffixes: Collection[str] = IMAGE_SUFFIXES,
    without: str | os.PathLike[str] | None = None,
    on_lost: Callable[[str, str], None] | None = None,
) -> list[Path]:
    """List the picture files that the given files, folders and glob patterns stand for.

    A named file is kept whatever its suffix, so that a wrong one is reported and not dropped. Folders are walked with
    all their subfolders in sorted order and give the files with one of the suffixes; hidden files and folders
    are left out, links to files are followed, links to folders inside a folder are not. A pattern (`*`, `?`, `[..]`,
    `**`) gives what it matches, files by suffix and folders walked, unless a file of just that name exists.

    Args:
        paths: What to look for; one path alone is accepted too.
        suffixes: Of what is looked for, in lower case.
        without: A folder that is passed over in folders and patterns, as that into which a command writes.
        on_lost: Is told of each folder inside a given one that cannot be listed, its name and a sentence, and the
            others are walked; without it such a folder is an error.

    Returns:
        The files, each once, in the order of `paths`; within a folder or pattern sorted by path.

    Raises:
        NoInputError: Nothing was given, a path does not exist, a folder or pattern holds no picture, or a folder
            cannot be listed.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise NoInputError("No path was given; name a picture, a folder or a pattern such as 'slides/*.png'.")
    found: dict[str, Path] = {}
    for path in given:
        for file in _expand(os.fspath(path), suffixes, without, on_lost):
            found.setdefault(os.path.abspath(file), file)  # noqa: PTH100  Path.absolute keeps `a/../b`
    return list(found.values())


def _expand(
    name: str,
    suffixes: Collection[str],
    without: str | os.PathLike[str] | None,
    on_lost: Callable[[str, str], None] | None,
) -> list[Path]:
    """List the pictures of one given path, or say why there are none."""
    wanted = "picture" if IMAGE_SUFFIXES.issuperset(suffixes) else "picture or slide"
    lost: list[OSError] = []
    path = Path(name)
    if name and os.path.isdir(name):  # noqa: PTH112  unlike Path.is_dir it takes any text, even with a zero byte
        files = list(_walk(path, suffixes, _passed_over(without, path), lost))
        none = f"The folder {name} holds no {wanted} ({_READABLE}); name a folder that does."
    elif name and os.path.lexists(name):
        return [path]
    elif glob.has_magic(name) and "\0" not in name:
        skipped = _passed_over(without, *takewhile(lambda part: not glob.has_magic(part), path.parts))
        matches = [Path(match) for match in glob.glob(name, recursive=True)]  # noqa: PTH207  keeps `./` and absolutes
        files = [
            match
            for match in matches
            if not match.is_dir() and match.suffix.lower() in suffixes and not _within(match, skipped)
        ]
        files += [file for match in matches if match.is_dir() for file in _walk(match, suffixes, skipped, lost)]
        none = f"The pattern {name} matches no {wanted} ({_READABLE}); check it, or name a folder."
    else:
        raise NoInputError(f"{name!r} does not exist; check the spelling, or name a folder with pictures.")
    for error in lost:
        sentence = f"The folder {error.filename} cannot be listed; change its permissions."
        if on_lost is None or not files:
            raise NoInputError(sentence) from error
        on_lost(str(error.filename), sentence)
    if not files:
        raise NoInputError(none)
    return sorted(files)


def _passed_over(without: str | os.PathLike[str] | None, *base: str | os.PathLike[str]) -> str | None:
    """Return the folder to be left out, free of links; None where all that is looked through lies in it."""
    if without is None or _within(Path(*base), os.path.realpath(without)):
        return None
    return os.path.realpath(without)


def _within(path: Path, folder: str | None) -> bool:
    """Say whether a path lies in a folder, or is it; `folder` is free of links."""
    return folder is not None and Path(os.path.realpath(path)).is_relative_to(folder)


def _walk(folder: Path, suffixes: Collection[str], skipped: str | None, lost: list[OSError]) -> Iterator[Path]:
    """Yield the picture files below a folder; a folder whose name ends like a picture is a folder all the same.

    Folders that cannot be listed are added to `lost`.
    """
    for parent, folders, files in os.walk(folder, onerror=lost.append):
        folders[:] = [name for name in folders if not name.startswith(".") and not _within(Path(parent, name), skipped)]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield Path(parent, name)
