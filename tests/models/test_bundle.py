"""A bundle describes itself, and a broken or foreign one is refused with one sentence."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from corpuscle.errors import BundleError, BundleNotFoundError, BundleTamperedError, OutputError
from corpuscle.models.bundle import (
    DEFAULT_MODEL,
    Reference,
    RefusalRule,
    load_bundle,
    shipped_bundles,
    write_manifest,
)
from corpuscle.models.bundle_files import task_of
from corpuscle.models.detection_bundle import load_detection_bundle
from corpuscle.prediction.classification import CellReader

NEEDED = ("README.md", "model.onnx", "reference.safetensors", "weights.safetensors")


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the manifest of a bundle in place."""
    path = folder / "bundle.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")
    return folder


def refused(folder: Path, pattern: str) -> str:
    """Load a bundle that must be refused with one sentence."""
    with pytest.raises(BundleError, match=pattern) as caught:
        load_bundle(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_a_bundle_is_what_its_manifest_says(toy_bundle):
    bundle = load_bundle(toy_bundle)
    values = json.loads((toy_bundle / "bundle.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(bundle.to_dict())) == values
    assert bundle.folder == toy_bundle
    assert bundle.graph_path == toy_bundle / "model.int8.onnx"
    assert bundle.classes == tuple(values["classes"])
    assert set(bundle.files) == {*NEEDED, "model.int8.onnx"}
    for name, expected in bundle.files.items():
        assert hashlib.sha256((toy_bundle / name).read_bytes()).hexdigest() == expected


def test_writing_the_manifest_again_gives_the_same_bundle(copied_bundle):
    bundle = load_bundle(copied_bundle)
    before = (copied_bundle / "bundle.json").read_bytes()
    assert write_manifest(bundle) == bundle
    assert (copied_bundle / "bundle.json").read_bytes() == before


def test_changed_values_and_files_are_hashed_anew(copied_bundle):
    (copied_bundle / "README.md").write_text("other words")
    bundle = dataclasses.replace(load_bundle_unchecked(copied_bundle), temperature=2.5)
    written = write_manifest(bundle)
    assert written.temperature == 2.5
    assert written.files["README.md"] == hashlib.sha256(b"other words").hexdigest()
    assert load_bundle(str(copied_bundle)) == written


def load_bundle_unchecked(folder: Path):
    """Load a bundle whose files were changed on purpose."""
    values = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    values["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in values["files"]}
    (folder / "bundle.json").write_text(json.dumps(values), encoding="utf-8")
    return load_bundle(folder)


def test_a_manifest_cannot_be_written_without_its_files(copied_bundle):
    bundle = load_bundle(copied_bundle)
    (copied_bundle / "weights.safetensors").unlink()
    with pytest.raises(BundleError, match=r"lacks a file: .*weights\.safetensors"):
        write_manifest(bundle)


def test_a_manifest_that_cannot_be_written_is_told(copied_bundle):
    bundle = load_bundle(copied_bundle)
    (copied_bundle / "bundle.json").unlink()
    (copied_bundle / "bundle.json").mkdir()
    with pytest.raises(OutputError, match=r"bundle\.json is a folder"):
        write_manifest(bundle)


@pytest.mark.parametrize("name", [*NEEDED, "model.int8.onnx"])
def test_one_changed_byte_is_noticed(copied_bundle, name):
    path = copied_bundle / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleTamperedError, match="was changed after the bundle was made") as caught:
        load_bundle(copied_bundle)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", [*NEEDED, "model.int8.onnx"])
def test_a_missing_file_is_named(copied_bundle, name):
    (copied_bundle / name).unlink()
    assert name in refused(copied_bundle, "lacks")


@pytest.mark.parametrize("name", [*NEEDED, "model.int8.onnx"])
def test_a_file_that_is_not_listed_is_not_trusted(copied_bundle, name):
    edit(copied_bundle, lambda values: values["files"].pop(name))
    assert name in refused(copied_bundle, "does not list")


@pytest.mark.parametrize("name", ["../outside.bin", "sub/inside.bin", "/etc/hostname", "..", ".", ""])
def test_files_lie_in_the_folder_itself(copied_bundle, name):
    outside = copied_bundle.parent / "outside.bin"
    outside.write_bytes(b"x")
    (copied_bundle / "sub").mkdir()
    (copied_bundle / "sub" / "inside.bin").write_bytes(b"x")
    edit(copied_bundle, lambda values: values["files"].update({name: hashlib.sha256(b"x").hexdigest()}))
    refused(copied_bundle, "no plain file name|lacks")


def test_the_graph_lies_in_the_folder_itself(copied_bundle):
    data = (copied_bundle / "model.onnx").read_bytes()
    (copied_bundle.parent / "model.onnx").write_bytes(data)
    edit(copied_bundle, lambda values: values.update(graph="../model.onnx"))
    refused(copied_bundle, "does not list")
    edit(copied_bundle, lambda values: values["files"].update({"../model.onnx": hashlib.sha256(data).hexdigest()}))
    refused(copied_bundle, "no plain file name")


def test_a_class_that_the_taxonomy_lacks_is_refused(copied_bundle):
    edit(copied_bundle, lambda values: values["classes"].__setitem__(0, "hobbit"))
    assert "hobbit" in refused(copied_bundle, "no cell class named")


@pytest.mark.parametrize("classes", [["neutrophil"], [], ["neutrophil", "neutrophil"], "neutrophil"])
def test_classes_are_two_or_more_different_ones(copied_bundle, classes):
    edit(copied_bundle, lambda values: values.update(classes=classes))
    with pytest.raises(BundleError):
        load_bundle(copied_bundle)


@pytest.mark.parametrize("number", [0, 2, None, "1"])
def test_another_format_is_refused(copied_bundle, number):
    edit(copied_bundle, lambda values: values.update(format=number))
    refused(copied_bundle, "is not of format 1")


@pytest.mark.parametrize("text", ["", "{", "not json", "\x00", "[" * 100_000])
def test_a_manifest_that_is_no_json_is_refused(copied_bundle, text):
    (copied_bundle / "bundle.json").write_text(text)
    refused(copied_bundle, "cannot be read")


@pytest.mark.parametrize("text", ["[]", "5", "null", '"bundle"'])
def test_a_manifest_that_is_no_table_is_refused(copied_bundle, text):
    (copied_bundle / "bundle.json").write_text(text)
    refused(copied_bundle, "is not of format 1")


def test_a_manifest_that_is_no_text_is_refused(copied_bundle):
    (copied_bundle / "bundle.json").write_bytes(b"\xff\xfe\x00")
    refused(copied_bundle, "cannot be read")


@pytest.mark.parametrize("key", [item.name for item in dataclasses.fields(load_bundle.__globals__["Bundle"])])
def test_every_entry_is_needed(copied_bundle, key):
    if key in ("folder", "recipe"):
        assert key not in json.loads((copied_bundle / "bundle.json").read_text()) or key == "recipe"
        return
    edit(copied_bundle, lambda values: values.pop(key))
    assert key in refused(copied_bundle, "is incomplete or wrong")


STRANGE = [None, True, 3, -1.5, "x", [], [1], ["x"], {}, {"a": 1}, math.nan]
ENTRIES = [
    ("task",), ("classes",), ("preprocessing",), ("preprocessing", "input_px"), ("preprocessing", "framing"),
    ("preprocessing", "framing", "margin"), ("preprocessing", "mean"), ("preprocessing", "std"), ("temperature",),
    ("refusal",), ("refusal", "minimum_confidence"), ("refusal", "maximum_distance"), ("refusal", "coverage"),
    ("refusal", "minimum_stain"), ("refusal", "typical_distance"), ("refusal", "typical_energy"),
    ("refusal", "energy_span"), ("refusal", "maximum_strangeness"),
    ("refusal", "set_thresholds"), ("refusal", "set_thresholds", "neutrophil"), ("graph",), ("training_data",),
    ("metrics",), ("licence",), ("attribution",), ("files",), ("files", "model.onnx"), ("recipe",), ("name",),
]  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES, ids=".".join)
def test_whatever_stands_in_the_manifest_is_either_used_or_refused(copied_bundle, entry, drawn_cells):
    """A bundle that loads must also predict: nothing wrong may come to light only at the first picture."""
    original = (copied_bundle / "bundle.json").read_text(encoding="utf-8")
    for value in STRANGE:
        values = json.loads(original)
        table = values
        for part in entry[:-1]:
            table = table[part]
        table[entry[-1]] = value
        (copied_bundle / "bundle.json").write_text(json.dumps(values), encoding="utf-8")
        try:
            reader = CellReader(copied_bundle)
        except BundleError:
            continue
        (answer,) = reader.read([drawn_cells["neutrophil"][0]])
        assert answer.class_name in reader.bundle.classes


def test_a_graph_that_does_not_fit_the_manifest_is_refused(copied_bundle):
    edit(copied_bundle, lambda values: values["preprocessing"].update(input_px=64))
    with pytest.raises(BundleError, match="but the manifest speaks of 64 pixels and 4 classes"):
        CellReader(copied_bundle)


def test_shipped_bundles_hold_the_default_one():
    shipped = shipped_bundles()
    assert DEFAULT_MODEL in shipped
    assert list(shipped) == sorted(shipped)


@pytest.mark.parametrize("name", sorted(shipped_bundles()))
def test_every_shipped_bundle_loads_by_name(name):
    bundle = load_detection_bundle(name) if task_of(name) == "detection" else load_bundle(name)
    assert bundle.folder == shipped_bundles()[name]
    assert bundle.name == name


@pytest.mark.parametrize("name", ["corpuscle_xl", "", ".", "/", "a/b", "x" * 5000, "nul\0byte"])
def test_an_unknown_model_is_told_with_the_known_ones(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleNotFoundError, match="There is no model") as caught:
        load_bundle(name)
    assert DEFAULT_MODEL in str(caught.value)
    assert caught.value.exit_status == 2


def test_the_manifest_itself_is_no_model(toy_bundle):
    with pytest.raises(BundleNotFoundError):
        load_bundle(toy_bundle / "bundle.json")


RULE = RefusalRule(0.5, 10.0, 0.99, {})


def test_an_older_bundle_refuses_by_distance_alone():
    assert RULE.strangeness(np.array([5.0, 10.0, 20.0]), np.array([9.0, -9.0, 0.0])).tolist() == [0.5, 1.0, 2.0]


def test_distance_and_energy_add_up_each_in_its_own_unit():
    rule = dataclasses.replace(
        RULE, typical_distance=6.0, typical_energy=-3.0, energy_span=2.0, maximum_strangeness=1.5
    )
    found = rule.strangeness(np.array([6.0, 10.0, 6.0, 9.0]), np.array([-3.0, -3.0, -1.0, -1.5]))
    assert found == pytest.approx([0.0, 1 / 1.5, 1 / 1.5, (0.75 + 0.75) / 1.5])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"typical_distance": 10.0}, "below the largest"),
        ({"typical_distance": -0.1}, "at least 0"),
        ({"typical_energy": math.inf}, "finite usual energy"),
        ({"energy_span": -1.0}, "energy span"),
        ({"energy_span": math.nan}, "energy span"),
        ({"maximum_strangeness": 0.0}, "strangeness above 0"),
    ],
)
def test_a_rule_that_could_not_be_followed_is_refused(change, why):
    with pytest.raises(BundleError, match=why):
        dataclasses.replace(RULE, **change)


def test_the_distance_is_that_of_mahalanobis_to_the_nearest_class():
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(3, 3))
    covariance = shape @ shape.T + np.eye(3)
    means = rng.normal(size=(4, 3))
    points = rng.normal(size=(7, 3)) * 3
    spread, axes = np.linalg.eigh(covariance)
    reference = Reference(means.astype(np.float32), (axes / np.sqrt(spread)).astype(np.float32))
    inverse = np.linalg.inv(covariance)
    expected = [min(math.sqrt((point - mean) @ inverse @ (point - mean)) for mean in means) for point in points]
    assert np.allclose(reference.distance(points.astype(np.float32)), expected, rtol=1e-4)
    assert np.allclose(reference.distance(means.astype(np.float32)), 0, atol=1e-5)


def rewrite_reference(folder: Path, tensors: dict[str, np.ndarray]) -> Path:
    save_file(tensors, folder / "reference.safetensors")
    load_bundle_unchecked(folder)
    return folder


def test_a_reference_that_does_not_fit_is_refused(copied_bundle):
    tensors = load_file(copied_bundle / "reference.safetensors")
    for broken in (
        {"means": tensors["means"][:-1], "whitening": tensors["whitening"]},
        {"means": tensors["means"][:, :-1].copy(), "whitening": tensors["whitening"]},
        {"means": tensors["means"].ravel(), "whitening": tensors["whitening"]},
    ):
        with pytest.raises(BundleError, match="does not fit"):
            CellReader(rewrite_reference(copied_bundle, broken))
    with pytest.raises(BundleError, match="cannot be read"):
        CellReader(rewrite_reference(copied_bundle, {"means": tensors["means"]}))


def test_a_reference_that_is_no_safetensors_file_is_refused(copied_bundle):
    (copied_bundle / "reference.safetensors").write_bytes(b"\x80\x04pickle")
    load_bundle_unchecked(copied_bundle)
    with pytest.raises(BundleError, match="cannot be read"):
        CellReader(copied_bundle)


@pytest.mark.parametrize(
    "values",
    [(-0.1, 1, 0.9), (1.1, 1, 0.9), (math.nan, 1, 0.9), (0.5, 0, 0.9), (0.5, math.inf, 0.9), (0.5, math.nan, 0.9),
     (0.5, 1, 0), (0.5, 1, 1)],
)  # fmt: skip
def test_impossible_thresholds_are_refused(values):
    with pytest.raises(BundleError):
        RefusalRule(*values, {"neutrophil": 0.1})
