"""Tells the stained cell of a training crop from what lies around it, and puts other surroundings behind it.

What lies around a cell says nothing about its class, but within one laboratory it may go with it: each class comes
from a few slides. Pasted on the surroundings of another crop, the cell keeps its label and loses that hint. The mask is
found by thresholds and growth on a small copy of the crop, so that it costs little beside a training step; it need not
be exact, only not cut the nucleus and seldom leave cytoplasm behind.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from corpuscle.preprocessing.transforms import WHITE

__all__ = ["cell_masks", "part_masks", "with_surroundings_of"]

_WHITE = WHITE / 255
_WORK_PX = 36
_NUCLEUS = 0.45
"""Share of the strongest red density from which a place belongs to the nucleus."""
_LEAST_DENSITY = 0.1
_EMPTY = 0.07
"""Mean optical density up to which a place is empty slide."""
_SEED, _NUCLEUS_REACH, _CELL_REACH = 0.25, 0.5, 0.62
"""Distances from the center, in sides of the frame, where nuclei begin, and where they and cells end."""
_CYTOPLASM, _HALO = 0.14, 0.1
"""How far cytoplasm is sought around a nucleus, and how much farther a cell is taken away, in sides of the frame."""
_LEAST_AREA = 0.01


def cell_masks(batch: torch.Tensor, widen: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the stained cell at the center of each crop: its nucleus, and what is no empty slide close around that.

    Args:
        batch: Nx3xHxH float32 in [0, 1], white-balanced, the cell in the middle.
        widen: How much wider than the frame the crops are.

    Returns:
        Two Nx1xHxH float32 in [0, 1] with soft edges: the cell, and a wider one that leaves none of it outside. Both
        are 0 where nothing is stained.
    """
    _, cell, wide = _parts(batch, widen)
    soft = _softened(torch.cat([cell, wide], 1), batch.shape[-1])
    return soft[:, :1], soft[:, 1:]


def part_masks(batch: torch.Tensor, widen: float) -> torch.Tensor:
    """Find nucleus and whole cell at the center of each crop.

    Args:
        batch: Nx3xHxH float32 in [0, 1], white-balanced, the cell in the middle.
        widen: How much wider than the frame the crops are.

    Returns:
        Nx2xHxH float32 in [0, 1] with soft edges; 0 where nothing is stained.
    """
    nucleus, cell, _ = _parts(batch, widen)
    return _softened(torch.cat([nucleus, cell], 1), batch.shape[-1])


def _parts(batch: torch.Tensor, widen: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find nucleus, cell and a wider cell on small copies of the crops; Nx1xhxh each, 0 or 1."""
    side = batch.shape[-1]
    small = functional.avg_pool2d(batch, max(1, round(side / _WORK_PX)))
    density = -torch.log(small.clamp(1 / 255, _WHITE) / _WHITE)
    red, n = density[:, :1], small.shape[-1]
    frame = n / widen
    axis = torch.arange(n) + 0.5 - n / 2
    distance = torch.hypot(axis[:, None], axis[None]) / frame
    strongest = (red * torch.exp(-((distance / 0.3) ** 2))).amax((2, 3), keepdim=True)
    nucleus = (red > _NUCLEUS * strongest) & (red > _LEAST_DENSITY) & (distance < _NUCLEUS_REACH)
    nucleus = _grown((nucleus & (distance < _SEED)).float(), nucleus.float(), _NUCLEUS_REACH * frame)
    room = (density.mean(1, keepdim=True) > _EMPTY) & (distance < _CELL_REACH)
    room = torch.maximum(room.float(), nucleus)
    cell = _grown(nucleus, room, _CYTOPLASM * frame)
    # Closed, so that no pale spot inside is left out; and rounded.
    cell = 1 - _square(1 - _square(cell))
    return nucleus, cell, _square(_grown(cell, room, _HALO * frame))


def _softened(masks: torch.Tensor, side: int) -> torch.Tensor:
    """Bring small masks to the size of the crops, with soft edges."""
    soft = functional.avg_pool2d(masks, 3, 1, 1, count_include_pad=False)
    soft = functional.interpolate(soft, size=side, mode="bilinear", align_corners=False)
    return (1.5 * soft - 0.1).clamp_(0.0, 1.0)


def _grown(seed: torch.Tensor, room: torch.Tensor, steps: float) -> torch.Tensor:
    """Let a mask grow inside another, about as far in all directions: steps to four and to eight neighbors in turn."""
    for step in range(max(1, round(steps))):
        wider = _square(seed) if step % 2 else torch.maximum(_wider(seed, 2), _wider(seed, 3))
        seed = torch.minimum(wider, room)
    return seed


def _wider(mask: torch.Tensor, axis: int) -> torch.Tensor:
    """Let a mask grow by one pixel to both sides; many times faster than pooling on a processor."""
    n = mask.shape[axis]
    wider = mask.clone()
    for target, source in ((wider.narrow(axis, 1, n - 1), mask.narrow(axis, 0, n - 1)),
                           (wider.narrow(axis, 0, n - 1), mask.narrow(axis, 1, n - 1))):  # fmt: skip
        torch.maximum(target, source, out=target)
    return wider


def _square(mask: torch.Tensor) -> torch.Tensor:
    """Let a mask grow by one pixel to all eight neighbors."""
    return _wider(_wider(mask, 2), 3)


def with_surroundings_of(
    batch: torch.Tensor, others: torch.Tensor, widen: float, *, empty: torch.Tensor | None = None
) -> torch.Tensor:
    """Put the cell of each crop on the surroundings of another crop, whose own cell is taken out of them.

    Args:
        batch: Nx3xHxH float32 in [0, 1], white-balanced, the cells in the middle.
        others: Likewise, the crops that give the surroundings.
        widen: How much wider than the frame the crops are.
        empty: N bool, which cells are put on empty slide instead; none if not given.

    Returns:
        Nx3xHxH float32 in [0, 1]. A crop without a stained cell stays as it is, and one that shall lie on a crop
        without one is put on empty slide.
    """
    own, _ = cell_masks(batch, widen)
    _, taken = cell_masks(others, widen)
    own = torch.where(_found(own), own, torch.ones_like(own))
    bare = ~_found(taken)
    if empty is not None:
        bare |= empty[:, None, None, None]
    taken = torch.where(bare, torch.ones_like(taken), taken)
    ground = others + (_WHITE - others) * taken
    return ground + (batch - ground) * own


def _found(masks: torch.Tensor) -> torch.Tensor:
    return masks.mean((1, 2, 3), keepdim=True) > _LEAST_AREA
