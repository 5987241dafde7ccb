"""Confidence against accuracy as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from corpuscle.errors import UsageError
from corpuscle.evaluation.reliability import ReliabilityBin
from corpuscle.explanation.contact_sheet import FOOTER
from corpuscle.explanation.lettering import Lettering, line_height, put_text, put_turned_text, wrapped
from corpuscle.explanation.palette import CAUTION, FAINT, INK, MUTED, POINT, RULE, WHITE, Color

__all__ = ["draw_reliability"]

_MARGIN_PX: Final = 28
_PLOT_PX: Final = 420
_BARS_PX: Final = 90
_GAP_PX: Final = 18
_LEFT_PX: Final = 78
_TITLE_PX: Final = 20
_TEXT_PX: Final = 14
_SMALL_PX: Final = 13
_DOT_PX: Final = 5
_FINE: Final = 3
_TICKS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def draw_reliability(bins: Sequence[ReliabilityBin], *, title: str, subtitle: str) -> NDArray[np.uint8]:
    """Draw the accuracy of each bin with its interval against its confidence; below, how many pictures it holds.

    A point on the line from corner to corner means that confidence is honest; below it the model promises too much.

    Args:
        bins: 1 or more bins that hold pictures.
        title: Heading of the picture.
        subtitle: Line below it: what was measured, and n.

    Returns:
        The picture, HxWx3 uint8 RGB.

    Raises:
        UsageError: There is no bin.
    """
    if not bins:
        raise UsageError("A reliability diagram needs at least one bin with pictures.")
    width = _LEFT_PX + _PLOT_PX + _MARGIN_PX
    heading = wrapped(title, _TITLE_PX, width - 2 * _MARGIN_PX)
    below = wrapped(subtitle, _SMALL_PX, width - 2 * _MARGIN_PX)
    top = _MARGIN_PX + len(heading) * line_height(_TITLE_PX) + len(below) * line_height(_SMALL_PX) + 16
    foot = top + _PLOT_PX + _GAP_PX + _BARS_PX
    height = foot + 10 + 2 * line_height(_TEXT_PX) + 14 + line_height(_SMALL_PX) + _MARGIN_PX
    canvas = _shapes(bins, (width, height), top)
    y = float(_MARGIN_PX)
    for lines, size, color in ((heading, _TITLE_PX, INK), (below, _SMALL_PX, MUTED)):
        for line in lines:
            put_text(canvas, (_MARGIN_PX, y), line, Lettering(size, color))
            y += line_height(size)
    _put_axes(canvas, bins, top)
    return np.array(canvas)


def _shapes(bins: Sequence[ReliabilityBin], size: tuple[int, int], top: int) -> Image.Image:
    """Draw all that is no text, three times as large and then reduced, so that edges are smooth."""
    large = Image.new("RGB", (_FINE * size[0], _FINE * size[1]), WHITE)
    draw = ImageDraw.Draw(large)

    def x(share: float) -> float:
        return _LEFT_PX + share * _PLOT_PX

    def y(share: float) -> float:
        return top + (1 - share) * _PLOT_PX

    def line(ends: tuple[float, float, float, float], color: Color, wide: int) -> None:
        draw.line([_FINE * end for end in ends], fill=color, width=_FINE * wide)

    for tick in _TICKS:
        line((x(0), y(tick), x(1), y(tick)), RULE, 1)
        line((x(tick), y(0), x(tick), y(1)), RULE, 1)
    line((x(0), y(0), x(1), y(1)), FAINT, 2)
    foot, most = top + _PLOT_PX + _GAP_PX + _BARS_PX, max(item.n for item in bins)
    for item in bins:
        color = CAUTION if item.interval.high < item.confidence else POINT
        line((x(item.confidence), y(item.interval.low), x(item.confidence), y(item.interval.high)), color, 2)
        box = (x(item.confidence) - _DOT_PX, y(item.accuracy) - _DOT_PX,
               x(item.confidence) + _DOT_PX, y(item.accuracy) + _DOT_PX)  # fmt: skip
        draw.ellipse([_FINE * end for end in box], fill=color)
        # Heights go with the root, so that a bin of three pictures shows beside one of a thousand.
        bar = (x(item.low) + 1, foot - _BARS_PX * (item.n / most) ** 0.5, x(item.high) - 1, foot)
        draw.rectangle([_FINE * end for end in bar], fill=FAINT)
    line((x(0), foot, x(1), foot), MUTED, 1)
    return large.reduce(_FINE)


def _put_axes(canvas: Image.Image, bins: Sequence[ReliabilityBin], top: int) -> None:
    foot, middle = top + _PLOT_PX + _GAP_PX + _BARS_PX, _LEFT_PX + _PLOT_PX / 2
    for tick in _TICKS:
        at = top + (1 - tick) * _PLOT_PX - line_height(_TEXT_PX) / 2
        put_text(canvas, (_LEFT_PX - 8, at), f"{tick:.1f}", Lettering(_TEXT_PX, MUTED, "right"))
        across = (_LEFT_PX + tick * _PLOT_PX, foot + 8)
        put_text(canvas, across, f"{tick:.1f}", Lettering(_TEXT_PX, MUTED, "center"))
    beside = _MARGIN_PX + line_height(_TEXT_PX) / 2 - 8
    place = (beside, top + _PLOT_PX / 2)
    put_turned_text(canvas, place, "share that is right", Lettering(_TEXT_PX, INK), degrees=90)
    label = f"confidence; bars: pictures in each bin, up to {max(item.n for item in bins)}, height by root"
    put_text(canvas, (middle, foot + 8 + line_height(_TEXT_PX)), label, Lettering(_SMALL_PX, INK, "center"))
    aside = (canvas.width - _MARGIN_PX, canvas.height - _MARGIN_PX - line_height(_SMALL_PX))
    put_text(canvas, aside, FOOTER, Lettering(_SMALL_PX, MUTED, "right"))
