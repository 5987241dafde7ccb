from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest

from corpuscle.errors import TrainingError
from corpuscle.models.detection_bundle import load_detection_bundle
from corpuscle.training import detection_packaging
from corpuscle.training.detection_packaging import ScaledSet, check_export, field_row
from corpuscle.training.detection_recipe import DetectionRecipe
from corpuscle.training.train_detector import train_detector


def test_a_run_leaves_recipe_curves_facts_and_bundle(toy_field_run):
    names = {path.name for path in toy_field_run.iterdir()}
    assert names >= {"recipe.json", "curves.csv", "curves.png", "run.json", "best.safetensors", "bundle"}
    facts = json.loads((toy_field_run / "run.json").read_text())
    assert (facts["task"], facts["epochs"], facts["datasets"]) == ("detection", 12, ["drawn-fields"])
    with (toy_field_run / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert all(0 <= float(row["val_map50_95"]) <= float(row["val_map50"]) <= 1 for row in rows)


def test_the_bundle_says_on_what_it_learned_and_was_chosen(toy_field_run):
    bundle = load_detection_bundle(toy_field_run / "bundle")
    recipe = json.loads((toy_field_run / "recipe.json").read_text())
    assert json.loads(json.dumps(bundle.recipe)) == recipe
    assert {row["figure"] for row in bundle.metrics} >= {"mAP50", "mAP50-95"}
    assert all(row["split"] == "val" and row["note"] == "chosen on this split" for row in bundle.metrics)
    assert (bundle.graph == "model.int8.onnx") == ("model.int8.onnx" in bundle.files)


def test_a_finished_run_is_packed_again_and_not_trained_again(toy_field_run, tmp_path):
    import shutil

    folder = shutil.copytree(toy_field_run, tmp_path / "again")
    shutil.rmtree(folder / "bundle")
    recipe = DetectionRecipe.from_dict(json.loads((folder / "recipe.json").read_text()))
    before = (folder / "checkpoint.safetensors").read_bytes()
    result = train_detector(recipe, output=folder)
    assert result.finished
    assert (folder / "checkpoint.safetensors").read_bytes() == before
    assert result.bundle.rules == load_detection_bundle(toy_field_run / "bundle").rules


def test_a_graph_that_differs_is_refused(toy_detector, few_fields):
    import torch

    from corpuscle.errors import BundleError
    from corpuscle.models.detector import build_detector
    from corpuscle.models.detector_export import ScoredDetector
    from corpuscle.prediction.detection import FieldDetector
    from corpuscle.preprocessing.field_scaling import field_batch

    bundle = load_detection_bundle(toy_detector)
    torch.manual_seed(5)
    other = ScoredDetector(build_detector("toy_field")).eval()
    batch = field_batch(few_fields[0].pixels, bundle.preprocessing)
    with pytest.raises(BundleError, match="differs from the network"):
        check_export(other, FieldDetector(bundle), [batch])


def test_a_row_of_training_data_changes_with_the_boxes(few_fields):
    one = field_row(ScaledSet("drawn-fields", few_fields, 38.0))
    moved = replace(few_fields[0], boxes=few_fields[0].boxes + 1)
    other = field_row(ScaledSet("drawn-fields", [moved, *few_fields[1:]], 38.0))
    assert one["n"] == other["n"] == 8
    assert one["sha256"] != other["sha256"]


def test_several_processes_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match="without torchrun"):
        train_detector(DetectionRecipe(), output=tmp_path)


def test_who_gave_what_is_named():
    recipe = DetectionRecipe.from_dict({"model": {"backbone": "corpuscle_s"}})
    lines = detection_packaging._attribution(recipe, ({"dataset": "bccd", "licence": "MIT", "citation": "S"},))
    assert lines[0] == "Trained on bccd (MIT): S."
    assert any("backbone of corpuscle_s" in line for line in lines)
