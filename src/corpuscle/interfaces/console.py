"""What commands share on the terminal: progress on standard error, results on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from corpuscle.files import takes_unicode

__all__ = ["DEFAULT_DETECTOR", "DEFAULT_MODEL", "note", "print_json", "progress_bar"]

DEFAULT_DETECTOR = "corpuscle_field"
DEFAULT_MODEL = "corpuscle_s"
"""The library's defaults, said again here because importing it would make `--help` slow; a test compares them."""


def note(text: str) -> None:
    """Tell the user something that is no result."""
    typer.echo(text, err=True)


def print_json(values: Any) -> None:
    """Print plain values as JSON; where the terminal takes no Unicode, letters beyond ASCII as JSON escapes them."""
    typer.echo(json.dumps(values, indent=1, ensure_ascii=not takes_unicode(sys.stdout)))


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time left on a terminal, nothing elsewhere; gives a function of (done, all)."""
    if not sys.stderr.isatty():
        yield lambda done, total: None  # noqa: ARG005
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
