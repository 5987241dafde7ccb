"""Optimizer and learning rate of a run, as functions of the recipe and the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from corpuscle.training.checkpoint import Progress
from corpuscle.training.recipe import OptimizerRecipe

__all__ = ["learning_rate", "make_optimizer", "note_plateau", "update_average"]


def make_optimizer(network: nn.Module, recipe: OptimizerRecipe) -> torch.optim.Optimizer:
    """Make the optimizer; biases and norms (anything with one axis) are not decayed."""
    decayed = [weight for weight in network.parameters() if weight.ndim > 1]
    plain = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if recipe.name == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.99))


def learning_rate(recipe: OptimizerRecipe, step: int, steps: int, *, factor: float = 1.0) -> float:
    """Return the learning rate of one step.

    Args:
        recipe: Schedule and largest rate.
        step: From 0.
        steps: Of the whole run.
        factor: What `plateau` has come down to.
    """
    done = step / max(1, steps)
    if recipe.schedule == "onecycle" and done < recipe.warmup:
        return recipe.learning_rate * (0.04 + 0.96 * done / recipe.warmup)
    if recipe.schedule == "onecycle":
        done = (done - recipe.warmup) / (1 - recipe.warmup)
    if recipe.schedule in ("onecycle", "cosine"):
        return recipe.learning_rate * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * done)))
    return recipe.learning_rate * factor


def note_plateau(recipe: OptimizerRecipe, progress: Progress, *, improved: bool) -> None:
    """Multiply the rate by 0.3 after `plateau_patience` epochs without a better `val`."""
    progress.plateau_stale = 0 if improved else progress.plateau_stale + 1
    if recipe.schedule == "plateau" and progress.plateau_stale >= recipe.plateau_patience:
        progress.plateau_factor *= 0.3
        progress.plateau_stale = 0


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the averaged network towards the trained one: weights and the statistics of its norms alike.

    The decay grows with the step, so that the random start is forgotten; statistics of batch normalization belong to
    the weights and are averaged with them (counters are copied).
    """
    now = min(decay, (1 + step) / (10 + step))
    own, other = average.state_dict(), network.state_dict()
    floats = [key for key, value in own.items() if value.dtype.is_floating_point]
    torch._foreach_lerp_([own[key] for key in floats], [other[key] for key in floats], 1 - now)
    for key in own.keys() - set(floats):
        own[key].copy_(other[key])
