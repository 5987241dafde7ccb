"""Writes what was counted: tables and other programs' formats, each file whole or not at all.

Tables grow as fields come, in the order of the fields, so that memory stays flat; files of one field are written by
whoever read it. A run that fails leaves the tables of an earlier run as they were.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from PIL import Image

from corpuscle import __version__
from corpuscle.files import make_folder, short_stem, write_error, written_whole
from corpuscle.prediction.cell_naming import cut_crop
from corpuscle.prediction.correction import Confusion
from corpuscle.prediction.counting import differential_of
from corpuscle.prediction.describing import description_columns, description_row
from corpuscle.prediction.field_formats import (
    CATEGORIES,
    category_of,
    coco_annotation,
    coco_categories,
    coco_image,
    geojson,
    yolo_lines,
)
from corpuscle.prediction.findings import Finding, find_findings
from corpuscle.prediction.tiling import FieldSource
from corpuscle.prediction.writing import NOTICE, SET_SEPARATOR, write_failures
from corpuscle.records import Failure, FieldCell, FieldReading

__all__ = [
    "CELL_COLUMNS",
    "COUNT_COLUMNS",
    "RunWriter",
    "cell_row",
    "cell_values",
    "count_row",
    "field_values",
    "stems_for",
    "summary_values",
    "write_crops",
    "write_geojson",
    "write_json",
    "write_yolo",
    "write_yolo_names",
]

CELL_COLUMNS = (
    "file", "number", "kind", "class", "x_min", "y_min", "x_max", "y_max", "score", "confidence", "refused",
    "reason", "set", "on_border", "touching", "clump",
)  # fmt: skip
COUNT_COLUMNS = ("file", "erythrocytes", "leukocytes", "platelets")
_YOLO_NAMES = "classes"
_CROP_ROOM = 1.3


def stems_for(files: Iterable[str]) -> dict[str, str]:
    """Give every file a name of its own for what is written about it: its stem, and `stem_2` where that is taken.

    Names that differ in case alone count as the same, as they do on many disks. Very long ones are cut, and `classes`
    is kept for the names of YOLO's numbers.
    """
    taken = {_YOLO_NAMES}
    stems: dict[str, str] = {}
    for file in files:
        if file in stems:
            continue
        stem = short_stem(Path(file).stem or "field")
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.casefold())
        stems[file] = name
    return stems


def cell_row(file: str, cell: FieldCell) -> dict[str, str | int]:
    """Return one line of `cells.csv`."""
    x_min, y_min, x_max, y_max = (f"{edge:.2f}" for edge in cell.box)
    return {
        "file": file, "number": cell.number, "kind": cell.kind, "class": cell.class_name,
        "x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max, "score": f"{cell.score:.4f}",
        "confidence": "" if cell.confidence is None else f"{cell.confidence:.6f}",
        "refused": _truth(cell.refused), "reason": cell.reason, "set": SET_SEPARATOR.join(cell.prediction_set),
        "on_border": _truth(cell.on_border), "touching": _truth(cell.touching), "clump": cell.clump,
    }  # fmt: skip


def cell_values(cell: FieldCell) -> dict[str, Any]:
    """Return one cell of a field as plain values for JSON."""
    return {
        "number": cell.number,
        "kind": cell.kind,
        "class": cell.class_name,
        "box": [round(edge, 2) for edge in cell.box],
        "score": round(cell.score, 4),
        "confidence": None if cell.confidence is None else round(cell.confidence, 6),
        "refused": cell.refused,
        "reason": cell.reason,
        "set": list(cell.prediction_set),
        "probabilities": {key: round(value, 6) for key, value in cell.probabilities.items()},
        "on_border": cell.on_border,
        "touching": cell.touching,
        "clump": cell.clump,
    }


def _truth(value: bool) -> str:  # noqa: FBT001
    return "true" if value else "false"


def count_row(reading: FieldReading) -> dict[str, str | int]:
    """Return one line of `counts.csv`."""
    return {
        "file": reading.file,
        "erythrocytes": reading.count("erythrocyte"),
        "leukocytes": reading.count("leukocyte"),
        "platelets": reading.count("platelet"),
    }


def field_values(reading: FieldReading) -> dict[str, Any]:
    """Return one field as plain values for JSON, without its cells."""
    ruler = reading.ruler
    return {
        **count_row(reading),
        "sha256": reading.sha256,
        "width_px": reading.width_px,
        "height_px": reading.height_px,
        "um_per_px": ruler.um_per_px or None,
        "ruler": ruler.method,
        "scale": round(ruler.scale, 5),
        "origin_px": list(reading.origin_px),
        "downsample": reading.downsample,
        "notes": list(reading.notes),
    }


def summary_values(
    readings: Sequence[FieldReading],
    models: dict[str, Any],
    *,
    failures: Sequence[Failure] = (),
    interval: str = "wilson",
    confusion: Confusion | None = None,
) -> dict[str, Any]:
    """Return what `differential.json` holds: the differential, findings, totals, fields, models and the notice.

    Args:
        readings: The fields of the smear.
        models: What `FieldReader.describe` says.
        failures: Fields that could not be read.
        interval: `wilson`, `exact` or `simultaneous`.
        confusion: How the classifier mistakes cells, to correct for it as well.
    """
    differential = differential_of(readings, interval=interval, confusion=confusion)
    findings: tuple[Finding, ...] = find_findings(readings, differential)
    totals = {name: sum(int(count_row(reading)[name]) for reading in readings) for name in COUNT_COLUMNS[1:]}
    return {
        "corpuscle": __version__,
        "notice": NOTICE,
        "models": models,
        "totals": totals,
        "differential": differential.to_dict(),
        "findings": [finding.to_dict() for finding in findings],
        "fields": [field_values(reading) for reading in readings],
        "errors": [{"file": failure.file, "reason": failure.reason} for failure in failures],
    }


class RunWriter:
    """Takes readings one by one, in order, and writes the tables of a run into its folder.

    Use it as a context; the tables take their names only when it ends well.
    """

    def __init__(self, folder: Path, models: dict[str, Any], *, attributes: bool = False, read_from: str = "") -> None:
        """Name the folder, which is made if need be, and what `FieldReader.describe` says.

        With `attributes` the table of cells has their columns as well. `read_from` is the way from the folder to where
        relative names of pictures begin, for whoever looks for them later.
        """
        self._read_from = read_from
        self._attributes = attributes
        self.folder = make_folder(Path(folder))
        self._models = models
        self._stack = ExitStack()
        self._readings: list[FieldReading] = []
        self._failures: list[Failure] = []
        self._cells = 0

    def __enter__(self) -> RunWriter:
        """Open the tables."""
        try:
            columns = [*CELL_COLUMNS, *(description_columns() if self._attributes else ())]
            self._cell_table = csv.DictWriter(self._open("cells.csv"), columns, lineterminator="\n")
            self._count_table = csv.DictWriter(self._open("counts.csv"), COUNT_COLUMNS, lineterminator="\n")
            self._coco = self._open("coco.json", errors="backslashreplace")
            head = {"description": f"Corpuscle {__version__}. {NOTICE}", "version": __version__}
            self._coco.write(
                f'{{"info": {json.dumps(head)},\n"licenses": [],\n"categories": {json.dumps(coco_categories())},\n'
                '"annotations": ['
            )
            self._cell_table.writeheader()
            self._count_table.writeheader()
        except BaseException as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _open(self, name: str, *, errors: str = "surrogateescape") -> TextIO:
        path = self.folder / name
        part = self._stack.enter_context(written_whole(path))
        try:
            return self._stack.enter_context(part.open("w", newline="", encoding="utf-8", errors=errors))
        except OSError as error:
            raise write_error(path, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Give the tables their names, or leave everything as it was."""
        if error is None:
            images = [coco_image(reading, place) for place, reading in enumerate(self._readings, start=1)]
            self._coco.write(f'\n],\n"images": {json.dumps(images)}}}\n')
        return self._stack.__exit__(kind, error, trace)

    def add(self, answer: FieldReading | Failure) -> None:
        """Write one field's lines; a failure is kept for the end."""
        if isinstance(answer, Failure):
            self._failures.append(answer)
            return
        self._count_table.writerow(count_row(answer))
        image_id = len(self._readings) + 1
        for cell in answer.cells:
            words = description_row(cell.description) if self._attributes else {}
            self._cell_table.writerow(cell_row(answer.file, cell) | words)
            self._cells += 1
            comma = ",\n" if self._cells > 1 else "\n"
            self._coco.write(comma + json.dumps(coco_annotation(cell, image_id, self._cells)))
        self._readings.append(answer)

    def finish(self, *, interval: str = "wilson", confusion: Confusion | None = None) -> dict[str, Any]:
        """Write `differential.json` and the list of failures `cells.errors.csv`; return what the first holds."""
        values = summary_values(
            self._readings, self._models, failures=self._failures, interval=interval, confusion=confusion
        )
        way = {"read_from": self._read_from} if self._read_from else {}
        write_json(self.folder / "differential.json", values | way)
        write_failures(self.folder / "cells.csv", self._failures)
        return values


def write_json(path: Path, values: Any) -> None:
    """Write plain values as JSON, whole or not at all."""
    with written_whole(path) as part:
        part.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", "utf-8", errors="backslashreplace")


def write_geojson(reading: FieldReading, path: Path, color_of: Callable[[str], tuple[int, int, int]]) -> Path:
    """Write a field's cells for QuPath; return the file.

    Raises:
        OutputError: The file cannot be written.
    """
    with written_whole(path) as part:
        part.write_text(json.dumps(geojson(reading, color_of)) + "\n", encoding="utf-8")
    return path


def write_yolo(reading: FieldReading, folder: Path, stem: str) -> Path:
    """Write a field's cells as YOLO text; return the file.

    Raises:
        OutputError: A file cannot be written.
    """
    path = folder / f"{stem}.txt"
    with written_whole(path) as part:
        part.write_text(yolo_lines(reading), encoding="utf-8")
    return path


def write_yolo_names(folder: Path) -> Path:
    """Write the names of YOLO's numbers; return the file."""
    path = folder / f"{_YOLO_NAMES}.txt"
    with written_whole(path) as part:
        part.write_text("".join(f"{name}\n" for name in CATEGORIES), encoding="utf-8")
    return path


def write_crops(reading: FieldReading, source: FieldSource, folder: Path, stem: str) -> list[Path]:
    """Write every leukocyte and platelet as a picture into the folder of its class, refused ones into `refused`.

    Returns:
        The files.

    Raises:
        OutputError: A file cannot be written.
    """
    paths: list[Path] = []
    for cell in reading.cells:
        if cell.kind == "erythrocyte":
            continue
        name = "refused" if cell.refused else category_of(cell)
        x_min, y_min, x_max, y_max = cell.box
        side = _CROP_ROOM * max(x_max - x_min, y_max - y_min)
        path = folder / name / f"{stem}_{cell.number}.png"
        with written_whole(path) as part:
            Image.fromarray(cut_crop(source, cell.box, side)).save(part, format="PNG", compress_level=1)
        paths.append(path)
    return paths
