"""Finds the pictures that a command is given, and says which of them could not be read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from corpuscle.errors import NoInputError, UsageError
from corpuscle.interfaces.console import note

if TYPE_CHECKING:
    from corpuscle.prediction.embedding import Specimen
    from corpuscle.records import Failure

__all__ = ["find_cells", "find_pictures", "report_failures"]


def find_pictures(
    paths: list[str], *, output: Path | None = None, slides: bool = False
) -> tuple[list[Path], list[Failure]]:
    """Find all pictures; a path that leads to none, or a folder that cannot be listed, fails alone, unless all do.

    Args:
        paths: Files, folders and patterns.
        output: The folder that is written to: its pictures are not looked for.
        slides: Whether slides are looked for, too.

    Raises:
        NoInputError: Nothing was found.
        UsageError: A folder to read is the one to write to.
    """
    from corpuscle.data.images import IMAGE_SUFFIXES, find_images
    from corpuscle.data.slides import SLIDE_SUFFIXES
    from corpuscle.records import Failure

    found: dict[Path, None] = {}
    failures: list[Failure] = []
    first: NoInputError | None = None

    def on_lost(name: str, reason: str) -> None:
        failures.append(Failure(name, reason))

    suffixes = IMAGE_SUFFIXES | SLIDE_SUFFIXES if slides else IMAGE_SUFFIXES
    _refuse_own_output(paths, output)
    for path in paths:
        try:
            found.update(dict.fromkeys(find_images([path], suffixes=suffixes, without=output, on_lost=on_lost)))
        except NoInputError as error:
            first = first or error
            failures.append(Failure(path, str(error)))
    if first and not found:
        raise first
    return list(found), failures


def _refuse_own_output(paths: list[str], output: Path | None) -> None:
    """Refuse to write into a folder that is read.

    Raises:
        UsageError: A folder to read is the one to write to.
    """
    for path in paths:
        if output is not None and os.path.isdir(path) and Path(path).resolve() == output.resolve():  # noqa: PTH112
            raise UsageError(
                f"The folder {path} is also written to, and what is written there would be read as pictures. "
                "Name another folder for the output."
            )


def find_cells(
    paths: list[str], *, output: Path, split: str, root: Path | None
) -> tuple[list[Specimen], list[Failure]]:
    """Find the cells of data sets and pictures; what leads to none fails alone, unless nothing leads to any.

    Args:
        paths: Names of labeled sets, files, folders and patterns.
        output: The folder that is written to: its pictures are not looked for.
        split: Split of the labeled sets; all if empty.
        root: Folder that holds the data sets.

    Raises:
        NoInputError: Nothing was found.
        DatasetNotFoundError: Nothing was found, and a data set is not there.
        UsageError: A folder to read is the one to write to.
    """
    from corpuscle.prediction.embedding import find_specimens
    from corpuscle.records import Failure

    _refuse_own_output(paths, output)
    failures: list[Failure] = []
    found = find_specimens(
        paths,
        split=split,
        root=root,
        without=output,
        on_lost=lambda name, reason: failures.append(Failure(name, reason)),
    )
    return found, failures


def report_failures(failures: list[Failure], listing: Path | None) -> None:
    """Say how many failed and why, the first few by name."""
    note(f"{len(failures)} could not be read" + (f"; all are listed in {listing}:" if listing else ":"))
    for failure in failures[:5]:
        note(f"  {failure.reason}")
    if len(failures) > 5:
        note(f"  and {len(failures) - 5} more")
