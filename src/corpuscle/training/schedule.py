"""Optimizer and learning rate of a run, as functions of the recipe and the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from corpuscle.errors import RecipeError
from corpuscle.training.checkpoint import Progress
from corpuscle.training.recipe_parts import OptimizerRecipe

__all__ = ["begins", "follow_stage", "learning_rate", "make_optimizer", "note_plateau", "update_average"]


def make_optimizer(network: nn.Module, recipe: OptimizerRecipe) -> torch.optim.Optimizer:
    """Make the optimizer, a group for each factor of `recipe.rates` and kind of decay.

    Biases and norms (anything with one axis) are not decayed. Each group keeps its factor as `factor`.

    Raises:
        RecipeError: No weight's name begins as one of the rates says.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    used = set()
    for name, weight in network.named_parameters():
        beginnings = [key for key in recipe.rates if begins(name, key)]
        chosen = max(beginnings, key=len) if beginnings else ""
        used |= set(beginnings)
        factor = float(recipe.rates.get(chosen, 1.0)) if beginnings else 1.0
        decay = recipe.weight_decay if weight.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(weight)
    idle = [key for key in recipe.rates if key not in used]
    if idle:
        raise RecipeError(f"optimizer.rates.{idle[0]}: no weight's name begins so. {_some_names(network)}")
    tables = [{"params": part, "weight_decay": decay, "factor": factor} for (factor, decay), part in groups.items()]
    if recipe.name == "sgd":
        return torch.optim.SGD(tables, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(tables, lr=recipe.learning_rate, betas=(0.9, 0.99))


def begins(name: str, beginning: str) -> bool:
    """Whether a dotted name begins with whole parts of another; anything begins with the empty one."""
    return not beginning or name == beginning or name.startswith(beginning + ".")


def _some_names(network: nn.Module) -> str:
    names = [name for name, _ in network.named_parameters()]
    return f"Names here are as {names[0]} and {names[-1]}."


def follow_stage(network: nn.Module, stages: tuple[dict[str, Any], ...], epoch: int) -> bool:
    """Freeze and unfreeze weights as the stage of an epoch (from 0) says, and keep the statistics of frozen norms.

    To be called after `network.train()`, which would set all norms going again.

    Returns:
        Whether which weights are trained has changed.

    Raises:
        RecipeError: No weight's name begins as the stage says.
    """
    if not stages:
        return False
    stage = [item for item in stages if item["epoch"] <= epoch + 1][-1]
    names = stage["train"]
    changed = False
    trained = set()
    for name, weight in network.named_parameters():
        wanted = [key for key in names if begins(name, key)]
        trained |= set(wanted)
        changed |= weight.requires_grad != bool(wanted)
        weight.requires_grad = bool(wanted)
    idle = [key for key in names if key not in trained]
    if idle:
        raise RecipeError(f"model.stages: no weight's name begins with {idle[0]}. {_some_names(network)}")
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and not layer.weight.requires_grad:
            layer.eval()
    return changed


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
