"""Several processes that train as one: `torchrun` starts them, gradients and statistics are averaged."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn

from corpuscle.errors import RecipeError

__all__ = ["Processes", "join", "synchronize_norms"]


@dataclass(frozen=True, slots=True)
class Processes:
    """Who this process is among how many."""

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """Return the rows of a whole batch that are this process's share.

        Raises:
            RecipeError: The batch does not divide evenly.
        """
        if batch_size % self.world:
            raise RecipeError(f"run.batch_size {batch_size} must be a multiple of the {self.world} processes.")
        share = batch_size // self.world
        return slice(self.rank * share, (self.rank + 1) * share)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Add a tensor up over all processes."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def agree(self, choice: int) -> int:
        """Return the first process's choice in every process."""
        if self.world == 1:
            return choice
        value = torch.tensor([choice])
        distributed.broadcast(value, 0)
        return int(value.item())

    def __enter__(self) -> Processes:
        """Stay in the group for a block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        """Leave the group, all together if all went well: one that goes first pulls the others' connections away.

        Whatever still holds the group, as the wrapped network does in a ring of references, is collected before, so
        that the group's threads end here and not while the interpreter is being taken apart. A process that failed
        does not wait: the others may never come.
        """
        if self.world > 1 and distributed.is_initialized():
            gc.collect()
            if kind is None:
                distributed.barrier()
            distributed.destroy_process_group()


def join() -> Processes:
    """Join the group that `torchrun` announces in the environment, or stand alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Processes()
    # Networks and batches stay on the CPU, also on machines with a GPU, and nccl moves nothing between CPUs.
    distributed.init_process_group("gloo")
    return Processes(distributed.get_rank(), world)


class _Sum(torch.autograd.Function):
    """Sum over all processes; each of them gets the gradients of all."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


class _SynchronizedNorm(nn.BatchNorm2d):
    """Batch normalization with the statistics of all processes; torch's own works on GPUs only."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return torch.as_tensor(super().forward(batch))
        plain = batch.float()
        n = batch.shape[0] * batch.shape[2] * batch.shape[3]
        sums = torch.cat([plain.sum((0, 2, 3)), plain.square().sum((0, 2, 3)), plain.new_tensor([float(n)])])
        sums = _Sum.apply(sums)
        count = sums[-1]
        mean, square = (sums[:-1] / count).chunk(2)
        variance = (square - mean.square()).clamp_min(0)
        with torch.no_grad():
            momentum = self.momentum or 0.1
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
            if self.running_mean is not None and self.running_var is not None:
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(variance * count / (count - 1), momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return torch.as_tensor(plain * scale[:, None, None] + shift[:, None, None], dtype=batch.dtype)


def synchronize_norms(network: nn.Module) -> nn.Module:
    """Make every plain `BatchNorm2d` of `network` use the statistics of all processes.

    Classes derived from it, as timm has, keep to those of their own process.
    """
    for child in network.modules():
        if type(child) is nn.BatchNorm2d:
            child.__class__ = _SynchronizedNorm
    return network
