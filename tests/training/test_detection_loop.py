from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from corpuscle.errors import RecipeError, TrainingError
from corpuscle.training import detection_loop
from corpuscle.training.detection_loop import fit_detector, judged_fields
from corpuscle.training.detection_recipe import DetectionRecipe, FieldModelRecipe, read_detection_recipe
from corpuscle.training.field_samples import cached_fields

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "toy_field.toml"
SMALL = ("run.batch_size=3", "run.epochs=3", "run.threads=1", "run.precision=fp32", "augmentation.canvas_px=64")


@pytest.fixture(scope="module")
def recipe() -> DetectionRecipe:
    return read_detection_recipe(RECIPE, SMALL)


@pytest.fixture(scope="module")
def parts(recipe, few_fields):
    return cached_fields(few_fields[:6], recipe.preprocessing), judged_fields(
        few_fields[6:], 38.0, recipe.preprocessing
    )


def test_the_loss_falls_and_every_epoch_is_noted(recipe, parts, tmp_path):
    longer = replace(recipe, run=replace(recipe.run, epochs=20, judge_every=10))
    progress = fit_detector(longer, *parts, tmp_path)
    losses = [record.score_loss + record.box_loss for record in progress.history]
    assert len(losses) == 20
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:2])
    assert progress.best_epoch in {10, 20}


def test_a_stopped_run_goes_on_to_the_same_weights(recipe, parts, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for folder in (whole, halves):
        folder.mkdir()
    fit_detector(recipe, *parts, whole)
    asked = []
    stopped = fit_detector(recipe, *parts, halves, stop=lambda: not asked.append(1))
    assert stopped.epochs_done == 1
    done = fit_detector(recipe, *parts, halves)
    assert done.epochs_done == 3
    one, other = (load_file(folder / "checkpoint.safetensors") for folder in (whole, halves))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_checkpoint_of_another_recipe_is_refused(recipe, parts, tmp_path):
    fit_detector(replace(recipe, run=replace(recipe.run, epochs=1)), *parts, tmp_path)
    with pytest.raises(TrainingError, match="another recipe"):
        fit_detector(recipe, *parts, tmp_path)


def test_judging_now_and_then_leaves_the_others_unjudged(recipe, parts, tmp_path):
    plan = replace(recipe, run=replace(recipe.run, judge_every=2))
    history = fit_detector(plan, *parts, tmp_path).history
    assert [np.isnan(record.val_map50) for record in history] == [True, False, False]
    again = json.loads(json.dumps(plan.to_dict()))
    assert DetectionRecipe.from_dict(again) == plan


def test_a_loss_that_is_no_number_ends_the_run(recipe, parts, tmp_path, monkeypatch):
    def broken(*_: object) -> detection_loop.detection_loss.__class__:
        return type("Loss", (), {"score": torch.tensor(float("nan")), "box": torch.tensor(0.0)})()

    monkeypatch.setattr(detection_loop, "detection_loss", broken)
    with pytest.raises(TrainingError, match="became nan in epoch 1"):
        fit_detector(recipe, *parts, tmp_path)


def test_a_batch_larger_than_the_set_is_refused(recipe, parts, tmp_path):
    with pytest.raises(RecipeError, match=r"fewer than run\.batch_size"):
        fit_detector(replace(recipe, run=replace(recipe.run, batch_size=7)), *parts, tmp_path)


def test_a_backbone_that_does_not_fit_is_refused(recipe, parts, tmp_path):
    with pytest.raises(RecipeError, match="does not fit the detector toy_field"):
        fit_detector(replace(recipe, model=FieldModelRecipe("toy_field", "corpuscle_s")), *parts, tmp_path)


def test_a_backbone_is_where_the_run_begins(recipe, parts, tmp_path, monkeypatch):
    plan = replace(recipe, model=FieldModelRecipe("corpuscle_field", "corpuscle_s"))
    seen = {}
    monkeypatch.setattr(
        detection_loop, "_epoch", lambda run, _: seen.update(run=run) or (_ for _ in ()).throw(KeyError)
    )
    with pytest.raises(KeyError):
        fit_detector(plan, *parts, tmp_path)
    from corpuscle.models.bundle import load_bundle

    expected = load_file(load_bundle("corpuscle_s").folder / "weights.safetensors")
    found = seen["run"].network.state_dict()
    assert torch.equal(found["backbone.0.weight"], expected["backbone.0.weight"].float())
    assert torch.equal(seen["run"].average.backbone[0].weight, found["backbone.0.weight"])
