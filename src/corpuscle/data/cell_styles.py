"""What the drawn cells of each class look like: one table, in pixels of a canvas of 208 by 208.

An erythrocyte, 7.5 micrometers wide, measures about 77 px on that canvas. Sizes, tones and grain were chosen to match
what was measured in the May Gruenwald-Giemsa pictures of Acevedo et al. 2020 (doi 10.17632/snkd93bnjr.1); the shapes
follow the usual descriptions of blood cells (Palmer et al. 2015, doi 10.1111/ijlh.12327). A range is drawn from evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["STYLES", "CellStyle", "Color", "Granules", "Nucleus", "Range"]

Range: TypeAlias = tuple[float, float]
Color: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Nucleus:
    """The shape and chromatin of a nucleus: `lobes` discs strung along an arc and joined by necks.

    Attributes:
        lobes: Fewest and most lobes.
        lobe_radius: Radius of a lobe in cell radii.
        arc_radius: Radius of the arc on which the lobes lie, in cell radii.
        step_deg: Angle on the arc from one lobe to the next.
        neck: Width of the join in lobe diameters: 1 makes a sausage, 0.2 a thin bridge.
        offset: Distance of the nucleus from the middle of the cell, in cell radii.
        roughness_px: How far the outline wavers.
        clumped: From 0, chromatin of even grain, to 1, dark blocks with pale channels between them.
        tones: Green values of the chromatin at the quantiles 2, 10, 25, 50, 75, 90 and 98 %.
    """

    lobes: tuple[int, int]
    lobe_radius: Range
    arc_radius: Range
    step_deg: Range
    neck: Range
    offset: Range
    roughness_px: float
    clumped: float
    tones: tuple[float, float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Granules:
    """One kind of granule in the cytoplasm.

    Attributes:
        per_1000_px: How many lie on 1000 square pixels.
        radius_px: About how large one is.
        color: What a granule looks like.
        opacity: How much it hides, from 0 to 1.
        over_nucleus: Whether granules cover the nucleus too.
    """

    per_1000_px: Range
    radius_px: float
    color: Color
    opacity: float
    over_nucleus: bool = False


@dataclass(frozen=True, slots=True)
class CellStyle:
    """What distinguishes the cells of one class.

    Attributes:
        diameter_px: Mean diameter.
        elongation: Relative difference of the long half axis from the mean one.
        waviness: Low-order irregularity of the outline, in radii.
        ruffle: High-order irregularity of the outline, in radii.
        edge_px: Width over which the outline fades.
        light: Color of the cytoplasm where it takes little stain.
        dark: Color of the cytoplasm where it takes much stain.
        grain: Contrast of the fine texture of the cytoplasm.
        clouds: Contrast of the coarse texture of the cytoplasm.
        nucleus: The nucleus, or None.
        granules: The kinds of granules.
        vacuoles_per_1000_px: How many bright vacuoles lie on 1000 square pixels.
    """

    diameter_px: Range
    elongation: Range
    waviness: float
    ruffle: float
    edge_px: float
    light: Color
    dark: Color
    grain: float
    clouds: float
    nucleus: Nucleus | None
    granules: tuple[Granules, ...] = ()
    vacuoles_per_1000_px: Range = (0.0, 0.0)


STYLES: dict[str, CellStyle] = {
    "basophil": CellStyle(
        diameter_px=(110, 132),
        elongation=(0.0, 0.08),
        waviness=0.02,
        ruffle=0.01,
        edge_px=2.0,
        light=(192, 152, 172),
        dark=(124, 74, 142),
        grain=0.25,
        clouds=0.15,
        nucleus=Nucleus(
            lobes=(2, 3),
            lobe_radius=(0.44, 0.52),
            arc_radius=(0.35, 0.45),
            step_deg=(70, 110),
            neck=(0.6, 1.0),
            offset=(0.0, 0.1),
            roughness_px=3.0,
            clumped=0.2,
            tones=(26, 32, 42, 54, 70, 88, 112),
        ),
        granules=(Granules((16, 26), 2.9, (62, 22, 124), 0.88, over_nucleus=True),),
    ),
    "eosinophil": CellStyle(
        diameter_px=(118, 142),
        elongation=(0.0, 0.08),
        waviness=0.02,
        ruffle=0.004,
        edge_px=2.0,
        light=(204, 158, 168),
        dark=(158, 96, 146),
        grain=0.4,
        clouds=0.2,
        nucleus=Nucleus(
            lobes=(2, 2),
            lobe_radius=(0.36, 0.45),
            arc_radius=(0.44, 0.52),
            step_deg=(100, 150),
            neck=(0.15, 0.5),
            offset=(0.0, 0.12),
            roughness_px=3.0,
            clumped=0.2,
            tones=(16, 21, 27, 41, 60, 81, 110),
        ),
        granules=(Granules((30, 45), 2.3, (184, 104, 134), 0.7),),
    ),
    "erythroblast": CellStyle(
        diameter_px=(80, 100),
        elongation=(0.0, 0.10),
        waviness=0.03,
        ruffle=0.006,
        edge_px=2.0,
        light=(198, 164, 175),
        dark=(130, 98, 153),
        grain=0.09,
        clouds=0.1,
        nucleus=Nucleus(
            lobes=(1, 1),
            lobe_radius=(0.54, 0.72),
            arc_radius=(0.0, 0.0),
            step_deg=(0, 0),
            neck=(1.0, 1.0),
            offset=(0.0, 0.2),
            roughness_px=1.5,
            clumped=0.2,
            tones=(17, 21, 26, 30, 34, 41, 58),
        ),
    ),
    "immature_granulocyte": CellStyle(
        diameter_px=(128, 156),
        elongation=(0.0, 0.12),
        waviness=0.02,
        ruffle=0.004,
        edge_px=2.0,
        light=(206, 172, 184),
        dark=(138, 100, 160),
        grain=0.3,
        clouds=0.12,
        nucleus=Nucleus(
            lobes=(1, 3),
            lobe_radius=(0.52, 0.64),
            arc_radius=(0.30, 0.45),
            step_deg=(40, 60),
            neck=(1.0, 1.0),
            offset=(0.12, 0.28),
            roughness_px=3.5,
            clumped=0.0,
            tones=(15, 20, 27, 42, 63, 88, 118),
        ),
        granules=(Granules((8, 40), 1.3, (108, 44, 140), 0.7),),
    ),
    "lymphocyte": CellStyle(
        diameter_px=(90, 108),
        elongation=(0.0, 0.08),
        waviness=0.03,
        ruffle=0.012,
        edge_px=3.0,
        light=(170, 148, 176),
        dark=(82, 52, 140),
        grain=0.3,
        clouds=0.15,
        nucleus=Nucleus(
            lobes=(1, 1),
            lobe_radius=(0.83, 0.94),
            arc_radius=(0.0, 0.0),
            step_deg=(0, 0),
            neck=(1.0, 1.0),
            offset=(0.03, 0.14),
            roughness_px=2.5,
            clumped=0.8,
            tones=(18, 23, 28, 37, 49, 63, 86),
        ),
    ),
    "monocyte": CellStyle(
        diameter_px=(136, 158),
        elongation=(0.0, 0.12),
        waviness=0.05,
        ruffle=0.014,
        edge_px=3.0,
        light=(196, 172, 186),
        dark=(124, 96, 162),
        grain=0.2,
        clouds=0.15,
        nucleus=Nucleus(
            lobes=(3, 4),
            lobe_radius=(0.38, 0.46),
            arc_radius=(0.42, 0.54),
            step_deg=(50, 70),
            neck=(0.85, 1.0),
            offset=(0.0, 0.15),
            roughness_px=4.0,
            clumped=0.5,
            tones=(17, 24, 36, 55, 75, 95, 121),
        ),
        vacuoles_per_1000_px=(0.0, 0.6),
    ),
    "neutrophil": CellStyle(
        diameter_px=(118, 140),
        elongation=(0.0, 0.08),
        waviness=0.03,
        ruffle=0.004,
        edge_px=2.0,
        light=(226, 194, 186),
        dark=(180, 134, 164),
        grain=0.2,
        clouds=0.10,
        nucleus=Nucleus(
            lobes=(3, 4),
            lobe_radius=(0.27, 0.34),
            arc_radius=(0.44, 0.54),
            step_deg=(64, 84),
            neck=(0.15, 0.5),
            offset=(0.0, 0.12),
            roughness_px=3.0,
            clumped=0.2,
            tones=(16, 20, 25, 35, 54, 78, 112),
        ),
        granules=(Granules((2, 12), 1.2, (146, 76, 144), 0.7),),
    ),
    "platelet": CellStyle(
        diameter_px=(38, 52),
        elongation=(0.0, 0.12),
        waviness=0.05,
        ruffle=0.04,
        edge_px=5.0,
        light=(182, 156, 182),
        dark=(118, 70, 152),
        grain=0.3,
        clouds=0.1,
        nucleus=None,
        granules=(Granules((50, 90), 1.4, (100, 40, 142), 0.85),),
    ),
}
