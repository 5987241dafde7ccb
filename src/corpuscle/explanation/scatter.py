"""A map of cells as a picture for print."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from corpuscle.errors import UsageError
from corpuscle.explanation.contact_sheet import FOOTER
from corpuscle.explanation.lettering import Lettering, line_height, put_text, text_width, wrapped
from corpuscle.explanation.map_colors import Coloring
from corpuscle.explanation.palette import FAINT, INK, MUTED, WHITE

__all__ = ["draw_map"]

_SIDE_PX: Final = 1000
_MARGIN_PX: Final = 30
_FINE: Final = 2
_TITLE_PX, _TEXT_PX, _SMALL_PX = 22, 15, 13


def draw_map(coordinates: npt.NDArray[np.float32], coloring: Coloring, *, title: str) -> npt.NDArray[np.uint8]:
    """Draw the points of a map with a legend.

    Args:
        coordinates: Nxd float32, d 2 or 3; three dimensions are seen from the side that spreads most.
        coloring: A color for each point.
        title: Heading.

    Returns:
        HxWx3 uint8 RGB.

    Raises:
        UsageError: There are more or fewer colors than points.
    """
    if len(coordinates) != len(coloring.codes):
        raise UsageError(f"There are {len(coordinates)} points and {len(coloring.codes)} colors. Give one each.")
    legend = _legend_rows(coloring)
    legend_px = 60 + max(text_width(text, _TEXT_PX) for _, text in legend)
    width = 2 * _MARGIN_PX + _SIDE_PX + legend_px
    heading = wrapped(title, _TITLE_PX, width - 2 * _MARGIN_PX)
    top = _MARGIN_PX + len(heading) * line_height(_TITLE_PX) + 14
    canvas = Image.new("RGB", (width, top + _SIDE_PX + 14 + line_height(_SMALL_PX) + _MARGIN_PX // 2), WHITE)
    for number, line in enumerate(heading):
        put_text(canvas, (_MARGIN_PX, _MARGIN_PX + number * line_height(_TITLE_PX)), line, Lettering(_TITLE_PX, INK))
    canvas.paste(_points(_seen(coordinates), coloring), (_MARGIN_PX, top))
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((_MARGIN_PX, top, _MARGIN_PX + _SIDE_PX - 1, top + _SIDE_PX - 1), outline=FAINT)
    left = _MARGIN_PX + _SIDE_PX + 20
    put_text(canvas, (left, top), coloring.name, Lettering(_TEXT_PX, MUTED))
    for number, (color, text) in enumerate(legend, start=1):
        row = top + number * (line_height(_TEXT_PX) + 6)
        pen.ellipse((left, row + 3, left + 13, row + 16), fill=color, outline=MUTED)
        put_text(canvas, (left + 22, row), text, Lettering(_TEXT_PX, INK))
    put_text(canvas, (_MARGIN_PX, top + _SIDE_PX + 12), FOOTER, Lettering(_SMALL_PX, MUTED))
    return np.array(canvas)


def _legend_rows(coloring: Coloring) -> list[tuple[tuple[int, int, int], str]]:
    """Return color and text of each line; of a ramp only every fifth step."""
    counts = np.bincount(coloring.codes, minlength=len(coloring.names))
    if coloring.ramp:
        return [(coloring.colors[place], coloring.names[place]) for place in range(0, len(coloring.names), 5)]
    rows = zip(coloring.colors, coloring.names, counts, strict=True)
    return [(color, f"{name} ({count})") for color, name, count in rows if count]


def _seen(coordinates: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return Nx2 places, three dimensions projected onto their two widest directions."""
    points = coordinates.astype(np.float64) - coordinates.mean(axis=0)
    if points.shape[1] == 2:
        return np.asarray(points)
    _, vectors = np.linalg.eigh(points.T @ points)
    return np.asarray(points @ vectors[:, ::-1][:, :2])


def _points(places: npt.NDArray[np.float64], coloring: Coloring) -> Image.Image:
    """Paint the points in an order that does not favor any class, at twice the size, and shrink."""
    side = _SIDE_PX * _FINE
    picture = Image.new("RGB", (side, side), WHITE)
    pen = ImageDraw.Draw(picture)
    low, high = places.min(axis=0), places.max(axis=0)
    extent = max(float((high - low).max()), 1e-9)
    radius = _FINE * min(6.0, max(2.0, 130 / np.sqrt(len(places))))
    shown = ((places - (low + high) / 2) / extent * 0.94 + 0.5) * side
    for place in np.random.default_rng(0).permutation(len(places)):
        x, y = float(shown[place, 0]), side - float(shown[place, 1])
        pen.ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=coloring.colors[coloring.codes[place]], outline=MUTED
        )
    return picture.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS)
