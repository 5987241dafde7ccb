"""Writes files so that a reader sees the old content or the whole new one, never a part."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from corpuscle.errors import OutputError

__all__ = ["make_folder", "short_stem", "takes_unicode", "write_error", "written_whole"]

_LONGEST_STEM = 180
"""Bytes of a name to which something is added: file systems take 255 in all."""


def write_error(path: Path, error: OSError) -> OutputError:
    """Turn a failure of the operating system into one sentence about `path`."""
    reason = error.strerror or str(error)
    return OutputError(f"{path} cannot be written: {reason}. Free some space or choose another place.")


def make_folder(folder: Path) -> Path:
    """Make a folder with all above it, if it is not there.

    Raises:
        OutputError: It cannot be made, or is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    return folder


def short_stem(stem: str) -> str:
    """Return a name that leaves room for what is added to it; a long one is cut and ends with a sum of all of it."""
    data = os.fsencode(stem)
    if len(data) <= _LONGEST_STEM:
        return stem
    return f"{data[: _LONGEST_STEM - 9].decode('utf-8', 'ignore')}_{zlib.crc32(data):08x}"


def takes_unicode(file: TextIO) -> bool:
    """Whether all letters can be written to a text file as they are; one in memory takes them all."""
    return (getattr(file, "encoding", None) or "utf").lower().startswith("utf")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a path to write to; when the block ends well, its file takes the place of `path` in one step.

    Devices and pipes such as `/dev/stdout` are written to directly, as they cannot be replaced.

    Args:
        path: The file in the end. Its folder is made if need be.

    Raises:
        OutputError: The file cannot be written; what stood at `path` before is still there.
    """
    try:
        special = path.exists() and not stat.S_ISREG(path.stat().st_mode) and not path.is_dir()
    except OSError as error:
        raise write_error(path, error) from error
    if special:
        try:
            yield path
        except OSError as error:
            raise write_error(path, error) from error
        return
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file.")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _umask() -> int:
    """Return the process's file mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
