"""What each place of a detector's map is to learn: task-aligned assignment and its losses.

A place learns a cell if it lies inside its box and is among the best few for it, by how sure the network is there of
the kind and how well its box already fits (Feng et al. 2021, "TOOD", doi 10.1109/ICCV48922.2021.00349). What the score
is to say is how well the box fits, so that of several boxes around one cell the best comes first. Scores learn by the
varifocal loss (Zhang et al. 2021, doi 10.1109/CVPR46437.2021.00841), boxes by the generalized overlap (Rezatofighi et
al. 2019, doi 10.1109/CVPR.2019.00075).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional

from corpuscle.models.detector import STEP_PX, DetectorOutput

__all__ = ["DetectionLoss", "FieldTargets", "detection_loss", "places_of"]

_CANDIDATES = 9
_FIT_POWER = 6.0
_CENTERED = 2.0
_NEGATIVE_WEIGHT = 0.75
_BOX_WEIGHT = 2.0


@dataclass(frozen=True, slots=True)
class FieldTargets:
    """What is known of a batch of fields.

    Attributes:
        boxes: One tensor a picture, Mx4 float32 xyxy in pixels of the input.
        kinds: One tensor a picture, M int64, an index into `CELL_KINDS`.
        known: NxKxhxw float32, 1 where it is known which cells of a kind are there, else 0.
        wanted: One tensor a picture, M float32: the share of a full score that is wanted of each cell.
    """

    boxes: list[torch.Tensor]
    kinds: list[torch.Tensor]
    known: torch.Tensor
    wanted: list[torch.Tensor]


class DetectionLoss(NamedTuple):
    """Loss of a batch: of the scores and of the boxes, each scalar float32; their sum is what is minimized."""

    score: torch.Tensor
    box: torch.Tensor


class _Assigned(NamedTuple):
    """For one picture: places that learn a cell, its number, and what the score is to be (all P)."""

    places: torch.Tensor
    cells: torch.Tensor
    fits: torch.Tensor


def places_of(height: int, width: int) -> torch.Tensor:
    """Return the places of a map in pixels of the input, (height * width)x2 float32, x and y."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack([x.flatten(), y.flatten()], 1).float() + 0.5) * STEP_PX


def detection_loss(output: DetectorOutput, targets: FieldTargets) -> DetectionLoss:
    """Compare a detector's answer with what is known.

    Args:
        output: Of the detector.
        targets: Of the same pictures.
    """
    n, _, height, width = output.logits.shape
    places = places_of(height, width)
    logits = output.logits.float().flatten(2).transpose(1, 2)
    reaches = output.reaches.float().flatten(2).transpose(1, 2)
    boxes = torch.cat([places - reaches[..., :2], places + reaches[..., 2:]], 2)
    wanted = torch.zeros_like(logits)
    box_loss, total = logits.new_zeros(()), logits.new_zeros(())
    scores = logits.detach().sigmoid()
    for number in range(n):
        true, kind = targets.boxes[number], targets.kinds[number]
        if not len(true):
            continue
        assigned = _assign(scores[number], boxes[number].detach(), places, true, kind)
        share = targets.wanted[number][assigned.cells]
        wanted[number, assigned.places, kind[assigned.cells]] = share * assigned.fits
        overlap = _generalized_overlap(boxes[number, assigned.places], true[assigned.cells])
        box_loss = box_loss + ((1 - overlap) * assigned.fits).sum()
        total = total + assigned.fits.sum()
    total = total.clamp_min(1.0)
    known = targets.known.flatten(2).transpose(1, 2)
    weight = torch.where(wanted > 0, wanted, _NEGATIVE_WEIGHT * scores.square() * known)
    score_loss = functional.binary_cross_entropy_with_logits(logits, wanted, weight, reduction="sum")
    return DetectionLoss(score_loss / total, _BOX_WEIGHT * box_loss / total)


def _assign(
    scores: torch.Tensor, boxes: torch.Tensor, places: torch.Tensor, true: torch.Tensor, kinds: torch.Tensor
) -> _Assigned:
    """Choose the places that learn each cell of one picture."""
    center, half = (true[:, :2] + true[:, 2:]) / 2, (true[:, 2:] - true[:, :2]) / 2
    away = (places[None] - center[:, None]) / half[:, None].clamp_min(1.0)
    inside = (away.abs() < 1).all(2)
    distance = away.square().sum(2)
    # A cell narrower than the step of the map may hold no place: the nearest one counts as inside.
    nearest = distance.argmin(1)
    inside[torch.arange(len(true)), nearest] = True
    fit = _overlap(true[:, None], boxes[None])
    quality = scores[:, kinds].T * fit.pow(_FIT_POWER) + 1e-9
    quality = quality * torch.exp(-_CENTERED * distance) * inside
    best = quality.topk(min(_CANDIDATES, quality.shape[1]), dim=1)
    chosen = torch.zeros_like(inside).scatter_(1, best.indices, best.values > 0)
    # A place that several cells want learns the one that its box fits best.
    owner = torch.where(chosen, fit + 1e-6, torch.full_like(fit, -1.0)).max(0)
    at = (owner.values > 0).nonzero()[:, 0]
    cells = owner.indices[at]
    mine = quality[cells, at]
    ceiling = torch.zeros(len(true)).scatter_reduce_(0, cells, mine, "amax")
    top_fit = torch.zeros(len(true)).scatter_reduce_(0, cells, fit[cells, at], "amax")
    fits = mine / ceiling[cells].clamp_min(1e-12) * top_fit[cells].clamp_min(0.05)
    return _Assigned(at, cells, fits)


def _overlap(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the intersection over union of boxes xyxy, broadcast."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    common = (high - low).clamp_min(0).prod(-1)
    union = _area(first) + _area(second) - common
    return common / union.clamp_min(1e-6)


def _generalized_overlap(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the overlap less the share of the common hull that neither box fills, in (-1, 1]."""
    low, high = torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:])
    common = (high - low).clamp_min(0).prod(-1)
    union = (_area(first) + _area(second) - common).clamp_min(1e-6)
    hull = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    hull_area = hull.prod(-1).clamp_min(1e-6)
    return common / union - (hull_area - union) / hull_area


def _area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(-1)
