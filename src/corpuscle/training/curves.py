"""Curves of a run, as a table and as a picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from corpuscle.files import written_whole
from corpuscle.training.checkpoint import EpochRecord

__all__ = ["draw_curves", "write_curves", "write_table"]


def write_table(history: Sequence[Any], kind: type, path: Path) -> None:
    """Write records of one dataclass as CSV, a column a field, atomically.

    Raises:
        OutputError: The file cannot be written.
    """
    with written_whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [item.name for item in fields(kind)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(record) for record in history)


def write_curves(history: Sequence[EpochRecord], folder: Path, *, picture: bool = True) -> None:
    """Write `curves.csv` and, if asked, `curves.png`, each atomically.

    Args:
        history: One record an epoch.
        folder: Where to write.
        picture: Whether to draw, which takes about a second.

    Raises:
        OutputError: The folder cannot be written.
    """
    write_table(history, EpochRecord, folder / "curves.csv")
    if picture:
        draw_curves(history, folder / "curves.png")


def draw_curves(history: Sequence[EpochRecord], path: Path, *, dots_per_inch: int = 120) -> None:
    """Draw loss and accuracy of train and val side by side into a PNG file.

    Raises:
        OutputError: It cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [record.epoch for record in history]
    for place, (name, unit) in enumerate((("loss", "cross-entropy, nats"), ("accuracy", "share right"))):
        axes = figure.add_subplot(1, 2, place + 1)
        train = [getattr(record, f"train_{name}") for record in history]
        val = [getattr(record, f"val_{name}") for record in history]
        # Blue and orange of Okabe and Ito, told apart by every kind of color vision, and by the dashes in print.
        axes.plot(epochs, train, "--", color="#0072b2", label="train (augmented)")
        axes.plot(epochs, val, "-", color="#d55e00", label="val (averaged weights)")
        axes.set(xlabel="epoch", ylabel=unit, title=name)
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    with written_whole(path) as part:
        figure.savefig(part, format="png", dpi=dots_per_inch)
