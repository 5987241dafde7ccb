"""A classifier: a backbone, global average pooling and one linear layer; or a flattened backbone and dense layers.

Average pooling with a linear layer behind it makes the class activation map exact (Zhou et al. 2016,
doi 10.1109/CVPR.2016.319): the map is the last features weighted by the head's row, no gradient needed. The flattened
kind is how the older studies built theirs, and is here to be compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from corpuscle.models.fronts import Front

__all__ = ["Classifier", "ClassifierOutput", "FlatClassifier", "ResidualBackbone", "mixed_styles", "plain_convolutions"]


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


class FlatClassifier(nn.Module):
    """Backbone (Nx3xHxW to NxDxhxw), flattening, dense layers with ReLU, dropout and a linear head.

    The embedding is what the last dense layer gives, NxW; the features are those of the backbone. The input must have
    the side that the network was built for.
    """

    def __init__(self, backbone: nn.Module, flat: int, n_classes: int, *, dense: int, dropout: float = 0.0) -> None:
        """Put one dense layer of `dense` units and a head for `n_classes` on `flat` flattened features."""
        super().__init__()
        self.backbone = backbone
        self.dense = nn.Linear(flat, dense)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dense, n_classes)

    def forward(self, batch: torch.Tensor) -> ClassifierOutput:
        """Classify a batch: Nx3xHxW float32, scaled as the bundle's preprocessing says."""
        features = self.backbone(batch)
        embedding = torch.relu(self.dense(features.flatten(1)))
        return ClassifierOutput(self.head(self.dropout(embedding)), embedding, features)


def plain_convolutions(widths: tuple[int, ...], *, norm: bool) -> nn.Sequential:
    """Return one 3x3 convolution a width, each with ReLU and 2x2 max pooling, and batch normalization if asked.

    Takes Nx3xHxW and gives Nx`widths[-1]`xhxw, h being H halved once a width, rounded down.
    """
    layers: list[nn.Module] = []
    before = 3
    for width in widths:
        layers.append(nn.Conv2d(before, width, 3, padding=1, bias=not norm))
        layers += [nn.BatchNorm2d(width)] if norm else []
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        before = width
    return nn.Sequential(*layers)


def _mixed(batch: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
    """Give the first half of the channels instance norm (Pan et al. 2018, arXiv 1807.09441).

    What a stain and a camera do to a picture is much the same in all of its pixels; half of the channels no longer
    carry it, and the other half keeps what color says. The instance norm comes behind a batch norm, which it undoes,
    so that exported graphs can merge that into the convolution before; it uses the batch norm's gain and bias, so that
    weights fit networks with and without it.

    Args:
        batch: NxCxHxW, from `norm`.
        norm: The batch norm.
    """
    half = batch.shape[1] // 2
    own = batch[:, :half].float()
    centered = own - own.mean((2, 3), keepdim=True)
    spread = torch.sqrt((centered * centered).mean((2, 3), keepdim=True) + 1e-5)
    own = centered * (norm.weight[:half, None, None] / spread) + norm.bias[:half, None, None]
    return torch.cat([own.to(batch.dtype), batch[:, half:]], 1)


def mixed_styles(batch: torch.Tensor, *, parameter: float = 0.1) -> torch.Tensor:
    """Give each picture a part of the mean and spread that another picture has in each channel (MixStyle).

    Stain and camera show in these two numbers much more than the cell does (Zhou et al. 2021, arXiv 2104.02008). Chance
    comes from torch's own generator, as that of dropout does. What is traded counts as given: no gradient flows there.

    Args:
        batch: NxCxHxW, features.
        parameter: Both parameters of the Beta distribution from which the share of the other is drawn.
    """
    n = len(batch)
    values = batch.float()
    with torch.no_grad():
        mean = values.mean((2, 3), keepdim=True)
        spread = torch.sqrt(values.var((2, 3), keepdim=True, correction=0) + 1e-6)
        others = torch.randperm(n)
        share = torch.distributions.Beta(parameter, parameter).sample((n, 1, 1, 1))
        gain = torch.lerp(spread, spread[others], share) / spread
        shift = torch.lerp(mean, mean[others], share) - mean * gain
    return (values * gain + shift).to(batch.dtype)


def _group_norm(width: int) -> nn.GroupNorm:
    """Norms of eight channels of one picture each (Wu, He 2018, arXiv 1803.08494): nothing is kept from training."""
    return nn.GroupNorm(max(1, width // 8), width)


class _Residual(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016); the shortcut pools before its 1x1 convolution."""

    def __init__(self, width_in: int, width: int, stride: int, *, mixed: bool = False, grouped: bool = False) -> None:
        super().__init__()
        norm: Callable[[int], Any] = _group_norm if grouped else nn.BatchNorm2d
        self.first = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.first_norm = norm(width)
        self.mixed = mixed
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.second_norm = norm(width)
        nn.init.zeros_(self.second_norm.weight)
        # An odd side is halved upwards, as the convolutions beside it do.
        pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        shortcut: list[nn.Module] = [pool] if stride == 2 else []
        if stride == 2 or width_in != width:
            shortcut += [nn.Conv2d(width_in, width, 1, bias=False), norm(width)]
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        inner = self.first_norm(self.first(batch))
        inner = torch.relu(_mixed(inner, self.first_norm) if self.mixed else inner)
        return torch.relu(self.shortcut(batch) + self.second_norm(self.second(inner)))


class ResidualBackbone(nn.Sequential):
    """A small residual net: a stem, strided unless the pictures are tiny, then stages that halve the side and widen."""

    def __init__(
        self,
        stem: int,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        *,
        stride: int = 2,
        first_stride: int = 2,
        mixed: int = 0,
        grouped: bool = False,
        front: Front | None = None,
    ) -> None:
        """Build stages of `depths[i]` residual blocks with `widths[i]` channels behind a `stem`-channel convolution.

        Stages halve the side, but for the first one where `first_stride` is 1, as for pictures that are tiny already.
        The blocks of the first `mixed` stages have instance norm in half of the channels behind their first
        convolution; `grouped` gives all norms to groups of channels of one picture instead. Pictures go through the
        `front` before all else, if there is one. In training, `style_mixing` is the share of batches whose styles are
        mixed behind the first two stages.
        """
        first = nn.Conv2d(front.channels if front else 3, stem, 3, stride, 1, bias=False)
        layers: list[nn.Module] = [first, _group_norm(stem) if grouped else nn.BatchNorm2d(stem), nn.ReLU()]
        before = stem
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for index in range(depth):
                step = (first_stride if stage == 0 else 2) if index == 0 else 1
                layers.append(_Residual(before, width, step, mixed=stage < mixed, grouped=grouped))
                before = width
        super().__init__(*layers)
        self.width = before
        self.front = front
        self.style_mixing = 0.0
        self._mixed_behind = tuple(2 + sum(depths[: stage + 1]) for stage in range(min(2, len(depths) - 1)))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the last features, NxDxhxw, of a batch Nx3xHxW."""
        if self.front is not None:
            batch = self.front(batch)
        mixing = self.training and self.style_mixing > 0 and bool(torch.rand(()) < self.style_mixing)
        for place, layer in enumerate(self):
            batch = layer(batch)
            if mixing and place in self._mixed_behind:
                batch = mixed_styles(batch)
        return batch
