"""Pictures out of a request: counted, named safely, looked at before anything is decoded, and put into files."""

from __future__ import annotations

import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from corpuscle.data.images import read_header
from corpuscle.errors import CorpuscleError, ImageTooLargeError
from corpuscle.files import make_folder
from corpuscle.interfaces.api.problems import ProblemError, problem_of, without_paths
from corpuscle.interfaces.api.settings import MOST_FILES, ServerSettings
from corpuscle.records import Failure

__all__ = ["Upload", "Uploads", "plain_name", "receive_pictures", "unlike"]

_LONGEST_NAME: Final = 150
_HEAD_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Upload:
    """One picture that came: where it lies and what the user calls it."""

    path: Path
    name: str


class Uploads:
    """The pictures of one request, in a folder of their own that goes away with `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = make_folder(folder / secrets.token_hex(8))
        self.good: list[Upload] = []
        self.failures: list[Failure] = []
        self._order: list[str] = []
        self._first: CorpuscleError | None = None

    def __len__(self) -> int:
        """Return how many pictures came, good and bad."""
        return len(self._order)

    @property
    def paths(self) -> list[Path]:
        """Where the good ones lie."""
        return [item.path for item in self.good]

    def name_of(self, path: str) -> str:
        """Return what the user calls a picture."""
        return next((item.name for item in self.good if str(item.path) == path), "")

    def failure(self, failure: Failure) -> Failure:
        """Return a failure that names the user's picture instead of a path of the server."""
        name = self.name_of(failure.file) or failure.file
        return Failure(name, without_paths(failure.reason, [(item.path, item.name) for item in self.good]))

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Turn failures inside the block into answers that name the user's pictures instead of paths of the server."""
        try:
            yield
        except CorpuscleError as error:
            problem = problem_of(error)
            text = without_paths(problem.message, [(item.path, item.name) for item in self.good])
            raise ProblemError(problem.status_code, text, code=problem.code) from error

    def in_order(self, failures: Iterable[Failure]) -> list[Failure]:
        """Return failures in the order in which their pictures came."""
        return sorted(failures, key=lambda item: self._order.index(item.file) if item.file in self._order else -1)

    def add(self, name: str, file: BinaryIO, settings: ServerSettings) -> None:
        """Keep one picture, or note why it is none."""
        path = self.folder / f"{len(self):04d}"
        name = unlike(name, self._order)
        self._order.append(name)
        with path.open("wb") as kept:
            shutil.copyfileobj(file, kept, 1 << 20)
        try:
            _look(path, name, settings)
        except CorpuscleError as error:
            self._first = self._first or error
            self.failures.append(Failure(name, str(error)))
            path.unlink()
        else:
            self.good.append(Upload(path, name))

    def check_some(self) -> None:
        """Refuse a request without any picture that can be read.

        Raises:
            ProblemError: Nothing came (422), or nothing that is a picture (415), or too large ones alone (413).
        """
        if not len(self):
            raise ProblemError(422, "No picture came. Send them as the form field `files`, one part each.")
        if not self.good and self._first is not None:
            raise problem_of(self._first)

    def close(self) -> None:
        """Delete the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def plain_name(given: str | None) -> str:
    """Return the last part of a name that a client sent, without what could mislead a reader, a path or a log."""
    text = unicodedata.normalize("NFC", (given or "").encode("utf-8", "replace").decode())
    text = re.split(r"[/\\]", text)[-1]
    text = "".join(" " if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") else letter for letter in text)
    text = " ".join(text.split()).strip(". ").lstrip("=+-@ ")  # no formula in a table, no option of a command
    if len(text) > _LONGEST_NAME:
        stem, dot, suffix = text.rpartition(".")
        text = (stem or suffix)[: _LONGEST_NAME - 10] + (dot + suffix[:9] if stem else "")
    return text or "picture"


def unlike(name: str, taken: Iterable[str]) -> str:
    """Return a name that none of the others has, whatever their case: `a.png` becomes `a (2).png`."""
    others = {item.casefold() for item in taken}
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    number, found = 1, name
    while found.casefold() in others:
        number += 1
        found = f"{stem} ({number}){dot}{suffix}"
    return found


def _look(path: Path, name: str, settings: ServerSettings) -> None:
    """Refuse what is no picture, or a too large one, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    try:
        header = read_header(head, name=name)
    except ImageTooLargeError:
        raise
    except CorpuscleError:
        if path.stat().st_size <= _HEAD_BYTES:
            raise
        header = read_header(path.read_bytes(), name=name)
    if header.width_px * header.height_px > settings.max_pixels:
        raise ImageTooLargeError(
            f"{name} has {header.width_px} x {header.height_px} pixels, over the limit of {settings.max_pixels:,}; "
            "cut it into fields first."
        )


async def receive_pictures(
    request: Request, folder: Path, settings: ServerSettings, *, names: Sequence[str]
) -> Uploads:
    """Read the pictures of a request.

    Args:
        request: Its body is a multipart form.
        folder: Where to put them.
        settings: The limits.
        names: Form fields that hold pictures.

    Returns:
        The pictures, of which one at least can be read; the caller closes them.

    Raises:
        ProblemError: No form (415), a broken one (400), no picture (422 or 415), another field (422), or too large
            pictures (413).
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ProblemError(
            415,
            "Send pictures as multipart/form-data, one part each, such as `curl -F files=@cell.png`.",
            code="no_form",
        )
    try:
        form = await request.form(max_files=MOST_FILES, max_fields=20)
    except ProblemError:
        raise
    except (ValueError, LookupError, OverflowError) as error:
        raise ProblemError(400, "The form is damaged. Send it again.", code="bad_form") from error
    try:
        return await run_in_threadpool(_kept, form, folder, settings, names)
    finally:
        await form.close()


def _kept(form: FormData, folder: Path, settings: ServerSettings, names: Sequence[str]) -> Uploads:
    uploads = Uploads(folder)
    try:
        for field, part in form.multi_items():
            if field not in names:
                raise ProblemError(
                    422, _not_a_field(field, names[0], is_file=isinstance(part, UploadFile)), code="wrong_value"
                )
            if isinstance(part, UploadFile):
                uploads.add(plain_name(part.filename), part.file, settings)
            elif part:  # a browser sends an empty text where nobody chose a file
                raise ProblemError(
                    422, f"The form field {field} holds a text. Send the picture itself as a file in it."
                )
        uploads.check_some()
    except BaseException:
        uploads.close()
        raise
    return uploads


def _not_a_field(field: str, name: str, *, is_file: bool) -> str:
    """Say what to do with a field that no route has: silence would make its sender believe that it had an effect."""
    shown = plain_name(field)[:40]
    if is_file:
        return f"There is no form field {shown}. Send pictures as the form field `{name}`."
    return f"There is no form field {shown}. Options go into the address, as in `?{shown}=...`, pictures into `{name}`."
