"""The contact sheet: judged pictures side by side, each with its class, confidence and remark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from corpuscle.errors import UsageError
from corpuscle.explanation.lettering import Lettering, line_height, put_text, text_width, wrapped
from corpuscle.explanation.palette import INK, MUTED, PAGE, RULE, WHITE, Color

__all__ = ["FOOTER", "SheetItem", "draw_contact_sheet"]

Image8 = NDArray[np.uint8]
Point = tuple[int, int]

FOOTER: Final = "Preliminary. Not a medical device."

_TILE_PX: Final = (96, 1024)
_MOST_COLUMNS: Final = 64
# Below the size at which Pillow, reading the sheet again, would warn of a decompression bomb.
_MOST_PIXELS: Final = 80_000_000
_MARGIN_PX: Final = 28
_GAP_PX: Final = 16
_PADDING_PX: Final = 14
_FRAME_PX: Final = 4
_HATCHED_FRAME_PX: Final = 9
_BESIDE: Final[Color] = (226, 230, 235)


@dataclass(frozen=True, slots=True, eq=False)
class SheetItem:
    """One judged picture of a contact sheet.

    Attributes:
        image: The picture, HxWx3 uint8 RGB.
        title: The predicted class, as a person reads it; two lines are shown at most.
        subtitle: A remark such as the name of the file; two lines are shown at most.
        color: Color of the class. Not used where the model refused, as no class is given then.
        bar: The confidence, in [0, 1]; drawn as a bar and written as a percentage.
        warning: Whether the model refused: hatched frame and bar, gray title, and the word "refused".
        frame_box: The square that was judged, as x_min, y_min, x_max, y_max in pixels of the picture; it may leave
            the picture. None draws none.
    """

    image: Image8
    title: str
    subtitle: str
    color: Color
    bar: float
    warning: bool
    frame_box: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        image, box = self.image, self.frame_box
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UsageError(f"The picture of {self.title!r} is not height x width x 3, uint8. Convert it first.")
        if not image.size:
            raise UsageError(f"The picture of {self.title!r} has no pixels. Leave it out.")
        if not 0 <= self.bar <= 1:
            raise UsageError(f"The confidence of {self.title!r} is {self.bar}. Give a number from 0 to 1.")
        if len(self.color) != 3 or not all(isinstance(part, int) and 0 <= part <= 255 for part in self.color):
            raise UsageError(f"The color of {self.title!r} is {self.color}. Give red, green and blue from 0 to 255.")
        if box is not None and not _has_area(box):
            raise UsageError(f"The frame of {self.title!r} is {box}. Give x_min, y_min, x_max, y_max with an area.")


def _has_area(box: tuple[float, ...]) -> bool:
    return len(box) == 4 and all(map(math.isfinite, box)) and box[0] < box[2] and box[1] < box[3]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the parts of a sheet go; lengths in pixels."""

    tile_px: int
    columns: int
    title_px: int
    small_px: int
    title_lines: int
    subtitle_lines: int
    top_px: int

    @property
    def card_width_px(self) -> int:
        return self.tile_px + 2 * _PADDING_PX

    @property
    def card_height_px(self) -> int:
        lines = self.title_lines * line_height(self.title_px) + (1 + self.subtitle_lines) * line_height(self.small_px)
        return self.tile_px + 3 * _PADDING_PX + lines

    @property
    def inner_px(self) -> int:
        return self.columns * self.card_width_px + (self.columns - 1) * _GAP_PX

    def corner(self, number: int) -> Point:
        """Return the top left of a card."""
        row, column = divmod(number, self.columns)
        return (
            _MARGIN_PX + column * (self.card_width_px + _GAP_PX),
            self.top_px + row * (self.card_height_px + _GAP_PX),
        )


def draw_contact_sheet(
    items: Sequence[SheetItem], *, columns: int = 4, title: str = "", footer: str = FOOTER, tile_px: int = 208
) -> Image8:
    """Draw judged pictures side by side, each with its class, confidence and remark.

    Args:
        items: What to show, in reading order, 1 or more.
        columns: Pictures in a row at most, 1 to 64.
        title: Heading of the sheet.
        footer: Last line of the sheet.
        tile_px: Side of the square into which each picture is fitted, 96 to 1024.

    Returns:
        The sheet, HxWx3 uint8 RGB.

    Raises:
        UsageError: There is nothing to show, a number is out of range, or the sheet would be too large.
    """
    if not items:
        raise UsageError("There is no picture to put on a contact sheet. Give one or more.")
    if not 1 <= columns <= _MOST_COLUMNS:
        raise UsageError(f"A contact sheet has 1 to {_MOST_COLUMNS} columns, not {columns}. Choose another number.")
    if not _TILE_PX[0] <= tile_px <= _TILE_PX[1]:
        raise UsageError(
            f"Pictures can be shown {_TILE_PX[0]} to {_TILE_PX[1]} px wide, not {tile_px}. Choose another size."
        )
    plan = _plan(items, min(columns, len(items)), title, tile_px)
    notes = [line for text in (_key(items), footer) for line in wrapped(text, plan.small_px, plan.inner_px)]
    _, bottom = plan.corner(math.ceil(len(items) / plan.columns) * plan.columns)
    width = plan.inner_px + 2 * _MARGIN_PX
    height = bottom + len(notes) * line_height(plan.small_px) + _MARGIN_PX
    if width * height > _MOST_PIXELS:
        raise UsageError(f"A sheet of {len(items)} pictures would be {width}x{height} px. Show fewer or smaller ones.")
    sheet = Image.new("RGB", (width, height), PAGE)
    heading = Lettering(_heading_px(plan.title_px))
    _put_lines(sheet, (_MARGIN_PX, _MARGIN_PX), wrapped(title, heading.size_px, plan.inner_px), heading)
    for number, item in enumerate(items):
        _put_card(sheet, plan.corner(number), item, plan)
    _put_lines(sheet, (_MARGIN_PX, bottom), notes, Lettering(plan.small_px, MUTED))
    return np.array(sheet)


def _plan(items: Sequence[SheetItem], columns: int, title: str, tile_px: int) -> _Plan:
    title_px, small_px = max(13, round(0.077 * tile_px)), max(12, round(0.0625 * tile_px))
    inner_px = columns * (tile_px + 2 * _PADDING_PX) + (columns - 1) * _GAP_PX
    heading_px = _heading_px(title_px)
    heading_lines = len(wrapped(title, heading_px, inner_px))
    return _Plan(
        tile_px=tile_px,
        columns=columns,
        title_px=title_px,
        small_px=small_px,
        title_lines=max(len(_title_lines(item, title_px, tile_px)) for item in items),
        subtitle_lines=max(len(wrapped(item.subtitle, small_px, tile_px, lines=2)) for item in items),
        top_px=_MARGIN_PX + (heading_lines * line_height(heading_px) + 12 if heading_lines else 0),
    )


def _heading_px(title_px: int) -> int:
    return round(1.4 * title_px)


def _chip_px(title_px: int) -> int:
    """Return the side of the square of color before a title."""
    return round(0.72 * title_px)


def _title_lines(item: SheetItem, title_px: int, tile_px: int) -> list[str]:
    return wrapped(item.title, title_px, tile_px - _chip_px(title_px) - 7, lines=2)


def _key(items: Sequence[SheetItem]) -> str:
    """Say what the signs mean that these items use."""
    parts = ["Bar: confidence."]
    if any(item.frame_box is not None for item in items):
        parts.append("Thin square: the part that was judged.")
    if any(item.warning for item in items):
        parts.append("Hatched: refused; the class is only the most probable one.")
    return " ".join(parts)


def _percent(share: float) -> str:
    """Write a share as a percentage that rounding never turns into a certainty."""
    if 0.995 <= share < 1:
        return ">99 %"
    if 0 < share < 0.005:
        return "<1 %"
    return f"{100 * share:.0f} %"


def _put_lines(sheet: Image.Image, place: Point, lines: Sequence[str], lettering: Lettering) -> None:
    for number, line in enumerate(lines):
        put_text(sheet, (place[0], place[1] + number * line_height(lettering.size_px)), line, lettering)


def _put_card(sheet: Image.Image, corner: Point, item: SheetItem, plan: _Plan) -> None:
    draw = ImageDraw.Draw(sheet)
    right, bottom = corner[0] + plan.card_width_px - 1, corner[1] + plan.card_height_px - 1
    draw.rounded_rectangle((*corner, right, bottom), radius=6, fill=WHITE, outline=RULE)
    left, top = corner[0] + _PADDING_PX, corner[1] + _PADDING_PX
    _put_frame(sheet, (left, top), item, plan.tile_px)
    sheet.paste(_tile(item, plan.tile_px), (left, top))
    if item.warning:
        _put_refused_tag(sheet, (left, top), plan)
    top += plan.tile_px + _PADDING_PX
    _put_title(sheet, (left, top), item, plan)
    top += plan.title_lines * line_height(plan.title_px)
    _put_bar(sheet, (left, top), item, plan)
    top += line_height(plan.small_px)
    remark = wrapped(item.subtitle, plan.small_px, plan.tile_px, lines=2)
    _put_lines(sheet, (left, top), remark, Lettering(plan.small_px, MUTED))


def _tile(item: SheetItem, tile_px: int) -> Image.Image:
    """Return the picture fitted into a square, with the frame that was judged."""
    picture = Image.fromarray(np.ascontiguousarray(item.image))
    scale = tile_px / max(picture.size)
    size = (max(1, round(scale * picture.width)), max(1, round(scale * picture.height)))
    resampling = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    tile = Image.new("RGB", (tile_px, tile_px), _BESIDE)
    left, top = (tile_px - size[0]) // 2, (tile_px - size[1]) // 2
    tile.paste(picture.resize(size, resampling) if size != picture.size else picture, (left, top))
    if item.frame_box is not None:
        box = [offset + scale * value for offset, value in zip((left, top) * 2, item.frame_box, strict=True)]
        x_min, y_min, x_max, y_max = (round(value) for value in box)
        draw = ImageDraw.Draw(tile)
        # A dark line around the white one keeps it visible on pale plasma.
        draw.rectangle((x_min - 1, y_min - 1, x_max, y_max), outline=INK)
        draw.rectangle((x_min, y_min, x_max - 1, y_max - 1), outline=WHITE, width=max(1, tile_px // 150))
    return tile


def _put_frame(sheet: Image.Image, corner: Point, item: SheetItem, tile_px: int) -> None:
    """Draw the frame around a tile: plain in the color of the class, or wide and hatched where it was refused."""
    thick = _HATCHED_FRAME_PX if item.warning else _FRAME_PX
    box = (corner[0] - thick, corner[1] - thick, corner[0] + tile_px + thick, corner[1] + tile_px + thick)
    if item.warning:
        _hatch(sheet, box)
    else:
        sheet.paste(item.color, box)


def _hatch(sheet: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Fill a box, half-open, with dark diagonal stripes on white."""
    rows, columns = np.mgrid[box[1] : box[3], box[0] : box[2]]
    # Opacity falls off within one pixel of the edge of a stripe, so that the stripes look smooth.
    phase = np.abs((rows + columns) % 10 - 5.0)
    opacity = np.clip(3.0 - phase, 0, 1) * 255
    sheet.paste(WHITE, box)
    sheet.paste(INK, box, Image.fromarray(opacity.astype(np.uint8)))


def _put_refused_tag(sheet: Image.Image, corner: Point, plan: _Plan) -> None:
    """Write "refused" into the top left corner of a tile."""
    size_px = plan.small_px + 1
    height, width = line_height(size_px) + 4, text_width("refused", size_px) + 18
    box = (corner[0], corner[1], corner[0] + width - 1, corner[1] + height - 1)
    ImageDraw.Draw(sheet).rectangle(box, fill=INK)
    put_text(sheet, (corner[0] + width / 2, corner[1] + 2), "refused", Lettering(size_px, WHITE, "center"))


def _put_title(sheet: Image.Image, place: Point, item: SheetItem, plan: _Plan) -> None:
    side = _chip_px(plan.title_px)
    # The chip stands on the base line of the letters.
    top = place[1] + round(0.975 * plan.title_px) - side
    box = (place[0], top, place[0] + side - 1, top + side - 1)
    draw = ImageDraw.Draw(sheet)
    if item.warning:
        draw.rectangle(box, outline=MUTED)
        draw.line((box[0], box[3], box[2], box[1]), fill=MUTED)
    else:
        draw.rectangle(box, fill=item.color, outline=MUTED)
    lettering = Lettering(plan.title_px, MUTED if item.warning else INK)
    _put_lines(sheet, (place[0] + side + 7, place[1]), _title_lines(item, plan.title_px, plan.tile_px), lettering)


def _put_bar(sheet: Image.Image, place: Point, item: SheetItem, plan: _Plan) -> None:
    number_px = max(text_width(text, plan.small_px) for text in ("100 %", ">99 %"))
    height = max(6, round(0.55 * plan.small_px))
    length = plan.tile_px - number_px - 10
    top = place[1] + (line_height(plan.small_px) - height) // 2
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((place[0], top, place[0] + length - 1, top + height - 1), fill=(233, 236, 240))
    filled = round(item.bar * length)
    if filled and item.warning:
        _hatch(sheet, (place[0], top, place[0] + filled, top + height))
    elif filled:
        draw.rectangle((place[0], top, place[0] + filled - 1, top + height - 1), fill=item.color)
    draw.rectangle((place[0], top, place[0] + length - 1, top + height - 1), outline=MUTED)
    color = MUTED if item.warning else INK
    number = Lettering(plan.small_px, color, "right")
    put_text(sheet, (place[0] + plan.tile_px, place[1]), _percent(item.bar), number)
