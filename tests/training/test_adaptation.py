"""A model is fitted to another stain by its norms alone, and says what it was fitted to."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner

from corpuscle.errors import MissingExtraError, NoInputError, UsageError
from corpuscle.evaluation.model import evaluate
from corpuscle.interfaces.cli import app
from corpuscle.models.bundle import load_bundle
from corpuscle.prediction.embedding import find_specimens
from corpuscle.training.adaptation import FEWEST_CELLS, adapt


@pytest.fixture(scope="module")
def other_stain(tmp_path_factory, toy_folder):
    """The training pictures in a much redder and paler stain, without labels."""
    folder = tmp_path_factory.mktemp("abroad")
    for number, path in enumerate(sorted((toy_folder / "train").rglob("*.png"))[::2]):
        density = -np.log(np.maximum(np.asarray(Image.open(path), np.float64), 1) / 255)
        changed = np.exp(-density * [0.45, 0.7, 0.9])
        Image.fromarray((changed * 255).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, toy, other_stain):
    target = tmp_path_factory.mktemp("adapted") / "theirs"
    return adapt(toy, find_specimens([other_stain]), target)


def test_only_the_statistics_of_norms_change(toy, adapted):
    home = load_file(toy.folder / "weights.safetensors")
    new = load_file(adapted.bundle.folder / "weights.safetensors")
    assert set(home) == set(new)
    statistics = {key for key in home if key.endswith(("running_mean", "running_var"))}
    changed = {key for key in home if not np.array_equal(home[key], new[key])}
    assert statistics
    assert changed - {key for key in home if key.endswith("num_batches_tracked")} == statistics


def test_the_new_bundle_loads_and_says_what_it_was_fitted_to(toy, adapted):
    bundle = load_bundle(adapted.bundle.folder)
    assert (bundle.name, bundle.version) == ("theirs", f"{toy.version}-adapted")
    assert bundle.training_data[-1]["split"] == "adaptation"
    assert bundle.training_data[-1]["n"] == adapted.n_cells > FEWEST_CELLS
    assert bundle.metrics == ()
    assert (bundle.classes, bundle.temperature) == (toy.classes, toy.temperature)
    assert "without labels" in bundle.attribution[-1]


def first_means(bundle):
    weights = load_file(bundle.folder / "weights.safetensors")
    return weights[next(key for key in weights if key.endswith("running_mean"))].astype(np.float32)


def test_half_the_strength_goes_half_of_the_way(toy, adapted, other_stain, tmp_path):
    half = adapt(toy, find_specimens([other_stain]), tmp_path / "half", strength=0.5)
    home, whole = first_means(toy), first_means(adapted.bundle)
    assert np.abs(whole - home).max() > 0.05
    np.testing.assert_allclose(first_means(half.bundle), (home + whole) / 2, atol=2e-3)


def test_too_few_pictures_a_wrong_strength_and_the_own_folder_are_refused(toy, other_stain, tmp_path):
    few = find_specimens([other_stain])[:5]
    with pytest.raises(NoInputError, match=f"5 pictures are too few to adapt to; give {FEWEST_CELLS}"):
        adapt(toy, few, tmp_path / "a")
    with pytest.raises(UsageError, match="strength of adapting must lie above 0"):
        adapt(toy, few, tmp_path / "a", strength=0)
    with pytest.raises(UsageError, match="folder of its own"):
        adapt(toy, few, toy.folder)
    assert not (tmp_path / "a").exists()


def test_the_command_names_what_cannot_be_read_and_uses_the_rest(toy_bundle, other_stain, tmp_path):
    (other_stain / "bad.png").write_bytes(b"no picture")
    given = [str(other_stain), str(tmp_path / "gone")]
    try:
        result = CliRunner().invoke(
            app, ["adapt", *given, "--model", str(toy_bundle), "--output", str(tmp_path / "new"), "--json"]
        )
    finally:
        (other_stain / "bad.png").unlink()
    assert result.exit_code == 3
    assert "2 pictures could not be read" in result.stderr
    assert '"cells": 48' in result.stdout
    assert load_bundle(tmp_path / "new").name == "new"


def test_without_torch_the_command_says_what_to_install(monkeypatch, toy_bundle, other_stain, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "corpuscle.training.adaptation")
    result = CliRunner().invoke(
        app, ["adapt", str(other_stain), "--model", str(toy_bundle), "--output", str(tmp_path / "new")]
    )
    assert isinstance(result.exception, MissingExtraError)
    assert "pip install 'corpuscle[train]'" in str(result.exception)
    assert not (tmp_path / "new").exists()


def test_an_evaluation_on_the_set_that_it_was_adapted_to_says_so(toy, toy_folder, tmp_path):
    """Whichever split: the bundle does not keep which pictures they were."""
    found = find_specimens([toy_folder / "train"])
    fitted = adapt(toy, [replace(item, source=toy_folder.name) for item in found], tmp_path / "theirs")
    for split in ("test", "val"):
        assert evaluate(toy_folder, model=fitted.bundle, split=split).leak.startswith("adapted to pictures of this set")
    assert evaluate(toy_folder, model=fitted.bundle).leak.startswith("leaks")  # learned from, which is worse
    assert not evaluate(toy_folder, model=toy, split="test").leak.startswith("adapted")
