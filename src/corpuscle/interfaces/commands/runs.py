"""Commands about trained runs: `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corpuscle.interfaces.console import note, print_json, progress_bar

__all__ = ["compare"]


def compare(
    *,
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of trained and evaluated runs.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for comparison.md, .csv, .json and .png.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which evaluation of each run is read: train, val or test.")] = "test",
    reference: Annotated[
        str | None, typer.Option(help="Folder or name of the run that the others are tested against; else the first.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Put trained runs side by side: accuracy, size, speed, and paired tests against one of them."""
    from corpuscle.evaluation.comparison import compare as run
    from corpuscle.reporting.comparisons import write_comparison

    with progress_bar("timing the networks") as show:
        result = run(runs, split=split, reference=reference, progress=show)
    if json:
        print_json(result.to_dict())
    else:
        typer.echo(result.text())
    if output is not None:
        write_comparison(result, output)
        note(f"Written to {output}.")
