"""What `evaluate` does when asked for more than accuracy: spoilt pictures, and pictures that are no known cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from corpuscle.interfaces.console import note, print_json, progress_bar

if TYPE_CHECKING:
    from corpuscle.reporting.ledger import Figure

__all__ = ["TrustRequest", "measure_trust"]


@dataclass(frozen=True, slots=True)
class TrustRequest:
    """What the user asked for.

    Attributes:
        dataset: A labeled set, or a folder with a folder per class.
        model: A shipped model's name or a bundle's folder.
        split: Its split; all cells if empty.
        data_root: Folder that holds the data sets.
        output: Folder to write to, or None.
        as_json: Whether JSON is printed instead of a table.
    """

    dataset: str
    model: str
    split: str
    data_root: Path | None
    output: Path | None
    as_json: bool


def measure_trust(request: TrustRequest, *, corruptions: bool, refusal: bool, limit: int) -> Iterator[list[Figure]]:
    """Measure what was asked for, print and write it, and yield all figures so far each time that there are more."""
    figures: list[Figure] = []
    if corruptions:
        figures += _measure_corruptions(request, limit=limit)
        yield figures
    if refusal:
        figures += _measure_refusal(request, limit=limit)
        yield figures


def _measure_corruptions(request: TrustRequest, *, limit: int) -> list[Figure]:
    """Judge spoilt pictures, print and write the table, and return its figures."""
    from corpuscle.evaluation.spoilt import corruption_table
    from corpuscle.reporting.trust import corruption_figures, write_corruptions

    with progress_bar("judging spoilt pictures") as show:
        table = corruption_table(
            request.dataset,
            model=request.model,
            split=request.split,
            root=request.data_root,
            limit=limit,
            progress=show,
        )
    _show(table, request)
    if request.output is not None:
        write_corruptions(table, request.output)
        note(f"Written to {request.output}.")
    return corruption_figures(table)


def _measure_refusal(request: TrustRequest, *, limit: int) -> list[Figure]:
    """Judge pictures that show no known cell, print and write the table, and return its figures."""
    from corpuscle.evaluation.refusal import refusal_study
    from corpuscle.reporting.trust import refusal_figures, write_refusal

    with progress_bar("judging strangers") as show:
        study = refusal_study(
            request.dataset,
            model=request.model,
            split=request.split,
            root=request.data_root,
            limit=limit,
            progress=show,
        )
    _show(study, request)
    if request.output is not None:
        write_refusal(study, request.output)
        note(f"Written to {request.output}.")
    return refusal_figures(study)


class _Measured(Protocol):
    def to_dict(self) -> dict[str, Any]: ...

    def text(self) -> str: ...


def _show(result: _Measured, request: TrustRequest) -> None:
    if request.as_json:
        print_json(result.to_dict())
    else:
        typer.echo(result.text())
