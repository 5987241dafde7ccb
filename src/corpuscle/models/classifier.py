"""A classifier: a backbone, global average pooling and one linear layer.

Average pooling with a linear layer behind it makes the class activation map exact (Zhou et al. 2016,
doi 10.1109/CVPR.2016.319): the map is the last features weighted by the head's row, no gradient needed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

__all__ = ["Classifier", "ClassifierOutput", "ResidualBackbone"]


class ClassifierOutput(NamedTuple):
    """What a classifier gives for a batch.

    Attributes:
        logits: NxK float32, before the softmax and the temperature.
        embedding: NxD float32, the pooled features.
        features: NxDxhxw float32, the last features, from which the exact CAM is made.
    """

    logits: torch.Tensor
    embedding: torch.Tensor
    features: torch.Tensor


class Classifier(nn.Module):
    """Backbone (Nx3xHxW to NxDxhxw), average pooling, dropout and a linear head."""

    def __init__(self, backbone: nn.Module, width: int, n_classes: int, *, dropout: float = 0.0) -> None:
        """Put a head for `n_classes` on a backbone whose features have `width` channels."""
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, n_classes)

    def forward(self, batch: torch.Tensor) -> ClassifierOutput:
        """Classify a batch: Nx3xHxW float32, scaled as the bundle's preprocessing says."""
        features = self.backbone(batch)
        embedding = features.mean((2, 3))
        return ClassifierOutput(self.head(self.dropout(embedding)), embedding, features)


class _Residual(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016); the shortcut pools before its 1x1 convolution."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        nn.init.zeros_(self.second_norm.weight)
        shortcut: list[nn.Module] = [nn.AvgPool2d(2)] if stride == 2 else []
        if stride == 2 or width_in != width:
            shortcut += [nn.Conv2d(width_in, width, 1, bias=False), nn.BatchNorm2d(width)]
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.first_norm(self.first(batch)))
        return torch.relu(self.shortcut(batch) + self.second_norm(self.second(inner)))


class ResidualBackbone(nn.Sequential):
    """A small residual net: one strided stem, then stages that halve the side and widen."""

    def __init__(self, stem: int, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        """Build stages of `depths[i]` residual blocks with `widths[i]` channels behind a `stem`-channel convolution."""
        layers: list[nn.Module] = [nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()]
        before = stem
        for width, depth in zip(widths, depths, strict=True):
            for index in range(depth):
                layers.append(_Residual(before, width, 2 if index == 0 else 1))
                before = width
        super().__init__(*layers)
        self.width = before
