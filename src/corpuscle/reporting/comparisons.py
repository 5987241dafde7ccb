"""A comparison of runs as a folder of files."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corpuscle.evaluation.comparison import Comparison
from corpuscle.explanation.drawing import TradeoffPoint, draw_tradeoff, save_png
from corpuscle.files import make_folder, written_whole
from corpuscle.prediction.writing import NOTICE

__all__ = ["comparison_page", "comparison_picture", "write_comparison"]


def comparison_page(result: Comparison) -> str:
    """Return the comparison as a Markdown page that shows `comparison.png` beside it."""
    right, cost = result.accuracy_rows(), result.cost_rows()
    # One table: the name once, the word for a leak beside the accuracy that it spoils, the costs at the end.
    leak_column = right[0].index("leak")
    table = [
        [*row[:4], row[leak_column], *row[4:leak_column], *costs[1:-1]] for row, costs in zip(right, cost, strict=True)
    ]
    lines = ["# Comparison of runs", "", *_markdown(table), "", "![Accuracy against cost](comparison.png)", ""]
    lines += [f"- {_escaped(text)}" for text in (*result.legend(), *result.notes)]
    return "\n".join([*lines, "", NOTICE]) + "\n"


def _short_names(result: Comparison) -> list[str]:
    """Name the runs for a picture: a label with the whole way to its run is cut there, the folder's own name is not."""
    folders = Counter(row.run.folder.name for row in result.runs)
    return [
        row.run.folder.name if row.label != row.run.facts.name and folders[row.run.folder.name] == 1 else row.label
        for row in result.runs
    ]


def comparison_picture(result: Comparison) -> NDArray[np.uint8]:
    """Draw accuracy against multiply-adds; HxWx3 uint8 RGB.

    Raises:
        UsageError: There are too many runs for one picture.
    """
    points = [
        TradeoffPoint(
            name=name,
            cost=row.run.facts.multiply_adds,
            accuracy=row.run.result.accuracy,
            low=row.run.result.accuracy_interval.low,
            high=row.run.result.accuracy_interval.high,
            leaks=bool(row.run.leak),
            is_reference=row.against is None,
        )
        for row, name in zip(result.runs, _short_names(result), strict=True)
    ]
    where = list(dict.fromkeys(row.run.result.where for row in result.runs))
    counts = sorted({row.run.result.n for row in result.runs})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}, not the same for all runs"
    return draw_tradeoff(points, title="Accuracy against cost", subtitle=f"{'; '.join(where)}; {n}")


def write_comparison(result: Comparison, folder: Path) -> tuple[Path, ...]:
    """Write `comparison.md`, `comparison.csv`, `comparison.json` and `comparison.png`.

    Raises:
        OutputError: The folder cannot be written.
        UsageError: There are too many runs for one picture; nothing was written.
    """
    picture = comparison_picture(result)
    make_folder(folder)
    page, table, values, image = (folder / f"comparison.{suffix}" for suffix in ("md", "csv", "json", "png"))
    with written_whole(page) as part:
        part.write_text(comparison_page(result), encoding="utf-8", errors="backslashreplace")
    rows = [row.to_dict() | {"reference": result.reference, "speed_machine": result.machine} for row in result.runs]
    with (
        written_whole(table) as part,
        part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with written_whole(values) as part:
        text = json.dumps(result.to_dict(), indent=1, ensure_ascii=False) + "\n"
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
    save_png(picture, image)
    return page, table, values, image


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(map(_escaped, row)) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def _escaped(text: str) -> str:
    """Keep a name from breaking the table or becoming markup."""
    return " ".join("".join(f"\\{sign}" if sign in "\\|*_`<>[]" else sign for sign in text).split())
