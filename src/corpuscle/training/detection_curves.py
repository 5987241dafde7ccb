"""Curves of a detector's run, as a table and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from corpuscle.files import written_whole
from corpuscle.training.curves import write_table
from corpuscle.training.detection_loop import DetectionRecord

__all__ = ["write_detection_curves"]


def write_detection_curves(history: Sequence[DetectionRecord], folder: Path, *, picture: bool = True) -> None:
    """Write `curves.csv` and, if asked, `curves.png`, each atomically.

    Args:
        history: One record an epoch.
        folder: Where to write.
        picture: Whether to draw, which takes about a second.

    Raises:
        OutputError: The folder cannot be written.
    """
    write_table(history, DetectionRecord, folder / "curves.csv")
    if picture:
        _draw(history, folder / "curves.png")


def _draw(history: Sequence[DetectionRecord], path: Path) -> None:
    """Draw the losses and the average precision side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    # Blue and orange of Okabe and Ito, told apart by every kind of color vision, and by the dashes in print.
    losses, precision = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    epochs = [record.epoch for record in history]
    losses.plot(epochs, [record.score_loss for record in history], "-", color="#0072b2", label="scores")
    losses.plot(epochs, [record.box_loss for record in history], "--", color="#d55e00", label="boxes")
    losses.set(xlabel="epoch", ylabel="loss a training picture", title="loss (augmented)")
    judged = [record for record in history if math.isfinite(record.val_map50)]
    epochs = [record.epoch for record in judged]
    precision.plot(epochs, [record.val_map50 for record in judged], ".-", color="#0072b2", label="mAP50")
    precision.plot(epochs, [record.val_map50_95 for record in judged], ".--", color="#d55e00", label="mAP50-95")
    precision.set(xlabel="epoch", ylabel="mean average precision", title="val (averaged weights)")
    for axes in (losses, precision):
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    with written_whole(path) as part:
        figure.savefig(part, format="png", dpi=120)
