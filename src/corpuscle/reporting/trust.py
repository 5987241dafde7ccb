"""What was measured about trust, as files and as figures for the page of figures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from corpuscle.evaluation.spoilt import CorruptionTable, SpoiltResult
from corpuscle.files import make_folder, written_whole
from corpuscle.reporting.ledger import Figure

__all__ = ["corruption_figures", "write_corruptions"]


def corruption_figures(table: CorruptionTable) -> list[Figure]:
    """Return the mean balanced error over all corruptions, that of each, and that of the clean pictures."""
    where = f"{table.dataset} {table.split}".strip()
    limited = f", {table.n} of {table.total} cells" if table.n < table.total else ""
    note = f"every picture answered; pictures of 224 px, seed {table.seed}{limited}"
    figures = [
        Figure(f"{table.model}: mean balanced error, 11 corruptions x 5", f"{table.mean_error:.4f}", "", where, table.n,
               note=note),
        Figure(f"{table.model}: balanced error without corruption", f"{table.clean.error:.4f}", "", where, table.n,
               note=_refused([table.clean])),
    ]  # fmt: skip
    for name in dict.fromkeys(item.corruption for item in table.results):
        items = [item for item in table.results if item.corruption == name]
        errors = " ".join(f"{item.error:.4f}" for item in items)
        figures.append(
            Figure(
                f"{table.model}: balanced error, {name}",
                f"{table.mean_of(name):.4f}",
                "",
                where,
                table.n,
                note=f"by severity {errors}; {_refused(items)}",
            )
        )
    return figures


def _refused(items: list[SpoiltResult]) -> str:
    shares = " ".join(f"{1 - item.accepted:.3f}" for item in items)
    return f"refused {shares}"


def write_corruptions(table: CorruptionTable, folder: Path) -> tuple[Path, ...]:
    """Write `corruptions.json`, `corruptions.csv` and `corruptions.txt` and return them.

    Raises:
        OutputError: The folder cannot be written.
    """
    make_folder(folder)
    _write_json(folder / "corruptions.json", table.to_dict())
    with written_whole(folder / "corruptions.txt") as part:
        part.write_text(table.text() + "\n", encoding="utf-8")
    with (
        written_whole(folder / "corruptions.csv") as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["corruption", "severity", "balanced_error", "refused", "accuracy_among_accepted"])
        for item in (table.clean, *table.results):
            right = "" if item.accepted_accuracy is None else f"{item.accepted_accuracy:.6f}"
            writer.writerow([item.corruption, item.severity, f"{item.error:.6f}", f"{1 - item.accepted:.6f}", right])
    return tuple(folder / f"corruptions.{suffix}" for suffix in ("json", "txt", "csv"))


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with written_whole(path) as part:
        part.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
