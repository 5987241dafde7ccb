"""Speed of counting a field, part by part, as a ratio to the detector alone in the same run."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from corpuscle.data.drawn_scenes import SceneSpec, draw_scene
from corpuscle.data.images import find_images, read_image
from corpuscle.errors import UsageError
from corpuscle.evaluation.counting import CountingEvaluation
from corpuscle.evaluation.counting_errors import KindErrors
from corpuscle.evaluation.intervals import wilson_interval
from corpuscle.evaluation.machine import machine_line
from corpuscle.evaluation.ruler_check import RulerEvaluation
from corpuscle.evaluation.seams import SeamEvaluation
from corpuscle.explanation.overlay import draw_overlay
from corpuscle.prediction.cell_naming import CellNamer
from corpuscle.prediction.fields import FieldReader
from corpuscle.prediction.lit_fields import light_up
from corpuscle.prediction.numbering import clean_detections
from corpuscle.prediction.ruler import measure_field
from corpuscle.prediction.tiling import ArraySource, detect_everywhere
from corpuscle.records import FieldReading
from corpuscle.reporting.ledger import Figure

__all__ = ["FieldBenchmark", "benchmark_field", "counting_figures", "ruler_figures", "seam_figures", "speed_figures"]

_DRAWN = 4
_ALONE = "detector alone"
_WHOLE = "all: decode, detect, classify, number and draw"


@dataclass(frozen=True, slots=True)
class FieldBenchmark:
    """What `benchmark_field` measured.

    Attributes:
        machine: On what.
        models: Classifier and detector by name.
        n_fields: Fields a repeat.
        picture: Size of the first field.
        seconds: Seconds of processor time a field of each part, medians over the repeats.
        ratios: Each part over the detector alone, medians of the quotients inside each repeat.
    """

    machine: str
    models: str
    n_fields: int
    picture: str
    seconds: dict[str, float]
    ratios: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def text(self) -> str:
        """Return a table for people."""
        lines = [self.machine, f"{self.models}; {self.n_fields} fields of {self.picture}; processor time, 1 thread", ""]
        lines.append(f"{'part':<50}{'ms a field':>12}{'times detector':>16}")
        lines += [f"{name:<50}{1000 * value:>12.1f}{self.ratios[name]:>16.2f}" for name, value in self.seconds.items()]
        return "\n".join(lines)


def benchmark_field(
    reader: FieldReader,
    *,
    folder: str | os.PathLike[str] | None = None,
    repeats: int = 15,
    progress: Callable[[int, int], None] | None = None,
) -> FieldBenchmark:
    """Time each part of counting beside the detector's one look at the same field at the same scale.

    The parts take turns, so that a machine that slows down slows all of them. Everything runs in one thread, and its
    processor time is counted: what else the machine does scatters it less than the clock on the wall.

    Args:
        reader: What reads fields.
        folder: Fields to use; four drawn JPEG files of 640x480 pixels if not given.
        repeats: How often all fields are read, 1 or more.
        progress: Called with (done, all).

    Raises:
        UsageError: There is nothing to repeat.
        NoInputError: The folder holds no picture.
    """
    if repeats < 1:
        raise UsageError(f"A benchmark needs 1 repeat or more, not {repeats}.")
    with tempfile.TemporaryDirectory() as temporary:
        paths = _draw_files(Path(temporary)) if folder is None else find_images([folder])
        images = [read_image(path) for path in paths]
        readings = [reader.read(image) for image in images]  # also warms everything up
        parts = _parts(reader, paths, images, readings)
        times: dict[str, list[float]] = {name: [] for name in parts}
        for repeat in range(repeats):
            for name, run in parts.items():
                began = time.process_time()
                for number in range(len(paths)):
                    run(number)
                times[name].append((time.process_time() - began) / len(paths))
            if progress:
                progress(repeat + 1, repeats)
    alone = times[_ALONE]
    models = reader.describe()
    return FieldBenchmark(
        machine=machine_line(),
        models=" and ".join(f"{model['name']} {model['version']}".strip() for model in models.values()),
        n_fields=len(paths),
        picture=f"{images[0].shape[1]}x{images[0].shape[0]} pixels",
        seconds={name: statistics.median(values) for name, values in times.items()},
        ratios={
            name: statistics.median(a / max(b, 1e-9) for a, b in zip(values, alone, strict=True))
            for name, values in times.items()
        },
    )


def _draw_files(folder: Path) -> list[Path]:
    """Draw fields like those of BCCD: 640x480 pixels, erythrocytes about 100 wide."""
    spec = SceneSpec(erythrocyte_px=100, erythrocytes=18, leukocytes={"neutrophil": 1}, platelets=1)
    paths = []
    for seed in range(_DRAWN):
        paths.append(folder / f"{seed}.jpg")
        Image.fromarray(draw_scene(spec, seed).image).save(paths[-1], quality=90)
    return paths


def _parts(
    reader: FieldReader,
    paths: list[Path],
    images: list[np.ndarray[Any, np.dtype[np.uint8]]],
    readings: list[FieldReading],
) -> dict[str, Callable[[int], object]]:
    """Name what is timed; each part takes the number of a field."""
    sources = [ArraySource(image) for image in images]
    namer = CellNamer(reader.cells)
    measured = [measure_field(reader.detector, source, um_per_px=reader.um_per_px) for source in sources]
    cleaned = [
        clean_detections(item.detections, source.width_px, source.height_px)[0]
        for item, source in zip(measured, sources, strict=True)
    ]

    def alone(number: int) -> object:
        return detect_everywhere(reader.detector, sources[number], scale=measured[number].ruler.scale)

    def classify(number: int) -> object:
        width = reader.detector.erythrocyte_px / measured[number].ruler.scale
        return namer.name(sources[number], cleaned[number], width)

    def whole(number: int) -> object:
        reading, source = reader.read_with_pixels(paths[number])
        return draw_overlay(reading, source)

    return {
        "decode": lambda number: read_image(paths[number]),
        _ALONE: alone,
        "detect: ruler and detector": lambda number: measure_field(
            reader.detector, light_up(sources[number])[0], um_per_px=reader.um_per_px
        ),
        "classify": classify,
        "draw": lambda number: draw_overlay(readings[number], sources[number]),
        _WHOLE: whole,
    }


def speed_figures(result: FieldBenchmark) -> list[Figure]:
    """Turn a benchmark into figures for a page."""
    where = f"{result.n_fields} fields of {result.picture}, {result.models}"
    return [
        Figure(f"{name} / {_ALONE}", f"{ratio:.2f}", "", where, result.n_fields, "")
        for name, ratio in result.ratios.items()
        if name != _ALONE
    ]


def ruler_figures(result: RulerEvaluation) -> list[Figure]:
    """Turn an evaluation of the ruler into figures for a page."""
    rows = []
    for row in result.rows:
        where = f"{result.dataset} {result.split} at {row.zoom:g} of its size".replace("  ", " ")
        ends = wilson_interval(row.near, row.n)
        rows += [
            Figure(
                "magnification within 25 %", f"{row.near / row.n:.4f}", f"{ends.low:.4f}-{ends.high:.4f}", where, row.n,
                note=f"worst measured one off by {row.worst:.2f} times; {row.n - row.told} not told",
            ),
            Figure("pixels shown / one look at the right scale", f"{row.area:.2f}", "", where, row.n),
        ]  # fmt: skip
    return rows


def seam_figures(result: SeamEvaluation) -> list[Figure]:
    """Turn an evaluation of the seams into figures for a page."""
    where = f"drawn field of {result.side_px}x{result.side_px} pixels, {result.tiles} tiles"
    elsewhere = result.cells - result.near
    rows = [
        ("cells lost near a seam", result.lost[0], result.near),
        ("cells lost elsewhere", result.lost[1], elsewhere),
        ("cells counted twice near a seam", result.twice[0], result.near),
        ("cells counted twice elsewhere", result.twice[1], elsewhere),
        ("cells found where nothing is", result.invented, result.cells),
    ]
    memory = f"{result.memory_mb:.0f} MB"
    note = f"the field has {result.picture_mb:.0f} MB"
    return [
        *(Figure(what, str(value), "", where, n, "") for what, value, n in rows),
        Figure("memory that the process grew by", memory, "", where, result.cells, "", note),
    ]


def counting_figures(result: CountingEvaluation) -> list[Figure]:
    """Turn an evaluation of counts into figures for a page."""
    where, rows = f"{result.dataset} {result.split}".strip(), []
    for kind, row in result.errors.by_kind.items():
        rows += _kind_figures(kind, row, where, result.leak)
        own = result.agreement.get(kind)
        if own:
            span = f"{own.concordance_interval.low:.3f}-{own.concordance_interval.high:.3f}"
            what = f"{kind}s: Lin's concordance"
            rows.append(Figure(what, f"{own.concordance:.3f}", span, where, row.fields, note=result.leak))
    for kind, row in result.reviewed.items():
        also = ", with those that the annotators left out"
        rows += _kind_figures(kind, row, where, result.leak, also=also)
        if row.concordance is not None:
            what = f"{kind}s: Lin's concordance{also}"
            rows.append(Figure(what, f"{row.concordance:.3f}", "", where, row.fields, note=result.leak))
    return rows


def _kind_figures(kind: str, row: KindErrors, where: str, note: str, *, also: str = "") -> list[Figure]:
    """Return the errors of the counts of one kind as figures; `also` ends the name of each."""
    ends = row.exact_interval
    exact = f"{ends.low:.4f}-{ends.high:.4f}"
    name = f"{kind}s: fields counted exactly{also}"
    rows = [Figure(name, f"{row.exact:.4f}", exact, where, row.fields, note=note)]
    for what, value, interval in (
        ("mean absolute error, cells a field", row.absolute, row.absolute_interval),
        ("mean absolute percentage error", row.percentage, row.percentage_interval),
    ):
        if value is not None:
            span = f"{interval.low:.2f}-{interval.high:.2f}" if interval else ""
            rows.append(Figure(f"{kind}s: {what}{also}", f"{value:.2f}", span, where, row.fields, note=note))
    return rows
