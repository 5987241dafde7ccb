"""The command `adapt`: a model fitted to a laboratory by its own pictures, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corpuscle.errors import MissingExtraError
from corpuscle.interfaces.console import DEFAULT_MODEL, note, print_json, progress_bar

__all__ = ["adapt"]


def adapt(
    *,
    paths: Annotated[list[str], typer.Argument(help="Labeled sets of the catalog, pictures, folders, patterns.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model.")],
    model: Annotated[str, typer.Option(help="A shipped model's name, a bundle's or a run's folder.")] = DEFAULT_MODEL,
    split: Annotated[str, typer.Option(help="Of the labeled sets: train, val or test; all if not given.")] = "",
    strength: Annotated[float, typer.Option(help="How far towards these pictures, above 0 and at most 1.")] = 1.0,
    data_root: Annotated[Path | None, typer.Option(help="Folder that holds the data sets.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Fit a model to another stain and camera with pictures from there; labels are not needed and not looked at.

    Exit status 0: all done; 2: wrong usage; 3: some pictures could not be read, the others were used.
    """
    from corpuscle.explanation.explaining import open_model
    from corpuscle.interfaces.pictures import find_cells
    from corpuscle.prediction.writing import NOTICE

    try:
        from corpuscle.training.adaptation import adapt as run
    except ModuleNotFoundError as error:
        raise MissingExtraError("Adapting a model", "train") from error
    bundle = open_model(model)
    found, failures = find_cells(paths, output=output, split=split, root=data_root)
    with progress_bar("looking at cells") as show:
        result = run(bundle, found, output, strength=strength, progress=show)
    failures += result.failures
    if json:
        print_json({"notice": NOTICE, "model": str(output), "cells": result.n_cells,
                    "failures": [{"file": item.file, "reason": item.reason} for item in failures]})  # fmt: skip
    note(
        f"Fitted to {result.n_cells} pictures: {output}. Give it with --model. Its figures are not known: measure it "
        "with `corpuscle evaluate` on cells that a person has named."
    )
    if failures:
        note(f"{len(failures)} pictures could not be read, the first: {failures[0].reason}")
        raise typer.Exit(3)
