"""What is installed: versions, processor abilities, data sets, models."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from corpuscle import __version__
from corpuscle.data.catalog import DATASETS, data_root, locate
from corpuscle.errors import CorpuscleError
from corpuscle.evaluation.machine import processor
from corpuscle.models.bundle import load_bundle
from corpuscle.models.bundle_files import shipped_bundles, task_of
from corpuscle.models.detection_bundle import load_detection_bundle
from corpuscle.prediction.classification import default_workers

__all__ = ["describe_installation"]

_PACKAGES = ("numpy", "pillow", "onnxruntime", "safetensors", "torch", "timm", "onnx", "matplotlib")


def describe_installation(root: str | Path | None = None) -> dict[str, dict[str, str]]:
    """Collect what `corpuscle doctor` prints: sections with names and values."""
    versions = {"corpuscle": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    name, abilities = processor()
    machine = {
        "processor": name,
        "processors to use": str(default_workers()),
        "abilities": ", ".join(abilities) or "unknown",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
    }
    where = data_root(root)
    found = {"data root": str(where)}
    for key in DATASETS:
        try:
            found[key] = str(locate(key, where))
        except CorpuscleError:
            found[key] = "not found"
    models = {}
    for key, folder in shipped_bundles().items():
        try:
            bundle = load_detection_bundle(folder) if task_of(folder) == "detection" else load_bundle(folder)
            models[key] = f"version {bundle.version}, {bundle.graph} sha256 {bundle.files[bundle.graph]}"
        except CorpuscleError as error:
            models[key] = f"BROKEN: {error}"
    return {"versions": versions, "machine": machine, "data_sets": found, "models": models}
