"""Heat maps as pictures: the map, the map over its picture, and both beside the original with a color bar."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from corpuscle import taxonomy
from corpuscle.errors import UsageError
from corpuscle.explanation.contact_sheet import FOOTER
from corpuscle.explanation.explaining import ClassMap, Explanation
from corpuscle.explanation.lettering import Lettering, line_height, put_text, text_width, wrapped
from corpuscle.explanation.palette import FAINT, INK, MUTED, PAGE, WHITE, class_color
from corpuscle.prediction.describing import attribute_text
from corpuscle.records import Description

__all__ = ["draw_explanation", "heat_colors", "overlay"]

Image8 = npt.NDArray[np.uint8]

# From black over violet and orange to pale yellow; each step is lighter than the one before, so that the order can be
# read without seeing colors.
_HEAT: Final = ((8, 4, 28), (74, 16, 96), (158, 38, 90), (222, 80, 52), (250, 146, 20), (252, 208, 66), (255, 252, 196))
_OPAQUE: Final = 0.78
_PANEL_PX: Final = 300
_MARGIN_PX: Final = 24
_GAP_PX: Final = 14
_BAR_PX: Final = 14
_TITLE_PX, _TEXT_PX, _SMALL_PX = 20, 14, 12


def heat_colors(cam: npt.NDArray[np.float32]) -> Image8:
    """Color a map: HxW float32 in [0, 1] becomes HxWx3 uint8 RGB, dark for 0 and pale yellow for 1."""
    levels = np.clip(np.rint(np.nan_to_num(cam) * 255), 0, 255).astype(np.uint8)
    return np.asarray(np.take(_table(), levels, axis=0), np.uint8)


@lru_cache(maxsize=1)
def _table() -> Image8:
    """Return 256x3 colors."""
    steps = np.linspace(0, len(_HEAT) - 1, 256)
    columns = [np.interp(steps, range(len(_HEAT)), [color[channel] for color in _HEAT]) for channel in range(3)]
    return np.rint(np.stack(columns, axis=1)).astype(np.uint8)


def overlay(picture: Image8, cam: npt.NDArray[np.float32]) -> Image8:
    """Lay a map over its picture; where the map is 0 the picture shows as it is.

    Args:
        picture: HxWx3 uint8 RGB.
        cam: HxW float32 in [0, 1].

    Returns:
        The same size, HxWx3 uint8 RGB.

    Raises:
        UsageError: The sizes differ.
    """
    if picture.shape[:2] != cam.shape:
        raise UsageError(f"The picture is {picture.shape[:2]} and the map {cam.shape}. Give maps of the picture.")
    # Weak evidence is nearly clear: what the eye sees first is where the strong evidence lies.
    weight = (np.float32(_OPAQUE) * np.clip(cam, 0, 1).astype(np.float32) ** np.float32(0.8))[..., None]
    mixed = picture + (heat_colors(cam).astype(np.float32) - picture) * weight
    return (mixed + np.float32(0.5)).astype(np.uint8)


def draw_explanation(explanation: Explanation) -> Image8:
    """Draw original, map and overlay side by side, a row for each class, with a color bar.

    Args:
        explanation: A picture with its maps.

    Returns:
        The drawing, HxWx3 uint8 RGB.
    """
    rows, scale = explanation.maps, _scale(explanation.picture)
    height = max(1, round(explanation.picture.shape[0] * scale))
    width = max(1, round(explanation.picture.shape[1] * scale))
    panel = max(width, 150)
    bar = _GAP_PX + _BAR_PX + 8 + max(text_width("none", _SMALL_PX), text_width("most", _SMALL_PX))
    across = 2 * _MARGIN_PX + 3 * panel + 2 * _GAP_PX + bar
    heading = _heading(explanation, across - 2 * _MARGIN_PX)
    top = _MARGIN_PX + sum(line_height(size) for _, size, _ in heading) + _GAP_PX
    row_px = line_height(_TEXT_PX) + 8 + height + _GAP_PX
    captions = line_height(_SMALL_PX) + 4
    foot = line_height(_SMALL_PX) + _MARGIN_PX
    canvas = Image.new("RGB", (across, top + captions + len(rows) * row_px + foot), PAGE)
    where = _MARGIN_PX
    for text, size, color in heading:
        put_text(canvas, (_MARGIN_PX, where), text, Lettering(size, color))
        where += line_height(size)
    for place, name in enumerate(("picture, square that was judged", f"evidence ({explanation.method})", "both")):
        left = _MARGIN_PX + place * (panel + _GAP_PX)
        put_text(canvas, (left, top), wrapped(name, _SMALL_PX, panel, lines=1)[0], Lettering(_SMALL_PX, MUTED))
    for number, item in enumerate(rows):
        _put_row(canvas, explanation, item, (top + captions + number * row_px, panel, scale))
    put_text(canvas, (_MARGIN_PX, canvas.height - foot + 2), FOOTER, Lettering(_SMALL_PX, MUTED))
    return np.array(canvas)


def _scale(picture: Image8) -> float:
    """Return the factor that brings a picture to the size of a panel."""
    return float(_PANEL_PX / max(picture.shape[:2]))


def _heading(explanation: Explanation, width_px: int) -> list[tuple[str, int, tuple[int, int, int]]]:
    """Return the lines above the panels, with size and color."""
    prediction = explanation.prediction
    name = taxonomy.cell_class(prediction.class_name).name_en
    description = prediction.description
    title = f"{name}, {prediction.confidence:.1%}"
    if description and description.words:
        title += f": {description.words}"
    lines = [(line, _TITLE_PX, INK) for line in wrapped(title, _TITLE_PX, width_px)]
    if prediction.refused:
        said = f"refused: {prediction.reason}"
        lines += [(line, _TEXT_PX, INK) for line in wrapped(said, _TEXT_PX, width_px)]
    for said, color in _in_words(description) if description else ():
        lines += [(line, _TEXT_PX, color) for line in wrapped(said, _TEXT_PX, width_px, lines=3)]
    if prediction.file:
        file = Path(prediction.file).name
        lines += [(line, _SMALL_PX, MUTED) for line in wrapped(file, _SMALL_PX, width_px, lines=2)]
    return lines


def _in_words(description: Description) -> list[tuple[str, tuple[int, int, int]]]:
    """Return what is said of a cell's looks and of the known cells next to it, each with its color."""
    said = [(f"Unusual: {'; '.join(description.remarks)}.", INK)] if description.remarks else []
    if text := attribute_text(description):
        said.append((f"Also: {text}.", MUTED))
    if description.nearest:
        known = ", ".join(
            f"{cell.file} ({taxonomy.cell_class(cell.class_name).name_en}, {cell.distance:.1f})"
            for cell in description.nearest
        )
        said.append((f"Nearest known cells, with distance (1 is usual): {known}", MUTED))
    return said


def _put_row(canvas: Image.Image, explanation: Explanation, item: ClassMap, at: tuple[int, int, float]) -> None:
    """Draw the three panels of a class; `at` is the top in pixels, the width of a panel and the pictures' scale."""
    top, panel, scale = at
    picture = explanation.picture
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    name = taxonomy.cell_class(item.class_name).name_en
    ImageDraw.Draw(canvas).rectangle(
        (_MARGIN_PX, top + 3, _MARGIN_PX + 11, top + 14), fill=class_color(item.class_name), outline=MUTED
    )
    line = f"evidence for {name}, given {item.probability:.1%}"
    if not item.cam.any():
        line += ": none in this picture"
    elif item is not explanation.maps[0]:
        line += f"; at its strongest place {item.strength:.0%} of that for the first class"
    put_text(canvas, (_MARGIN_PX + 18, top), line, Lettering(_TEXT_PX, INK))
    top += line_height(_TEXT_PX) + 8
    shown = _resized(picture, size)
    cam = np.asarray(Image.fromarray(item.cam).resize(size, Image.Resampling.BILINEAR), np.float32)
    framed = Image.fromarray(shown)
    _outline(framed, explanation, scale)
    panels = (framed, Image.fromarray(heat_colors(cam)), Image.fromarray(overlay(shown, cam)))
    for place, drawn in enumerate(panels):
        left = _MARGIN_PX + place * (panel + _GAP_PX)
        canvas.paste(drawn, (left, top))
        ImageDraw.Draw(canvas).rectangle((left, top, left + size[0] - 1, top + size[1] - 1), outline=FAINT)
    _put_bar(canvas, (_MARGIN_PX + 3 * panel + 3 * _GAP_PX, top), size[1])


def _resized(picture: Image8, size: tuple[int, int]) -> Image8:
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))


def _outline(drawn: Image.Image, explanation: Explanation, scale: float) -> None:
    """Draw the square that the network saw, white on dark so that it shows everywhere."""
    framing = explanation.prediction.framing
    box = [value * scale for value in (framing.x_min, framing.y_min)]
    side = framing.side_px * scale
    corners = (
        max(0, math.floor(box[0])), max(0, math.floor(box[1])),
        min(drawn.width - 1, math.ceil(box[0] + side)), min(drawn.height - 1, math.ceil(box[1] + side)),
    )  # fmt: skip
    if corners[2] <= corners[0] + 2 or corners[3] <= corners[1] + 2:
        return
    pen = ImageDraw.Draw(drawn)
    pen.rectangle(corners, outline=INK, width=3)
    pen.rectangle((corners[0] + 1, corners[1] + 1, corners[2] - 1, corners[3] - 1), outline=WHITE)


def _put_bar(canvas: Image.Image, place: tuple[int, int], height: int) -> None:
    """Draw the scale of the colors, the most evidence on top."""
    left, top = place
    ramp = np.linspace(1, 0, height, dtype=np.float32)[:, None]
    canvas.paste(Image.fromarray(np.repeat(heat_colors(ramp), _BAR_PX, axis=1)), (left, top))
    ImageDraw.Draw(canvas).rectangle((left, top, left + _BAR_PX - 1, top + height - 1), outline=FAINT)
    put_text(canvas, (left + _BAR_PX + 6, top - 2), "most", Lettering(_SMALL_PX, MUTED))
    put_text(canvas, (left + _BAR_PX + 6, top + height - line_height(_SMALL_PX)), "none", Lettering(_SMALL_PX, MUTED))
