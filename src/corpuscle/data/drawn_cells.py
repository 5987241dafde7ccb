"""The strokes that paint a stained blood cell, an erythrocyte and the plasma; nothing is copied from a photograph.

Fields are float64 arrays of shape (CANVAS_PX, CANVAS_PX). A `depth` holds the distance to an outline in pixels,
positive inside; `_coverage` turns it into an opacity with a soft edge. All chance comes from the generator given.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from corpuscle.data.cell_styles import CellStyle, Color, Nucleus

__all__ = ["CANVAS_PX", "Floats", "paint_cell", "paint_erythrocyte", "paint_plasma", "smooth_noise"]

CANVAS_PX = 208

Floats: TypeAlias = NDArray[np.float64]

_PLASMA: Color = (254, 227, 202)
_ERYTHROCYTE: Color = (206, 168, 170)

# Chromatin is one ramp from blue-black to lilac in every class; only how often each tone occurs differs.
_RAMP_GREEN = (10.0, 24.0, 42.0, 62.0, 85.0, 124.0)
_RAMP_RED = (50.0, 64.0, 92.0, 110.0, 130.0, 160.0)
_RAMP_BLUE = (110.0, 128.0, 140.0, 145.0, 149.0, 160.0)
_TONE_AT = (-2.05, -1.28, -0.67, 0.0, 0.67, 1.28, 2.05)  # standard normal quantiles of the measured tones

_ROWS, _COLUMNS = np.mgrid[:CANVAS_PX, :CANVAS_PX] + 0.5
_FREQUENCY_SQUARED = np.fft.fftfreq(CANVAS_PX)[:, None] ** 2 + np.fft.rfftfreq(CANVAS_PX)[None, :] ** 2


def paint_plasma(rng: np.random.Generator) -> Floats:
    """Return an empty canvas: the cream plasma, a little uneven as under a real lamp."""
    shade = smooth_noise(rng, 40.0)[..., None] * 0.8 + rng.normal(0, 1.0)
    return np.asarray(_PLASMA, np.float64) + shade


def paint_erythrocyte(canvas: Floats, rng: np.random.Generator, center: tuple[float, float], radius_px: float) -> None:
    """Lay one erythrocyte over `canvas` in place: it filters the light, so that overlaps come out darker.

    Args:
        canvas: Shape (CANVAS_PX, CANVAS_PX, 3), 0 to 255; changed.
        rng: Where the chance comes from.
        center: Row and column of its middle in pixels; may lie outside the canvas.
        radius_px: Mean radius in pixels.
    """
    depth, radius = _outline(rng, center, radius_px, (rng.uniform(0, 0.12), 0.025, 0.0))
    inward = 1 - np.clip(depth / radius, 0, 1)
    pallor = rng.choice([0.0, rng.uniform(0.3, 0.6), rng.uniform(0.7, 1.0)], p=[0.2, 0.3, 0.5])
    thickness = 1 - pallor * np.exp(-((inward / rng.uniform(0.4, 0.6)) ** 4)) + 0.15 * inward**6
    thickness *= rng.uniform(0.8, 1.25) * (1 - 0.4 * np.exp(-np.clip(depth, 0, None) / 3))
    density = -np.log(np.asarray(_ERYTHROCYTE) / np.asarray(_PLASMA)) * rng.normal(1, 0.04, 3)
    canvas *= np.exp(-(thickness * _coverage(depth, 2.5))[..., None] * density)


def paint_cell(canvas: Floats, rng: np.random.Generator, style: CellStyle, diameter_px: float) -> Floats:
    """Paint one cell of a style over the middle of `canvas` in place.

    Args:
        canvas: Shape (CANVAS_PX, CANVAS_PX, 3), 0 to 255; changed.
        rng: Where the chance comes from.
        style: What the cell looks like.
        diameter_px: Its mean diameter in pixels.

    Returns:
        The opacity of the cell, shape (CANVAS_PX, CANVAS_PX), 0 to 1.
    """
    center = tuple(CANVAS_PX / 2 + rng.uniform(-5, 5, 2))
    shape = (rng.uniform(*style.elongation), style.waviness, style.ruffle)
    depth, _ = _outline(rng, (center[0], center[1]), diameter_px / 2, shape)
    cell = _cytoplasm(rng, style, depth)
    opacity = _coverage(depth, style.edge_px)
    outside_nucleus = np.ones_like(depth)
    if style.nucleus is not None:
        within = _blur(depth, 5.0) - 2.5  # the nucleus does not follow the ruffle of the cell
        nucleus = np.minimum(_nucleus_depth(rng, style.nucleus, center, diameter_px / 2), within)
        covered = _coverage(nucleus, 2.0)
        _mix(cell, _chromatin(rng, style.nucleus, nucleus), covered)
        outside_nucleus = 1 - covered
    for kind in style.granules:
        room = (depth > (0.0 if kind.over_nucleus else 2.0)) * (1.0 if kind.over_nucleus else outside_nucleus)
        spots = _spots(rng, room, rng.uniform(*kind.per_1000_px), kind.radius_px)
        _mix(cell, np.asarray(kind.color) + 8 * smooth_noise(rng, 1.3)[..., None], spots * kind.opacity)
        opacity = np.maximum(opacity, spots * kind.opacity * (depth > -3))
    _mix(canvas, cell, opacity)
    return opacity


def _outline(
    rng: np.random.Generator, center: tuple[float, float], radius_px: float, shape: tuple[float, float, float]
) -> tuple[Floats, Floats]:
    """Return the depth inside a round, irregular outline and its radius in each direction.

    `shape` holds elongation, waviness and ruffle in radii: random Fourier terms of the radius of order 2, 3 to 6,
    and 9 to 24.
    """
    rows, columns = _ROWS - center[0], _COLUMNS - center[1]
    angle = np.arange(720) * (np.pi / 360)
    elongation, waviness, ruffle = shape
    terms = [(2, elongation)]
    terms += [(order, waviness * rng.normal() / (order - 2)) for order in range(3, 7)]
    terms += [(order, ruffle * rng.normal() / 3) for order in range(9, 25)]
    wave = sum(size * np.cos(order * angle + rng.uniform(0, 2 * np.pi)) for order, size in terms)
    around = ((np.arctan2(rows, columns) + np.pi) * (360 / np.pi)).astype(np.intp) % 720
    radius = (radius_px * (1 + wave))[around]
    return radius - np.hypot(rows, columns), radius


def _cytoplasm(rng: np.random.Generator, style: CellStyle, depth: Floats) -> Floats:
    stain = rng.normal(0.45, 0.15) + style.grain * smooth_noise(rng, 1.2) + style.clouds * smooth_noise(rng, 7.0)
    stain = np.clip(stain, -0.3, 1.3)[..., None]
    cell = np.asarray(style.light) * (1 - stain) + np.asarray(style.dark) * stain
    vacuoles = _spots(rng, depth > 4, rng.uniform(*style.vacuoles_per_1000_px), 3.5)
    _mix(cell, np.broadcast_to(np.asarray(_PLASMA, np.float64), cell.shape), 0.7 * vacuoles)
    return cell


def _nucleus_depth(rng: np.random.Generator, nucleus: Nucleus, center: tuple[float, ...], cell_px: float) -> Floats:
    """Return the depth inside a chain of lobes; neighbors melt into each other like drops."""
    count = int(rng.integers(nucleus.lobes[0], nucleus.lobes[1] + 1))
    step = np.deg2rad(rng.uniform(*nucleus.step_deg))
    along = step * np.arange(count) * rng.normal(1, 0.08, count) + rng.uniform(0, 2 * np.pi)
    middles = cell_px * rng.uniform(*nucleus.arc_radius) * np.stack([np.sin(along), np.cos(along)], axis=1)
    toward = rng.uniform(0, 2 * np.pi)
    shift = cell_px * rng.uniform(*nucleus.offset) * np.array([np.sin(toward), np.cos(toward)])
    middles += np.asarray(center) + shift - middles.mean(axis=0)
    radii = cell_px * rng.uniform(*nucleus.lobe_radius, count)
    neck = rng.uniform(*nucleus.neck) * radii.mean()
    rows = _ROWS + nucleus.roughness_px * smooth_noise(rng, 12.0)
    columns = _COLUMNS + nucleus.roughness_px * smooth_noise(rng, 12.0)
    depths = [r - np.hypot(rows - m[0], columns - m[1]) for m, r in zip(middles, radii, strict=True)]
    for start, stop in pairwise(middles):
        axis = stop - start
        share = ((rows - start[0]) * axis[0] + (columns - start[1]) * axis[1]) / max(float(axis @ axis), 1e-9)
        share = np.clip(share, 0, 1)
        depths.append(neck - np.hypot(rows - start[0] - share * axis[0], columns - start[1] - share * axis[1]))
    stack = np.stack(depths)
    peak = stack.max(axis=0)
    melt = 1 + 4 * neck / radii.mean()
    melted: Floats = peak + melt * np.log(np.exp((stack - peak) / melt).sum(axis=0))
    return melted


def _chromatin(rng: np.random.Generator, nucleus: Nucleus, depth: Floats) -> Floats:
    even, channels = smooth_noise(rng, 1.2), np.abs(smooth_noise(rng, 1.6))
    blocks = (channels.mean() - channels) / channels.std()
    grain = (1 - nucleus.clumped) * even + nucleus.clumped * blocks
    green = np.interp(grain / np.hypot(1 - nucleus.clumped, nucleus.clumped), _TONE_AT, nucleus.tones)
    rim = 0.8 * np.exp(-((np.clip(depth, 0, None) / 5.0) ** 2))  # chromatin lines the nuclear membrane
    green += rim * (nucleus.tones[0] - green)
    return np.stack([np.interp(green, _RAMP_GREEN, _RAMP_RED), green, np.interp(green, _RAMP_GREEN, _RAMP_BLUE)], -1)


def _spots(rng: np.random.Generator, room: NDArray[np.generic], per_1000_px: float, radius_px: float) -> Floats:
    """Scatter round spots of uneven size over `room` and return their opacity."""
    weight = np.asarray(room, np.float64)
    number = rng.poisson(per_1000_px * float(weight.sum()) / 1000)
    seeds = np.zeros_like(weight)
    if number == 0 or weight.sum() == 0:
        return seeds
    places = rng.choice(weight.size, size=number, p=weight.ravel() / weight.sum())
    np.add.at(seeds.reshape(-1), places, rng.uniform(0.7, 1.3, number))
    sigma = radius_px / 1.2
    heaped = _blur(seeds, sigma) * (2 * np.pi * sigma**2)
    return np.clip((heaped - 0.45) * radius_px / 0.9 + 0.5, 0, 1)


def smooth_noise(rng: np.random.Generator, sigma_px: float) -> Floats:
    """Return smooth noise of mean 0 and deviation 1 whose features are about 3 sigma wide."""
    smooth = _blur(rng.standard_normal((CANVAS_PX, CANVAS_PX)), sigma_px)
    normalized: Floats = (smooth - smooth.mean()) / smooth.std()
    return normalized


def _blur(field: Floats, sigma_px: float) -> Floats:
    spectrum = np.fft.rfft2(field) * np.exp(-2 * (np.pi * sigma_px) ** 2 * _FREQUENCY_SQUARED)
    return np.fft.irfft2(spectrum, s=field.shape)


def _coverage(depth: Floats, edge_px: float) -> Floats:
    ramp = np.clip(depth / edge_px + 0.5, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _mix(under: Floats, over: Floats, opacity: Floats) -> None:
    under += (over - under) * opacity[..., None]
