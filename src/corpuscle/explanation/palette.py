"""Colors of the result pictures: one for each class, the shades of a table, and the grays of a page."""

from __future__ import annotations

from typing import Final

from corpuscle.errors import UnknownNameError

__all__ = [
    "CAUTION",
    "CLASS_COLORS",
    "FAINT",
    "INK",
    "MUTED",
    "PAGE",
    "POINT",
    "RULE",
    "WHITE",
    "Color",
    "class_color",
    "ink_on",
    "shade",
]

Color = tuple[int, int, int]
"""Red, green and blue, each in 0..255 (sRGB)."""

WHITE: Final[Color] = (255, 255, 255)
PAGE: Final[Color] = (246, 247, 249)
RULE: Final[Color] = (214, 219, 225)
FAINT: Final[Color] = (166, 174, 184)
MUTED: Final[Color] = (88, 97, 109)
INK: Final[Color] = (28, 35, 45)
# A point of a chart, and one that is to be read with caution: blue and vermilion, apart for eyes of every kind.
POINT: Final[Color] = (18, 96, 196)
CAUTION: Final[Color] = (195, 76, 16)

# Begun from the eight colors of Okabe and Ito ("Color Universal Design", 2008, https://jfly.uni-koeln.de/color/), then
# moved a little, so that any two stay at least 19 CIELAB units apart for eyes without red, green or blue cones
# (simulated after Machado, Oliveira and Fernandes 2009, doi 10.1109/TVCG.2009.113). A finer class has a darker or
# lighter shade of its parent's hue.
CLASS_COLORS: Final[dict[str, Color]] = {
    "basophil": (18, 96, 196),
    "eosinophil": (240, 149, 0),
    "erythroblast": (32, 16, 35),
    "immature_granulocyte": (0, 155, 97),
    "lymphocyte": (76, 194, 245),
    "monocyte": (71, 78, 78),
    "neutrophil": (190, 118, 165),
    "platelet": (246, 236, 60),
    "erythrocyte": (195, 76, 16),
    "segmented_neutrophil": (103, 24, 119),
    "band_neutrophil": (252, 182, 206),
    "promyelocyte": (0, 51, 22),
    "myelocyte": (58, 245, 118),
    "metamyelocyte": (185, 254, 187),
}
"""Color of each class of the taxonomy, for outlines, markers and legends."""

# One hue from light to dark; each step has less luminance than the one before.
_SHADES: Final[tuple[Color, ...]] = (
    (247, 250, 253),
    (222, 234, 246),
    (180, 208, 233),
    (115, 168, 213),
    (56, 122, 184),
    (18, 80, 146),
    (8, 45, 98),
)
_RISE: Final = 0.6


def class_color(key: str) -> Color:
    """Return the color of a class.

    Args:
        key: A key of the taxonomy.

    Raises:
        UnknownNameError: No class has that key.
    """
    if key not in CLASS_COLORS:
        raise UnknownNameError("cell class", key, tuple(CLASS_COLORS))
    return CLASS_COLORS[key]


def shade(share: float) -> Color:
    """Return the blue that stands for a share in [0, 1]: nearly white for 0, the darkest for 1.

    The scale rises faster at its lower end, so that a share of 0.02 can be told from none.
    """
    place = min(max(share, 0.0), 1.0) ** _RISE * (len(_SHADES) - 1)
    below = min(int(place), len(_SHADES) - 2)
    part = place - below
    red, green, blue = (
        round(low + part * (high - low)) for low, high in zip(_SHADES[below], _SHADES[below + 1], strict=True)
    )
    return red, green, blue


def ink_on(color: Color) -> Color:
    """Return the text color, dark or white, that is easier to read on `color`."""
    light = _luminance(color)
    on_white = (_luminance(WHITE) + 0.05) / (light + 0.05)
    on_dark = (light + 0.05) / (_luminance(INK) + 0.05)
    return WHITE if on_white > on_dark else INK


def _luminance(color: Color) -> float:
    """Return the relative luminance in [0, 1] (WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance)."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in color)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
