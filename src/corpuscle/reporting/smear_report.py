"""The report of a counted smear: one HTML page that holds everything it shows, and a PDF of it.

It is made of the files of a run alone. The gallery needs the pictures that were counted; one that is gone, or that has
changed since, is left out and said to be.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

from corpuscle import __version__, taxonomy
from corpuscle.data.images import read_image
from corpuscle.errors import CorpuscleError, DataError, MissingExtraError, NoInputError
from corpuscle.files import written_whole
from corpuscle.prediction.cell_naming import cut_crop
from corpuscle.prediction.field_writing import CELL_COLUMNS, stems_for
from corpuscle.prediction.tiling import ArraySource
from corpuscle.prediction.writing import NOTICE
from corpuscle.records import CELL_KINDS
from corpuscle.reporting.run_files import add_to_run
from corpuscle.reporting.smear_style import STYLE

__all__ = ["report_html", "write_report"]

_GALLERY_MOST = 24
_TILE_PX = 96
_FIELDS_MOST = 40
_FIELD_PX = 1600
_ROOM = 1.25


@dataclass(frozen=True, slots=True)
class _Run:
    """The files of a run, read."""

    folder: Path
    values: dict[str, Any]
    cells: tuple[dict[str, str], ...]
    pictures: Mapping[str, Path]

    def picture(self, file: str) -> Path:
        """Return where a counted picture lies: relative names begin where the run was started, if that is known."""
        there = self.folder / str(self.values.get("read_from", "")) / file
        return self.pictures.get(file, there if "read_from" in self.values and there.is_file() else Path(file))


def _number_of_fields(count: int) -> str:
    return f"{count} field" if count == 1 else f"{count} fields"


def write_report(
    run: Path,
    output: Path | None = None,
    *,
    pdf: bool = False,
    title: str = "",
    pictures: Mapping[str, Path] | None = None,
) -> list[Path]:
    """Write the report of a run.

    Args:
        run: A folder that `corpuscle count` wrote.
        output: The HTML file; `report.html` of the run if not given.
        pdf: Whether to write a PDF of the same name, which needs the extra `pdf`.
        title: What to call the smear; the name of the folder if not given.
        pictures: Where a counted picture lies now, by the name that the run has for it, if it is not a path.

    Returns:
        The files written.

    Raises:
        NoInputError: The folder is no run.
        DataError: A file of the run is damaged.
        MissingExtraError: A PDF was asked for and WeasyPrint is not installed.
        OutputError: A file cannot be written.
    """
    page = report_html(run, title=title, pictures=pictures)
    path = output or run / "report.html"
    with written_whole(path) as part:
        part.write_text(page, encoding="utf-8", errors="backslashreplace")
    if output is None:  # the next run into this folder makes the report out of date
        add_to_run(run, [path])
    if not pdf:
        return [path]
    try:
        from weasyprint import HTML
    except (ImportError, OSError) as error:
        raise MissingExtraError("A PDF report", "pdf") from error
    printed = path.with_suffix(".pdf")
    with written_whole(printed) as part:
        HTML(string=page).write_pdf(part)
    if output is None:
        add_to_run(run, [printed])
    return [path, printed]


def report_html(run: Path, *, title: str = "", pictures: Mapping[str, Path] | None = None) -> str:
    """Return the report of a run as one HTML page; arguments and errors as in `write_report`."""
    read = _read_run(run, pictures or {})
    heading = f"Smear report: {escape(title or run.resolve().name)}"
    differential = read.values["differential"]
    parts = [
        f"<h1>{heading}</h1>",
        f'<p class="notice">{escape(NOTICE)} Every number is a suggestion; a person decides.</p>',
        *_counts(read.values),
        *_differential(differential),
        *_findings(read.values),
        *_gallery(read),
        *_refused(read),
        *_fields(read),
        *_origin(read.values),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _read_run(run: Path, pictures: Mapping[str, Path]) -> _Run:
    summary, table = run / "differential.json", run / "cells.csv"
    if not summary.is_file() or not table.is_file():
        raise NoInputError(
            f"{run} is no run: it lacks differential.json or cells.csv. Name a folder of corpuscle count."
        )
    try:
        values = json.loads(summary.read_text(encoding="utf-8"))
        with table.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            cells = tuple(csv.DictReader(file))
        if not isinstance(values, dict) or not {"differential", "fields", "models", "totals"} <= values.keys():
            raise ValueError("a part is missing")
        if cells and not set(CELL_COLUMNS) <= cells[0].keys():
            raise ValueError("columns are missing")
        counted = sum(values["totals"][f"{kind}s"] for kind in CELL_KINDS)
        if len(cells) != counted or any(None in cell.values() for cell in cells):
            raise ValueError(f"{counted} cells were counted, the table holds {len(cells)} or a part of one")
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{summary} or {table} is damaged ({error}). Count again.") from error
    return _Run(run, values, cells, pictures)


def _name(key: str) -> str:
    return taxonomy.cell_class(key).name_en if key in taxonomy.KEYS else key or "not named"


def _counts(values: dict[str, Any]) -> Iterator[str]:
    totals = values["totals"]
    yield "<h2>Counts</h2>"
    yield (
        f"<p>{_number_of_fields(len(values['fields']))}: <b>{totals['erythrocytes']}</b> erythrocytes, "
        f"<b>{totals['leukocytes']}</b> leukocytes, <b>{totals['platelets']}</b> platelets. "
        "These are counts in the pictures, not cells per microliter.</p>"
    )
    if values["errors"]:
        yield (
            "<p class='warning'>Not read: " + "; ".join(escape(error["reason"]) for error in values["errors"]) + "</p>"
        )


def _differential(values: dict[str, Any]) -> Iterator[str]:
    yield "<h2>Differential</h2>"
    for text in (values["warning"], values["note"]):
        if text:
            yield f'<p class="warning">{escape(text)}</p>'
    corrected = {row["class"]: row for row in values["corrected"]}
    heads = ["class", "n", "%", "95 % interval", "", "usual in adults"] + (["corrected %"] if corrected else [])
    marks = {"n": "number", "%": "number", "corrected %": "number", "": "bar-cell"}
    yield "<table><tr>" + "".join(f'<th class="{marks.get(head, "")}">{head}</th>' for head in heads) + "</tr>"
    for row in values["classes"]:
        yield _share_row(row, corrected)
    yield "</table>"
    rare = values["erythroblasts"]
    if rare["per_100_leukocytes"] is not None:
        ends = rare["interval"]
        yield (
            f"<p>Erythroblasts: {rare['n']}, {rare['per_100_leukocytes']:.1f} per 100 leukocytes "
            f"(95 % {ends['low']:.1f}-{ends['high']:.1f}).</p>"
        )
    yield (
        f'<p class="muted">{values["n"]} leukocytes counted. Left out: {values["refused"]} refused, '
        f"{values['on_border']} cut by the edge of a field, {values['unnamed']} not classified. Intervals: "
        f"{escape(values['interval_method'])}."
        + (f" Corrected by the confusion matrix of {escape(values['correction_source'])}." if corrected else "")
        + "</p>"
    )
    sources = dict.fromkeys(row["reference"]["source"] for row in values["classes"] if row["reference"])
    yield '<p class="muted">Usual in adults: ' + "; ".join(escape(source) for source in sources) + ".</p>"


def _share_row(row: dict[str, Any], corrected: dict[str, Any]) -> str:
    ends, usual = row["interval"], row["reference"]
    outside = row["flag"] in ("low", "high")
    cells = [
        f"<td>{escape(_name(row['class']))}</td>",
        f'<td class="number">{row["n"]}</td>',
        f'<td class="number">{row["percent"]:.1f}</td>' if row["percent"] is not None else "<td></td>",
        f"<td class='range'>{ends['low']:.1f}-{ends['high']:.1f}</td>" if ends else "<td></td>",
        f'<td class="bar-cell">{_bar(row)}</td>',
        f"<td>{usual['low']:g}-{usual['high']:g}" if usual else "<td>",
    ]
    cells[-1] += f' <span class="outside">{row["flag"]}</span></td>' if outside else "</td>"
    if corrected:
        better = corrected.get(row["class"])
        cells.append(f'<td class="number">{better["percent"]:.1f}</td>' if better else "<td></td>")
    return "<tr>" + "".join(cells) + "</tr>"


def _bar(row: dict[str, Any]) -> str:
    """Return a strip from 0 to 100 % with the usual range, the interval and the value."""
    ends, usual = row["interval"], row["reference"]
    parts = []
    if usual:
        parts.append(_strip("usual", usual["low"], usual["high"]))
    if ends:
        parts += [_strip("interval", ends["low"], ends["high"]),
                  f'<span class="value" style="left:{row["percent"]:.1f}%"></span>']  # fmt: skip
    return f'<div class="bar" aria-hidden="true">{"".join(parts)}</div>'


def _strip(name: str, low: float, high: float) -> str:
    return f'<span class="{name}" style="left:{low:.1f}%;width:{high - low:.1f}%"></span>'


def _findings(values: dict[str, Any]) -> Iterator[str]:
    yield "<h2>Worth a look</h2>"
    if not values["findings"]:
        yield "<p>Nothing stands out beyond what the number of cells allows to say.</p>"
        return
    yield "<ul>"
    for finding in values["findings"]:
        cells = finding["cells"]
        listed = escape(_listed(cells[:20]))
        more = f" and {len(cells) - 20} more" if len(cells) > 20 else ""
        behind = f'<br><span class="muted">Cells: {listed}{more}</span>' if cells else ""
        yield f"<li>{escape(finding['text'])}{behind}</li>"
    yield "</ul><p class='muted'>Suggestions for a person to check, never a diagnosis.</p>"


def _listed(cells: Sequence[dict[str, Any]]) -> str:
    """Name cells by file and number, each file once where its cells follow each other."""
    runs = groupby(cells, key=lambda cell: str(cell["file"]))
    return "; ".join(f"{Path(file).name} {', '.join(str(cell['number']) for cell in own)}" for file, own in runs)


def _gallery(read: _Run) -> Iterator[str]:
    """Yield a few cells of each class, refused ones on their own."""
    yield "<h2>Gallery</h2>"
    groups: dict[str, list[dict[str, str]]] = {}
    for cell in read.cells:
        if cell["kind"] != "erythrocyte":
            name = "refused" if cell["refused"] == "true" else _name(cell["class"])
            groups.setdefault(name, []).append(cell)
    chosen = [cell for name in groups for cell in groups[name][:_GALLERY_MOST]]
    pictures, lost = _crops(read, chosen)
    for file in lost:
        yield f'<p class="muted">{escape(file)} is gone or has changed since, so its cells are not shown.</p>'
    for name in sorted(groups, key=lambda name: (name == "refused", name)):
        shown = [cell for cell in groups[name][:_GALLERY_MOST] if _key(cell) in pictures]
        yield f"<h3>{escape(name)} ({len(groups[name])})</h3>"
        mark = ' class="refused"' if name == "refused" else ""
        yield '<div class="gallery">' + "".join(_tile(cell, pictures[_key(cell)], mark) for cell in shown) + "</div>"


def _tile(cell: dict[str, str], picture: str, mark: str) -> str:
    sure = f", {float(cell['confidence']):.2f}" if cell["confidence"] else ""
    caption = f"{escape(Path(cell['file']).name)} {cell['number']}{sure}"
    return f'<figure{mark}><img src="{picture}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


def _key(cell: dict[str, str]) -> tuple[str, str]:
    return cell["file"], cell["number"]


def _crops(read: _Run, chosen: Sequence[dict[str, str]]) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Cut the chosen cells out of the pictures that were counted, one picture after the other."""
    hashes = {field["file"]: field["sha256"] for field in read.values["fields"]}
    by_file: dict[str, list[dict[str, str]]] = {}
    for cell in chosen:
        by_file.setdefault(cell["file"], []).append(cell)
    pictures, lost = {}, []
    for file, cells in by_file.items():
        try:
            same = (
                bool(hashes.get(file)) and hashlib.sha256(read.picture(file).read_bytes()).hexdigest() == hashes[file]
            )
            source = ArraySource(read_image(read.picture(file))) if same else None
        except (OSError, CorpuscleError):
            source = None
        if source is None:
            lost.append(file)
            continue
        for cell in cells:
            box = (float(cell["x_min"]), float(cell["y_min"]), float(cell["x_max"]), float(cell["y_max"]))
            side = _ROOM * max(box[2] - box[0], box[3] - box[1])
            crop = Image.fromarray(cut_crop(source, box, side)).resize((_TILE_PX, _TILE_PX))
            pictures[_key(cell)] = _embedded(crop)
    return pictures, lost


def _embedded(picture: Image.Image) -> str:
    """Return a picture as a part of the page."""
    data = io.BytesIO()
    picture.save(data, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def _refused(read: _Run) -> Iterator[str]:
    refused = [cell for cell in read.cells if cell["refused"] == "true"]
    yield f"<h2>Refused cells ({len(refused)})</h2>"
    if not refused:
        yield "<p>None.</p>"
        return
    rows = [
        (Path(cell["file"]).name, cell["number"], cell["kind"], _name(cell["class"]), cell["reason"])
        for cell in refused
    ]
    yield _table(("field", "cell", "kind", "nearest class", "why"), rows)


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: frozenset[str] = frozenset(),
    hashes: frozenset[str] = frozenset(),
) -> str:
    """Make a table of plain text that a phone shows row by row; numbers are set to the right, hashes small."""
    looks = dict.fromkeys(numbers, 'class="number" ') | dict.fromkeys(hashes, 'class="hash" ')
    marks = [looks.get(head, "") for head in heads]
    top = "".join(f"<th {mark}>{head}</th>" for head, mark in zip(heads, marks, strict=True))
    lines = [
        "".join(
            f'<td {mark}data-head="{head}">{escape(value)}</td>'
            for head, mark, value in zip(heads, marks, row, strict=True)
        )
        for row in rows
    ]
    return f'<table class="rows"><tr>{top}</tr>' + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _fields(read: _Run) -> Iterator[str]:
    fields = read.values["fields"]
    yield "<h2>Fields</h2>"
    kinds = ("erythrocytes", "leukocytes", "platelets")
    rows = [
        (
            field["file"],
            *(str(field[key]) for key in kinds),
            f"{field['um_per_px']:.3f} ({field['ruler']})" if field["um_per_px"] else "not known",
            " ".join(field["notes"]),
        )
        for field in fields
    ]
    yield _table(("field", *kinds, "micrometers a pixel", "remarks"), rows, numbers=frozenset(kinds))
    stems = stems_for(field["file"] for field in fields)
    for field in fields[:_FIELDS_MOST]:
        path = read.folder / f"{stems[field['file']]}.overlay.png"
        try:
            picture = Image.fromarray(read_image(path))
        except CorpuscleError:
            yield f'<p class="muted">The overlay {escape(path.name)} is gone.</p>'
            continue
        picture.thumbnail((_FIELD_PX, _FIELD_PX))
        title = escape(Path(field["file"]).name)
        yield (
            f'<figure class="field"><img src="{_embedded(picture)}" alt="Overlay of {title}">'
            f"<figcaption>{title}</figcaption></figure>"
        )
    if len(fields) > _FIELDS_MOST:
        yield f'<p class="muted">{len(fields) - _FIELDS_MOST} more overlays are in the folder of the run.</p>'


def _origin(values: dict[str, Any]) -> Iterator[str]:
    rows = []
    for role, model in values["models"].items():
        rows.append((role, f"{model['name']} {model['version']}".strip(), model["sha256"]))
        learned = "fields" if role == "detector" else "cells"
        rows += [
            ("trained on", f"{row['dataset']}, {row['split']}, {row['n']} {learned}", str(row["sha256"]))
            for row in model.get("training_data", [])
        ]
    rows += [("field", field["file"], field["sha256"]) for field in values["fields"]]
    yield "<h2>Where this comes from</h2>"
    yield _table(("what", "name", "SHA-256"), rows, hashes=frozenset({"SHA-256"}))
    yield f"<p class='muted'>Made by Corpuscle {__version__} from a run of {escape(values['corpuscle'])}.</p>"
