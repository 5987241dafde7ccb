"""Blends pictures of a batch, or cuts parts of one into another, and their labels likewise.

Mixup: Zhang et al. 2018, arXiv 1710.09412. CutMix: Yun et al. 2019, arXiv 1905.04899.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

__all__ = ["blend", "cut_in"]


def blend(
    batch: torch.Tensor, labels: torch.Tensor, n_classes: int, *, parameter: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend each picture with another one of the batch.

    Args:
        batch: Nx3xSxS float32, the whole batch.
        labels: N int64.
        n_classes: Number of classes.
        parameter: Both parameters of the Beta distribution, above 0. Shares above a half are taken from the other end,
            so that each picture stays more itself than anything else.
        generator: Source of all random numbers.

    Returns:
        The blended pictures, and NxK float32, how much of each class is in them; rows sum to 1.
    """
    others, share, _ = _partners(len(batch), parameter, generator)
    classes = functional.one_hot(labels, n_classes).float()
    return (
        torch.lerp(batch, batch[others], share[:, None, None, None]),
        torch.lerp(classes, classes[others], share[:, None]),
    )


def cut_in(
    batch: torch.Tensor, labels: torch.Tensor, n_classes: int, *, parameter: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut a rectangle of another picture of the batch into each picture, at the same place.

    Args:
        batch: Nx3xSxS float32, the whole batch.
        labels: N int64.
        n_classes: Number of classes.
        parameter: Both parameters of the Beta distribution, above 0, from which the rectangle's share of the picture is
            drawn; shares above a half are taken from the other end.
        generator: Source of all random numbers.

    Returns:
        The pictures, and NxK float32, how much of each class is in them by area; rows sum to 1. Rectangles that reach
        over the border are cut off there, and count as what is left.
    """
    side = batch.shape[-1]
    others, share, places = _partners(len(batch), parameter, generator)
    half = torch.sqrt(share)[:, None, None] / 2
    axis = (torch.arange(side) + 0.5) / side
    rows, columns = ((axis - place[:, None]).abs() for place in (places[:, 0], places[:, 1]))
    inside = (rows[:, :, None] < half) & (columns[:, None, :] < half)
    kept = torch.where(inside[:, None], batch[others], batch)
    classes = functional.one_hot(labels, n_classes).float()
    return kept, torch.lerp(classes, classes[others], inside.float().mean((1, 2))[:, None])


def _partners(n: int, parameter: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw for each picture its partner, the partner's share (at most a half), and a place (row, column) in [0, 1]."""
    others = torch.randperm(n, generator=generator)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    numbers = np.random.default_rng(seed)
    drawn = numbers.beta(parameter, parameter, n)
    share = torch.from_numpy(np.minimum(drawn, 1 - drawn)).float()
    return others, share, torch.from_numpy(numbers.random((n, 2))).float()
