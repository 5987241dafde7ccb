"""An anchor-free detector of cells in whole fields: one fine map of places, each with a score a kind and a box.

The backbone is the classifier's. A short top-down path brings what the coarse stages see back to a map of one place
every four pixels, because erythrocytes overlap and platelets are small. Every place says how likely a cell of each
kind lies around it and how far that cell reaches to the left, top, right and bottom (Tian et al. 2019, "FCOS",
doi 10.1109/ICCV.2019.00972). The score learns to tell how well the box fits, so that the best boxes come first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from corpuscle.errors import UnknownNameError
from corpuscle.models.classifier import ResidualBackbone
from corpuscle.records import CELL_KINDS

__all__ = ["DETECTORS", "STEP_PX", "Detector", "DetectorOutput", "DetectorRow", "build_detector"]

STEP_PX = 4
"""Distance of neighboring places of the map, in pixels of the input."""

_PRIOR = 0.01
_UNIT_PX = 16.0


class DetectorOutput(NamedTuple):
    """What a detector gives for a batch.

    Attributes:
        logits: NxKxhxw float32, one a kind of `CELL_KINDS`, before the sigmoid.
        reaches: Nx4xhxw float32, from the place to the left, top, right and bottom edge, in pixels of the input, >= 0.
    """

    logits: torch.Tensor
    reaches: torch.Tensor


@dataclass(frozen=True, slots=True)
class DetectorRow:
    """One detector.

    Attributes:
        stem: Channels of the first convolution.
        widths: Channels of the stages, each at half the side of the one before.
        depths: Residual blocks of the stages.
        neck: Channels of the top-down path from the second finest stage on, and at the finest.
        about: One line for people.
    """

    stem: int
    widths: tuple[int, int, int]
    depths: tuple[int, int, int]
    neck: tuple[int, int]
    about: str


DETECTORS: Mapping[str, DetectorRow] = MappingProxyType(
    {
        "toy_field": DetectorRow(8, (8, 12, 16), (1, 1, 1), (12, 8), "seconds to train; for tests"),
        "corpuscle_field": DetectorRow(
            24, (48, 96, 192), (1, 2, 2), (96, 56), "our field detector, on the backbone of corpuscle_s"
        ),
    }
)


def _convolved(width_in: int, width: int, side: int) -> nn.Sequential:
    """Return a convolution with its norm and ReLU."""
    convolution = nn.Conv2d(width_in, width, side, 1, side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


class Detector(nn.Module):
    """Backbone, top-down path and two small heads; takes Nx3xHxW, H and W multiples of 16."""

    def __init__(self, row: DetectorRow, n_kinds: int = len(CELL_KINDS)) -> None:
        """Build the network of a row with random weights."""
        super().__init__()
        self.backbone = ResidualBackbone(row.stem, row.widths, row.depths)
        ends = [2 + sum(row.depths[: stage + 1]) for stage in range(3)]
        self._ends = frozenset(ends)
        middle, fine = row.neck
        self.from_coarse = _convolved(row.widths[2], middle, 1)
        self.from_middle = nn.Sequential(nn.Conv2d(row.widths[1], middle, 1, bias=False), nn.BatchNorm2d(middle))
        self.middle = _convolved(middle, middle, 3)
        self.down = nn.Sequential(nn.Conv2d(middle, fine, 1, bias=False), nn.BatchNorm2d(fine))
        self.from_fine = nn.Sequential(nn.Conv2d(row.widths[0], fine, 1, bias=False), nn.BatchNorm2d(fine))
        self.fine = _convolved(fine, fine, 3)
        self.score_tower = _convolved(fine, fine, 3)
        self.reach_tower = _convolved(fine, fine, 3)
        self.scores = nn.Conv2d(fine, n_kinds, 1)
        self.reaches = nn.Conv2d(fine, 4, 1)
        nn.init.normal_(self.scores.weight, std=0.01)
        self.scores.bias = nn.Parameter(torch.full((n_kinds,), -math.log((1 - _PRIOR) / _PRIOR)))
        nn.init.normal_(self.reaches.weight, std=0.01)
        # softplus of this is about 1.3: boxes begin at the size of an erythrocyte.
        self.reaches.bias = nn.Parameter(torch.ones(4))

    def forward(self, batch: torch.Tensor) -> DetectorOutput:
        """Look for cells in a batch: Nx3xHxW float32, scaled as the bundle says."""
        stages = []
        for number, layer in enumerate(self.backbone):
            batch = layer(batch)
            if number in self._ends:
                stages.append(batch)
        fine, middle, coarse = stages
        seen = functional.interpolate(self.from_coarse(coarse), scale_factor=2.0, mode="nearest")
        seen = self.middle(torch.relu(self.from_middle(middle) + seen))
        seen = functional.interpolate(self.down(seen), scale_factor=2.0, mode="nearest")
        seen = self.fine(torch.relu(self.from_fine(fine) + seen))
        reaches = functional.softplus(self.reaches(self.reach_tower(seen)).float()) * _UNIT_PX
        return DetectorOutput(self.scores(self.score_tower(seen)), reaches)


def build_detector(name: str) -> Detector:
    """Build a detector with random weights.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in DETECTORS:
        raise UnknownNameError("detector", name, tuple(DETECTORS))
    return Detector(DETECTORS[name])
