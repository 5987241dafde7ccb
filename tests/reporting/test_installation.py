from __future__ import annotations

import platform
import shutil
from importlib import metadata

import numpy as np
import pytest

from corpuscle import __version__
from corpuscle.data.catalog import DATASETS
from corpuscle.models.bundle import load_bundle
from corpuscle.reporting import installation
from corpuscle.reporting.installation import describe_installation


def test_it_says_what_is_installed(tmp_path):
    values = describe_installation(tmp_path)
    assert list(values) == ["versions", "machine", "data_sets", "models"]
    assert values["versions"]["corpuscle"] == __version__
    assert values["versions"]["python"] == platform.python_version()
    assert values["versions"]["numpy"] == np.__version__
    assert int(values["machine"]["processors to use"]) >= 1
    assert values["data_sets"] == {"data root": str(tmp_path), **dict.fromkeys(DATASETS, "not found")}
    assert all(isinstance(text, str) for section in values.values() for text in section.values())


def test_data_sets_that_are_there_are_found(tmp_path):
    (tmp_path / "bloodmnist").mkdir()
    (tmp_path / "bloodmnist" / "bloodmnist.npz").write_bytes(b"")
    found = describe_installation(tmp_path)["data_sets"]
    assert found["bloodmnist_28"] == str(tmp_path / "bloodmnist" / "bloodmnist.npz")
    assert found["pbc"] == "not found"


def test_models_stand_with_their_hash_and_broken_ones_are_told(toy_bundle, copied_bundle, monkeypatch, tmp_path):
    (copied_bundle / "README.md").write_text("changed")
    gone = tmp_path / "gone"
    shutil.copytree(toy_bundle, gone)
    (gone / "bundle.json").unlink()
    folders = {"good": toy_bundle, "broken": copied_bundle, "gone": gone}
    monkeypatch.setattr(installation, "shipped_bundles", lambda: folders)
    models = describe_installation(tmp_path)["models"]
    assert models["good"] == f"version 1, model.int8.onnx sha256 {load_bundle(toy_bundle).files['model.int8.onnx']}"
    assert models["broken"].startswith("BROKEN: ")
    assert "was changed" in models["broken"]
    assert models["gone"].startswith("BROKEN: ")


def test_missing_packages_are_told(monkeypatch, tmp_path):
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(installation.metadata, "version", version)
    versions = describe_installation(tmp_path)["versions"]
    assert {name for name, text in versions.items() if text == "not installed"} == set(installation._PACKAGES)


@pytest.mark.parametrize("value", ["4", None])
def test_the_number_of_threads_is_told(monkeypatch, tmp_path, value):
    if value is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert describe_installation(tmp_path)["machine"]["OMP_NUM_THREADS"] == (value or "not set")
