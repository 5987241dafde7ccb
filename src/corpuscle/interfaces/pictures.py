"""Finds the pictures that a command is given, and says which of them could not be read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corpuscle.errors import NoInputError
from corpuscle.interfaces.console import note

if TYPE_CHECKING:
    from corpuscle.records import Failure

__all__ = ["find_pictures", "report_failures"]


def find_pictures(paths: list[str]) -> tuple[list[Path], list[Failure]]:
    """Find all pictures; a path that leads to none fails alone, unless none leads to any."""
    from corpuscle.data.images import find_images
    from corpuscle.records import Failure

    found: dict[Path, None] = {}
    failures: list[Failure] = []
    first: NoInputError | None = None
    for path in paths:
        try:
            found.update(dict.fromkeys(find_images([path])))
        except NoInputError as error:
            first = first or error
            failures.append(Failure(path, str(error)))
    if first and not found:
        raise first
    return list(found), failures


def report_failures(failures: list[Failure], listing: Path | None) -> None:
    """Say how many failed and why, the first few by name."""
    note(f"{len(failures)} could not be read" + (f"; all are listed in {listing}:" if listing else ":"))
    for failure in failures[:5]:
        note(f"  {failure.reason}")
    if len(failures) > 5:
        note(f"  and {len(failures) - 5} more")
