"""Accuracy against cost as a picture: a point a model, with its interval and its name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from corpuscle.errors import UsageError
from corpuscle.evaluation.tables import short_amount
from corpuscle.explanation.contact_sheet import FOOTER
from corpuscle.explanation.label_places import Box, leader, place_labels
from corpuscle.explanation.lettering import (
    Lettering,
    line_height,
    put_text,
    put_turned_text,
    text_width,
    turned_mask,
    wrapped,
)
from corpuscle.explanation.palette import CAUTION, FAINT, INK, MUTED, POINT, RULE, WHITE, Color

__all__ = ["TradeoffPoint", "draw_tradeoff"]

_MOST_POINTS: Final = 60
_WIDTH_PX: Final = 1500
_PLOT_PX: Final = 720
_NUMBER_PX: Final = 14
_MARGIN_PX: Final = 40
_TITLE_PX: Final = 32
_TEXT_PX: Final = 22
_SMALL_PX: Final = 20
_RADIUS_PX: Final = 9
_CAP_PX: Final = 7
_LINE_PX: Final = 2
_FINE: Final = 3
_LABEL_PX: Final = 420
_LEADER_PX: Final = 24
_GAP_PX: Final = 18
_SAMPLE_PX: Final = 52
_LEAKS: Final = "leaks: its accuracy flatters"


@dataclass(frozen=True, slots=True)
class TradeoffPoint:
    """One model in the picture.

    Attributes:
        name: How its point is labeled.
        cost: Multiply-adds of one cell, more than 0.
        accuracy: In [0, 1].
        low: Lower end of the accuracy's interval, in [0, accuracy].
        high: Upper end, in [accuracy, 1].
        leaks: Whether its accuracy flatters; the point is hollow and its label says so.
        is_reference: Whether the others are tested against it; its point is a diamond.
    """

    name: str
    cost: float
    accuracy: float
    low: float
    high: float
    leaks: bool = False
    is_reference: bool = False

    def __post_init__(self) -> None:
        """Refuse what has no place in the picture."""
        if not (math.isfinite(self.cost) and self.cost > 0):
            raise UsageError(f"{self.name} costs {self.cost} multiply-adds; a logarithmic axis needs more than 0.")
        if not 0 <= self.low <= self.accuracy <= self.high <= 1:
            raise UsageError(f"The accuracy of {self.name} and its interval must lie in order in [0, 1].")

    @property
    def color(self) -> Color:
        """Color of the point and its bar."""
        return CAUTION if self.leaks else POINT


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where a cost and an accuracy lie; pixels."""

    plot: Box
    costs: tuple[float, float]
    shares: tuple[float, float]

    def x(self, cost: float) -> float:
        low, high = (math.log10(end) for end in self.costs)
        return self.plot.left + (math.log10(cost) - low) / (high - low) * (self.plot.right - self.plot.left)

    def y(self, share: float) -> float:
        low, high = self.shares
        return self.plot.bottom - (share - low) / (high - low) * (self.plot.bottom - self.plot.top)


@dataclass(frozen=True, slots=True)
class _Scene:
    """All that is drawn inside the axes: a place, a name and its box for each point; None stands for numbers."""

    axes: _Axes
    points: tuple[TradeoffPoint, ...]
    columns: tuple[float, ...]
    names: tuple[str, ...]
    boxes: tuple[Box, ...] | None = None

    @property
    def places(self) -> list[tuple[float, float]]:
        return [(x, self.axes.y(point.accuracy)) for x, point in zip(self.columns, self.points, strict=True)]

    @property
    def is_spread(self) -> bool:
        """Whether some point stands beside its cost, as others have nearly the same."""
        return any(abs(x - self.axes.x(point.cost)) > 1 for x, point in zip(self.columns, self.points, strict=True))


def draw_tradeoff(points: Sequence[TradeoffPoint], *, title: str, subtitle: str) -> NDArray[np.uint8]:
    """Draw accuracy (upward, with interval bars) against multiply-adds (to the right, logarithmic).

    Every point has its name beside it and no name covers another, a point or a bar; where there is no room for that
    the points have numbers, and the names stand below.

    Args:
        points: 1 to 60 models.
        title: Heading of the picture.
        subtitle: Line below it: what was measured, and n.

    Returns:
        The picture, HxWx3 uint8 RGB, 1500 pixels wide.

    Raises:
        UsageError: There are too few points or too many.
    """
    if not 1 <= len(points) <= _MOST_POINTS:
        raise UsageError(f"{len(points)} points cannot be drawn. Give 1 to {_MOST_POINTS}.")
    heading = [(line, Lettering(_TITLE_PX)) for line in wrapped(title, _TITLE_PX, _WIDTH_PX - 2 * _MARGIN_PX)]
    heading += [
        (line, Lettering(_SMALL_PX, MUTED)) for line in wrapped(subtitle, _SMALL_PX, _WIDTH_PX - 2 * _MARGIN_PX)
    ]
    scene = _scene(points, sum(line_height(lettering.size_px) for _, lettering in heading))
    canvas = _geometry(scene)
    _put_heading(canvas, heading)
    _put_legend(canvas, scene)
    _put_axes(canvas, scene)
    if scene.boxes is None:
        _put_numbers(canvas, scene)
    else:
        for point, name, box in zip(points, scene.names, scene.boxes, strict=True):
            put_text(canvas, (box.left, box.top), name, Lettering(_SMALL_PX, _ink(point)))
    return np.array(canvas)


def _ink(point: TradeoffPoint) -> Color:
    return CAUTION if point.leaks else INK


def _scene(points: Sequence[TradeoffPoint], heading_px: int) -> _Scene:
    """Lay out the points with their names; without boxes where the names do not all find room."""
    axes = _axes(points, heading_px)
    columns = _side_by_side([axes.x(point.cost) for point in points], axes.plot)
    scene = _Scene(axes, tuple(points), columns, tuple(map(_name, points)))
    return replace(scene, boxes=_label_boxes(scene))


def _side_by_side(columns: Sequence[float], plot: Box) -> tuple[float, ...]:
    """Move points of nearly the same cost apart, so that no bar hides another, and all of them as little as can be.

    The least sum of squared moves under a least gap is isotonic regression, solved by pooling neighbors (Barlow et al.
    1972, "Statistical Inference under Order Restrictions").
    """
    order = sorted(range(len(columns)), key=columns.__getitem__)
    pools: list[list[float]] = []
    for rank, number in enumerate(order):
        pools.append([columns[number] - rank * _GAP_PX])
        while len(pools) > 1 and fmean(pools[-2]) >= fmean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    first, last_start = plot.left + _GAP_PX, plot.right - len(columns) * _GAP_PX
    moved = [min(max(fmean(pool), first), last_start) for pool in pools for _ in pool]
    places = {number: moved[rank] + rank * _GAP_PX for rank, number in enumerate(order)}
    return tuple(places[number] for number in range(len(columns)))


def _name(point: TradeoffPoint) -> str:
    tail = " (leaks)" if point.leaks else ""
    return wrapped(point.name, _SMALL_PX, _LABEL_PX, lines=1)[0] + tail if point.name.strip() else f"?{tail}"


def _axes(points: Sequence[TradeoffPoint], heading_px: int) -> _Axes:
    low, high = min(point.low for point in points), max(point.high for point in points)
    space = max(0.08 * (high - low), 0.001)
    shares = (max(0.0, low - space), min(1.0, high + space))
    left_out = 1.5 if max(point.cost for point in points) > min(point.cost for point in points) else 3.0
    costs = (min(point.cost for point in points) / left_out, max(point.cost for point in points) * left_out)
    widest = max(text_width(text, _TEXT_PX) for _, text in _share_ticks(shares))
    left = _MARGIN_PX + line_height(_TEXT_PX) + 14 + widest + 14
    top = _MARGIN_PX + heading_px + 12 + _SAMPLE_PX + 24
    return _Axes(Box(left, top, _WIDTH_PX - _MARGIN_PX, top + _PLOT_PX), costs, shares)


def _share_ticks(shares: tuple[float, float]) -> list[tuple[float, str]]:
    """Return 4 to 10 round accuracies with their text."""
    span = shares[1] - shares[0]
    power = math.floor(math.log10(span / 4))
    step = max(part * 10**power for part in (1, 2, 2.5, 5) if part * 10**power <= span / 4)
    decimals = max(0, -math.floor(math.log10(step)) + (1 if f"{step:e}".startswith("2.5") else 0))
    first, last = math.ceil(shares[0] / step - 1e-9), math.floor(shares[1] / step + 1e-9)
    return [(number * step, f"{number * step:.{decimals}f}") for number in range(first, last + 1)]


def _cost_ticks(costs: tuple[float, float]) -> list[tuple[float, str]]:
    """Return round costs with their text: 1, 2 and 5 of each power of ten, or fewer where these would crowd."""
    decades = math.log10(costs[1] / costs[0])
    parts = (1, 2, 5) if decades < 3 else (1, 3) if decades < 5 else (1,)
    powers = range(math.floor(math.log10(costs[0])), math.ceil(math.log10(costs[1])) + 1)
    ticks = [part * 10.0**power for power in powers for part in parts]
    return [(tick, short_amount(tick)) for tick in ticks if costs[0] <= tick <= costs[1]]


def _label_boxes(scene: _Scene) -> tuple[Box, ...] | None:
    obstacles = []
    for (x, y), point in zip(scene.places, scene.points, strict=True):
        obstacles.append(Box(x, y, x, y).grown(_RADIUS_PX + (8 if point.is_reference else 4)))
        ends = scene.axes.y(point.high), scene.axes.y(point.low)
        obstacles.append(Box(x - _CAP_PX, ends[0], x + _CAP_PX, ends[1]).grown(3))
    sizes = [(text_width(name, _SMALL_PX), line_height(_SMALL_PX)) for name in scene.names]
    return place_labels(scene.places, sizes, obstacles, scene.axes.plot.grown(-6))


def _geometry(scene: _Scene) -> Image.Image:
    """Draw all that is no text, three times as large and then reduced, so that edges are smooth."""
    axes, plot = scene.axes, scene.axes.plot
    below = 14 + line_height(_TEXT_PX) + 10 + line_height(_TEXT_PX) + 24 + line_height(_SMALL_PX) + _MARGIN_PX
    if scene.boxes is None:
        below += 16 + line_height(_SMALL_PX) * math.ceil(len(scene.points) / _key_columns(scene))
    large = Image.new("RGB", (_WIDTH_PX * _FINE, (round(plot.bottom) + below) * _FINE), WHITE)
    draw = ImageDraw.Draw(large)
    for share, _ in _share_ticks(axes.shares):
        _line(draw, (plot.left, axes.y(share)), (plot.right, axes.y(share)), RULE)
    for box in scene.boxes or ():
        # No line of the grid runs through a name.
        draw.rectangle([_FINE * end for end in (box.left - 3, box.top, box.right + 3, box.bottom)], fill=WHITE)
    for cost, _ in _cost_ticks(axes.costs):
        _line(draw, (axes.x(cost), plot.bottom), (axes.x(cost), plot.bottom + 7), FAINT)
    _line(draw, (plot.left, plot.bottom), (plot.right, plot.bottom), FAINT)
    _line(draw, (plot.left, plot.top), (plot.left, plot.bottom), FAINT)
    for place, box in zip(scene.places, scene.boxes or (), strict=scene.boxes is not None):
        start, end = leader(place, box.grown(3))
        if math.dist(start, end) > _LEADER_PX:
            _line(draw, start, end, FAINT, 1.4)
    for (x, _), point in zip(scene.places, scene.points, strict=True):
        _bar(draw, (x, axes.y(point.low)), axes.y(point.high), point.color)
    for place, point in zip(scene.places, scene.points, strict=True):
        _marker(draw, place, point)
    return large.reduce(_FINE)


def _line(
    draw: ImageDraw.ImageDraw,
    start: tuple[float, float],
    end: tuple[float, float],
    color: Color,
    width_px: float = _LINE_PX / 2,
) -> None:
    ends = [(start[0] * _FINE, start[1] * _FINE), (end[0] * _FINE, end[1] * _FINE)]
    draw.line(ends, fill=color, width=round(width_px * _FINE))


def _bar(draw: ImageDraw.ImageDraw, foot: tuple[float, float], top: float, color: Color) -> None:
    """Draw an interval with a cap at each end."""
    x, bottom = foot
    _line(draw, (x, bottom), (x, top), color, _LINE_PX)
    for y in (bottom, top):
        _line(draw, (x - _CAP_PX, y), (x + _CAP_PX, y), color, _LINE_PX)


def _marker(draw: ImageDraw.ImageDraw, place: tuple[float, float], point: TradeoffPoint) -> None:
    """Draw a circle, for the reference a diamond; hollow where it leaks. A white rim parts it from what lies below."""
    x, y = place[0] * _FINE, place[1] * _FINE
    for extra, color in ((2.0, WHITE), (0.0, point.color), (-3.0, WHITE)):
        if extra < 0 and not point.leaks:
            break
        if point.is_reference:
            reach = (_RADIUS_PX * 1.3 + 1.4 * extra) * _FINE
            draw.polygon([(x - reach, y), (x, y - reach), (x + reach, y), (x, y + reach)], fill=color)
        else:
            reach = (_RADIUS_PX + extra) * _FINE
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=color)


def _put_heading(canvas: Image.Image, heading: Sequence[tuple[str, Lettering]]) -> None:
    top = _MARGIN_PX
    for line, lettering in heading:
        put_text(canvas, (_MARGIN_PX, top), line, lettering)
        top += line_height(lettering.size_px)


def _put_legend(canvas: Image.Image, scene: _Scene) -> None:
    """Show above the plot what the points in it stand for."""
    points, plot, half = scene.points, scene.axes.plot, _SAMPLE_PX / 2
    entries = [(TradeoffPoint("", 1, 0, 0, 0), "run, with its 95 % Wilson interval")]
    if len(points) > 1 and any(point.is_reference for point in points):
        entries.append((TradeoffPoint("", 1, 0, 0, 0, is_reference=True), "reference"))
    if any(point.leaks for point in points):
        entries.append((TradeoffPoint("", 1, 0, 0, 0, leaks=True), _LEAKS))
    left, middle = plot.left, plot.top - 24 - half
    for sample, text in entries:
        tile = Image.new("RGB", (_SAMPLE_PX * _FINE, _SAMPLE_PX * _FINE), WHITE)
        draw = ImageDraw.Draw(tile)
        if not sample.is_reference:
            _bar(draw, (half, _SAMPLE_PX - 3), 3, sample.color)
        _marker(draw, (half, half), sample)
        canvas.paste(tile.reduce(_FINE), (round(left - half + 10), round(middle - half)))
        put_text(canvas, (left + 32, middle - line_height(_SMALL_PX) / 2), text, Lettering(_SMALL_PX, MUTED))
        left += 32 + text_width(text, _SMALL_PX) + 44


def _key_columns(scene: _Scene) -> int:
    """Return in how many columns the names stand below the plot."""
    widest = max(text_width(name, _SMALL_PX) for name in scene.names) + 60
    return max(1, (_WIDTH_PX - 2 * _MARGIN_PX) // widest)


def _put_numbers(canvas: Image.Image, scene: _Scene) -> None:
    """Write a number above each bar, where neighbors always leave room for it, and the names below the plot."""
    columns = _key_columns(scene)
    rows = math.ceil(len(scene.points) / columns)
    width = (_WIDTH_PX - 2 * _MARGIN_PX) / columns
    first = scene.axes.plot.bottom + 14 + 2 * line_height(_TEXT_PX) + 10 + 16
    for place, (point, name, x) in enumerate(zip(scene.points, scene.names, scene.columns, strict=True)):
        number = str(place + 1)
        above = scene.axes.y(point.high) - 3 - line_height(_NUMBER_PX)
        put_text(canvas, (x, above), number, Lettering(_NUMBER_PX, _ink(point), "center"))
        left, top = _MARGIN_PX + place // rows * width, first + place % rows * line_height(_SMALL_PX)
        put_text(canvas, (left + 30, top), number, Lettering(_SMALL_PX, MUTED, "right"))
        put_text(canvas, (left + 42, top), name, Lettering(_SMALL_PX, _ink(point)))


def _put_axes(canvas: Image.Image, scene: _Scene) -> None:
    """Write the numbers along both axes, their titles and the footer."""
    axes, plot = scene.axes, scene.axes.plot
    for share, text in _share_ticks(axes.shares):
        top = axes.y(share) - line_height(_TEXT_PX) / 2
        put_text(canvas, (plot.left - 14, top), text, Lettering(_TEXT_PX, MUTED, "right"))
    free_from = -math.inf
    for cost, text in _cost_ticks(axes.costs):
        half = text_width(text, _TEXT_PX) / 2
        if axes.x(cost) - half >= free_from:
            put_text(canvas, (axes.x(cost), plot.bottom + 14), text, Lettering(_TEXT_PX, MUTED, "center"))
            free_from = axes.x(cost) + half + 16
    middle, top = (plot.left + plot.right) / 2, plot.bottom + 14 + line_height(_TEXT_PX) + 10
    put_text(canvas, (middle, top), "multiply-adds per cell, logarithmic", Lettering(_TEXT_PX, INK, "center"))
    foot = canvas.height - _MARGIN_PX - line_height(_SMALL_PX)
    if scene.is_spread:
        aside = (_MARGIN_PX, foot)
        put_text(canvas, aside, "Runs of nearly equal cost stand side by side.", Lettering(_SMALL_PX, MUTED))
    beside = _MARGIN_PX + turned_mask("accuracy", _TEXT_PX, 90).width / 2
    put_turned_text(canvas, (beside, (plot.top + plot.bottom) / 2), "accuracy", Lettering(_TEXT_PX, INK), degrees=90)
    put_text(canvas, (canvas.width - _MARGIN_PX, foot), FOOTER, Lettering(_SMALL_PX, MUTED, "right"))
