"""The run behind `corpuscle count`: every file about every field, in one folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from corpuscle.errors import UsageError
from corpuscle.explanation.overlay import cell_color, draw_overlay
from corpuscle.files import make_folder, written_whole
from corpuscle.prediction.correction import Confusion
from corpuscle.prediction.field_writing import (
    RunWriter,
    stems_for,
    write_crops,
    write_geojson,
    write_yolo,
    write_yolo_names,
)
from corpuscle.prediction.fields import Field, FieldReader, PartOfSlide
from corpuscle.prediction.tiling import FieldSource
from corpuscle.records import Failure, FieldReading
from corpuscle.reporting.run_files import RunFiles

__all__ = ["RunOptions", "RunResult", "count_into"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run writes beside its tables, overlays and GeoJSON.

    Attributes:
        interval: `wilson`, `exact`, `simultaneous` or `sison-glaz`.
        confusion: How the classifier mistakes cells, to correct the differential for it as well.
        yolo: Whether to write YOLO text.
        crops: Whether to write leukocytes and platelets as pictures, a folder per class.
        attributes: Whether the table of cells says each in words too; the reader's cells must be described.
        workers: Threads; one a processor if 0.
    """

    interval: str = "wilson"
    confusion: Confusion | None = None
    yolo: bool = False
    crops: bool = False
    attributes: bool = False
    workers: int = 0


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run left: its folder, what `differential.json` holds, and how much could not be read."""

    folder: Path
    values: dict[str, Any]
    counts: tuple[tuple[str, int, int, int], ...]
    failures: tuple[Failure, ...] = field(default=())


def count_into(
    reader: FieldReader,
    fields: Sequence[Field],
    folder: Path,
    options: RunOptions,
    *,
    failures: Sequence[Failure] = (),
    progress: Callable[[int, int], None] | None = None,
) -> RunResult:
    """Count fields and write `cells.csv`, `counts.csv`, `differential.json`, `coco.json` and each field's pictures.

    What an earlier run wrote into the folder and this one does not is deleted, unless it was changed since.

    Args:
        reader: What reads fields.
        fields: Files or parts of slides.
        folder: Where to; made if need be.
        options: What to write besides.
        failures: What could not even be found.
        progress: Called with (done, all).

    Raises:
        OutputError: A file cannot be written; the tables of an earlier run then stand as they were.
        UnknownNameError: There is no such interval.
    """
    stems = stems_for(_name(item) for item in fields)
    make_folder(folder)

    def on_field(reading: FieldReading, source: FieldSource) -> None:
        files.add(_write_field(reading, source, folder, stems[reading.file], options))

    counts = []
    tables = RunWriter(folder, reader.describe(), attributes=options.attributes, read_from=_way_back(folder))
    with RunFiles(folder) as files, tables as writer:
        lost = list(failures)
        for failure in lost:
            writer.add(failure)
        if options.yolo:
            files.add([write_yolo_names(folder / "yolo")])
        answers = reader.stream(fields, workers=options.workers, on_field=on_field)
        for done, answer in enumerate(answers, start=1):
            writer.add(answer)
            if isinstance(answer, Failure):
                lost.append(answer)
            else:
                kinds = (answer.count("erythrocyte"), answer.count("leukocyte"), answer.count("platelet"))
                counts.append((answer.file, *kinds))
            if progress:
                progress(done, len(fields))
        values = writer.finish(interval=options.interval, confusion=options.confusion)
    return RunResult(folder, values, tuple(counts), tuple(lost))


def _name(item: Field) -> str:
    if isinstance(item, PartOfSlide):
        return item.file
    if isinstance(item, (str, Path)):
        return str(item)
    raise UsageError("A run reads files; give names of files, or read arrays with corpuscle.count.")


def _way_back(folder: Path) -> str:
    """Return the way from a run's folder to the working folder, from which relative names of pictures begin."""
    try:
        return Path(os.path.relpath(Path.cwd(), folder.resolve())).as_posix()
    except (OSError, ValueError):  # the working folder is gone, or on another drive
        return ""


def _write_field(
    reading: FieldReading, source: FieldSource, folder: Path, stem: str, options: RunOptions
) -> Iterator[Path]:
    """Write all that is about one field alone; yield each file once it is there."""
    picture = Image.fromarray(draw_overlay(reading, source))
    path = folder / f"{stem}.overlay.png"
    with written_whole(path) as part:
        picture.save(part, format="PNG", compress_level=1)
    yield path
    yield write_geojson(reading, folder / f"{stem}.geojson", cell_color)
    if options.yolo:
        yield write_yolo(reading, folder / "yolo", stem)
    if options.crops:
        yield from write_crops(reading, source, folder / "crops", stem)
