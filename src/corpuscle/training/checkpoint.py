"""The state of a training run in one file, written atomically: safetensors only, no pickle.

Random numbers need no saving: every epoch and step seeds its own generators, so a run that goes on from the end of an
epoch sees the very numbers that an uninterrupted one would.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file, save, save_file
from torch import nn

from corpuscle.errors import TrainingError
from corpuscle.files import written_whole
from corpuscle.training.distributed import Processes

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Progress = TypeVar("_Progress")

__all__ = [
    "EpochRecord",
    "Progress",
    "begin_alike",
    "load_checkpoint",
    "load_weights",
    "restore_checkpoint",
    "save_checkpoint",
    "save_weights",
]


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """Figures of one epoch; losses are cross-entropies in nats, accuracies lie in [0, 1].

    With lessons beside the labels the loss on train is that of all together. Without labels both losses are those of
    `views`, the accuracy on train means nothing, and that on val is `neighbor_accuracy`.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


@dataclass(slots=True)
class Progress:
    """Where a run stands besides its tensors."""

    epochs_done: int = 0
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_loss: float = float("inf")
    stale_epochs: int = 0
    plateau_factor: float = 1.0
    plateau_stale: int = 0
    precision: str = "fp32"
    history: list[EpochRecord] = field(default_factory=list)


def _flat(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{key}": value.detach().clone().contiguous() for key, value in tensors.items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Name the tensors of an optimizer's state by parameter number and key."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{key}": value if isinstance(value, torch.Tensor) else torch.tensor(float(value))
        for number, entries in state.items()
        for key, value in entries.items()
        if value is not None
    }


def save_weights(path: Path, tensors: dict[str, torch.Tensor], about: dict[str, str] | None = None) -> None:
    """Write tensors to a safetensors file, atomically.

    Raises:
        OutputError: The file cannot be written.
    """
    with written_whole(path) as part:
        try:
            save_file(_flat("", tensors), part, about)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read tensors that `save_weights` wrote.

    Raises:
        TrainingError: The file is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"The weights {path} cannot be read ({error}). Train them again.") from error


def save_checkpoint(
    path: Path,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: DataclassInstance,
    *,
    recipe: dict[str, Any],
) -> None:
    """Write everything that a run needs to go on from the end of an epoch."""
    tensors = _all_tensors(network, average, optimizer)
    save_weights(path, tensors, {"progress": json.dumps(asdict(progress)), "recipe": json.dumps(recipe)})


def _all_tensors(network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        **_flat("network.", network.state_dict()),
        **_flat("average.", average.state_dict()),
        **_flat("optimizer.", _optimizer_tensors(optimizer)),
    }


def _without_threads(recipe: dict[str, Any]) -> dict[str, Any]:
    """Leave out what belongs to the machine: a run may go on with more or fewer threads."""
    run = recipe.get("run")
    return recipe | {"run": {key: run[key] for key in run if key != "threads"}} if isinstance(run, dict) else recipe


def load_checkpoint(
    path: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, *, recipe: dict[str, Any]
) -> Progress:
    """Put a saved state of a classifier's run back into its parts.

    Raises:
        TrainingError: The file is damaged, was written by another recipe, or holds another network.
    """
    return restore_checkpoint(path, (network, average), optimizer, recipe=recipe, read=_progress)


def restore_checkpoint(
    path: Path,
    networks: tuple[nn.Module, nn.Module],
    optimizer: torch.optim.Optimizer,
    *,
    recipe: dict[str, Any],
    read: Callable[[dict[str, Any]], _Progress],
) -> _Progress:
    """Put a saved state back into a run's parts.

    Args:
        path: What `save_checkpoint` wrote.
        networks: The network and its averaged copy.
        optimizer: Its optimizer.
        recipe: The run; the one that wrote the file must be the same.
        read: Makes the progress out of the values of `asdict`.

    Raises:
        TrainingError: The file is damaged, was written by another recipe, or holds another network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        values = json.loads(about["progress"])
        saved = json.loads(about["recipe"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(f"The checkpoint {path} cannot be read ({error}). Delete it to start anew.") from error
    if _without_threads(saved) != _without_threads(json.loads(json.dumps(recipe))):
        raise TrainingError(f"The checkpoint {path} belongs to another recipe. Choose another --output, or delete it.")
    try:
        _restore(tensors, networks[0], networks[1], optimizer)
        return read(values)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise TrainingError(
            f"The checkpoint {path} does not fit this network; the data may have other classes now. "
            "Choose another --output, or delete it."
        ) from error


def begin_alike(
    begin: Callable[[], Progress],
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    processes: Processes,
) -> Progress:
    """Put all processes where the first one begins, whether or not they see its files.

    Args:
        begin: Brings the network, its average and the optimizer to where the run begins or goes on, and returns the
            progress so far. Called in the first process only.
        network: The network.
        average: Its averaged copy.
        optimizer: Its optimizer.
        processes: Those that train together.

    Raises:
        TrainingError: `begin` failed; raised with the same sentence in all processes.
    """
    if processes.world == 1:
        return begin()

    def packed() -> bytes:
        text = json.dumps(asdict(begin()))
        tensors = _all_tensors(network, average, optimizer)
        tensors["progress"] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        return save(tensors)

    tensors = load(processes.from_first(packed))
    progress = _progress(json.loads(tensors.pop("progress").numpy().tobytes()))
    if not processes.is_first:
        _restore(tensors, network, average, optimizer)
    return progress


def _restore(
    tensors: dict[str, torch.Tensor], network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    network.load_state_dict(_with_prefix(tensors, "network."))
    average.load_state_dict(_with_prefix(tensors, "average."))
    _restore_optimizer(optimizer, _with_prefix(tensors, "optimizer."))


def _progress(values: dict[str, Any]) -> Progress:
    history = [EpochRecord(**record) for record in values["history"]]
    return Progress(**{**values, "history": history})


def _with_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
