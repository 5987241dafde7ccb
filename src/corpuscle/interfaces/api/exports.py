"""A session as files: the tables and reports of `corpuscle count`, a data set to train on, the log and the map."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from corpuscle import __version__
from corpuscle.data.images import read_image
from corpuscle.errors import NoInputError
from corpuscle.explanation.overlay import cell_color, draw_overlay
from corpuscle.interfaces.api.cell_rows import NOT_A_CELL, cell_values, class_now, kind_now
from corpuscle.interfaces.api.jobs import Job
from corpuscle.interfaces.api.labels import log_entries
from corpuscle.interfaces.api.session_map import MapRequest, map_points
from corpuscle.interfaces.api.smear_state import readings_of
from corpuscle.interfaces.api.store import Row
from corpuscle.interfaces.api.workbench import Workbench
from corpuscle.prediction.field_writing import CELL_COLUMNS, RunWriter, cell_row, stems_for, write_geojson
from corpuscle.prediction.tiling import ArraySource
from corpuscle.prediction.writing import NOTICE
from corpuscle.reporting.smear_report import write_report

__all__ = ["EXPORTS", "ExportRequest", "write_export"]

_MORE_COLUMNS: Final = ("model_class", "labeled_by", "labeled_at", "cell")


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is wanted of a session: one of `EXPORTS`, and for two of them how."""

    session: str
    what: str
    only: str = "reviewed"
    method: str = "pca"


def write_export(bench: Workbench, job: Job, request: ExportRequest, folder: Path) -> Path:
    """Write one export of a session into a folder that is there.

    Returns:
        The file.

    Raises:
        NoInputError: The session holds nothing of that kind.
        MissingExtraError: A PDF was asked for and cannot be made here.
        OutputError: The file cannot be written.
    """
    return EXPORTS[request.what](bench, job, request, folder)


def _run(bench: Workbench, job: Job, session: str, folder: Path, *, overlays: bool = False) -> dict[str, Row]:
    """Write the tables of a run, as `corpuscle count` does; returns the pictures by name."""
    store = bench.store
    with store.steady():
        images = {row["name"]: row for row in store.images(session)}
        readings = readings_of(store, session)
    if not readings:
        raise NoInputError("This session holds no picture yet. Add some first.")
    models = json.loads(images[readings[0].file]["facts"]).get("models", {})
    stems = stems_for(reading.file for reading in readings)
    with RunWriter(folder, models) as writer:
        for reading in readings:
            job.check()
            writer.add(reading)
            if overlays:
                source = ArraySource(read_image(store.picture(images[reading.file]["id"])))
                picture = Image.fromarray(draw_overlay(reading, source))
                picture.save(folder / f"{stems[reading.file]}.overlay.png", compress_level=1)
        writer.finish()
    return images


def _of_run(bench: Workbench, job: Job, request: ExportRequest, folder: Path) -> Path:
    _run(bench, job, request.session, folder)
    return folder / request.what


def _cells_csv(bench: Workbench, job: Job, request: ExportRequest, folder: Path) -> Path:
    """Write the table of cells as `corpuscle count` does, with who named a cell otherwise."""
    with bench.store.steady():
        rows = {(row["image"], row["number"]): row for row in bench.store.cells(request.session)}
        images = {row["name"]: row for row in bench.store.images(request.session)}
        readings = readings_of(bench.store, request.session)
    lines = []
    for reading in readings:
        job.check()
        image = images[reading.file]
        for cell in reading.cells:
            row = rows[image["id"], cell.number]
            more = {"model_class": row["class"], "labeled_by": row["who"], "labeled_at": row["labeled"]}
            lines.append({**cell_row(reading.file, cell), **more, "cell": row["id"]})
    return _table(folder / request.what, (*CELL_COLUMNS, *_MORE_COLUMNS), lines)


def _table(path: Path, columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> Path:
    """Write a table; text that a spreadsheet would run as a formula gets an apostrophe before it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({key: _harmless(value) for key, value in line.items()})
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def _harmless(value: Any) -> Any:
    risky = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if risky and not re.fullmatch(r"[-+]?[0-9.]+", value) else value


def _cells_json(bench: Workbench, job: Job, request: ExportRequest, folder: Path) -> Path:
    job.check()
    with bench.store.steady():
        names = {row["id"]: row["name"] for row in bench.store.images(request.session)}
        rows = bench.store.cells(request.session)
    cells = [{"file": names[row["image"]], **cell_values(row)} for row in rows]
    session = bench.store.session_values(bench.store.session(request.session))
    values = {"corpuscle": __version__, "notice": NOTICE, "session": session, "cells": cells}
    path = folder / request.what
    path.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


def _geojson(bench: Workbench, job: Job, request: ExportRequest, folder: Path) -> Path:
    readings = readings_of(bench.store, request.session)
    stems = stems_for(_safe(reading.file) for reading in readings)
    path = folder / request.what
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        for reading in readings:
            job.check()
            name = f"{stems[_safe(reading.file)]}.geojson"
            write_geojson(reading, folder / name, cell_color)
            pack.write(folder / name, name)
    return path


def _report(bench: Workbench, job: Job, request: ExportRequest, folder: Path) -> Path:
    images = _run(bench, job, request.session, folder, overlays=True)
    job.check()
    pictures = {name: bench.store.picture(row["id"]) for name, row in images.items()}
    title = bench.store.session(request.session)["name"] or "without a name"
    pdf = request.what.endswith(".pdf")
    return write_report(folder, folder / "report.html", pdf=pdf, title=title, pictures=pictures)[-1]


def _dataset(bench: Workbench, job: Job, request: ExportRequest, folder: Path) -> Path:
    """Write cells as pictures, a folder per class, which `corpuscle train` takes, and who said so."""
    with bench.store.steady():
        rows = [row for row in bench.store.cells(request.session) if _teaches(row, request.only)]
        images = {row["id"]: row for row in bench.store.images(request.session)}
    if not rows:
        raise NoInputError("No cell of this session was reviewed yet. Label or confirm some, or ask for all.")
    stems = stems_for(_safe(row["name"]) for row in images.values())
    path, lines = folder / request.what, []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as pack:
        for row in rows:
            job.check()
            image = images[row["image"]]
            name = f"{class_now(row)}/{stems[_safe(image['name'])]}_{row['number']}.png"
            data = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(bench.pictures.picture(row))).save(data, "PNG", compress_level=1)
            pack.writestr(name, data.getvalue())
            lines.append(
                {
                    "file": name, "class": class_now(row), "model_class": row["class"], "labeled_by": row["who"],
                    "labeled_at": row["labeled"], "picture": image["name"], "number": row["number"],
                }
            )  # fmt: skip
        table = _table(folder / "labels.csv", tuple(lines[0]), lines)
        pack.write(table, table.name)
    return path


def _teaches(row: Row, only: str) -> bool:
    """Return whether a cell belongs into a data set: a person's answers, or everything that has a class."""
    if row["label"]:
        return bool(row["label"] != NOT_A_CELL)
    known = row["class"] and not row["refused"] and kind_now(row) != "erythrocyte"
    return only == "all" and bool(known)


def _safe(name: str) -> str:
    """Return a name that every file system takes."""
    return re.sub(r'[<>:"/\\|?*]', "_", name)


def _log(bench: Workbench, job: Job, request: ExportRequest, folder: Path) -> Path:
    job.check()
    entries = log_entries(bench.store, request.session)
    columns = ("n", "when", "who", "what", "cell", "from", "to", "undoes")
    return _table(folder / request.what, columns, entries)


def _map(bench: Workbench, job: Job, request: ExportRequest, folder: Path) -> Path:
    points = map_points(bench, job, MapRequest(request.session, request.method))
    with bench.store.steady():
        rows = {row["id"]: row for row in bench.store.cells(request.session)}
        names = {row["id"]: row["name"] for row in bench.store.images(request.session)}
    lines = [
        {
            "cell": item["cell"], "file": names[rows[item["cell"]]["image"]], "number": rows[item["cell"]]["number"],
            "class": item["class"], "confidence": item["confidence"], "x": item["x"], "y": item["y"],
        }
        for item in points
        if item["cell"] in rows
    ]  # fmt: skip
    return _table(folder / request.what, ("cell", "file", "number", "class", "confidence", "x", "y"), lines)


EXPORTS: Final[dict[str, Callable[[Workbench, Job, ExportRequest, Path], Path]]] = {
    "cells.csv": _cells_csv,
    "cells.json": _cells_json,
    "counts.csv": _of_run,
    "differential.json": _of_run,
    "coco.json": _of_run,
    "geojson.zip": _geojson,
    "report.html": _report,
    "report.pdf": _report,
    "dataset.zip": _dataset,
    "log.csv": _log,
    "map.csv": _map,
}
"""What can be exported, and what writes it."""
