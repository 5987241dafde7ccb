from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from corpuscle.errors import BundleError, BundleNotFoundError, BundleTamperedError
from corpuscle.models.bundle import load_bundle
from corpuscle.models.bundle_files import task_of
from corpuscle.models.detection_bundle import KindRule, load_detection_bundle, write_detection_manifest
from corpuscle.models.detector_card import detector_card
from corpuscle.records import CELL_KINDS


@pytest.fixture
def copied(toy_detector: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_detector, tmp_path / "copied"))


def changed(folder: Path, **values: object) -> Path:
    manifest = folder / "bundle.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | values))
    return folder


def test_what_is_written_is_what_is_loaded(copied):
    bundle = load_detection_bundle(copied)
    assert bundle.kinds == ("erythrocyte", "leukocyte", "platelet")
    assert bundle.preprocessing.erythrocyte_px == 24.0
    assert bundle.training_data[0]["n"] == 8
    assert load_detection_bundle(write_detection_manifest(bundle).folder) == bundle


def test_a_rule_can_be_changed_and_written_again(copied):
    bundle = load_detection_bundle(copied)
    rules = bundle.rules | {"platelet": KindRule(0.33, 0.2)}
    assert write_detection_manifest(replace(bundle, rules=rules)).rules["platelet"].least_score == 0.33


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors", "README.md"])
def test_a_changed_file_is_noticed(copied, name):
    with (copied / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleTamperedError, match=name.replace(".", r"\.")):
        load_detection_bundle(copied)


def test_a_missing_file_is_noticed(copied):
    (copied / "README.md").unlink()
    with pytest.raises(BundleError, match=r"lacks README\.md"):
        load_detection_bundle(copied)


@pytest.mark.parametrize(
    "values",
    [
        {"task": "segmentation"}, {"kinds": ["leukocyte", "erythrocyte", "platelet"]}, {"kinds": 3}, {"rules": {}},
        {"rules": {kind: {"least_score": 2.0, "overlap_limit": 0.5} for kind in CELL_KINDS}},
        {"rules": []}, {"step_px": 0}, {"max_side_px": 10}, {"preprocessing": {"erythrocyte_px": "x"}},
        {"preprocessing": 4}, {"files": {}}, {"files": {"../x": "0"}}, {"graph": "other.onnx"}, {"format": 2},
        {"training_data": None},
    ],
    ids=str,
)  # fmt: skip
def test_an_impossible_manifest_is_one_clear_error(copied, values):
    with pytest.raises(BundleError):
        load_detection_bundle(changed(copied, **values))


def test_a_manifest_without_a_key_is_refused(copied):
    values = json.loads((copied / "bundle.json").read_text())
    for key in values:
        if key in ("recipe", "files"):
            continue
        (copied / "bundle.json").write_text(json.dumps({name: value for name, value in values.items() if name != key}))
        with pytest.raises(BundleError):
            load_detection_bundle(copied)


def test_each_loader_refuses_the_other_kind_of_model(toy_detector, toy_bundle):
    assert (task_of(toy_detector), task_of(toy_bundle)) == ("detection", "classification")
    with pytest.raises(BundleError, match="finds cells in whole fields"):
        load_bundle(toy_detector)
    with pytest.raises(BundleError, match="names single cells"):
        load_detection_bundle(toy_bundle)


def test_no_bundle_of_that_name():
    with pytest.raises(BundleNotFoundError, match="no model 'nobody'"):
        load_detection_bundle("nobody")


def test_the_card_says_what_whose_and_how_good(toy_detector):
    bundle = load_detection_bundle(toy_detector)
    card = detector_card(bundle)
    assert card == (toy_detector / "README.md").read_text()
    assert "Not a medical device, preliminary" in card
    assert "drawn-fields, split `train`, 8 fields" in card
    assert "| drawn-fields | val | mAP50 |" in card
    assert "24 px wide in the median" in card
    assert bundle.licence in card
