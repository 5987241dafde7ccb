"""A few predictions to look at: one cell of each class that a model got right, and the mistakes it was surest of."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from corpuscle import taxonomy
from corpuscle.data.labeled import LabeledCell
from corpuscle.explanation.drawing import SheetItem, class_color, draw_contact_sheet
from corpuscle.records import Prediction

__all__ = ["choose_samples", "draw_samples", "sample_rows"]

_MISTAKES = 6
_TILE_PX = 180
_SEED = 0


def choose_samples(labels: Sequence[str], predictions: Sequence[str], confidences: Sequence[float]) -> list[int]:
    """Choose what to show: one right answer of each class, drawn at random, then the six surest mistakes.

    Args:
        labels: Class of each cell as annotated.
        predictions: Class of each cell as predicted.
        confidences: Probability of the prediction, in [0, 1].

    Returns:
        Places in the sequences; the same for the same input.
    """
    random = np.random.default_rng(_SEED)
    right: dict[str, list[int]] = {}
    wrong: list[int] = []
    for place, (label, prediction) in enumerate(zip(labels, predictions, strict=True)):
        if label == prediction:
            right.setdefault(label, []).append(place)
        else:
            wrong.append(place)
    chosen = [int(random.choice(right[key])) for key in sorted(right)]
    return chosen + sorted(wrong, key=lambda place: (-confidences[place], place))[:_MISTAKES]


def sample_rows(predictions: Path) -> list[dict[str, str]]:
    """Read sample predictions (file, label, class, confidence) out of an evaluation's `predictions.csv`."""
    with predictions.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    chosen = choose_samples(
        [row["label"] for row in rows], [row["class"] for row in rows], [float(row["confidence"]) for row in rows]
    )
    return [{key: rows[place][key] for key in ("file", "label", "class", "confidence")} for place in chosen]


def draw_samples(
    answers: Sequence[tuple[LabeledCell, Prediction]], *, title: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Draw sample predictions side by side, HxWx3 uint8 RGB: label and prediction, confidence, and what was judged.

    Raises:
        UnreadableImageError: A picture is gone.
    """
    chosen = choose_samples(
        [cell.class_name for cell, _ in answers],
        [item.class_name for _, item in answers],
        [item.confidence for _, item in answers],
    )
    items = []
    for cell, item in (answers[place] for place in chosen):
        frame = item.framing
        items.append(
            SheetItem(
                image=cell.read(),
                title=taxonomy.cell_class(item.class_name).name_en,
                subtitle="right" if item.class_name == cell.class_name else f"labeled {_name(cell.class_name)}",
                color=class_color(item.class_name),
                bar=item.confidence,
                warning=item.refused,
                frame_box=(frame.x_min, frame.y_min, frame.x_min + frame.side_px, frame.y_min + frame.side_px),
            )
        )
    return draw_contact_sheet(items, title=title, tile_px=_TILE_PX)


def _name(key: str) -> str:
    return taxonomy.cell_class(key).name_en.lower()
