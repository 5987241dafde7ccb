"""The confusion matrix as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from corpuscle.errors import UsageError
from corpuscle.explanation.lettering import (
    Lettering,
    line_height,
    put_text,
    put_turned_text,
    text_width,
    turned_mask,
    wrapped,
)
from corpuscle.explanation.palette import FAINT, INK, MUTED, WHITE, ink_on, shade

__all__ = ["draw_confusion_matrix"]

_CLASSES: Final = (2, 64)
_MARGIN_PX: Final = 28
_TEXT_PX: Final = 14
_TITLE_PX: Final = 20
_SMALL_PX: Final = 13
_AXIS_PX: Final = 15
_TURN: Final = 45
_GAP_PX: Final = 10


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the parts of the picture go; lengths in pixels, lines between cells included in them."""

    classes: tuple[str, ...]
    cell_px: int
    left_px: int
    top_px: int
    support_px: int
    recall_px: int
    width_px: int
    height_px: int
    heading: tuple[str, ...]

    @property
    def grid_px(self) -> int:
        return self.cell_px * len(self.classes)


def draw_confusion_matrix(matrix: NDArray[np.int64], classes: Sequence[str], *, title: str) -> NDArray[np.uint8]:
    """Draw a confusion matrix: a row for each label, a column for each prediction, shaded by the share of the row.

    At the right of each row stand its support and its recall.

    Args:
        matrix: How many cells of each label (rows) were given each prediction (columns), shape (k, k), integers of 0
            or more, k from 2 to 64.
        classes: Names of the k classes; underscores are shown as spaces.
        title: Heading of the picture.

    Returns:
        The picture, HxWx3 uint8 RGB.

    Raises:
        UsageError: The matrix or the list of names is not of that form.
    """
    counts = _checked(matrix, classes)
    plan = _plan(counts, classes, title)
    canvas = Image.new("RGB", (plan.width_px, plan.height_px), WHITE)
    _put_heading(canvas, plan, int(counts.sum()))
    _put_names(canvas, plan)
    _put_cells(canvas, plan, counts)
    _put_row_numbers(canvas, plan, counts)
    _put_scale(canvas, plan)
    return np.array(canvas)


def _checked(matrix: NDArray[np.int64], classes: Sequence[str]) -> NDArray[np.int64]:
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.dtype.kind not in "iu":
        raise UsageError(
            f"A confusion matrix is square and of integers; this one is {counts.dtype} of shape {counts.shape}. "
            "Give counts of k labels by k predictions."
        )
    if not _CLASSES[0] <= len(counts) <= _CLASSES[1]:
        raise UsageError(f"A matrix of {len(counts)} classes cannot be drawn. Give {_CLASSES[0]} to {_CLASSES[1]}.")
    if len(classes) != len(counts):
        raise UsageError(f"There are {len(counts)} rows and {len(classes)} class names. Name each row once.")
    if counts.min() < 0:
        raise UsageError("A confusion matrix holds counts, and this one has some below 0. Check how it was made.")
    return counts.astype(np.int64)


def _plan(counts: NDArray[np.int64], classes: Sequence[str], title: str) -> _Plan:
    names = tuple(name.replace("_", " ") for name in classes)
    cell_px = max(44 if len(names) > 10 else 52, text_width(str(counts.max()), _TEXT_PX) + 16)
    grid_px = cell_px * len(names)
    left_px = _MARGIN_PX + line_height(_AXIS_PX) + _GAP_PX + max(text_width(name, _TEXT_PX) for name in names) + _GAP_PX
    support_px = 18 + max(text_width(text, _TEXT_PX) for text in ("support", *map(str, counts.sum(axis=1))))
    recall_px = 22 + text_width("recall", _TEXT_PX)
    turned = [turned_mask(name, _TEXT_PX, _TURN) for name in names]
    # The last names lean out over the heads of the numbers at the right, and may reach farther than these.
    right_px = max(
        grid_px + support_px + recall_px,
        *(round((number + 0.5) * cell_px) + mask.width for number, mask in enumerate(turned)),
    )
    width_px = left_px + right_px + _MARGIN_PX
    heading = tuple(wrapped(title, _TITLE_PX, width_px - 2 * _MARGIN_PX))
    heading_px = len(heading) * line_height(_TITLE_PX) + line_height(_SMALL_PX) + 8
    names_px = line_height(_AXIS_PX) + _GAP_PX + max(mask.height for mask in turned) + 8
    top_px = _MARGIN_PX + heading_px + names_px
    return _Plan(
        classes=names,
        cell_px=cell_px,
        left_px=left_px,
        top_px=top_px,
        support_px=support_px,
        recall_px=recall_px,
        width_px=width_px,
        height_px=top_px + grid_px + 18 + line_height(_SMALL_PX) + _MARGIN_PX,
        heading=heading,
    )


def _put_heading(canvas: Image.Image, plan: _Plan, total: int) -> None:
    top = _MARGIN_PX
    for line in plan.heading:
        put_text(canvas, (_MARGIN_PX, top), line, Lettering(_TITLE_PX))
        top += line_height(_TITLE_PX)
    put_text(canvas, (_MARGIN_PX, top), f"n = {total}", Lettering(_SMALL_PX, MUTED))


def _put_names(canvas: Image.Image, plan: _Plan) -> None:
    """Write the class names beside the rows and above the columns, and the titles of both axes."""
    half = plan.cell_px / 2
    for number, name in enumerate(plan.classes):
        row_top = plan.top_px + number * plan.cell_px + (plan.cell_px - line_height(_TEXT_PX)) / 2
        put_text(canvas, (plan.left_px - _GAP_PX, row_top), name, Lettering(_TEXT_PX, align="right"))
        place = (plan.left_px + number * plan.cell_px + half, plan.top_px - 8)
        put_turned_text(canvas, place, name, Lettering(_TEXT_PX), degrees=_TURN)
    tallest = max(turned_mask(name, _TEXT_PX, _TURN).height for name in plan.classes)
    middle = plan.left_px + plan.grid_px / 2
    above = plan.top_px - 8 - tallest - _GAP_PX - line_height(_AXIS_PX)
    put_text(canvas, (middle, above), "prediction", Lettering(_AXIS_PX, MUTED, "center"))
    beside = (_MARGIN_PX + line_height(_AXIS_PX) / 2, plan.top_px + plan.grid_px / 2)
    put_turned_text(canvas, beside, "label", Lettering(_AXIS_PX, MUTED), degrees=90)


def _put_cells(canvas: Image.Image, plan: _Plan, counts: NDArray[np.int64]) -> None:
    draw = ImageDraw.Draw(canvas)
    for (row, column), count in np.ndenumerate(counts):
        support = int(counts[row].sum())
        share = count / support if support else 0.0
        left, top = plan.left_px + column * plan.cell_px, plan.top_px + row * plan.cell_px
        # One pixel of white is left between neighbors.
        box = (left, top, left + plan.cell_px - 2, top + plan.cell_px - 2)
        color = shade(share)
        draw.rectangle(box, fill=color, outline=MUTED if row == column else None)
        place = (left + plan.cell_px / 2, top + (plan.cell_px - line_height(_TEXT_PX)) / 2)
        put_text(canvas, place, str(count), Lettering(_TEXT_PX, ink_on(color) if count else FAINT, "center"))


def _put_row_numbers(canvas: Image.Image, plan: _Plan, counts: NDArray[np.int64]) -> None:
    """Write support and recall of each row; a class without a label has no recall."""
    support_right = plan.left_px + plan.grid_px + plan.support_px
    recall_right = support_right + plan.recall_px
    for row in range(len(counts)):
        support = int(counts[row].sum())
        top = plan.top_px + row * plan.cell_px + (plan.cell_px - line_height(_TEXT_PX)) / 2
        put_text(canvas, (support_right, top), str(support), Lettering(_TEXT_PX, MUTED, "right"))
        recall = _recall(int(counts[row, row]), support)
        put_text(canvas, (recall_right, top), recall, Lettering(_TEXT_PX, INK, "right"))
    top = plan.top_px - 8 - line_height(_SMALL_PX)
    put_text(canvas, (support_right, top), "support", Lettering(_SMALL_PX, MUTED, "right"))
    put_text(canvas, (recall_right, top), "recall", Lettering(_SMALL_PX, MUTED, "right"))


def _recall(correct: int, support: int) -> str:
    """Write a recall so that rounding never makes it perfect."""
    if not support:
        return "n/a"
    return ">0.999" if correct < support and correct / support >= 0.9995 else f"{correct / support:.3f}"


def _put_scale(canvas: Image.Image, plan: _Plan) -> None:
    """Show which shade stands for which share of a row."""
    top = plan.top_px + plan.grid_px + 18
    lettering = Lettering(_SMALL_PX, MUTED)
    left = plan.left_px
    put_text(canvas, (left, top), "0", lettering)
    left += text_width("0", _SMALL_PX) + 6
    length = 80
    steps = Image.new("RGB", (length, 1))
    steps.putdata([shade(step / (length - 1)) for step in range(length)])
    strip = steps.resize((length, 10))
    bar_top = top + math.floor((line_height(_SMALL_PX) - 10) / 2)
    canvas.paste(strip, (left, bar_top))
    ImageDraw.Draw(canvas).rectangle((left - 1, bar_top - 1, left + length, bar_top + 10), outline=FAINT)
    put_text(canvas, (left + length + 7, top), "1  share of the row", lettering)
