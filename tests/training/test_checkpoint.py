from __future__ import annotations

import itertools
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from corpuscle.errors import OutputError, TrainingError
from corpuscle.models.zoo import build
from corpuscle.training import checkpoint
from corpuscle.training.checkpoint import (
    EpochRecord,
    Progress,
    begin_alike,
    load_checkpoint,
    save_checkpoint,
    save_weights,
)
from corpuscle.training.distributed import Processes
from corpuscle.training.recipe_parts import OptimizerRecipe
from corpuscle.training.schedule import make_optimizer

RECORD = EpochRecord(1, 0.01, 1.2, 0.4, 1.1, 0.5, 3.25)


def parts(name: str, seed: int) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    network, average = build("toy", 3), build("toy", 3)
    return network, average, make_optimizer(network, OptimizerRecipe(name=name, learning_rate=0.01))


def step(network: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    batch = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    network(batch).logits.square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_everything_comes_back_and_goes_on_alike(name, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    network, average, optimizer = parts(name, 1)
    for seed in range(3):
        step(network, optimizer, seed)
    progress = Progress(
        epochs_done=1, best_epoch=1, best_accuracy=0.5, best_loss=1.1, stale_epochs=2, plateau_factor=0.3,
        plateau_stale=1, precision="bf16", history=[RECORD],
    )  # fmt: skip
    save_checkpoint(path, network, average, optimizer, progress, recipe={"classes": ("a", "b"), "seed": 1})
    network_2, average_2, optimizer_2 = parts(name, 2)
    # A tuple in the recipe is a list in JSON; it is the same recipe all the same.
    found = load_checkpoint(path, network_2, average_2, optimizer_2, recipe={"classes": ["a", "b"], "seed": 1})
    assert found == progress
    for seed in range(3, 6):
        step(network, optimizer, seed)
        step(network_2, optimizer_2, seed)
    for one, other in ((network, network_2), (average, average_2)):
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_the_file_is_safetensors_and_holds_no_pickle(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    network, average, optimizer = parts("adamw", 1)
    step(network, optimizer, 0)
    save_checkpoint(path, network, average, optimizer, Progress(history=[RECORD]), recipe={"seed": 1})
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    about = header.pop("__metadata__")
    assert json.loads(about["recipe"]) == {"seed": 1}
    assert json.loads(about["progress"])["history"][0]["val_accuracy"] == 0.5
    # The rest of the file is nothing but the tensors that the header lists.
    ends = sorted(tuple(entry["data_offsets"]) for entry in header.values())
    assert ends[0][0] == 0
    assert ends[-1][1] == len(content) - 8 - size
    assert all(one[1] == other[0] for one, other in itertools.pairwise(ends))
    assert {key.split(".")[0] for key in header} == {"network", "average", "optimizer"}


def test_a_run_may_go_on_with_another_number_of_threads(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    mine = parts("adamw", 1)
    save_checkpoint(path, *mine, Progress(epochs_done=2), recipe={"run": {"threads": 0, "seed": 1}})
    assert load_checkpoint(path, *mine, recipe={"run": {"threads": 1, "seed": 1}}).epochs_done == 2
    with pytest.raises(TrainingError, match="another recipe"):
        load_checkpoint(path, *mine, recipe={"run": {"threads": 0, "seed": 2}})


def test_a_checkpoint_of_another_recipe_or_form_is_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    mine = parts("adamw", 1)
    save_checkpoint(path, *mine, Progress(), recipe={"seed": 1})
    with pytest.raises(TrainingError, match="another recipe"):
        load_checkpoint(path, *mine, recipe={"seed": 2})
    save_weights(path, mine[0].state_dict())
    with pytest.raises(TrainingError, match=r"cannot be read .*Delete it"):
        load_checkpoint(path, *mine, recipe={"seed": 1})
    save_weights(path, mine[0].state_dict(), {"recipe": "{}", "progress": "{}"})
    with pytest.raises(TrainingError, match="does not fit"):
        load_checkpoint(path, *mine, recipe={})


class Wire(Processes):
    """Two processes in one: what the first sends is what the second gets."""

    sent: ClassVar[list[bytes]] = []

    def from_first(self, read: Callable[[], bytes]) -> bytes:
        if self.is_first:
            self.sent.append(read())
        return self.sent[-1]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("steps", [0, 2])
def test_a_process_without_files_goes_on_like_the_first(name, steps, tmp_path):
    first, second = parts(name, 1), parts(name, 2)
    for seed in range(steps):
        step(first[0], first[2], seed)
    progress = Progress(epochs_done=steps, precision="bf16", history=[RECORD] * steps)
    assert begin_alike(lambda: progress, *first, processes=Wire(0, 2)) == progress
    found = begin_alike(lambda: pytest.fail("only the first one reads"), *second, processes=Wire(1, 2))
    assert found == progress
    for network, optimizer in ((first[0], first[2]), (second[0], second[2])):
        step(network, optimizer, 9)
    for one, other in zip(first[:2], second[:2], strict=True):
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error")])
def test_a_failing_write_leaves_the_old_file(error, tmp_path, monkeypatch):
    path = tmp_path / "best.safetensors"
    save_weights(path, {"weight": torch.ones(3)})
    before = path.read_bytes()

    def half(tensors: object, part: Path, about: object) -> None:
        part.write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(checkpoint, "save_file", half)
    with pytest.raises(OutputError, match=r"best\.safetensors cannot be written"):
        save_weights(path, {"weight": torch.zeros(3)})
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["best.safetensors"]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no file modes")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_file_has_the_mode_that_the_user_asked_for(mask, mode, tmp_path):
    before = os.umask(mask)
    try:
        save_weights(tmp_path / "best.safetensors", {"weight": torch.ones(3)})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "best.safetensors").stat().st_mode) == mode
