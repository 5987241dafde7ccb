"""The command `project`: a map of all cells."""

from __future__ import annotations

import csv
import time
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corpuscle.errors import UsageError
from corpuscle.interfaces.console import DEFAULT_MODEL, note, print_json, progress_bar

if TYPE_CHECKING:
    from corpuscle.evaluation.map_report import MapReport
    from corpuscle.explanation.projection import CellMap
    from corpuscle.prediction.embedding import EmbeddedCells

__all__ = ["project"]


def project(
    *,
    paths: Annotated[list[str], typer.Argument(help="Labeled sets of the catalog, pictures, folders, patterns.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the map.")],
    method: Annotated[str | None, typer.Option(help="pca, tsne or umap; pca if not given.")] = None,
    dimensions: Annotated[int | None, typer.Option(help="2 or 3; 2 if not given.")] = None,
    onto: Annotated[Path | None, typer.Option(help="Folder of a map to place these cells on.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Say which labels look wrong, and more.")] = False,
    model: Annotated[str, typer.Option(help="A shipped model's name, a bundle's or a run's folder.")] = DEFAULT_MODEL,
    split: Annotated[str, typer.Option(help="Of the labeled sets: train, val or test; all if not given.")] = "",
    data_root: Annotated[Path | None, typer.Option(help="Folder that holds the data sets.")] = None,
    framing: Annotated[str, typer.Option(help="What is judged: auto, cell, field, center or whole.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Worker threads; 0 for one a processor.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Draw a map on which like cells lie near each other: a page to explore, a picture, a table, TensorBoard files.

    Exit status 0: all done; 2: wrong usage; 3: some pictures could not be read, every other one was still mapped.
    """
    from corpuscle.explanation.explaining import open_model
    from corpuscle.explanation.projection import check_method
    from corpuscle.files import make_folder
    from corpuscle.interfaces.pictures import find_cells, report_failures
    from corpuscle.prediction.embedding import embed_cells
    from corpuscle.prediction.writing import NOTICE, write_failures

    if onto and not (method is None and dimensions is None):
        raise UsageError("The map of --onto has its own method and dimensions. Leave --method and --dimensions out.")
    method, dimensions = "pca" if method is None else method, 2 if dimensions is None else dimensions
    check_method(method, dimensions)
    bundle = open_model(model)
    found, failures = find_cells(paths, output=output, split=split, root=data_root)
    make_folder(output)
    began = time.monotonic()
    with progress_bar("looking at cells") as show:
        cells = embed_cells(found, model=bundle, framing=framing, workers=workers, progress=show)
    looked = time.monotonic()
    name = f"{bundle.name} {bundle.version}"
    cell_map = _mapped(cells, onto, name) if onto else _made(cells, method, dimensions, name)
    mapped = time.monotonic()
    _write(cells, cell_map, output, new_map=onto is None)
    result = _report(cells, cell_map, output) if report else None
    seconds = {"embedding_s": round(looked - began, 2), "mapping_s": round(mapped - looked, 2)}
    if json:
        print_json({"notice": NOTICE, "method": cell_map.method, "cells": len(cells), "folder": str(output), **seconds,
                    "report": result.to_dict() if result else None})  # fmt: skip
    elif result:
        typer.echo(result.text())
    note(
        f"{len(cells)} cells: embedded in {looked - began:.1f} s, {cell_map.method} in {mapped - looked:.1f} s. "
        f"Open {output / 'map.html'}. {NOTICE}"
    )
    failures += cells.failures
    listing = write_failures(output / "coordinates.csv", failures)
    if failures:
        report_failures(failures, listing)
        raise typer.Exit(3)


def _made(cells: EmbeddedCells, method: str, dimensions: int, name: str) -> CellMap:
    from corpuscle.explanation.projection import make_map

    return make_map(cells.embeddings, method=method, dimensions=dimensions, model=name)


def _mapped(cells: EmbeddedCells, onto: Path, name: str) -> CellMap:
    """Place cells on a map that exists; the answer holds the new ones alone."""
    from dataclasses import replace

    from corpuscle.explanation.projection import load_map, place_on_map

    old = load_map(onto)
    if old.model != name:
        raise UsageError(f"The map {onto} was made with {old.model}, not with {name}. Name that model with --model.")
    return replace(old, coordinates=place_on_map(old, cells.embeddings))


def _write(cells: EmbeddedCells, cell_map: CellMap, folder: Path, *, new_map: bool) -> None:
    """Write everything that a map consists of."""
    from corpuscle.explanation.drawing import save_png
    from corpuscle.explanation.map_colors import colorings
    from corpuscle.explanation.projection import save_map
    from corpuscle.explanation.projection_files import write_page, write_projector, write_table
    from corpuscle.explanation.scatter import draw_map

    sources = ", ".join(dict.fromkeys(item.source for item in cells.specimens))
    about = f"{len(cells)} cells of {sources}; {cell_map.model}, {cell_map.method}"
    write_page(cells, cell_map, folder, about=about)
    write_table(cells, cell_map, folder)
    write_projector(cells, folder / "projector")
    for coloring in colorings(cells):
        save_png(draw_map(cell_map.coordinates, coloring, title=about), folder / f"map.{coloring.name}.png")
    if new_map:
        save_map(cell_map, folder)


def _report(cells: EmbeddedCells, cell_map: CellMap, folder: Path) -> MapReport:
    """Write what the map says as text, JSON and a table of labels to look at again."""
    from corpuscle.evaluation.map_report import report_map
    from corpuscle.files import written_whole

    result = report_map(cells, cell_map.coordinates)
    with written_whole(folder / "report.txt") as part:
        part.write_text(result.text(most=50) + "\n", encoding="utf-8", errors="replace")
    with written_whole(folder / "report.json") as part:
        part.write_text(dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")
    with (
        written_whole(folder / "doubtful_labels.csv") as part,
        part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "label", "suggestion", "doubt"])
        table.writerows([item.file, item.label, item.suggestion, f"{item.doubt:.4f}"] for item in result.suspects)
    return result
