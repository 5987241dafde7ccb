"""Blends pictures of a batch, and their labels likewise (mixup; Zhang et al. 2018, arXiv 1710.09412)."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

__all__ = ["blend"]


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
    n = len(batch)
    others = torch.randperm(n, generator=generator)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    drawn = np.random.default_rng(seed).beta(parameter, parameter, n)
    share = torch.from_numpy(np.minimum(drawn, 1 - drawn)).float()
    classes = functional.one_hot(labels, n_classes).float()
    return (
        torch.lerp(batch, batch[others], share[:, None, None, None]),
        torch.lerp(classes, classes[others], share[:, None]),
    )
