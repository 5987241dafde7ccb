"""Commands about whole fields: `count` and `report`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from corpuscle.errors import UsageError
from corpuscle.interfaces.console import DEFAULT_DETECTOR, DEFAULT_MODEL, note, print_json, progress_bar

if TYPE_CHECKING:
    from corpuscle.evaluation.counting import CountingEvaluation
    from corpuscle.prediction.classification import CellReader
    from corpuscle.prediction.correction import Confusion
    from corpuscle.prediction.fields import Field, FieldReader
    from corpuscle.records import Failure
    from corpuscle.reporting.field_runs import RunResult
    from corpuscle.reporting.ledger import Figure

_Show = Callable[[int, int], None]

__all__ = ["FIELD_BENCHMARKS", "FieldResult", "count", "demo_field", "measure_fields", "report"]

FIELD_BENCHMARKS = ("field", "counting", "ruler", "seams")
"""What `corpuscle benchmark` measures of whole fields."""


class FieldResult(Protocol):
    """What a benchmark of whole fields found."""

    def text(self) -> str:
        """Return a report for people."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""


def count(
    *,
    paths: Annotated[list[str], typer.Argument(help="Fields or slides, folders (searched through) or glob patterns.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for tables and pictures.")],
    model: Annotated[str, typer.Option(help="The classifier: a shipped model or a bundle's folder.")] = DEFAULT_MODEL,
    detector: Annotated[str, typer.Option(help="A shipped detector's name or its folder.")] = DEFAULT_DETECTOR,
    um_per_px: Annotated[
        float, typer.Option(min=0, help="Micrometers a pixel is wide; 0: measured by the erythrocytes.")
    ] = 0.0,
    interval: Annotated[str, typer.Option(help="wilson, exact, simultaneous or sison-glaz.")] = "wilson",
    corrected: Annotated[
        bool, typer.Option("--corrected", help="Also correct for the model's own confusion matrix.")
    ] = False,
    confusion: Annotated[
        Path | None, typer.Option(help="An evaluation.json with the confusion matrix to correct by.")
    ] = None,
    yolo: Annotated[bool, typer.Option("--yolo", help="Also write YOLO text.")] = False,
    crops: Annotated[bool, typer.Option("--crops", help="Also write cells as pictures, a folder per class.")] = False,
    attributes: Annotated[
        bool, typer.Option("--attributes", help="Describe each cell in words, too, in cells.csv.")
    ] = False,
    region: Annotated[
        str, typer.Option(help="Of a slide: x,y,width,height in its full pixels; all of it if not given.")
    ] = "",
    level: Annotated[int, typer.Option(min=0, help="Of a slide: 0 is full size, 1 the next smaller.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Worker threads; 0 for one a processor.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Find, number, name and count every cell of fields of one smear.

    Exit status 0: all done; 2: wrong usage; 3: some fields could not be read, every other one was still written.
    """
    from corpuscle.errors import UnknownNameError
    from corpuscle.prediction.classification import CellReader
    from corpuscle.prediction.fields import FieldReader
    from corpuscle.prediction.proportions import INTERVALS
    from corpuscle.prediction.writing import NOTICE
    from corpuscle.reporting.field_runs import RunOptions, count_into

    if interval not in INTERVALS:
        raise UnknownNameError("interval", interval, INTERVALS)
    fields, failures = _find_fields(paths, region, level, output)
    cells = CellReader(model, describe=attributes)
    reader = FieldReader(cells, detector=detector, um_per_px=um_per_px)
    options = RunOptions(
        interval=interval,
        confusion=_confusion(reader, confusion, corrected=corrected),
        yolo=yolo,
        crops=crops,
        attributes=attributes,
        workers=workers,
    )
    with progress_bar("counting") as show:
        result = count_into(reader, fields, output, options, failures=failures, progress=show)
    if json:
        print_json(result.values)
    elif result.counts:
        print_count(result)
    note(f"Written to {output}. {NOTICE}")
    if result.failures:
        note(f"{len(result.failures)} could not be read; all are listed in {output / 'cells.errors.csv'}:")
        for failure in result.failures[:5]:
            note(f"  {failure.reason}")
        raise typer.Exit(3)


def _find_fields(paths: list[str], region: str, level: int, output: Path) -> tuple[list[Field], list[Failure]]:
    """List the fields; slides become the wanted part of them."""
    from corpuscle.data.slides import SLIDE_SUFFIXES, open_slide, parse_region
    from corpuscle.errors import CorpuscleError
    from corpuscle.interfaces.pictures import find_pictures
    from corpuscle.prediction.fields import PartOfSlide
    from corpuscle.records import Failure

    found, failures = find_pictures(paths, output=output, slides=True)
    fields: list[Field] = []
    wanted = parse_region(region) if region else None
    for path in found:
        if not (wanted or level or path.suffix.lower() in SLIDE_SUFFIXES):
            fields.append(path)
            continue
        try:
            part = open_slide(path, level=level, region=wanted)
        except UsageError:
            raise
        except CorpuscleError as error:
            failures.append(Failure(str(path), str(error)))
            continue
        fields.append(PartOfSlide(str(path), part, part.origin_px, part.downsample, part.um_per_px))
    return fields, failures


def _confusion(reader: FieldReader, path: Path | None, *, corrected: bool) -> Confusion | None:
    from corpuscle.prediction.correction import read_confusion, stated_confusion

    if path is not None:
        return read_confusion(path)
    return stated_confusion(reader.bundle) if corrected else None


def print_count(result: RunResult) -> None:
    """Print what was counted as tables for people."""
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False)
    table = Table("file", "erythrocytes", "leukocytes", "platelets", box=None, pad_edge=False)
    for file, *numbers in result.counts:
        table.add_row(file, *map(str, numbers))
    console.print(table)
    console.print(_differential_table(result.values["differential"]))
    values = result.values["differential"]
    console.print(
        f"\n{values['n']} leukocytes counted; {values['refused']} refused, {values['on_border']} cut by the border."
    )
    for text in (values["warning"], values["note"], *(finding["text"] for finding in result.values["findings"])):
        if text:
            console.print(text)
    for field in result.values["fields"]:
        for text in field["notes"]:
            console.print(f"{field['file']}: {text}")


def _differential_table(values: dict[str, Any]) -> Any:
    from rich.table import Table

    from corpuscle import taxonomy

    corrected = {row["class"]: row for row in values["corrected"]}
    columns = ["class", "n", "percent", "95 % interval", "usual in adults"] + (["corrected"] if corrected else [])
    table = Table(*columns, box=None, pad_edge=False)
    for row in values["classes"]:
        ends, usual = row["interval"], row["reference"]
        cells = [
            taxonomy.cell_class(row["class"]).name_en,
            str(row["n"]),
            "" if row["percent"] is None else f"{row['percent']:.1f}",
            f"{ends['low']:.1f}-{ends['high']:.1f}" if ends else "",
            f"{usual['low']:g}-{usual['high']:g} {row['flag'] if row['flag'] in ('low', 'high') else ''}"
            if usual
            else "",
        ]
        if corrected:
            better = corrected.get(row["class"])
            cells.append(f"{better['percent']:.1f}" if better else "")
        table.add_row(*cells)
    return table


def report(
    *,
    run: Annotated[Path, typer.Argument(help="A folder that `corpuscle count` wrote.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="report.html of the run by default.")] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also write a PDF beside it.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the files as JSON.")] = False,
) -> None:
    """Make one self-contained page of a counted smear."""
    from corpuscle.reporting.smear_report import write_report

    files = write_report(run, output, pdf=pdf)
    if json:
        print_json({"files": [str(path) for path in files]})
    else:
        for path in files:
            typer.echo(str(path))


def measure_fields(
    what: str,
    models: tuple[str, str],
    show: _Show,
    *,
    chosen: tuple[str, str, Path | None],
    folder: Path | None,
    side: int,
) -> tuple[FieldResult, list[Figure]]:
    """Run one of `FIELD_BENCHMARKS` (classifier and detector; data set, split and data root), for `benchmark`."""
    from corpuscle.prediction.detection import open_detector
    from corpuscle.prediction.fields import FieldReader
    from corpuscle.reporting import field_speed

    if what == "field":
        times = field_speed.benchmark_field(FieldReader(models[0], detector=models[1]), folder=folder, progress=show)
        return times, field_speed.speed_figures(times)
    if what == "ruler":
        from corpuscle.evaluation.ruler_check import evaluate_ruler

        dataset, split, root = chosen
        ruler = evaluate_ruler(open_detector(models[1]), dataset, split=split, root=root, progress=show)
        return ruler, field_speed.ruler_figures(ruler)
    if what == "seams":
        from corpuscle.evaluation.seams import evaluate_seams

        seams = evaluate_seams(open_detector(models[1]), side, progress=show)
        return seams, field_speed.seam_figures(seams)
    return _counted(FieldReader(models[0], detector=models[1]), chosen, show)


def _counted(
    reader: FieldReader, chosen: tuple[str, str, Path | None], show: _Show
) -> tuple[CountingEvaluation, list[Figure]]:
    from corpuscle.evaluation.counting import DRAWN_SCENES, SCENES, evaluate_counting
    from corpuscle.reporting.field_speed import counting_figures

    dataset, split, root = chosen
    if dataset == DRAWN_SCENES and split not in SCENES:
        split = ""  # all of them: nothing was learned from any
    result = evaluate_counting(dataset, reader=reader, split=split, root=root, progress=show)
    return result, counting_figures(result)


def demo_field(reader: CellReader, folder: Path) -> dict[str, Any] | None:
    """Draw the field of the demo and count it; None where no detector is installed."""
    import json as json_module

    from corpuscle.data.drawn_scenes import write_example_field
    from corpuscle.errors import BundleNotFoundError
    from corpuscle.prediction.fields import FieldReader
    from corpuscle.reporting.field_runs import RunOptions, count_into

    path = write_example_field(folder)
    try:
        fields = FieldReader(reader)
    except BundleNotFoundError as error:
        note(f"The drawn field {path} was not counted. {error}")
        return None
    result = count_into(fields, [path], folder / "count", RunOptions(workers=1))
    cells = json_module.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["cells"]
    drawn = {
        f"{kind}s": sum(cell["kind"] == kind for cell in cells) for kind in ("erythrocyte", "leukocyte", "platelet")
    }
    overlay = folder / "count" / f"{path.stem}.overlay.png"
    return {"field": str(path), "overlay": str(overlay), "counted": result.values["totals"], "drawn": drawn}
