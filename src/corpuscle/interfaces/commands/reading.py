"""Commands that read pictures: `classify` and `demo`."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corpuscle.interfaces.commands.fields import demo_field
from corpuscle.interfaces.console import DEFAULT_MODEL, note, print_json, progress_bar
from corpuscle.interfaces.pictures import find_pictures, report_failures

if TYPE_CHECKING:
    from corpuscle.prediction.classification import CellReader
    from corpuscle.records import Prediction

__all__ = ["classify", "demo"]


def classify(
    *,
    paths: Annotated[list[str], typer.Argument(help="Pictures, folders (searched through) or glob patterns.")],
    model: Annotated[str, typer.Option(help="A shipped model's name or a bundle's folder.")] = DEFAULT_MODEL,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="FILE.csv or FILE.json.")] = None,
    framing: Annotated[str, typer.Option(help="What is judged: auto, cell, field, center or whole.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Worker threads; 0 for one a processor.")] = 0,
    cam: Annotated[Path | None, typer.Option(help="Folder for a heat map of each picture, <stem>.cam.png.")] = None,
    attributes: Annotated[
        bool, typer.Option("--attributes", help="Describe each cell in words, too, with the nearest known cell.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Name the cell in each picture.

    Exit status 0: all done; 2: wrong usage; 3: some pictures could not be read, every other one was still written.
    """
    from corpuscle.prediction.classification import CellReader, default_workers
    from corpuscle.prediction.writing import NOTICE, open_writer, write_failures
    from corpuscle.records import Failure

    found, failures = find_pictures(paths, output=cam)
    reader = CellReader(model, framing=framing, describe=attributes)
    visit = None
    if cam is not None:
        from corpuscle.explanation.map_files import CamWriter

        visit = CamWriter(reader.bundle, cam, found)
    writer = partial(open_writer, bundle=reader.bundle, stdout=sys.stdout, as_json=json, describe=attributes)
    table = output is None and not json and sys.stdout.isatty()
    shown: list[Prediction] = []
    began = time.monotonic()
    with ExitStack() as stack:
        writers = [] if table else [stack.enter_context(writer(output))]
        if output is not None and json:  # both the file and what is printed
            writers.append(stack.enter_context(writer(None)))
        for one in writers:
            for failure in failures:
                one.add(failure)
        show = stack.enter_context(progress_bar("classifying"))
        for done, answer in enumerate(reader.stream(found, workers=workers, visit=visit), start=1):
            for one in writers:
                one.add(answer)
            if isinstance(answer, Failure):
                failures.append(answer)
            elif table:
                shown.append(answer)
            show(done, len(found))
    seconds = time.monotonic() - began
    if table:
        _print_table(shown)
    cells, count = len(found), workers or default_workers()
    note(
        f"{cells} {'picture' if cells == 1 else 'pictures'} in {seconds:.1f} s: "
        f"{cells / max(seconds, 1e-9):.0f} a second with {count} workers. {NOTICE}"
    )
    listing = write_failures(output, failures) if output is not None and _is_plain(output) else None
    if failures:
        report_failures(failures, listing)
        raise typer.Exit(3)


def _is_plain(output: Path) -> bool:
    """Whether an output is a file, which can have a list of failures beside it, and no device."""
    return output.is_file()


def _print_table(predictions: list[Prediction]) -> None:
    """Print predictions as a table for people."""
    from rich.console import Console
    from rich.table import Table

    from corpuscle import taxonomy

    in_words = any(item.description for item in predictions)
    heads = ["file", "class", "confidence", "", *(["in words", "nearest known cell"] if in_words else [])]
    table = Table(*heads, box=None, pad_edge=False)
    for item in predictions:
        name = taxonomy.cell_class(item.class_name).name_en
        others = [taxonomy.cell_class(key).name_en for key in item.prediction_set if key != item.class_name]
        remark = f"refused: {item.reason}" if item.refused else ("or " + ", ".join(others) if others else "")
        words = _described(item) if in_words else ()
        table.add_row(item.file, name, f"{item.confidence:.3f}", remark, *words)
    Console(markup=False).print(table)


def _described(item: Prediction) -> tuple[str, str]:
    """Return what is said of a cell in words, and the nearest known cell."""
    said = item.description
    if said is None:
        return "", ""
    words = "; unusual: ".join(part for part in (said.words, ", ".join(said.remarks)) if part)
    return words, f"{said.nearest[0].file} ({said.nearest[0].class_name})" if said.nearest else ""


def demo(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the drawn cells and the result.")] = Path(
        "corpuscle-demo"
    ),
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Draw one cell of each class and a whole field, name and count them, and show the result in pictures."""
    from corpuscle.data.examples import write_examples
    from corpuscle.prediction.classification import CellReader
    from corpuscle.prediction.writing import NOTICE, prediction_values
    from corpuscle.records import Prediction

    files = write_examples(output)
    reader = CellReader(DEFAULT_MODEL)
    answers = [answer for answer in reader.stream(files) if isinstance(answer, Prediction)]
    picture = _draw(reader, answers, output)
    field = demo_field(reader, output)
    if json:
        cells = [prediction_values(item) for item in answers]
        print_json({"notice": NOTICE, "picture": str(picture), "predictions": cells, "field": field})
        return
    right = sum(Path(item.file).stem.startswith(item.class_name) for item in answers)
    _print_table(answers)
    typer.echo(f"\n{right} of {len(answers)} drawn cells were named right. {NOTICE}")
    typer.echo(f"The picture with the result: {picture}")
    if field is not None:
        parts = (f"{field['counted'][kind]} of {number} {kind}" for kind, number in field["drawn"].items())
        typer.echo(f"In the drawn field were counted: {', '.join(parts)}. The overlay: {field['overlay']}")


def _draw(reader: CellReader, answers: list[Prediction], folder: Path) -> Path:
    """Draw the contact sheet of the demo."""
    from corpuscle import taxonomy
    from corpuscle.data.images import read_image
    from corpuscle.explanation.drawing import SheetItem, class_color, draw_contact_sheet, save_png

    items = []
    for item in answers:
        box = (item.framing.x_min, item.framing.y_min, item.framing.side_px)
        items.append(
            SheetItem(
                image=read_image(item.file),
                title=taxonomy.cell_class(item.class_name).name_en,
                subtitle=f"drawn as {Path(item.file).stem.rsplit('_', 1)[0].replace('_', ' ')}",
                color=class_color(item.class_name),
                bar=item.confidence,
                warning=item.refused,
                frame_box=(box[0], box[1], box[0] + box[2], box[1] + box[2]),
            )
        )
    path = folder / "result.png"
    save_png(draw_contact_sheet(items, title=f"Corpuscle demo: {reader.bundle.name}"), path)
    return path
