from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from corpuscle.errors import RecipeError
from corpuscle.models.zoo import build
from corpuscle.training.checkpoint import Progress
from corpuscle.training.recipe_parts import OptimizerRecipe
from corpuscle.training.schedule import (
    begins,
    follow_stage,
    learning_rate,
    make_optimizer,
    note_plateau,
    update_average,
)

STEPS = 200


def rates(**settings: object) -> np.ndarray:
    recipe = OptimizerRecipe(learning_rate=0.5, **settings)
    return np.array([learning_rate(recipe, step, STEPS) for step in range(STEPS)])


@pytest.mark.parametrize("warmup", [0.1, 0.5])
def test_onecycle_warms_up_and_then_decays(warmup):
    found = rates(schedule="onecycle", warmup=warmup)
    top = round(warmup * STEPS)
    assert found.argmax() == top
    assert found[top] == pytest.approx(0.5)
    assert found[0] == pytest.approx(0.02)
    assert (np.diff(found[: top + 1]) > 0).all()
    assert (np.diff(found[top:]) < 0).all()
    assert 0 < found[-1] < 0.01 * 0.5


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_onecycle_may_have_no_warmup_or_nothing_else(warmup):
    found = rates(schedule="onecycle", warmup=warmup)
    assert (np.diff(found) > 0).all() if warmup else (np.diff(found) < 0).all()
    assert found.max() == pytest.approx(0.5, rel=0.01)


def test_cosine_starts_at_the_top_and_is_halfway_in_the_middle():
    found = rates(schedule="cosine")
    assert found[0] == pytest.approx(0.5)
    assert found[STEPS // 2] == pytest.approx(0.25, rel=0.01)
    assert (np.diff(found) < 0).all()
    assert 0 < found[-1] < 0.01 * 0.5


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_other_schedules_follow_the_factor_alone(schedule):
    assert (rates(schedule=schedule) == 0.5).all()
    recipe = OptimizerRecipe(learning_rate=0.5, schedule=schedule)
    assert learning_rate(recipe, 3, STEPS, factor=0.3) == pytest.approx(0.15)


def test_a_plateau_is_noted_after_its_patience():
    recipe = OptimizerRecipe(schedule="plateau", plateau_patience=2)
    progress, factors = Progress(), []
    for improved in (True, False, True, False, False, False, False):
        note_plateau(recipe, progress, improved=improved)
        factors.append(progress.plateau_factor)
    assert factors == pytest.approx([1, 1, 1, 1, 0.3, 0.3, 0.09])


def test_other_schedules_know_no_plateau():
    progress = Progress()
    for _ in range(9):
        note_plateau(OptimizerRecipe(schedule="onecycle", plateau_patience=2), progress, improved=False)
    assert progress.plateau_factor == 1.0


# The first step of Nesterov's momentum 0.9 is 1.9 times as long.
@pytest.mark.parametrize(("name", "shrunk"), [("adamw", 1 - 0.1 * 0.5), ("sgd", 1 - 1.9 * 0.1 * 0.5)])
def test_biases_and_norms_are_not_decayed(name, shrunk):
    network = build("toy", 3)
    before = {key: weight.detach().clone() for key, weight in network.named_parameters()}
    optimizer = make_optimizer(network, OptimizerRecipe(name=name, learning_rate=0.1, weight_decay=0.5))
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for key, weight in network.named_parameters():
        if weight.ndim == 1:
            assert torch.equal(weight, before[key]), key
        else:
            torch.testing.assert_close(weight.detach(), before[key] * shrunk, msg=key)
    held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    assert held == {id(weight) for weight in network.parameters()}


def filled(value: float, count: int) -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    for tensor in network.state_dict().values():
        tensor.fill_(value if tensor.is_floating_point() else count)
    return network


def test_the_average_moves_weights_and_statistics_and_copies_counters():
    average, network = filled(1.0, 5), filled(3.0, 9)
    update_average(average, network, 0.75, 10_000)
    for key, value in average.state_dict().items():
        assert (value == (1.5 if value.is_floating_point() else 9)).all(), key
    assert {"1.running_mean", "1.running_var", "1.num_batches_tracked"} <= set(average.state_dict())
    assert all((value == 3.0).all() for value in network.state_dict().values() if value.is_floating_point())


def test_the_average_forgets_the_random_start():
    """With a fixed decay of 0.998 a start of 1000 would still weigh 670 after 200 steps."""
    average, network = filled(1000.0, 0), filled(1.0, 0)
    for step in range(200):
        update_average(average, network, 0.998, step)
    assert average.state_dict()["0.weight"].max() < 1.001


def test_in_the_end_the_decay_is_the_given_one():
    average, network = filled(1.0, 0), filled(0.0, 0)
    for step in range(10**6, 10**6 + 100):
        update_average(average, network, 0.99, step)
    assert average.state_dict()["1.running_var"][0].item() == pytest.approx(0.99**100, rel=1e-4)


def test_no_decay_keeps_the_raw_weights():
    average, network = build("toy", 3), build("toy", 3)
    update_average(average, network, 0.0, 0)
    for key, value in network.state_dict().items():
        assert torch.equal(average.state_dict()[key], value), key


STAGES = ({"epoch": 1, "train": ["head"]}, {"epoch": 3, "train": ["head", "backbone.4"]}, {"epoch": 5, "train": [""]})


def trained(network: nn.Module) -> set[str]:
    return {name.rsplit(".", 1)[0] for name, weight in network.named_parameters() if weight.requires_grad}


def test_whole_parts_of_a_name_begin_it():
    assert begins("backbone.net.blocks.1.conv.weight", "backbone.net.blocks.1")
    assert not begins("backbone.net.blocks.10.conv.weight", "backbone.net.blocks.1")
    assert begins("anything", "")


def test_stages_freeze_and_unfreeze():
    network = build("toy", 3)
    found = []
    for epoch in range(6):
        network.train()
        found.append((follow_stage(network, STAGES, epoch), len(trained(network))))
        if epoch < 2:
            assert trained(network) == {"head"}
        if epoch in (2, 3):
            assert all(name.startswith(("head", "backbone.4")) for name in trained(network))
    assert [changed for changed, _ in found] == [True, False, True, False, True, False]
    assert found[-1][1] == len({name.rsplit(".", 1)[0] for name, _ in network.named_parameters()})


def test_norms_of_frozen_parts_keep_their_statistics():
    network = build("toy", 3)
    norm = next(layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    before = norm.running_mean.clone()
    network.train()
    follow_stage(network, STAGES, 0)
    network(torch.rand(4, 3, 32, 32) + 3)
    assert torch.equal(norm.running_mean, before)
    network.train()
    follow_stage(network, STAGES, 4)
    network(torch.rand(4, 3, 32, 32) + 3)
    assert not torch.equal(norm.running_mean, before)


def test_without_stages_everything_is_trained():
    network = build("toy", 3).train()
    assert follow_stage(network, (), 0) is False
    assert all(weight.requires_grad for weight in network.parameters())


def test_a_stage_that_names_nothing_is_a_sentence():
    with pytest.raises(RecipeError, match=r"no weight's name begins with neck\. Names here are as backbone"):
        follow_stage(build("toy", 3), ({"epoch": 1, "train": ["head", "neck"]},), 0)


def test_rates_make_groups_of_their_own():
    network = build("toy", 3)
    optimizer = make_optimizer(network, OptimizerRecipe(rates={"backbone": 0.1, "backbone.4": 0.5}))
    factors = {id(weight): group["factor"] for group in optimizer.param_groups for weight in group["params"]}
    assert len(factors) == len(list(network.parameters()))
    for name, weight in network.named_parameters():
        expected = 0.5 if name.startswith("backbone.4.") else 0.1 if name.startswith("backbone.") else 1.0
        assert factors[id(weight)] == expected, name


def test_a_rate_that_names_nothing_is_a_sentence():
    with pytest.raises(RecipeError, match=r"optimizer\.rates\.neck: no weight's name begins so"):
        make_optimizer(build("toy", 3), OptimizerRecipe(rates={"neck": 0.1}))
