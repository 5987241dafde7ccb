"""The self-describing model folder: the only thing that training hands to prediction.

A bundle holds `bundle.json`, `model.onnx` (exact), `model.int8.onnx` (the fast one, where there is one),
`weights.safetensors` (to continue training), `reference.safetensors` (where the known cells lie), `README.md` (the
model card) and, where they were added, `attributes.safetensors` and `known_cells.safetensors`, which say why. Every
file's SHA-256 stands in `bundle.json` and is checked at load. Nothing is pickled.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from corpuscle import taxonomy
from corpuscle.errors import BundleError
from corpuscle.models.bundle_files import (
    FORMAT,
    check_files,
    manifest_errors,
    read_manifest,
    shared_values,
    shipped_bundles,
    write_hashed,
)
from corpuscle.preprocessing.transforms import PreprocessingSpec

__all__ = [
    "DEFAULT_MODEL",
    "OPTIONAL_FILES",
    "Bundle",
    "Reference",
    "RefusalRule",
    "load_bundle",
    "shipped_bundles",
    "write_manifest",
]

DEFAULT_MODEL = "corpuscle_s"
"""Name of the bundle that is used where nobody names one."""

_REQUIRED = ("model.onnx", "weights.safetensors", "reference.safetensors", "README.md")
OPTIONAL_FILES = ("attributes.safetensors", "known_cells.safetensors")
"""What a bundle may hold besides; each belongs to the graph that it was made with."""


@dataclass(frozen=True, slots=True)
class RefusalRule:
    """When a bundle declines to name a cell, and what it cannot rule out; all numbers are chosen on `val`.

    Attributes:
        minimum_confidence: Refuse below this calibrated probability, in [0, 1].
        maximum_distance: Mahalanobis distance from the nearest class that 99 % of the cells stay within; above 0.
        coverage: Share of the cells of each class whose prediction set is to hold the truth.
        set_thresholds: For each class, the least probability at which it stays in the prediction set.
        minimum_stain: Refuse below this `Framing.stain`: the cell is not blue-violet as nuclei and platelets are.
        typical_distance: Median distance of the cells, at least 0 and below `maximum_distance`.
        typical_energy: Median energy of their logits.
        energy_span: From there to the energy that 99 % of the cells stay under; 0 where energy does not count.
        maximum_strangeness: Refuse where distance and energy together, each in its own unit, exceed this; above 0.
    """

    minimum_confidence: float
    maximum_distance: float
    coverage: float
    set_thresholds: dict[str, float]
    minimum_stain: float = 0.0
    typical_distance: float = 0.0
    typical_energy: float = 0.0
    energy_span: float = 0.0
    maximum_strangeness: float = 1.0

    def __post_init__(self) -> None:
        """Refuse impossible thresholds."""
        if not 0 <= self.minimum_confidence <= 1 or not 0 < self.coverage < 1:
            raise BundleError("The refusal rule needs a confidence in [0, 1] and a coverage between 0 and 1.")
        if not self.maximum_distance > 0 or not math.isfinite(self.maximum_distance):
            raise BundleError("The refusal rule needs a distance above 0.")
        if not math.isfinite(self.minimum_stain) or not math.isfinite(self.typical_energy):
            raise BundleError("The refusal rule needs a finite least stain and a finite usual energy.")
        if not 0 <= self.typical_distance < self.maximum_distance:
            raise BundleError("The refusal rule needs a usual distance of at least 0 and below the largest one.")
        if not 0 <= self.energy_span < math.inf or not 0 < self.maximum_strangeness < math.inf:
            raise BundleError("The refusal rule needs an energy span of at least 0 and a strangeness above 0.")
        limits = self.set_thresholds.values() if isinstance(self.set_thresholds, dict) else (None,)
        if not all(isinstance(limit, (int, float)) and 0 <= limit <= 1 for limit in limits):
            raise BundleError("The refusal rule needs a prediction-set threshold in [0, 1] for each class.")

    def strangeness(
        self, distance: npt.NDArray[np.floating], energy: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float64]:
        """Say how foreign cells are, N float64 in units of the limit: about 0 for a usual cell, refused above 1.

        Distance sees cells that lie beside all classes, energy those that lie between two: each misses what the other
        sees, and their sum was the best of what was compared on classes left out of training.

        Args:
            distance: N Mahalanobis distances to the nearest class.
            energy: N energies of the calibrated logits.
        """
        found = (np.asarray(distance, np.float64) - self.typical_distance) / (
            self.maximum_distance - self.typical_distance
        )
        if self.energy_span:
            found = found + (np.asarray(energy, np.float64) - self.typical_energy) / self.energy_span
        return np.asarray(found / self.maximum_strangeness)


@dataclass(frozen=True)
class Reference:
    """Where the known cells lie in the space of embeddings.

    Attributes:
        means: KxD float32, mean embedding of each class in training.
        whitening: DxR float32; a difference times this has unit spread inside the classes.
    """

    means: npt.NDArray[np.float32]
    whitening: npt.NDArray[np.float32]

    @cached_property
    def _centers(self) -> npt.NDArray[np.float32]:
        return self.means @ self.whitening

    def distance(self, embedding: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Mahalanobis distance of embeddings (NxD float32) to the nearest class mean; N float32.

        After Lee et al. 2018, "A simple unified framework for detecting out-of-distribution samples".
        """
        points = embedding @ self.whitening
        squared = ((points[:, None, :] - self._centers[None, :, :]) ** 2).sum(axis=2)
        return np.asarray(np.sqrt(squared.min(axis=1)), np.float32)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded and checked bundle.

    Attributes:
        folder: Where its files lie.
        name: Short name, also of the folder.
        version: Version of the model.
        task: What it does; `classification`.
        classes: Ordered keys of the taxonomy; the columns of every answer.
        preprocessing: From a decoded picture to the network's input.
        temperature: Divisor of the logits before the softmax, fitted on `val`.
        refusal: When it declines.
        graph: File name of the ONNX graph that predicts.
        training_data: One entry a data set: name, split, number of cells, hash, licence, citation.
        metrics: One entry a measured figure: data set, split, n, value, 95 % interval, command.
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
    classes: tuple[str, ...]
    preprocessing: PreprocessingSpec
    temperature: float
    refusal: RefusalRule
    graph: str
    training_data: tuple[dict[str, Any], ...]
    metrics: tuple[dict[str, Any], ...]
    licence: str
    attribution: tuple[str, ...]
    code_version: str
    files: dict[str, str] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a bundle that contradicts itself or the taxonomy."""
        if self.task != "classification":
            raise BundleError(f"The bundle {self.name} does {self.task!r}; this version knows classification only.")
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise BundleError(f"The bundle {self.name} needs at least two different classes.")
        for key in self.classes:
            taxonomy.cell_class(key)
        if set(self.refusal.set_thresholds) != set(self.classes):
            raise BundleError(f"The bundle {self.name} lacks the prediction-set threshold of some class.")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise BundleError(f"The bundle {self.name} has the temperature {self.temperature}; it must be above 0.")

    @property
    def graph_path(self) -> Path:
        """The ONNX file that predicts."""
        return self.folder / self.graph

    def reference(self) -> Reference:
        """Read where the known cells lie.

        Raises:
            BundleError: The file is damaged or its shapes do not fit the classes.
        """
        path = self.folder / "reference.safetensors"
        try:
            tensors = load_file(path)
            reference = Reference(tensors["means"].astype(np.float32), tensors["whitening"].astype(np.float32))
        except (OSError, KeyError, SafetensorError) as error:
            raise BundleError(f"{path} cannot be read ({error}). Get the bundle again.") from error
        if reference.means.shape[0] != len(self.classes) or reference.means.shape[1] != reference.whitening.shape[0]:
            raise BundleError(f"{path} does not fit the bundle's {len(self.classes)} classes. Get the bundle again.")
        return reference

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as plain values."""
        values = {
            "format": FORMAT,
            **{key: getattr(self, key) for key in self.__dataclass_fields__ if key != "folder"},
        }
        values["preprocessing"] = self.preprocessing.to_dict()
        values["refusal"] = asdict(self.refusal)
        return values


def load_bundle(model: str | os.PathLike[str] = DEFAULT_MODEL) -> Bundle:
    """Load a bundle and check it.

    Args:
        model: Name of a shipped bundle, or a folder.

    Raises:
        BundleNotFoundError: Neither.
        BundleTamperedError: A file does not have the stated hash.
        BundleError: The manifest cannot be understood.
    """
    folder, values = read_manifest(model)
    if values.get("task") == "detection":
        raise BundleError(f"The model {folder.name} finds cells in whole fields; name one that names single cells.")
    bundle = _parse(values, folder)
    check_files(folder, bundle.files, (*_REQUIRED, bundle.graph))
    return bundle


def _parse(values: Mapping[str, Any], folder: Path) -> Bundle:
    with manifest_errors(folder):
        return Bundle(
            folder=folder,
            classes=tuple(str(key) for key in values["classes"]),
            preprocessing=PreprocessingSpec.from_dict(values["preprocessing"]),
            temperature=float(values["temperature"]),
            refusal=RefusalRule(**values["refusal"]),
            **shared_values(values),
        )


def write_manifest(bundle: Bundle) -> Bundle:
    """Hash the files of a bundle's folder and write its manifest, atomically.

    Returns:
        The bundle with its hashes.

    Raises:
        OutputError: The folder cannot be written.
    """
    names = {*_REQUIRED, bundle.graph} | {path.name for path in bundle.folder.glob("model*.onnx")}
    names |= {name for name in OPTIONAL_FILES if (bundle.folder / name).is_file()}
    write_hashed(bundle.folder, bundle.to_dict(), names)
    return load_bundle(bundle.folder)
