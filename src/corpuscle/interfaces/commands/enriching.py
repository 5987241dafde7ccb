"""The command `enrich`: attributes in words and the nearest known cells, added to a bundle."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from corpuscle.interfaces.console import note, print_json, progress_bar

__all__ = ["enrich"]


def enrich(
    *,
    model: Annotated[str, typer.Argument(help="A bundle's or a run's folder, or a shipped model's name.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for an enriched copy; else the bundle is changed.")
    ] = None,
    known: Annotated[
        list[str] | None,
        typer.Option(help="A labeled set whose train split is indexed, may be repeated; else the training data."),
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder that holds the data sets, PBC and WBCAtt.")] = None,
    record: Annotated[Path | None, typer.Option(help="Page of figures (.md) to enter the result into.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Teach a model to say why in words: fit attributes on WBCAtt, index the cells it learned from, measure both."""
    from corpuscle.errors import OutputError, UsageError
    from corpuscle.explanation.explaining import open_model
    from corpuscle.interfaces.recording import record_result
    from corpuscle.models.bundle import load_bundle
    from corpuscle.reporting.enriching import enrich as run
    from corpuscle.reporting.enriching import enrichment_figures

    bundle = open_model(model)
    with ExitStack() as stack:
        if output is not None:
            if output.exists():
                raise UsageError(f"{output} exists already. Name a folder that is not there yet.")
            stack.callback(shutil.rmtree, output, ignore_errors=True)  # half of a copy would only be in the way
            try:
                shutil.copytree(bundle.folder, output)
            except OSError as error:
                raise OutputError(f"{output} cannot be written: {error}. Choose another place.") from error
            bundle = load_bundle(output)
        with progress_bar("looking at cells") as show:
            result = run(bundle, known=tuple(known or ()), root=data_root, progress=show)
        stack.pop_all()
    if json:
        print_json(result.to_dict())
    else:
        typer.echo(result.text())
    note(f"Written to {result.bundle.folder}.")
    record_result(record, enrichment_figures(result))
