"""An evaluation as a folder of files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from corpuscle.evaluation.model import ModelEvaluation
from corpuscle.explanation.drawing import draw_confusion_matrix, draw_reliability, save_png
from corpuscle.files import make_folder, written_whole
from corpuscle.prediction.writing import prediction_row
from corpuscle.reporting.samples import draw_samples

__all__ = ["write_evaluation"]


def _write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with written_whole(path) as part, part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


def write_evaluation(result: ModelEvaluation, folder: Path) -> tuple[Path, ...]:
    """Write report, figures, confusion matrix, mistakes, predictions and a picture of samples, and return the files.

    Raises:
        OutputError: The folder cannot be written.
    """
    make_folder(folder)
    matrix, classes = result.evaluation.confusion, result.evaluation.classes
    with written_whole(folder / "report.txt") as part:
        part.write_text(result.summary() + "\n\n" + result.evaluation.report_text(), encoding="utf-8")
    with written_whole(folder / "evaluation.json") as part:
        part.write_text(
            json.dumps(result.to_dict(), indent=1, ensure_ascii=False) + "\n",
            encoding="utf-8",
            errors="backslashreplace",
        )
    _write_table(
        folder / "confusion.csv",
        ["label", *classes],
        ([key, *row] for key, row in zip(classes, matrix.tolist(), strict=True)),
    )
    _write_table(
        folder / "mistakes.csv",
        ["file", "label", "prediction", "confidence", "label_probability"],
        (
            (item.file, item.label, item.prediction, f"{item.confidence:.6f}", f"{item.label_probability:.6f}")
            for item in result.mistakes
        ),
    )
    columns = list(prediction_row(result.answers[0][1]))
    _write_table(
        folder / "predictions.csv",
        ["file", "label", *columns[1:]],
        ((cell.file, cell.class_name, *list(prediction_row(item).values())[1:]) for cell, item in result.answers),
    )
    title = f"{result.model} on {result.dataset} {result.split}".strip()
    save_png(draw_confusion_matrix(matrix, classes, title=title), folder / "confusion.png")
    save_png(draw_samples(result.answers, title=f"Samples: {title}"), folder / "samples.png")
    about = f"calibration error {result.evaluation.calibration_error:.4f} over 15 bins, n = {result.evaluation.n}"
    if result.reliability:
        save_png(draw_reliability(result.reliability, title=title, subtitle=about), folder / "reliability.png")
    names = ("report.txt", "evaluation.json", "confusion.csv", "confusion.png", "mistakes.csv", "predictions.csv",
             "reliability.png", "samples.png")  # fmt: skip
    return tuple(folder / name for name in names)
