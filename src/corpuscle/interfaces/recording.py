"""Enters what a command measured into a page of figures, under the command that measured it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from corpuscle.interfaces.console import note

__all__ = ["record_result"]


def record_result(
    page: Path | None,
    result: Any,
) -> None:
    """Enter what this command measured into a page of figures, if one is named."""
    if page is None:
        return
    from corpuscle.evaluation.machine import machine_line
    from corpuscle.reporting.ledger import figures_of, record

    figures = result if isinstance(result, list) else figures_of(result)
    record(page, _own_command(), machine_line(), figures)
    note(f"Entered into {page}.")


def _own_command() -> str:
    """Return this process's command line without what says only where things lie on this machine."""
    words, skip = ["corpuscle"], False
    for word in sys.argv[1:]:
        if skip or word.startswith(("--record", "--data-root", "--output", "-o")):
            skip = not skip and "=" not in word and word.startswith("-")
            continue
        words.append(word)
    return shlex.join(words)
