"""The bundle of a detector: what training hands to whoever counts the cells of a field.

A detector's bundle holds `bundle.json`, `model.onnx` (exact), `model.int8.onnx` (the fast one, where it is as good),
`weights.safetensors` (to continue training) and `README.md` (the model card). Every file's SHA-256 stands in
`bundle.json` and is checked at load. Nothing is pickled.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from corpuscle.errors import BundleError
from corpuscle.models.bundle_files import (
    FORMAT,
    check_files,
    manifest_errors,
    read_manifest,
    shared_values,
    write_hashed,
)
from corpuscle.preprocessing.field_scaling import FieldSpec
from corpuscle.records import CELL_KINDS

__all__ = ["DEFAULT_DETECTOR", "DetectionBundle", "KindRule", "load_detection_bundle", "write_detection_manifest"]

DEFAULT_DETECTOR = "corpuscle_field"
"""Name of the detector that is used where nobody names one."""

_REQUIRED = ("model.onnx", "weights.safetensors", "README.md")


@dataclass(frozen=True, slots=True)
class KindRule:
    """When a place of the map is counted as a cell of one kind; both numbers are chosen on `val`, for counting.

    Attributes:
        least_score: Score below which nothing is reported, in [0, 1].
        overlap_limit: Largest intersection over union of two cells, in [0, 1].
    """

    least_score: float
    overlap_limit: float

    def __post_init__(self) -> None:
        """Refuse impossible thresholds."""
        if not (0 <= self.least_score <= 1 and 0 <= self.overlap_limit <= 1):
            raise BundleError("A kind's rule needs a score and an overlap in [0, 1].")


@dataclass(frozen=True, slots=True)
class DetectionBundle:
    """A loaded and checked bundle of a detector.

    Attributes:
        folder: Where its files lie.
        name: Short name, also of the folder.
        version: Version of the model.
        task: What it does; `detection`.
        kinds: What it tells apart; `CELL_KINDS`.
        preprocessing: From a decoded field to the network's input; states the trained size of erythrocytes.
        step_px: Distance of neighboring places of the map, in pixels of the input.
        max_side_px: Longest side of an input, in pixels; larger fields are cut into tiles.
        rules: For each kind, when it is counted.
        graph: File name of the ONNX graph that predicts.
        training_data: One entry a data set: name, split, number of fields, hash, licence, citation.
        metrics: One entry a measured figure: data set, split, n, value, 95 % interval.
        licence: Of the weights.
        attribution: Whom to name when the weights are passed on.
        code_version: Version of Corpuscle that made it.
        files: SHA-256 of every file but the manifest.
        recipe: The resolved training recipe.
    """

    folder: Path
    name: str
    version: str
    task: str
    kinds: tuple[str, ...]
    preprocessing: FieldSpec
    step_px: int
    max_side_px: int
    rules: dict[str, KindRule]
    graph: str
    training_data: tuple[dict[str, Any], ...]
    metrics: tuple[dict[str, Any], ...]
    licence: str
    attribution: tuple[str, ...]
    code_version: str
    files: dict[str, str] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a bundle that contradicts itself."""
        if self.task != "detection":
            raise BundleError(f"The model {self.name} does {self.task!r}; name one that finds cells in whole fields.")
        if self.kinds != CELL_KINDS:
            raise BundleError(f"The bundle {self.name} must know the kinds {', '.join(CELL_KINDS)}, in that order.")
        if set(self.rules) != set(self.kinds):
            raise BundleError(f"The bundle {self.name} lacks the rule of some kind.")
        if not 1 <= self.step_px <= 64 or not 64 <= self.max_side_px <= 16_384:
            raise BundleError(f"The bundle {self.name} has an impossible step or longest side.")
        if not math.isfinite(self.preprocessing.erythrocyte_px):
            raise BundleError(f"The bundle {self.name} does not say for which size of erythrocytes it was trained.")

    @property
    def graph_path(self) -> Path:
        """The ONNX file that predicts."""
        return self.folder / self.graph

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as plain values."""
        values = {key: getattr(self, key) for key in self.__dataclass_fields__ if key != "folder"}
        values["preprocessing"] = self.preprocessing.to_dict()
        values["rules"] = {kind: asdict(rule) for kind, rule in self.rules.items()}
        return {"format": FORMAT, **values}


def load_detection_bundle(model: str | os.PathLike[str] = DEFAULT_DETECTOR) -> DetectionBundle:
    """Load a detector's bundle and check it.

    Args:
        model: Name of a shipped bundle, or a folder.

    Raises:
        BundleNotFoundError: Neither.
        BundleTamperedError: A file does not have the stated hash.
        BundleError: The manifest cannot be understood, or is that of another kind of model.
    """
    folder, values = read_manifest(model)
    if values.get("task") == "classification":
        raise BundleError(f"The model {folder.name} names single cells; name one that finds cells in whole fields.")
    bundle = _parse(values, folder)
    check_files(folder, bundle.files, (*_REQUIRED, bundle.graph))
    return bundle


def _parse(values: Mapping[str, Any], folder: Path) -> DetectionBundle:
    with manifest_errors(folder):
        return DetectionBundle(
            folder=folder,
            kinds=tuple(str(kind) for kind in values["kinds"]),
            preprocessing=FieldSpec.from_dict(values["preprocessing"]),
            step_px=int(values["step_px"]),
            max_side_px=int(values["max_side_px"]),
            rules={str(kind): KindRule(**rule) for kind, rule in values["rules"].items()},
            **shared_values(values),
        )


def write_detection_manifest(bundle: DetectionBundle) -> DetectionBundle:
    """Hash the files of a detector's folder and write its manifest, atomically.

    Returns:
        The bundle with its hashes.

    Raises:
        BundleError: A file is missing.
        OutputError: The folder cannot be written.
    """
    names = {*_REQUIRED, bundle.graph} | {path.name for path in bundle.folder.glob("model*.onnx")}
    write_hashed(bundle.folder, bundle.to_dict(), names)
    return load_detection_bundle(bundle.folder)
