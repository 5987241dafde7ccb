"""Learning without labels: two changed views of a picture get like embeddings, different pictures different ones.

The loss is VICReg (Bardes, Ponce, LeCun 2022, arXiv 2105.04906), which needs neither large batches nor a second
network: views of one picture are drawn together, every number of the projected embedding keeps a spread of 1 over the
batch, and no two of them say the same.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["collapse_loss", "neighbor_accuracy", "projector", "views_loss"]

_ALIKE, _SPREAD, _APART = 25.0, 25.0, 1.0
_WIDTH = 256


def projector(width: int) -> nn.Sequential:
    """Return the layers between embedding (NxD) and loss; they exist in training alone.

    Args:
        width: D.
    """
    return nn.Sequential(
        nn.Linear(width, _WIDTH, bias=False), nn.BatchNorm1d(_WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH)
    )


def views_loss(projected: torch.Tensor) -> torch.Tensor:
    """Return the loss of a batch, a scalar.

    Args:
        projected: 2NxD float32, second views behind the first ones.
    """
    one, other = projected.chunk(2)
    return _ALIKE * functional.mse_loss(one, other) + collapse_loss(one) + collapse_loss(other)


def collapse_loss(projected: torch.Tensor) -> torch.Tensor:
    """Return what of the loss grows when all pictures get one embedding, or one number says what another does.

    Args:
        projected: NxD float32.
    """
    n, width = projected.shape
    centered = projected - projected.mean(dim=0)
    spread = torch.sqrt(centered.square().sum(dim=0) / max(1, n - 1) + 1e-4)
    table = centered.T @ centered / max(1, n - 1)
    apart = table.square().sum() - table.diagonal().square().sum()
    return _SPREAD * functional.relu(1 - spread).mean() / 2 + _APART * apart / width


def neighbor_accuracy(embedding: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of pictures whose nearest other picture, by angle, has their label.

    Args:
        embedding: NxD float32.
        labels: N int64.
    """
    points = functional.normalize(embedding.float(), dim=1)
    alike = points @ points.T
    alike.fill_diagonal_(-2.0)
    return float((labels[alike.argmax(dim=1)] == labels).float().mean())
