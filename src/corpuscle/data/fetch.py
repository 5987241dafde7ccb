"""Downloading public data sets: the only place in Corpuscle that opens a connection, and only when asked.

A download that breaks off leaves `NAME.part` beside its goal, with the server's mark of that version in
`NAME.part.version`; the next try goes on from there if the server still has the same version (RFC 9110, sections 13.1.5
and 14.2). A file gets its real name only when it is complete and has the published hash.
"""

from __future__ import annotations

import errno
import logging
import re
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from stat import S_ISLNK
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from corpuscle.data.catalog import DatasetRow, RemoteFile, data_root, dataset, locate
from corpuscle.errors import DatasetNotFoundError, FetchError, OutputError

if TYPE_CHECKING:
    import requests

__all__ = ["fetch"]

_TIMEOUT_S: Final = (10.0, 60.0)  # to connect; without a single byte
_CHUNK_BYTES: Final = 1 << 16  # what is lost at most when a connection breaks off
_MAX_UNPACKED_BYTES: Final = 20 * 10**9  # the largest archive of the catalog unpacks to well under a tenth of this


def fetch(name: str, *, root: Path | None = None, progress: bool = True) -> Path:
    """Download one data set, unless it is there already, and unpack it.

    An archive that the user has put under the data root by hand is unpacked without a connection. Files that are
    there already are checked against their published hash and never overwritten.

    Args:
        name: A key of `corpuscle.data.catalog.DATASETS`.
        root: The data root; `data_root()` when not given. It is created where needed.
        progress: Whether to draw a progress bar; it is drawn on a terminal only.

    Returns:
        What `locate` returns: the file for layout `npz`, the folder for all others.

    Raises:
        UnknownNameError: There is no such data set.
        FetchError: No connection, a wrong hash, a damaged or hostile archive, or no plain address to download from;
            the text says which file to put where by hand.
        OutputError: The disk is full or the data root cannot be written.
    """
    row = dataset(name)
    root = data_root() if root is None else root
    try:
        found = locate(name, root)
    except DatasetNotFoundError:
        with _output_errors(root):
            for file in row.files:
                if file.name.endswith(".zip"):
                    _obtain_archive(row, file, root, progress=progress)
                else:
                    _obtain(row, file, root / row.folder / file.name, root, progress=progress)
        return locate(name, root)
    for file in row.files:
        _check_hash(row, file, found if found.is_file() else found / file.name)
    return found


def _obtain(row: DatasetRow, file: RemoteFile, target: Path, root: Path, *, progress: bool) -> bool:
    """Make sure that `target` is there with the right hash; return whether it had to be downloaded."""
    if target.exists():
        _check_hash(row, file, target)
        return False
    if not file.url:
        raise FetchError(f"The data set {row.name} cannot be downloaded by plain address. {_manual(row, root)}")
    _download(row, file, target, root, progress=progress)
    return True


def _obtain_archive(row: DatasetRow, file: RemoteFile, root: Path, *, progress: bool) -> None:
    """Unpack an archive into the folder of its data set; delete the archive only if it was downloaded just now."""
    archive = root / file.name
    downloaded = _obtain(row, file, archive, root, progress=progress)
    try:
        _unpack(archive, row, root)
    except FetchError:
        if downloaded:
            archive.unlink(missing_ok=True)
        raise
    if downloaded:
        archive.unlink(missing_ok=True)


def _manual(row: DatasetRow, root: Path) -> str:
    """Return what to do by hand, with the data root filled in."""
    return row.manual.format(root=root)


def _check_hash(row: DatasetRow, file: RemoteFile, path: Path) -> None:
    """Refuse a file that lies there already but is not the published one; a file without known hash passes."""
    if file.known_hash is None or not path.is_file():
        return
    import pooch

    algorithm, _, wanted = file.known_hash.partition(":")
    with _output_errors(path.parent):
        if pooch.file_hash(str(path), alg=algorithm) != wanted:
            raise FetchError(
                f"{path} does not have the published hash {file.known_hash}; it is damaged or another version. "
                f"Move it away and run `corpuscle fetch {row.name}` again."
            )


@contextmanager
def _output_errors(folder: Path) -> Iterator[None]:
    """Turn failures of the file system into an error that says what to do."""
    try:
        yield
    except OSError as error:
        place = error.filename or folder
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"The disk of {folder} is full; free some space, or name another folder with --data-root."
        else:
            text = (
                f"{place} cannot be read or written ({error.strerror or error}); change its permissions, or name "
                "another folder with --data-root."
            )
        raise OutputError(text) from error


def _require_space(folder: Path, needed_bytes: int) -> None:
    """Refuse to begin what cannot fit on the disk."""
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise OutputError(
            f"The disk of {folder} has {free_bytes / 1e6:.0f} MB free and {needed_bytes / 1e6:.0f} MB are needed; free "
            "some space, or name another folder with --data-root."
        )


# ---------------------------------------------------------------------------------------------------------------------
# Download


def _download(row: DatasetRow, file: RemoteFile, target: Path, root: Path, *, progress: bool) -> None:
    """Download one file to `target`, which gets its name only when its hash is right."""
    import pooch
    import requests

    target.parent.mkdir(parents=True, exist_ok=True)
    downloader = _ResumingDownloader(target.with_name(f"{target.name}.part"), progress=progress)
    try:
        with _quiet(pooch.get_logger()):
            pooch.retrieve(
                file.url, known_hash=file.known_hash, fname=target.name, path=target.parent, downloader=downloader
            )
    except requests.RequestException as error:
        raise FetchError(
            f"{file.name} could not be downloaded ({_reason(error, file.url)}). Run `corpuscle fetch {row.name}` again"
            f"{' to go on where it stopped' if downloader.resumable else ''}, or without a network: "
            f"{_manual(row, root)}"
        ) from error
    except ValueError as error:  # what pooch raises for a wrong hash, after it has deleted its temporary file
        raise FetchError(
            f"What {urlsplit(file.url).hostname} sent as {file.name} does not have the published hash "
            f"{file.known_hash} and was deleted. Run `corpuscle fetch {row.name}` again; if that does not help: "
            f"{_manual(row, root)}"
        ) from error


def _reason(error: requests.RequestException, url: str) -> str:
    """Say in a few words why a download failed; the messages of requests are a paragraph each."""
    import requests

    host = urlsplit(url).hostname
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{host} answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the certificate of {host} is not trusted"
    if isinstance(error, requests.Timeout):
        return f"{host} does not answer"
    if isinstance(error, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        return f"no connection to {host}, or it broke off"
    return f"{host}: {error}"


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep a library from telling the user what Corpuscle says itself."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


class _ResumingDownloader:
    """A downloader for pooch that keeps what has come when a connection breaks off, and goes on from there."""

    def __init__(self, part: Path, *, progress: bool) -> None:
        """Collect the bytes in the file `part`."""
        self._part = part
        self._version = part.with_name(f"{part.name}.version")
        self._progress = progress

    @property
    def resumable(self) -> bool:
        """Whether a later download can go on from what is there."""
        return self._version.is_file() and self._part.is_file() and self._part.stat().st_size > 0

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Download `url` and move it to `output_file` when it is complete."""
        import requests

        # A compressed answer would be counted in other bytes than those asked for.
        headers = {"Accept-Encoding": "identity"}
        if self.resumable:
            headers["Range"] = f"bytes={self._part.stat().st_size}-"
            headers["If-Range"] = self._version.read_text(encoding="ascii")
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
            if "Range" not in headers or response.status_code not in (206, 416):
                self._receive(response, begin=0)
            elif self._continues(response):
                self._receive(response, begin=self._part.stat().st_size)
            else:
                self._part.unlink()
                self(url, output_file, _pooch)
                return
        self._part.replace(output_file)
        self._version.unlink(missing_ok=True)

    def _continues(self, response: requests.Response) -> bool:
        """Whether a partial answer begins just after what is there."""
        begin = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        return response.status_code == 206 and begin is not None and int(begin[1]) == self._part.stat().st_size

    def _receive(self, response: requests.Response, *, begin: int) -> None:
        """Write the body of an answer from byte `begin` of the part file on, and refuse one that ends too early."""
        import requests

        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        total = begin + int(length) if length.isdecimal() else None
        _require_space(self._part.parent, (total or 0) - begin)
        if not begin:
            self._remember_version(response)
        with self._part.open("ab" if begin else "wb") as file, self._bar(begin, total) as advance:
            for chunk in response.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                advance(len(chunk))
        received = self._part.stat().st_size
        if total is not None and received != total:
            raise requests.ConnectionError(f"{received} of {total} bytes came")

    def _remember_version(self, response: requests.Response) -> None:
        """Note the server's mark of this version, or that it has none that may be used to go on."""
        etag = response.headers.get("ETag", "")
        mark = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
        if mark.isascii() and mark:
            self._version.write_text(mark, encoding="ascii")
        else:
            self._version.unlink(missing_ok=True)

    @contextmanager
    def _bar(self, begin: int, total: int | None) -> Iterator[Callable[[int], None]]:
        """Draw a progress bar on a terminal, and nothing elsewhere."""
        if not (self._progress and sys.stderr.isatty()):
            yield lambda _: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task(self._part.name.removesuffix(".part"), total=total, completed=begin)
            yield lambda count: bars.advance(task, count)


# ---------------------------------------------------------------------------------------------------------------------
# Unpacking


def _unpack(archive: Path, row: DatasetRow, root: Path) -> None:
    """Unpack the part of an archive that holds the data set to its folder, which appears complete or not at all."""
    goal = root / row.folder
    if goal.is_dir() and not any(goal.iterdir()):
        goal.rmdir()
    if goal.exists():
        raise OutputError(f"{goal} is there but is not a complete {row.name}; move it away and fetch again.")
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _safe_members(opened, archive)
            inner = _inner_folder([path for _, path in members], row.must_have)
            if inner is None:
                raise FetchError(
                    f"{archive} holds no folder with {', '.join(row.must_have)}, so it is not {row.name}. "
                    f"{_manual(row, root)}"
                )
            members = [(info, path.relative_to(inner)) for info, path in members if path.is_relative_to(inner)]
            _require_space(root, sum(info.file_size for info, _ in members))
            _write_members(opened, members, goal)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FetchError(
            f"{archive} is no whole zip archive ({error}) and was not used. {_manual(row, root)}"
        ) from error


def _write_members(opened: zipfile.ZipFile, members: list[tuple[zipfile.ZipInfo, PurePosixPath]], goal: Path) -> None:
    """Write members into a temporary folder beside `goal` and rename it when all are there."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{goal.name}-", dir=goal.parent))
    try:
        for info, path in members:
            target = scratch / "content" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(info) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, _CHUNK_BYTES)
        (scratch / "content").rename(goal)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _safe_members(opened: zipfile.ZipFile, archive: Path) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """List the files of an archive, and refuse all of it if one would leave the folder that it is unpacked to.

    Folders, hidden files and the `__MACOSX` shadow of an archive made on a Mac are left out.
    """
    members: list[tuple[zipfile.ZipInfo, PurePosixPath]] = []
    for info in opened.infolist():
        path = PurePosixPath(info.filename.replace("\\", "/"))
        leaves = path.is_absolute() or ".." in path.parts or ":" in info.filename
        if leaves or S_ISLNK(info.external_attr >> 16):
            raise FetchError(
                f"{archive} holds {info.filename!r}, which would be written outside its folder or is a link; nothing "
                "was unpacked. Do not trust this file."
            )
        if not info.is_dir() and not any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
            members.append((info, path))
    if sum(info.file_size for info, _ in members) > _MAX_UNPACKED_BYTES:
        raise FetchError(f"{archive} would unpack to more than {_MAX_UNPACKED_BYTES // 10**9} GB; do not trust it.")
    return members


def _inner_folder(paths: list[PurePosixPath], must_have: tuple[str, ...]) -> PurePosixPath | None:
    """Return the uppermost folder inside an archive that holds all of `must_have`, and None if there is none."""
    held: dict[PurePosixPath, set[str]] = {}
    for path in paths:
        for index, part in enumerate(path.parts[:-1]):
            if part in must_have:
                held.setdefault(PurePosixPath(*path.parts[:index]), set()).add(part)
    whole = [folder for folder, parts in held.items() if len(parts) == len(must_have)]
    return min(whole, key=lambda folder: (len(folder.parts), folder), default=None)
