from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy_fit
from safetensors.torch import load_file
from torch import nn
from toy_fit import CLASSES, toy_recipe

from corpuscle.errors import RecipeError, TrainingError
from corpuscle.training.checkpoint import Progress
from corpuscle.training.distributed import Processes, join, synchronize_norms
from corpuscle.training.loop import fit

SETTINGS = {"augmentation__preset": "strong", "run__epochs": 2}
_TOLERANCE = 1e-4
"""Largest difference of a weight after six steps in 32-bit floats: the processes add the same numbers up in another
order, and the step of AdamW passes a difference of a tiny gradient on. A weight moves by about 0.1 meanwhile."""


def torchrun(output: Path, settings: dict[str, object], *, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [*command, toy_fit.__file__, str(output), json.dumps(settings)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip


STAGES = [{"epoch": 1, "train": ["head"]}, {"epoch": 2, "train": [""]}]


@pytest.mark.skipif(sys.platform != "linux", reason="names the loopback interface of Linux")
@pytest.mark.parametrize("how", ["plain", "stages", "pretrained", "blended"])
def test_two_processes_train_like_one(how, toy, toy_sets, tmp_path):
    more = {
        "plain": {}, "stages": {"model__stages": STAGES}, "pretrained": {"model__pretrained": str(toy.folder)},
        "blended": {"augmentation__mixup": 0.4, "augmentation__overrides": {"background": 0.5}},
    }  # fmt: skip
    settings = SETTINGS | more[how]
    done = torchrun(tmp_path / "two", settings)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    one = fit(toy_recipe(**settings), *toy_sets, CLASSES, tmp_path / "one")
    first, second = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two"))
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, atol=_TOLERANCE, rtol=1e-3, msg=lambda text, key=key: key + text)
    history = json.loads(_metadata(tmp_path / "two" / "checkpoint.safetensors")["progress"])["history"]
    assert [record["epoch"] for record in history] == [1, 2]
    for mine, other in zip(one.history, history, strict=True):
        assert other["train_loss"] == pytest.approx(mine.train_loss, abs=1e-3)
        assert other["train_accuracy"] == mine.train_accuracy
        assert other["val_loss"] == pytest.approx(mine.val_loss, abs=1e-3)


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_a_process_alone_joins_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join() as processes:
        assert processes == Processes(0, 1)
        assert processes.is_first
        assert processes.agree(7) == 7
        assert processes.sum(torch.ones(2)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_shares_of_a_batch_are_all_of_it(world):
    batch = list(range(8))
    shares = [batch[Processes(rank, world).rows(8)] for rank in range(world)]
    assert [row for share in shares for row in share] == batch
    assert {len(share) for share in shares} == {8 // world}


def test_a_batch_that_does_not_divide_is_refused(toy_sets, tmp_path):
    with pytest.raises(RecipeError, match=r"run\.batch_size 7 must be a multiple of the 2 processes"):
        fit(toy_recipe(run__batch_size=7), *toy_sets, CLASSES, tmp_path, processes=Processes(0, 2))
    assert list(tmp_path.iterdir()) == []


def test_processes_that_hold_other_things_are_refused(monkeypatch):
    """All processes get to see the digest of each."""
    Processes(0, 1).check_same("recipe", "one")
    digests = [hashlib.sha256(text.encode()).digest() for text in ("one", "one", "two")]

    def gather(found: list[torch.Tensor], mine: torch.Tensor) -> None:
        for place, digest in zip(found, digests, strict=True):
            place.copy_(torch.frombuffer(bytearray(digest), dtype=torch.uint8))

    monkeypatch.setattr(torch.distributed, "all_gather", gather)
    for rank, text in enumerate(("one", "one", "two")):
        with pytest.raises(TrainingError, match=r"Process 2 does not have the same recipe as process 0"):
            Processes(rank, 3).check_same("recipe", text)
    digests[2] = digests[0]
    Processes(1, 3).check_same("recipe", "one")


def test_a_connection_that_breaks_is_a_sentence_and_other_failures_stay_what_they_are(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    for error, kind in (
        ("[gloo/transport/tcp/pair.cc:545] Read error", TrainingError),
        ("shapes differ", RuntimeError),
    ):
        with pytest.raises(kind) as caught, Processes(0, 2):
            raise RuntimeError(error)
        assert ("connection to another process" in str(caught.value)) == (kind is TrainingError)


def test_synchronized_norms_keep_names_weights_and_answers():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4))).eval()
    batch = torch.rand(2, 3, 5, 5)
    before, answer = {key: value.clone() for key, value in network.state_dict().items()}, network(batch)
    changed = synchronize_norms(network)
    assert changed is network
    assert not any(type(child) is nn.BatchNorm2d for child in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert torch.equal(network(batch), answer)


def test_synchronized_norms_of_one_process_are_those_of_torch(monkeypatch):
    """All processes together being this one, the sum over them is the sum itself."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: None)
    plain, synchronized = nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4))
    synchronize_norms(synchronized)
    batch = torch.randn(6, 4, 5, 7) * 3 + torch.arange(4.0)[:, None, None]
    one, other = batch.clone().requires_grad_(), batch.clone().requires_grad_()
    weights = torch.randn(6, 4, 5, 7)
    expected, found = plain(one), synchronized(other)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    torch.testing.assert_close(other.grad, one.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(synchronized[0].weight.grad, plain.weight.grad, atol=1e-4, rtol=1e-4)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(synchronized[0].state_dict()[key], value, atol=1e-5, rtol=1e-5)


def test_a_stop_is_asked_of_the_first_process_only(toy_sets, tmp_path):
    asked = []
    progress = fit(toy_recipe(run__epochs=2), *toy_sets, CLASSES, tmp_path, stop=lambda: asked.append(1) is not None)
    assert isinstance(progress, Progress)
    assert progress.epochs_done == 2
    assert asked == [1, 1]
