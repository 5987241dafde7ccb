"""Random changes of training crops, in batches, on tensors.

Every change is one that a real slide can undergo without the cell changing its class: where the cell lies and how
large it appears, how strongly each dye took, the color of the lamp, the focus, the sensor. Parameters are drawn for
the whole batch from one generator and then sliced, so that two processes with half a batch each see exactly what one
process with all of it would see.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.preprocessing.surroundings import part_masks, with_surroundings_of

__all__ = ["PRESETS", "AugmentationSpec", "augment", "augment_with_parts", "preset", "recolored"]

_WHITE = 240 / 255
_EMPTY_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class AugmentationSpec:
    """Ranges of the random changes; 0 (or False) switches one off.

    Attributes:
        rotation_deg: Largest turn to either side.
        shift: Largest shift to either side, as a fraction of the input's side.
        zoom_in: Largest enlargement, as a fraction: 0.3 shows the cell up to 1.3 times as large.
        zoom_out: Largest reduction, as a fraction: 0.3 shows up to 1.3 times as much of the picture.
        flips: Whether pictures are mirrored, in both directions.
        stain: Spread of the gain of each dye and channel in optical density (natural logarithm).
        mixing: Spread of the leak of one channel's density into another.
        tint: Spread of the color of the background (natural logarithm).
        contrast: Largest change of saturation and gamma to either side, as a fraction.
        gradient: Largest change of the light from edge to edge, as a fraction.
        grey: Share of the pictures turned grey.
        blur: Share of the pictures that lose resolution.
        noise: Largest standard deviation of the sensor noise, of full scale.
        tight: Share of the pictures whose surroundings are painted over, as in crops cut close to the cell.
        background: Share of the pictures whose cell is put on the surroundings of another picture of the batch, or,
            one in four of these, on empty slide.
    """

    rotation_deg: float = 0.0
    shift: float = 0.0
    zoom_in: float = 0.0
    zoom_out: float = 0.0
    flips: bool = False
    stain: float = 0.0
    mixing: float = 0.0
    tint: float = 0.0
    contrast: float = 0.0
    gradient: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    tight: float = 0.0
    background: float = 0.0

    def scaled(self, strength: float) -> AugmentationSpec:
        """Return the spec with the changes of color and sharpness scaled by `strength`; geometry stays."""
        color = ("stain", "mixing", "tint", "contrast", "gradient", "grey", "blur", "noise", "tight",
                 "background")  # fmt: skip
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return AugmentationSpec(**{k: v * strength if k in color else v for k, v in values.items()})


PRESETS = {
    "none": AugmentationSpec(),
    # Rotation 20 degrees, shifts 0.1, zoom 0.1 and both flips: the six augmentations of the MobileNetV2 study.
    "mild": AugmentationSpec(rotation_deg=20, shift=0.1, zoom_in=0.1, zoom_out=0.1, flips=True),
    "strong": AugmentationSpec(
        rotation_deg=180,
        shift=0.06,
        zoom_in=0.35,
        zoom_out=0.3,
        flips=True,
        stain=0.45,
        mixing=0.18,
        tint=0.09,
        contrast=0.4,
        gradient=0.15,
        grey=0.05,
        blur=0.4,
        noise=0.03,
        tight=0.25,
    ),
}


def preset(name: str) -> AugmentationSpec:
    """Return the preset of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in PRESETS:
        raise UnknownNameError("augmentation preset", name, tuple(PRESETS))
    return PRESETS[name]


@dataclass(frozen=True, slots=True)
class _Draw:
    """Random numbers for a whole batch, cut down to the rows of one process."""

    generator: torch.Generator
    n: int
    rows: slice

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return (torch.rand(self.n, *shape, generator=self.generator) * (high - low) + low)[self.rows]

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(self.n, *shape, generator=self.generator)[self.rows]


def augment(
    crops: torch.Tensor,
    spec: AugmentationSpec,
    *,
    size_px: int,
    widen: float,
    fine: int = 1,
    resampling: str = "bilinear",
    generator: torch.Generator,
    rows: slice | None = None,
    total: int | None = None,
) -> torch.Tensor:
    """Change crops at random and bring them to the network's size.

    Args:
        crops: NxHxWx3 uint8, white-balanced, cut `widen` times wider than the frame.
        spec: Ranges of the changes.
        size_px: Side of the answer.
        widen: How much wider than the frame the crops are.
        fine: How many times finer than the answer pictures are moved; then they are shrunk.
        resampling: How they are shrunk: `bilinear` or `bicubic`, either with antialiasing.
        generator: Source of all random numbers.
        rows: Which rows of the whole batch these crops are; all of them if not given.
        total: Size of the whole batch; N if not given.

    Returns:
        Nx3xSxS float32 in [0, 1].

    Raises:
        UsageError: `background` needs the whole batch, and these are some of its rows.
    """
    return augment_with_parts(
        crops, spec, size_px=size_px, widen=widen, fine=fine, resampling=resampling, generator=generator, rows=rows,
        total=total, parts=False,
    )[0]  # fmt: skip


def augment_with_parts(
    crops: torch.Tensor,
    spec: AugmentationSpec,
    *,
    size_px: int,
    widen: float,
    fine: int = 1,
    resampling: str = "bilinear",
    generator: torch.Generator,
    rows: slice | None = None,
    total: int | None = None,
    parts: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Do as `augment`, and say where nucleus and cell lie in what it gives.

    They are sought before colors change, and are turned, zoomed and shifted as the pictures are.

    Args:
        crops: As for `augment`, and so are the others.
        spec: Likewise.
        size_px: Likewise.
        widen: Likewise.
        fine: Likewise.
        resampling: Likewise.
        generator: Likewise.
        rows: Likewise.
        total: Likewise.
        parts: Whether they are wanted.

    Returns:
        The pictures, and Nx2xSxS float32 in [0, 1] with soft edges: nucleus and whole cell; None if not wanted.

    Raises:
        UsageError: As `augment` does.
    """
    draw = _Draw(generator, total or len(crops), rows or slice(None))
    batch = crops.permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(255.0)
    if spec.background:
        batch = _background(batch, spec, draw, widen)
    masks = part_masks(batch, widen) if parts else None
    batch = _surroundings(batch, spec, draw, widen)
    # Zeros outside the crop would be black: shifting by the white of the slide makes them slide.
    batch = batch - _WHITE if masks is None else torch.cat([batch - _WHITE, masks], 1)
    batch = _move(batch, spec, draw, size_px * fine, widen)
    if fine > 1:
        size = (size_px, size_px)
        batch = functional.interpolate(batch, size=size, mode=resampling, align_corners=False, antialias=True)
    pictures = _recolored(batch[:, :3] + _WHITE, spec, draw)
    return pictures, None if masks is None else batch[:, 3:].clamp(0.0, 1.0)


def recolored(batch: torch.Tensor, spec: AugmentationSpec, *, generator: torch.Generator) -> torch.Tensor:
    """Change focus, stain, light and noise of pictures at random and leave everything where it lies.

    Args:
        batch: Nx3xSxS float32 in [0, 1], white-balanced.
        spec: Ranges of the changes; those of geometry, `tight` and `background` are not used.
        generator: Source of all random numbers.

    Returns:
        Nx3xSxS float32 in [0, 1].
    """
    return _recolored(batch, spec, _Draw(generator, len(batch), slice(None)))


def _recolored(batch: torch.Tensor, spec: AugmentationSpec, draw: _Draw) -> torch.Tensor:
    batch = _blur(batch, spec, draw)
    batch = _stain(batch, spec, draw)
    batch = _light(batch, spec, draw)
    if spec.noise:
        batch = _noise(batch, spec, draw)
    return batch.clamp_(0.0, 1.0)


def _background(batch: torch.Tensor, spec: AugmentationSpec, draw: _Draw, widen: float) -> torch.Tensor:
    """Put some of the cells on the surroundings of others."""
    if len(batch) != draw.n:
        raise UsageError("The change `background` takes surroundings from all of a batch. Give all of its crops.")
    chosen = (draw.uniform() < spec.background).nonzero()[:, 0]
    others = torch.randperm(draw.n, generator=draw.generator)[chosen]
    empty = (draw.uniform() < _EMPTY_SHARE)[chosen]
    if len(chosen):
        batch[chosen] = with_surroundings_of(batch[chosen], batch[others], widen, empty=empty)
    return batch


def _surroundings(batch: torch.Tensor, spec: AugmentationSpec, draw: _Draw, widen: float) -> torch.Tensor:
    """Paint over what lies outside a random upright rectangle around the cell."""
    if not spec.tight:
        return batch
    chosen = draw.uniform(1, 1, 1) < spec.tight
    half = draw.uniform(2, 1, 1, low=0.32, high=0.55) / widen
    shade = _WHITE * torch.exp(0.08 * draw.normal(3, 1, 1))
    axis = (torch.arange(batch.shape[-1]) + 0.5) / batch.shape[-1] - 0.5
    outside = (axis.abs()[None, :, None] > half[:, 0]) | (axis.abs()[None, None, :] > half[:, 1])
    return torch.where((outside[:, None] & chosen), shade.clamp(max=1.0), batch)


def _move(batch: torch.Tensor, spec: AugmentationSpec, draw: _Draw, size_px: int, widen: float) -> torch.Tensor:
    """Turn, mirror, zoom and shift; sample the frame out of the wider crop, zeros outside of it."""
    n = len(batch)
    angle = draw.uniform(low=-1, high=1) * math.radians(spec.rotation_deg)
    low, high = -math.log1p(spec.zoom_in), math.log1p(spec.zoom_out)
    scale = torch.exp(draw.uniform() * (high - low) + low) / widen
    shift = draw.uniform(2, low=-1, high=1) * 2 * spec.shift / widen
    mirror = 1 - 2 * (draw.uniform(2) < 0.5).float() * spec.flips
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack(
        [
            torch.stack([cos * mirror[:, 0], -sin * mirror[:, 1], shift[:, 0]], 1),
            torch.stack([sin * mirror[:, 0], cos * mirror[:, 1], shift[:, 1]], 1),
        ],
        1,
    )
    grid = functional.affine_grid(theta, [n, batch.shape[1], size_px, size_px], align_corners=False)
    return functional.grid_sample(batch, grid, align_corners=False)


def _blur(batch: torch.Tensor, spec: AugmentationSpec, draw: _Draw) -> torch.Tensor:
    """Take resolution away from some pictures: each chosen one by one of three factors drawn for the batch."""
    if not spec.blur:
        return batch
    which = draw.uniform()
    factors = torch.rand(3, generator=draw.generator) * 0.6 + 0.22
    size = batch.shape[-1]
    for index, factor in enumerate(factors.tolist()):
        rows = ((which >= spec.blur * index / 3) & (which < spec.blur * (index + 1) / 3)).nonzero()[:, 0]
        if len(rows):
            small = functional.interpolate(batch[rows], size=max(8, round(size * factor)), mode="area")
            batch[rows] = functional.interpolate(small, size=size, mode="bilinear", align_corners=False)
    return batch


def _stain(batch: torch.Tensor, spec: AugmentationSpec, draw: _Draw) -> torch.Tensor:
    """Let each dye take more or less: a random linear map of the optical densities."""
    if not (spec.stain or spec.mixing or spec.tint):
        return batch
    # A strength for each picture keeps some of every batch close to home.
    strength = draw.uniform(1)
    gain = torch.exp(spec.stain * strength * (draw.normal(3) + 0.7 * draw.normal(1)))
    leak = spec.mixing * strength[:, None] * draw.normal(3, 3) * (1 - torch.eye(3))
    density = -torch.log(batch.clamp_min(1 / 255) / _WHITE)
    matrix = torch.diag_embed(gain) + leak
    density = torch.bmm(matrix, density.flatten(2)).view_as(batch)
    white = _WHITE * torch.exp(spec.tint * strength[:, None, None] * draw.normal(3, 1, 1))
    return (torch.exp(-density) * white).clamp_(0.0, 1.0)


def _noise(batch: torch.Tensor, spec: AugmentationSpec, draw: _Draw) -> torch.Tensor:
    """Add sensor noise: windows at random places of one noise picture, which is far cheaper than fresh noise each."""
    size, room = batch.shape[-1], 48
    picture = torch.randn(3, size + room, size + room, generator=draw.generator)
    places = draw.uniform(2, high=room).to(torch.int64).tolist()
    noise = torch.stack([picture[:, y : y + size, x : x + size] for y, x in places])
    return batch + draw.uniform(1, 1, 1, high=spec.noise) * noise


def _light(batch: torch.Tensor, spec: AugmentationSpec, draw: _Draw) -> torch.Tensor:
    """Change saturation, gamma, and the evenness of the light."""
    if spec.contrast or spec.grey:
        grey = batch.mean(1, keepdim=True)
        saturation = 1 + spec.contrast * draw.uniform(1, 1, 1, low=-1, high=1)
        saturation = torch.where(draw.uniform(1, 1, 1) < spec.grey, torch.zeros_like(saturation), saturation)
        batch = (grey + (batch - grey) * saturation).clamp_(1e-4, 1.0)
        batch = batch ** torch.exp(spec.contrast * draw.uniform(1, 1, 1, low=-1, high=1))
    if spec.gradient:
        axis = torch.linspace(-1, 1, batch.shape[-1])
        slope = spec.gradient * draw.uniform(2, 1, 1, 1, low=-1, high=1)
        batch = batch * (1 + slope[:, 0] * axis[None, None, :, None] + slope[:, 1] * axis[None, None, None, :])
    return batch
