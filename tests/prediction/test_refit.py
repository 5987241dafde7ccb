"""Calibration can be fitted anew without touching weights or graphs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from corpuscle.data.labeled import labeled_cells
from corpuscle.errors import DataError
from corpuscle.models.bundle import load_bundle, write_manifest
from corpuscle.prediction.refit import embed, refit


def test_refit_finds_the_calibration_again_and_keeps_the_weights(copied_bundle, toy, toy_folder):
    spoilt = dataclasses.replace(load_bundle(copied_bundle), temperature=9.0)
    found = refit(write_manifest(spoilt), toy_folder)
    assert found.temperature == pytest.approx(toy.temperature, rel=1e-3)
    assert found.refusal.maximum_distance == pytest.approx(toy.refusal.maximum_distance, rel=1e-2)
    assert found.refusal.energy_span == pytest.approx(toy.refusal.energy_span, rel=1e-2)
    for name in ("model.onnx", "weights.safetensors"):
        assert found.files[name] == toy.files[name]
    assert found.reference().means == pytest.approx(toy.reference().means, abs=1e-3)
    assert load_bundle(copied_bundle).temperature == found.temperature
    assert f"Temperature {found.temperature:.3f}" in (copied_bundle / "README.md").read_text()


def test_the_reference_can_be_kept(copied_bundle, toy, toy_folder):
    found = refit(load_bundle(copied_bundle), toy_folder, keep_reference=True)
    assert found.files["reference.safetensors"] == toy.files["reference.safetensors"]


def test_embedding_keeps_the_order_of_the_cells(toy, toy_folder):
    cells = labeled_cells(toy_folder, split="test")
    forth, back = embed(toy, cells), embed(toy, cells[::-1])
    assert (forth.labels == back.labels[::-1]).all()
    assert np.allclose(forth.embedding, back.embedding[::-1], atol=1e-4)
    assert [toy.classes[place] for place in forth.labels] == [cell.class_name for cell in cells]
    strange = [dataclasses.replace(cell, class_name="basophil") for cell in cells]
    with pytest.raises(DataError, match="No cell has a label"):
        embed(toy, strange)
