"""Text in pictures: measured before it is set, with the accents that Pillow's own font lacks.

Pillow carries one scalable font (Aileron) with the ASCII letters and a few signs. It is used because it is the same on
each machine; accents are put together from its signs, and a character that cannot be set becomes a question mark
instead of an empty box.
"""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from PIL import Image, ImageDraw, ImageFont

from corpuscle.errors import OutputError
from corpuscle.explanation.palette import INK, Color

__all__ = [
    "Lettering",
    "line_height",
    "put_text",
    "put_turned_text",
    "text_mask",
    "text_width",
    "turned_mask",
    "wrapped",
]

# Measures of the font as parts of the size in pixels.
_ASCENT, _LINE = 0.975, 1.28
_SMALL_LETTER, _CAPITAL, _ACCENT_GAP = 0.55, 0.70, 0.07

_BELOW: Final = frozenset("\u0327\u0328")
# Combining mark: the sign it is made of, and the size of that sign relative to the letter.
_MARKS: Final[dict[str, tuple[str, float]]] = {
    "\u0300": ("`", 1.0),
    "\u0301": ("´", 1.0),
    "\u0302": ("^", 0.6),
    "\u0303": ("~", 0.72),
    "\u0307": (".", 1.0),
    "\u0308": ("..", 0.85),
    "\u030a": ("°", 0.75),
    "\u030c": ("v", 0.5),
    "\u0327": (",", 0.9),
    "\u0328": (",", 0.9),
}
_REPLACED: Final = {
    "–": "-",
    "—": "-",
    "−": "-",
    "×": "x",
    "¡": "",
    "¿": "",
    "ß": "ss",
    "æ": "ae",
    "Æ": "AE",
    "œ": "oe",
    "Œ": "OE",
    "ø": "o",
    "Ø": "O",
    "ı": "i",
    "ł": "l",
    "Ł": "L",
    "đ": "d",
    "µ": "u",
    "μ": "u",
    "≥": ">=",
    "≤": "<=",
}


@dataclass(frozen=True, slots=True)
class Lettering:
    """How a line of text is set: its size, its color, and which of its points is given."""

    size_px: int
    color: Color = INK
    align: Literal["left", "center", "right"] = "left"


def line_height(size_px: int) -> int:
    """Return the height in pixels of a line of text of this size."""
    return math.ceil(_LINE * size_px)


def text_width(text: str, size_px: int) -> int:
    """Return how many pixels wide a line of text is."""
    return math.ceil(_font(size_px).getlength(_spelled(text)[0]))


def wrapped(text: str, size_px: int, width_px: int, *, lines: int | None = None) -> list[str]:
    """Break a text into lines of at most `width_px`; what does not fit into `lines` lines ends with an ellipsis."""
    done: list[str] = []
    line = ""
    for word in unicodedata.normalize("NFC", text).split():
        if lines is not None and len(done) > lines:
            break
        line = f"{line} {word}" if line else word
        if text_width(line, size_px) > width_px and line != word:
            done.append(line[: -len(word) - 1])
            line = word
        while text_width(line, size_px) > width_px and len(line) > 1:
            fit = _letters_that_fit(line, size_px, width_px)
            done.append(line[:fit])
            line = line[fit:]
    if line:
        done.append(line)
    if lines is None or len(done) <= lines:
        return done
    last = done[lines - 1]
    while last and text_width(last + "…", size_px) > width_px:
        last = last[:-1]
    return [*done[: lines - 1], last.rstrip() + "…"]


def _letters_that_fit(line: str, size_px: int, width_px: int) -> int:
    """Return how many letters of a line fit, and 1 where not even the first does."""
    longer = bisect_right(range(1, len(line) + 1), width_px, key=lambda end: text_width(line[:end], size_px))
    return max(1, longer)


def put_text(canvas: Image.Image, place: tuple[float, float], text: str, lettering: Lettering) -> None:
    """Set one line of text; `place` is the top left, top center or top right of the line, as `lettering.align` says."""
    size_px = lettering.size_px
    before = {"left": 0.0, "center": 0.5, "right": 1.0}[lettering.align] * text_width(text, size_px)
    corner = (round(place[0] - before) - _margin(size_px), round(place[1]) - _margin(size_px))
    canvas.paste(lettering.color, corner, text_mask(text, size_px))


def put_turned_text(
    canvas: Image.Image, place: tuple[float, float], text: str, lettering: Lettering, *, degrees: int
) -> None:
    """Set one line of text that climbs to the right.

    Args:
        canvas: The picture to write on.
        place: For 90 degrees the center of the line, else where its first letter stands.
        text: The line.
        lettering: Size and color; the alignment is not used.
        degrees: How steeply it climbs, 90 or less.
    """
    mask = turned_mask(text, lettering.size_px, degrees)
    if degrees == 90:
        corner = (round(place[0] - mask.width / 2), round(place[1] - mask.height / 2))
    else:
        corner = (round(place[0] - lettering.size_px * 0.45), round(place[1] - mask.height))
    canvas.paste(lettering.color, corner, mask)


def turned_mask(text: str, size_px: int, degrees: int) -> Image.Image:
    """Return the opacity of a line of text that climbs to the right, mode L, without empty borders."""
    if degrees == 90:
        mask = text_mask(text, size_px).transpose(Image.Transpose.ROTATE_90)
    else:
        # Turning blurs, so it is done at three times the size.
        large = text_mask(text, 3 * size_px).rotate(degrees, Image.Resampling.BICUBIC, expand=True)
        mask = large.reduce(3)
    return mask.crop(mask.getbbox() or (0, 0, 1, 1))


def text_mask(text: str, size_px: int) -> Image.Image:
    """Return the opacity of a line of text, mode L, with a small empty margin on all sides."""
    font, margin = _font(size_px), _margin(size_px)
    base, marks = _spelled(text)
    baseline = margin + round(_ASCENT * size_px)
    mask = Image.new("L", (math.ceil(font.getlength(base)) + 2 * margin, line_height(size_px) + 2 * margin), 0)
    ImageDraw.Draw(mask).text((margin, baseline), base, fill=255, font=font, anchor="ls")
    for place, mark in marks:
        left = margin + font.getlength(base[:place])
        right = margin + font.getlength(base[: place + 1])
        _put_mark(mask, base[place], mark, ((left + right) / 2, baseline), size_px)
    return mask


def _put_mark(mask: Image.Image, letter: str, mark: str, foot: tuple[float, int], size_px: int) -> None:
    """Put an accent over or under a letter that stands at `foot`."""
    center, baseline = foot
    sign = _sign(mark, size_px)
    left = round(center - sign.width / 2)
    if mark in _BELOW:
        mask.paste(255, (left, baseline, left + sign.width, baseline + sign.height), sign)
        return
    tall = letter.isupper() or letter in "bdfhklt"
    top_of_letter = baseline - round((_CAPITAL if tall else _SMALL_LETTER) * size_px)
    if letter in "ij":
        half = round(0.11 * size_px)
        mask.paste(0, (round(center) - half, 0, round(center) + half + 1, top_of_letter))
    bottom = top_of_letter - max(1, round(_ACCENT_GAP * size_px))
    box = (left, max(0, bottom - sign.height), left + sign.width, max(0, bottom - sign.height) + sign.height)
    mask.paste(255, box, sign)


@lru_cache(maxsize=256)
def _sign(mark: str, size_px: int) -> Image.Image:
    """Return the opacity of an accent, mode L, cropped to its ink."""
    text, scale = _MARKS[mark]
    size = max(5, round(scale * size_px))
    sign = Image.new("L", (3 * size, 3 * size), 0)
    ImageDraw.Draw(sign).text((size, 2 * size), text, fill=255, font=_font(size), anchor="ls")
    return sign.crop(sign.getbbox() or (0, 0, 1, 1))


def _margin(size_px: int) -> int:
    """Return how far ink may reach beyond the measured width and height of a line."""
    return 1 + math.ceil(0.15 * size_px)


@lru_cache(maxsize=1024)
def _spelled(text: str) -> tuple[str, tuple[tuple[int, str], ...]]:
    """Return the text in letters that the font has, and the accents to put on them by place."""
    letters: list[str] = []
    marks: list[tuple[int, str]] = []
    for character in unicodedata.normalize("NFC", text):
        decomposed = unicodedata.normalize("NFD", character)
        base, accents = decomposed[0], decomposed[1:]
        if _has_glyph(character):
            letters.append(character)
        elif character in _REPLACED:
            letters.extend(_REPLACED[character])
        elif character.isspace():
            letters.append(" ")
        elif accents and _has_glyph(base):
            marks.extend((len(letters), accent) for accent in accents if accent in _MARKS)
            letters.append(base)
        elif not unicodedata.combining(character) and unicodedata.category(character) not in ("Cc", "Cf"):
            plain = unicodedata.normalize("NFKD", character)
            letters.extend(letter if _has_glyph(letter) else "?" for letter in plain)
    return "".join(letters), tuple(marks)


@lru_cache(maxsize=1024)
def _has_glyph(character: str) -> bool:
    """Say whether the font has a character; a private one stands for what it lacks."""
    if not character.isprintable():
        return False
    font = _font(20)
    lacking, wanted = font.getmask("\uf8ff"), font.getmask(character)
    return wanted.size != lacking.size or bytes(wanted) != bytes(lacking)


@lru_cache(maxsize=64)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    try:
        font = ImageFont.load_default(size=size_px)
    except ImportError:
        font = ImageFont.load_default()
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise OutputError(
            "This build of Pillow cannot set text, because FreeType is missing. "
            "Install Pillow anew with pip, from a wheel."
        )
    return font
