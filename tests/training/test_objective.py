"""The loss of labels, teacher and attributes against hand-made sums, and runs that learn all three."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_fit
from safetensors.torch import load_file
from toy_fit import CLASSES, taught, toy_recipe

from corpuscle.errors import RecipeError
from corpuscle.models.classifier import ClassifierOutput
from corpuscle.models.zoo import CellNetwork, build
from corpuscle.preprocessing.transforms import to_batch
from corpuscle.training.crops import CropSet
from corpuscle.training.lessons import ATTRIBUTE_VALUES
from corpuscle.training.loop import fit
from corpuscle.training.objective import Targets, add_lessons, loss_of, targets_of, without_lessons
from corpuscle.training.packaging import make_bundle
from corpuscle.training.recipe import Recipe

N = len(CLASSES)
CHECKPOINT, BEST = "checkpoint.safetensors", "best.safetensors"
ALL = {"lessons__teacher": "made-up", "lessons__attributes": 0.5, "lessons__masks": 0.5, "model__dropout": 0.3}
ROW = {"dataset": "made-up", "split": "train", "n": 24, "sha256": "0" * 64, "licence": "none", "citation": "nobody"}


def output(logits: list[list[float]], embedding: torch.Tensor | None = None) -> ClassifierOutput:
    embedding = torch.zeros(len(logits), 16) if embedding is None else embedding
    return ClassifierOutput(torch.tensor(logits), embedding, embedding[:, :, None, None])


def log_softmax(values: list[float]) -> list[float]:
    total = math.log(sum(map(math.exp, values)))
    return [value - total for value in values]


def averaged(recipe: Recipe, folder: Path) -> CellNetwork:
    """The averaged network of a run with its lessons."""
    network = build("toy", N)
    add_lessons(network, recipe)
    weights = load_file(folder / CHECKPOINT)
    network.load_state_dict({k.removeprefix("average."): v for k, v in weights.items() if k.startswith("average.")})
    return network.eval()


def test_without_a_teacher_it_is_the_cross_entropy_of_the_labels():
    logits, labels = [[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]], [0, 1]
    found = loss_of(toy_recipe(), build("toy", N), output(logits), Targets(torch.tensor(labels)))
    expected = -sum(log_softmax(row)[label] for row, label in zip(logits, labels, strict=True)) / 2
    assert found.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_teacher_has_its_share_of_the_loss(share):
    """Divergence of the pupil's softened answers from the teacher's, times the square of the temperature."""
    recipe = toy_recipe(lessons__teacher_share=share, lessons__temperature=2.0)
    given, wanted = [2.0, 0.5, -1.0], [3.0, 1.0, 0.0]
    found = loss_of(recipe, build("toy", N), output([given]), Targets(torch.tensor([1]), torch.tensor([wanted])))
    soft, target = (log_softmax([value / 2 for value in row]) for row in (given, wanted))
    apart = sum(math.exp(t) * (t - s) for t, s in zip(target, soft, strict=True))
    assert found.item() == pytest.approx((1 - share) * -log_softmax(given)[1] + share * 4 * apart, abs=1e-6)


def test_a_pupil_that_answers_like_its_teacher_has_nothing_to_learn_from_it():
    recipe = toy_recipe(lessons__teacher_share=1.0)
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    found = loss_of(recipe, build("toy", N), output([[1.0, 2.0, 3.0]]), Targets(torch.tensor([0]), logits))
    assert found.item() == pytest.approx(0, abs=1e-6)


def test_attributes_count_where_somebody_annotated_them():
    recipe = toy_recipe(lessons__attributes=2.0)
    network = build("toy", N)
    add_lessons(network, recipe)
    for weight in network.lessons.parameters():
        torch.nn.init.zeros_(weight)
    places = torch.zeros(2, len(ATTRIBUTE_VALUES), dtype=torch.int64)
    logits = [[1.0, 0.0, 0.0]] * 2
    plain = -log_softmax(logits[0])[0]
    mean = sum(math.log(len(values)) for values in ATTRIBUTE_VALUES.values()) / len(ATTRIBUTE_VALUES)
    for n_annotated in (2, 1, 0):
        places[n_annotated:] = -1
        found = loss_of(recipe, network, output(logits), Targets(torch.zeros(2, dtype=torch.int64), None, places))
        assert found.item() == pytest.approx(plain + 2.0 * mean * n_annotated / 2, abs=1e-5)


def test_masks_are_drawn_from_the_last_features():
    recipe = toy_recipe(lessons__masks=3.0)
    network = build("toy", N)
    add_lessons(network, recipe)
    for weight in network.lessons.parameters():
        torch.nn.init.zeros_(weight)
    logits, parts = [[1.0, 0.0, 0.0]] * 2, torch.rand(2, 2, 32, 32)
    found = loss_of(recipe, network, output(logits), Targets(torch.zeros(2, dtype=torch.int64), parts=parts))
    assert found.item() == pytest.approx(-log_softmax(logits[0])[0] + 3.0 * math.log(2), abs=1e-5)


def test_masks_are_learned(toy_sets, tmp_path):
    """Of discs on empty slide the network says where they are; the picture of the toy set has no cell to be found."""
    train, val = (discs(part) for part in toy_sets)
    recipe = toy_recipe(lessons__masks=1.0, run__epochs=60, run__ema_decay=0.5, augmentation__preset="none")
    fit(recipe, train, val, CLASSES, tmp_path)
    network = averaged(recipe, tmp_path)
    with torch.inference_mode():
        features = network(torch.from_numpy(to_batch(val.crops, recipe.preprocessing))).features
        drawn = torch.sigmoid(network.lessons["masks"](features))[:, 1]
    middle = drawn.shape[-1] // 2
    inside, corner = drawn[:, middle - 2 : middle + 2, middle - 2 : middle + 2], drawn[:, :2, :2]
    assert inside.mean() > 0.8
    assert corner.mean() < 0.2


def discs(crops: CropSet) -> CropSet:
    """Give every crop a dark disc in the middle and white around it."""
    side = crops.crops.shape[1]
    axis = np.arange(side) + 0.5 - side / 2
    cell = np.hypot(axis[:, None], axis[None]) < 0.2 * side
    return replace(crops, crops=np.where(cell[None, :, :, None], crops.crops // 2, np.uint8(240)).astype(np.uint8))


def test_a_network_without_last_features_draws_no_masks():
    with pytest.raises(
        RecipeError, match=r"cnn2 flattens its features and can draw no masks\. Set lessons\.masks to 0"
    ):
        add_lessons(build("cnn2", N), toy_recipe(model__name="cnn2", lessons__masks=1.0))


def test_targets_are_those_of_the_chosen_pictures(toy_sets):
    crops = taught(toy_sets[0])
    found = targets_of(crops, np.array([3, 5]))
    assert found.labels.tolist() == crops.labels[[3, 5]].tolist()
    assert found.answers.tolist() == crops.answers[[3, 5]].tolist()
    assert found.attributes.tolist() == crops.attributes[[3, 5]].tolist()
    plain = targets_of(toy_sets[0], np.array([3]))
    assert plain.answers is plain.attributes is None


def test_teacher_and_attributes_change_what_is_learned_and_are_not_kept(toy_sets, tmp_path):
    train, val = toy_sets
    plain = fit(toy_recipe(run__epochs=1), train, val, CLASSES, tmp_path / "plain")
    teacher = fit(toy_recipe(run__epochs=1, lessons__teacher="x"), taught(train), val, CLASSES, tmp_path / "taught")
    assert teacher.history[0].train_loss != plain.history[0].train_loss
    recipe = toy_recipe(**ALL, run__epochs=3)
    fit(recipe, taught(train), val, CLASSES, tmp_path / "all")
    best, whole = load_file(tmp_path / "all" / BEST), load_file(tmp_path / "all" / CHECKPOINT)
    assert "network.lessons.attributes.weight" in whole
    assert "average.lessons.attributes.weight" in whole
    assert best.keys() == build("toy", N).state_dict().keys() == load_file(tmp_path / "plain" / BEST).keys()
    assert without_lessons({"lessons.weight": torch.zeros(1), "lessonsless": torch.ones(1)}).keys() == {"lessonsless"}


def test_attributes_are_learned(toy_sets, tmp_path):
    train, val = taught(toy_sets[0]), toy_sets[1]
    recipe = toy_recipe(lessons__attributes=1.0, run__epochs=30, run__ema_decay=0.5, augmentation__preset="none")
    fit(recipe, train, val, CLASSES, tmp_path)
    network = averaged(recipe, tmp_path)
    with torch.inference_mode():
        embedding = network(torch.from_numpy(to_batch(val.crops, recipe.preprocessing))).embedding
        told = torch.split(network.lessons["attributes"](embedding), [len(v) for v in ATTRIBUTE_VALUES.values()], dim=1)
    right = [
        (block.argmax(1).numpy() == (val.labels + 1) % block.shape[1]).mean() for block in told if block.shape[1] > 2
    ]
    assert min(right) > 0.9


def test_a_run_with_lessons_that_is_killed_goes_on_bit_for_bit(toy_sets, tmp_path, same_tensors):
    toy_fit.fit_killed(tmp_path / "killed", ALL)
    train, val = taught(toy_sets[0]), toy_sets[1]
    assert fit(toy_recipe(**ALL), train, val, CLASSES, tmp_path / "killed").epochs_done == 3
    fit(toy_recipe(**ALL), train, val, CLASSES, tmp_path / "whole")
    same_tensors(tmp_path / "whole" / CHECKPOINT, tmp_path / "killed" / CHECKPOINT)
    same_tensors(tmp_path / "whole" / BEST, tmp_path / "killed" / BEST)


def test_a_run_with_attributes_may_start_from_one_without_and_the_other_way_round(toy_sets, tmp_path):
    train, val = toy_sets
    fit(toy_recipe(run__epochs=1), train, val, CLASSES, tmp_path / "plain")
    with_them, start = toy_recipe(lessons__attributes=1.0, run__epochs=1), tmp_path / "plain" / BEST
    fit(with_them, taught(train), val, CLASSES, tmp_path / "then", start=start)
    fit(toy_recipe(run__epochs=1), train, val, CLASSES, tmp_path / "back", start=tmp_path / "then" / BEST)
    assert (tmp_path / "back" / BEST).exists()


def test_a_run_with_attributes_becomes_a_bundle_that_names_them(toy_sets, tmp_path):
    train, val = toy_sets
    recipe = toy_recipe(lessons__attributes=1.0, run__epochs=2)
    fit(recipe, taught(train), val, CLASSES, tmp_path / "run")
    bundle = make_bundle(
        recipe, CLASSES, tmp_path / "bundle", tmp_path / "run" / BEST, train=val, val=val, training_data=(ROW,)
    )
    assert "WBCAtt" in bundle.attribution[-1]
    assert not any("lessons" in key for key in load_file(tmp_path / "bundle" / "weights.safetensors"))
