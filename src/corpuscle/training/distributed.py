"""Several processes that train as one: `torchrun` starts them, gradients and statistics are averaged."""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from corpuscle.errors import CorpuscleError, RecipeError, TrainingError

__all__ = ["Processes", "join", "synchronize_norms"]


@dataclass(frozen=True, slots=True)
class Processes:
    """Who this process is among how many.

    Attributes:
        rank: Number of this process, from 0.
        world: Number of all processes, on all machines.
        here: Number of those on this machine, which share its processors.
    """

    rank: int = 0
    world: int = 1
    here: int = 1

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

    def from_first(self, read: Callable[[], bytes]) -> bytes:
        """Call `read` in the first process only and return in every process what it gave.

        Raises:
            TrainingError: `read` failed in the first process; all processes then fail with the same sentence.
        """
        if self.world == 1:
            return read()
        content, failure = b"", None
        if self.is_first:
            try:
                content = read()
            except CorpuscleError as error:
                content, failure = str(error).encode(), error
        # Sent as plain bytes: torch's own way to send objects pickles them.
        about = torch.tensor([int(failure is not None), len(content)])
        distributed.broadcast(about, 0)
        failed, size = about.tolist()
        if size:
            held = torch.frombuffer(bytearray(content.ljust(size, b"\0")), dtype=torch.uint8)
            distributed.broadcast(held, 0)
            content = held.numpy().tobytes()
        if failed:
            distributed.barrier()  # Whoever ends first would take the sentence away from the others.
            raise failure or TrainingError(content.decode())
        return content

    def check_same(self, what: str, content: str) -> None:
        """Refuse to go on where a process has something else than the first one has.

        Args:
            what: What it is, for the message.
            content: What must be the same everywhere.

        Raises:
            TrainingError: It differs; raised in all processes.
        """
        if self.world == 1:
            return
        mine = torch.frombuffer(bytearray(hashlib.sha256(content.encode()).digest()), dtype=torch.uint8)
        found = [torch.empty_like(mine) for _ in range(self.world)]
        distributed.all_gather(found, mine)
        other = [str(rank) for rank, digest in enumerate(found) if not torch.equal(digest, found[0])]
        if other:
            raise TrainingError(
                f"Process {', '.join(other)} does not have the same {what} as process 0. Give all machines the same "
                "version of Corpuscle, the same recipe with the same --set, and the same data."
            )

    def __enter__(self) -> Processes:
        """Stay in the group for a block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        """Leave the group, all together if all went well: one that goes first pulls the others' connections away.

        Whatever still holds the group, as the wrapped network does in a ring of references, is collected before, so
        that the group's threads end here and not while the interpreter is being taken apart. A process that failed
        does not wait: the others may never come.

        Raises:
            TrainingError: The connection to another process broke.
        """
        if self.world == 1 or not distributed.is_initialized():
            return
        gc.collect()
        try:
            if kind is None:
                distributed.barrier()
        except RuntimeError as broken:
            error = broken
        finally:
            distributed.destroy_process_group()
        if isinstance(error, RuntimeError) and _is_about_the_connection(error):
            raise TrainingError(
                "The connection to another process of this training broke; what that one wrote last says why. The same "
                "commands go on from the last whole epoch."
            ) from error


def _is_about_the_connection(error: RuntimeError) -> bool:
    """Tell a lost peer from other failures of torch: most such errors are plain ones that name a file of gloo."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error).lower()


def join() -> Processes:
    """Join the group that `torchrun` announces in the environment, or stand alone.

    Raises:
        TrainingError: The processes do not reach each other.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Processes()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    try:
        store, rank, world = next(rendezvous("env://"))
        # The launcher's store outlives a process that died, and with it the addresses of those that worked with it.
        # All processes are started as often, so what they write is kept apart by the number of the start.
        starts = store.add(f"starts of process {rank}", 1)
        # Networks and batches stay on the CPU, also on machines with a GPU, and nccl moves nothing between CPUs.
        distributed.init_process_group("gloo", store=PrefixStore(f"start {starts}", store), rank=rank, world_size=world)
    except RuntimeError as error:
        raise TrainingError(
            f"The processes of this training do not reach each other ({error}). Check that the command runs on all "
            "machines, that the firewall lets them through, and that GLOO_SOCKET_IFNAME names the right interface."
        ) from error
    return Processes(rank, world, here)


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
