"""A run may go on with the head of a bundle, not only with its backbone."""

from __future__ import annotations

import pytest
from toy_fit import CLASSES, toy_crops, toy_recipe

from corpuscle.errors import UsageError
from corpuscle.training.loop import fit
from corpuscle.training.packaging import make_bundle

ROW = {"dataset": "made-up", "split": "train", "n": 24, "sha256": "0" * 64, "licence": "none", "citation": "nobody"}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A bundle that has learned the toy set."""
    folder = tmp_path_factory.mktemp("given")
    train, val = toy_crops()
    recipe = toy_recipe(run__epochs=8)
    fit(recipe, train, val, CLASSES, folder)
    best = folder / "best.safetensors"
    make_bundle(recipe, CLASSES, folder / "bundle", best, train=val, val=val, training_data=(ROW,))
    return folder / "bundle"


def first_epoch(given, toy_sets, folder, **settings):
    """Accuracy on val after an epoch that changes next to nothing."""
    recipe = toy_recipe(
        model__pretrained=str(given), optimizer__learning_rate=1e-6, run__epochs=1, run__ema_decay=0.0, **settings
    )
    return fit(recipe, *toy_sets, CLASSES, folder).history[0].val_accuracy


def test_what_the_bundle_knew_is_known_from_the_start(given, toy_sets, tmp_path):
    assert first_epoch(given, toy_sets, tmp_path / "with", model__given_head=True) > 0.9
    assert first_epoch(given, toy_sets, tmp_path / "without") < 0.9


def test_a_bundle_that_lacks_a_class_is_refused(given, toy_sets, tmp_path):
    recipe = toy_recipe(model__pretrained=str(given), model__given_head=True)
    with pytest.raises(UsageError, match=r"does not know: other\. Leave out given_head"):
        fit(recipe, *toy_sets, (*CLASSES, "other"), tmp_path)
