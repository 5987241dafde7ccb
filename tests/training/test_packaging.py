from __future__ import annotations

import copy
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toy_fit import CLASSES, crop_set, toy_recipe

from corpuscle.data.labeled import LabeledCell
from corpuscle.errors import BundleError, DataError, TrainingError
from corpuscle.models.bundle import Bundle, load_bundle
from corpuscle.models.classifier import Classifier
from corpuscle.models.zoo import build
from corpuscle.prediction.calibration import softmax
from corpuscle.prediction.engine import Engine
from corpuscle.preprocessing.transforms import to_batch
from corpuscle.training import packaging
from corpuscle.training.crops import CropSet
from corpuscle.training.loop import fit
from corpuscle.training.packaging import make_bundle, training_row

RECIPE = toy_recipe(run__epochs=4)
ROW = {"dataset": "made-up", "split": "train", "n": 36, "sha256": "0" * 64, "licence": "none", "citation": "nobody"}


@pytest.fixture(scope="module")
def plain() -> CropSet:
    """Training crops at the network's size."""
    return crop_set(36, 32, 1)


@pytest.fixture(scope="module")
def val() -> CropSet:
    return crop_set(45, 32, 2)


@pytest.fixture(scope="module")
def best(val, tmp_path_factory) -> Path:
    """The best weights of a short run."""
    folder = tmp_path_factory.mktemp("fit")
    fit(RECIPE, crop_set(36, 40, 1), val, CLASSES, folder)
    return folder / "best.safetensors"


@pytest.fixture(scope="module")
def bundle(best, plain, val, tmp_path_factory) -> Bundle:
    folder = tmp_path_factory.mktemp("made") / "bundle"
    return make_bundle(RECIPE, CLASSES, folder, best, train=plain, val=val, training_data=(ROW,))


def torch_outputs(network: Classifier, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        outputs = network.eval()(torch.from_numpy(to_batch(crops, RECIPE.preprocessing)))
    return outputs.logits.numpy(), outputs.embedding.numpy()


def test_the_bundle_loads_and_says_what_it_is(bundle, val):
    loaded = load_bundle(bundle.folder)
    assert loaded == bundle
    assert loaded.classes == CLASSES
    assert loaded.preprocessing == RECIPE.preprocessing
    assert loaded.training_data == (ROW,)
    assert loaded.attribution == ("Trained on made-up (none): nobody.",)
    assert loaded.recipe["run"]["epochs"] == 4
    figure = loaded.metrics[0]
    assert (figure["dataset"], figure["split"], figure["n"]) == ("made-up", "val", len(val.labels))
    assert figure["interval"][0] <= figure["value"] <= figure["interval"][1]
    assert sorted(path.name for path in bundle.folder.iterdir()) == [
        "README.md", "bundle.json", "model.int8.onnx", "model.onnx", "reference.safetensors", "weights.safetensors",
    ]  # fmt: skip


def test_the_exact_graph_is_the_rounded_network(bundle, best, val):
    from corpuscle.models.export import round_to_half

    network = build("toy", len(CLASSES))
    network.load_state_dict(load_file(best))
    expected, embedding = torch_outputs(round_to_half(network), val.crops)
    found = Engine(bundle, graph="model.onnx").run(to_batch(val.crops, RECIPE.preprocessing))
    assert np.abs(softmax(found.logits) - softmax(expected)).max() <= 1e-4
    assert np.array_equal(found.logits.argmax(1), expected.argmax(1))
    np.testing.assert_allclose(found.embedding, embedding, atol=1e-4)


def test_the_weights_go_on_where_the_bundle_stands(bundle, val):
    network = build("toy", len(CLASSES))
    missing = network.load_state_dict(load_file(bundle.folder / "weights.safetensors"))
    assert not missing.missing_keys
    assert not missing.unexpected_keys
    expected, _ = torch_outputs(network, val.crops)
    found = Engine(bundle, graph="model.onnx").run(to_batch(val.crops, RECIPE.preprocessing))
    np.testing.assert_allclose(found.logits, expected, atol=1e-4)
    network.train()(torch.rand(4, 3, 32, 32)).logits.sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_the_8_bit_graph_predicts_and_agrees_with_the_exact_one(bundle, val):
    assert bundle.graph == "model.int8.onnx"
    batch = to_batch(val.crops, RECIPE.preprocessing)
    exact, fast = Engine(bundle, graph="model.onnx").run(batch), Engine(bundle).run(batch)
    assert not np.array_equal(exact.logits, fast.logits)
    assert (exact.logits.argmax(1) == fast.logits.argmax(1)).mean() >= 0.95
    assert np.abs(softmax(exact.logits) - softmax(fast.logits)).mean() < 0.05


def test_without_the_8_bit_graph_the_exact_one_predicts(best, plain, val, tmp_path):
    exact = toy_recipe(run__epochs=4, bundle__quantize=False)
    made = make_bundle(exact, CLASSES, tmp_path / "exact", best, train=plain, val=val, training_data=(ROW,))
    assert made.graph == "model.onnx"
    assert not (tmp_path / "exact" / "model.int8.onnx").exists()


def test_temperature_and_thresholds_come_from_val(bundle, val):
    outputs = Engine(bundle).run(to_batch(val.crops, RECIPE.preprocessing))
    probabilities = softmax(outputs.logits, bundle.temperature)
    rule = bundle.refusal
    assert bundle.metrics[0]["value"] == (probabilities.argmax(1) == val.labels).mean()
    assert (probabilities.max(1) >= rule.minimum_confidence).mean() >= 0.97
    assert (bundle.reference().distance(outputs.embedding) <= rule.maximum_distance).mean() >= 0.95
    for place, key in enumerate(CLASSES):
        assert (probabilities[val.labels == place, place] >= rule.set_thresholds[key]).all()


def test_an_export_that_differs_is_no_bundle(best, plain, val, tmp_path, monkeypatch):
    true = packaging.export_graph

    def export_another(network: Classifier, path: Path, *, input_px: int) -> None:
        other = copy.deepcopy(network)
        with torch.no_grad():
            other.head.bias[0] += 0.01
        true(other, path, input_px=input_px)

    monkeypatch.setattr(packaging, "export_graph", export_another)
    with pytest.raises(BundleError, match="differs from the network by"):
        make_bundle(RECIPE, CLASSES, tmp_path / "bundle", best, train=plain, val=val, training_data=(ROW,))
    assert not (tmp_path / "bundle" / "bundle.json").exists()


def test_weights_of_another_network_are_refused(best, plain, val, tmp_path):
    with pytest.raises(TrainingError, match="cannot be used"):
        make_bundle(RECIPE, CLASSES[:2], tmp_path / "bundle", best, train=plain, val=val, training_data=(ROW,))
    damaged = tmp_path / "best.safetensors"
    damaged.write_bytes(best.read_bytes()[:500])
    for path in (damaged, tmp_path / "none.safetensors"):
        with pytest.raises(TrainingError, match="cannot be used"):
            make_bundle(RECIPE, CLASSES, tmp_path / "bundle", path, train=plain, val=val, training_data=(ROW,))


def test_a_class_that_val_lacks_is_a_sentence(best, plain, val, tmp_path):
    short = CropSet(val.crops[val.labels > 0], val.labels[val.labels > 0], ())
    with pytest.raises(DataError, match="neutrophil"):
        make_bundle(RECIPE, CLASSES, tmp_path / "bundle", best, train=plain, val=short, training_data=(ROW,))


def test_the_training_row_names_data_and_list():
    cells = [LabeledCell(f"{n}.png", Path(f"{n}.png"), CLASSES[n % 2], "train") for n in range(3)]
    row = training_row("pbc", "train", cells)
    listing = "0.png,neutrophil\n1.png,lymphocyte\n2.png,neutrophil"
    assert row["sha256"] == hashlib.sha256(listing.encode()).hexdigest()
    assert training_row("pbc", "train", cells[::-1]) == row
    assert (row["dataset"], row["n"], row["licence"]) == ("pbc", 3, "CC BY 4.0")
    assert training_row("pbc-vgg19-study", "train", cells)["licence"] == "CC BY 4.0"
    # Where a user's pictures lie is nobody's business.
    own = training_row("/home/somebody/cells", "train", cells)
    assert (own["dataset"], own["licence"]) == ("cells", "not stated")


def test_a_bundle_is_made_anew_over_an_old_one(bundle, best, plain, val, tmp_path):
    folder = Path(shutil.copytree(bundle.folder, tmp_path / "bundle"))
    # Attributes and known cells of the old network say nothing of the new one.
    (folder / "attributes.safetensors").write_bytes(b"old")
    again = make_bundle(RECIPE, CLASSES, folder, best, train=plain, val=val, training_data=(ROW,))
    assert again.files == bundle.files


@pytest.mark.parametrize(
    ("name", "licence"), [("bccd-leukocytes", "MIT"), ("pbc-vgg19-study", "CC BY 4.0"), ("kaggle-wbc-fold-2", "MIT"),
                          ("pbc", "CC BY 4.0"), ("pbc-of-mine", "not stated"), ("my/cells", "not stated"),
                          ("drawn-many", "that of Corpuscle")],
)  # fmt: skip
def test_training_data_carry_the_licence_of_the_set_that_they_are_made_of(name, licence):
    assert str(training_row(name, "train", [])["licence"]).startswith(licence)


def test_a_network_with_norms_of_groups_stays_exact(plain, val, tmp_path):
    recipe = toy_recipe(model__name="corpuscle_group", run__epochs=1)
    fit(recipe, plain, val, CLASSES, tmp_path)
    made = make_bundle(
        recipe, CLASSES, tmp_path / "bundle", tmp_path / "best.safetensors", train=plain, val=val, training_data=(ROW,)
    )
    assert recipe.bundle.quantize
    assert made.graph == "model.onnx"
