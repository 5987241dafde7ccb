"""What training makes small: the loss of the labels and, where a recipe asks for it, of what is learned beside them.

A teacher's answers are learned as by Hinton et al. 2015, "Distilling the knowledge in a neural network", arXiv
1503.02531. Attributes are told by a linear layer on the embedding that exists in training alone (many tasks on one
representation: Caruana 1997, doi 10.1023/A:1007379606734), and nucleus and cell are drawn likewise from the last
features. Without labels nothing but views of pictures are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from corpuscle.errors import RecipeError
from corpuscle.models.classifier import Classifier, ClassifierOutput
from corpuscle.models.zoo import CellNetwork
from corpuscle.training.crops import CropSet
from corpuscle.training.lessons import ATTRIBUTE_VALUES
from corpuscle.training.recipe import Recipe
from corpuscle.training.views import collapse_loss, neighbor_accuracy, projector, views_loss

__all__ = ["Targets", "add_lessons", "judge_views", "loss_of", "targets_of", "without_lessons"]

_LESSONS = "lessons"
_FINER = 4
"""How much finer than the last features masks are drawn."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What a batch of pictures is to be answered with.

    Attributes:
        labels: N int64, places of the classes.
        answers: NxK float32, the teacher's logits; None without a teacher.
        attributes: NxA int64, places of the values, -1 for not annotated; None where they are not learned.
        shares: NxK float32, how much of each class is in a blended picture; None where pictures are not blended.
        parts: Nx2xSxS float32 in [0, 1], where nucleus and cell lie; None where they are not learned.
    """

    labels: torch.Tensor
    answers: torch.Tensor | None = None
    attributes: torch.Tensor | None = None
    shares: torch.Tensor | None = None
    parts: torch.Tensor | None = None


def targets_of(crops: CropSet, chosen: npt.NDArray[np.int64]) -> Targets:
    """Take the targets of some of the crops."""
    answers, attributes = (
        None if item is None else torch.from_numpy(item[chosen]) for item in (crops.answers, crops.attributes)
    )
    return Targets(torch.from_numpy(crops.labels[chosen]), answers, attributes)


def add_lessons(network: CellNetwork, recipe: Recipe) -> None:
    """Put the layers on a network that exist in training alone.

    They compare views, or tell attributes, or draw nucleus and cell from the last features.

    Raises:
        RecipeError: The network has no last features of which masks could be drawn.
    """
    width, lessons = network.head.in_features, recipe.lessons
    if lessons.without_labels:
        network.add_module(_LESSONS, projector(width))
        return
    layers = nn.ModuleDict()
    if lessons.attributes:
        layers["attributes"] = nn.Linear(width, sum(len(values) for values in ATTRIBUTE_VALUES.values()))
    if lessons.masks:
        if not isinstance(network, Classifier):
            raise RecipeError(
                f"The network {recipe.model.name} flattens its features and can draw no masks. Set lessons.masks to 0."
            )
        layers["masks"] = nn.Sequential(nn.Conv2d(width, 2 * _FINER**2, 1), nn.PixelShuffle(_FINER))
    if layers:
        network.add_module(_LESSONS, layers)


def without_lessons(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leave out the weights of what exists in training alone."""
    return {key: value for key, value in weights.items() if not key.startswith(f"{_LESSONS}.")}


def loss_of(recipe: Recipe, network: nn.Module, output: ClassifierOutput, targets: Targets) -> torch.Tensor:
    """Return the loss of a batch, a scalar in nats.

    Args:
        recipe: The run.
        network: The network, after `add_lessons`.
        output: What it gave for the batch; without labels for first and then second views of all pictures.
        targets: What it should have given.
    """
    lessons, logits = recipe.lessons, output.logits.float()
    if lessons.without_labels:
        return views_loss(network.get_submodule(_LESSONS)(output.embedding.float()))
    wanted_classes = targets.labels if targets.shares is None else targets.shares
    loss = functional.cross_entropy(logits, wanted_classes, label_smoothing=recipe.optimizer.label_smoothing)
    if targets.answers is not None:
        wanted = functional.log_softmax(targets.answers / lessons.temperature, dim=1)
        given = functional.log_softmax(logits / lessons.temperature, dim=1)
        apart = functional.kl_div(given, wanted, reduction="batchmean", log_target=True)
        # Gradients of softened answers shrink with the square of the temperature.
        loss = (1 - lessons.teacher_share) * loss + lessons.teacher_share * lessons.temperature**2 * apart
    if lessons.attributes and targets.attributes is not None:
        told = network.get_submodule(f"{_LESSONS}.attributes")(output.embedding.float())
        loss = loss + lessons.attributes * _attribute_loss(told, targets.attributes)
    if lessons.masks and targets.parts is not None:
        drawn = network.get_submodule(f"{_LESSONS}.masks")(output.features.float())
        wanted_parts = functional.adaptive_avg_pool2d(targets.parts, drawn.shape[-1])
        loss = loss + lessons.masks * functional.binary_cross_entropy_with_logits(drawn, wanted_parts)
    return loss


def _attribute_loss(told: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Average the cross-entropy over attributes and all pictures; those that nobody annotated add nothing.

    It is a mean over the batch and not over the annotated ones, so that processes that share a batch agree.
    """
    sizes = [len(values) for values in ATTRIBUTE_VALUES.values()]
    parts = [
        functional.cross_entropy(block, column, ignore_index=-1, reduction="sum")
        for block, column in zip(torch.split(told, sizes, dim=1), places.unbind(1), strict=True)
    ]
    return torch.stack(parts).sum() / places.numel()


def judge_views(network: nn.Module, embedding: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Judge embeddings that were learned without labels; labels are looked at to report, never to choose.

    Args:
        network: The network, after `add_lessons`, in evaluation mode.
        embedding: NxD float32.
        labels: N int64.

    Returns:
        The part of the loss that needs one view of each picture, and the share of pictures whose nearest other one has
        their label.
    """
    projected = network.get_submodule(_LESSONS)(embedding)
    return float(collapse_loss(projected)), neighbor_accuracy(embedding, labels)
