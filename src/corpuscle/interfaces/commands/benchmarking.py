"""The command `benchmark`: speed as ratios inside one run, and what cuts, counts, ruler and tiles do to the answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from corpuscle.errors import UnknownNameError
from corpuscle.interfaces.console import DEFAULT_DETECTOR, DEFAULT_MODEL, print_json, progress_bar
from corpuscle.interfaces.recording import record_result

__all__ = ["benchmark"]

_Show = Callable[[int, int], None]
_Measured = tuple[Any, Any]
"""The result, and its figures where the page of figures does not make them itself."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What the user asked for; fields as the options of `benchmark`."""

    model: str
    files: int
    folder: Path | None
    memory_files: int
    cam: bool
    dataset: str
    split: str
    users: int
    uploads: int
    data_root: Path | None


def benchmark(
    *,
    what: Annotated[
        str,
        typer.Argument(
            help="classify, field or server (speed), framing (does the cut change the answer?), counting (are counts "
            "right?), ruler (is the magnification?), seams (is a cell lost or counted twice between tiles?)."
        ),
    ],
    model: Annotated[str, typer.Option(help="A shipped model's name or a bundle's folder.")] = DEFAULT_MODEL,
    files: Annotated[int, typer.Option(min=16, help="classify: number of files.")] = 512,
    detector: Annotated[
        str, typer.Option(help="field, counting, ruler, seams: a detector's name or folder.")
    ] = DEFAULT_DETECTOR,
    folder: Annotated[
        Path | None, typer.Option(help="classify, field: your own pictures instead of drawn ones.")
    ] = None,
    memory_files: Annotated[int, typer.Option(min=0, help="classify: watch the memory over this many files.")] = 0,
    cam: Annotated[bool, typer.Option("--cam", help="classify: with heat maps as well, speed and memory.")] = False,
    dataset: Annotated[
        str,
        typer.Option(help="framing: a labeled set, pbc by default; counting, ruler: labeled fields, bccd by default."),
    ] = "",
    split: Annotated[str, typer.Option(help="framing, counting, ruler: its split.")] = "test",
    side: Annotated[int, typer.Option(min=1000, max=40_000, help="seams: side of the drawn field.")] = 4000,
    users: Annotated[int, typer.Option(min=2, help="server: users at once.")] = 8,
    uploads: Annotated[int, typer.Option(min=8, help="server: pictures that they send.")] = 500,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder that holds the data sets; else $CORPUSCLE_DATA, else the user's cache.")
    ] = None,
    record: Annotated[Path | None, typer.Option(help="Page of figures (.md) to enter the result into.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Time a task beside its parts and beside torch, in one run; or measure what the framing does."""
    from corpuscle.interfaces.commands.fields import FIELD_BENCHMARKS, measure_fields

    if what not in {*_TASKS, *FIELD_BENCHMARKS}:
        raise UnknownNameError("benchmark", what, (*_TASKS, *FIELD_BENCHMARKS))
    request = _Request(model, files, folder, memory_files, cam, dataset, split, users, uploads, data_root)
    with progress_bar("measuring") as show:
        if what in _TASKS:
            result, figures = _TASKS[what](request, show)
        else:
            chosen = (dataset or "bccd", split, data_root)
            result, figures = measure_fields(what, (model, detector), show, chosen=chosen, folder=folder, side=side)
    if json:
        print_json(result.to_dict())
    else:
        typer.echo(result.text())
    record_result(record, result if figures is None else figures)


def _classify(request: _Request, show: _Show) -> _Measured:
    from corpuscle.interfaces.commands.explaining import time_classify

    result = time_classify(
        request.model, request.files, request.folder, show, memory_files=request.memory_files, cam=request.cam
    )
    return result, None


def _framing(request: _Request, show: _Show) -> _Measured:
    from corpuscle.evaluation.robustness import framing_robustness

    name, split, root = request.dataset or "pbc", request.split, request.data_root
    return framing_robustness(name, model=request.model, split=split, root=root, progress=show), None


def _server(request: _Request, show: _Show) -> _Measured:
    from corpuscle.interfaces.commands.serving import time_server

    return time_server(request.model, request.users, request.uploads, show)


_TASKS: dict[str, Callable[[_Request, _Show], _Measured]] = {
    "classify": _classify,
    "framing": _framing,
    "server": _server,
}
