"""The models of a server, each loaded once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from corpuscle.errors import CorpuscleError, UnknownNameError, UsageError
from corpuscle.explanation.explaining import METHODS, Explainer
from corpuscle.interfaces.api.jobs import Job
from corpuscle.models.bundle import load_bundle
from corpuscle.models.bundle_files import shipped_bundles, task_of
from corpuscle.models.detection_bundle import DetectionBundle
from corpuscle.prediction.classification import CellReader, default_workers
from corpuscle.prediction.describing import Describer
from corpuscle.prediction.detection import open_detector
from corpuscle.prediction.fields import FieldReader
from corpuscle.prediction.tiling import Detector
from corpuscle.preprocessing.framing import FRAMINGS
from corpuscle.records import Detections

__all__ = ["CLASSIFICATION", "DETECTION", "Readers"]

CLASSIFICATION, DETECTION = "classification", "detection"


class _Watched:
    """A detector that stops between tiles when its job has to."""

    def __init__(self, detector: Detector, check: Callable[[], None]) -> None:
        self._detector, self._check = detector, check
        self.takes_pictures = getattr(detector, "takes_pictures", False)
        self.bundle = getattr(detector, "bundle", None)
        self.name = getattr(detector, "name", type(detector).__name__)

    @property
    def erythrocyte_px(self) -> float:
        """Median diameter of an erythrocyte at which it was trained."""
        return self._detector.erythrocyte_px

    @property
    def max_side_px(self) -> int:
        """Longest side that it takes at once, after resizing."""
        return self._detector.max_side_px

    def detect(self, image: npt.NDArray[np.uint8], *, scale: float = 1.0) -> Detections:
        """Find the cells of a picture, or stop."""
        self._check()
        return self._detector.detect(image, scale=scale)


class Readers:
    """Opens models by name, the defaults when the server starts and others when they are first asked for.

    Only shipped models and those that the server was started with can be named: a client never names a folder.
    """

    def __init__(self, model: str, detector: str, *, jobs: int) -> None:
        """Load the default models.

        Args:
            model: The classifier: a shipped bundle's name or a folder.
            detector: The detector, likewise.
            jobs: Jobs that share the processors.

        Raises:
            BundleError: One of them cannot be used.
        """
        self._lock = threading.RLock()
        self.workers = max(1, default_workers() // jobs)
        first = CellReader(model)
        self.model = first.bundle.name
        self._cells = {(self.model, "auto", False): first}
        self._describers: dict[str, Describer] = {}
        self._explainers: dict[tuple[str, str, str], Explainer] = {}
        opened = open_detector(detector)
        self.detector = _name_of(opened)
        self._detectors: dict[str, Detector] = {self.detector: opened}
        self._places = {self.model: model, self.detector: detector}

    def names(self, task: str) -> tuple[str, ...]:
        """List the models that can be asked for, the default first."""
        default = self.model if task == CLASSIFICATION else self.detector
        others = [name for name, folder in shipped_bundles().items() if task_of(folder) == task and name != default]
        return (default, *others)

    def place(self, name: str) -> str:
        """Return how a model is opened: its name, or the folder that the server was started with."""
        return self._places.get(name, name)

    def cells(self, model: str = "", framing: str = "auto", *, describe: bool = False) -> CellReader:
        """Return the reader of single cells.

        Args:
            model: Its name; the default if empty.
            framing: One of `FRAMINGS`.
            describe: Whether cells are described in words as well.

        Raises:
            UnknownNameError: There is no such model or framing.
            UsageError: The model holds nothing to describe a cell with.
            BundleError: The model cannot be used.
        """
        name = self._known(model or self.model, CLASSIFICATION)
        if framing not in FRAMINGS:
            raise UnknownNameError("framing", framing, FRAMINGS)
        if describe and self.describer(name) is None:
            raise UsageError(f"The model {name} holds no attributes to describe cells with. Name another one.")
        key = (name, framing, describe)
        with self._lock:
            if key not in self._cells:
                whole = self._cells.get((name, "auto", False))
                bundle = whole.bundle if whole else load_bundle(self.place(name))
                self._cells[key] = CellReader(bundle, framing=framing, describe=describe)
            return self._cells[key]

    def describer(self, model: str = "") -> Describer | None:
        """Return what describes cells in words; None where the model holds nothing for it."""
        bundle = self.cells(model).bundle
        with self._lock:
            if bundle.name not in self._describers:
                self._describers[bundle.name] = Describer(bundle)
            found = self._describers[bundle.name]
        return found if found.knows_something else None

    def named(self, model: str) -> CellReader:
        """Return the reader of `name version`, or the default where there is none of that name any more."""
        name = model.rpartition(" ")[0]
        return self.cells(name if name in self.names(CLASSIFICATION) else "")

    def fields(
        self, job: Job, *, model: str = "", detector: str = "", um_per_px: float = 0.0, describe: bool = False
    ) -> FieldReader:
        """Return a reader of fields that stops with a job; the models behind it are shared.

        With `describe` it says each cell in words, where the model can.

        Raises:
            UnknownNameError: There is no such model.
            BundleError: The model cannot be used.
        """
        name = self._known(detector or self.detector, DETECTION)
        with self._lock:
            if name not in self._detectors:
                self._detectors[name] = open_detector(self.place(name))
            opened = self._detectors[name]
        cells = self.cells(model, describe=describe and self.describer(model) is not None)
        return FieldReader(cells, detector=_Watched(opened, job.check), um_per_px=um_per_px)

    def explainer(self, model: str = "", method: str = "cam", framing: str = "auto") -> Explainer:
        """Return what explains single cells.

        Raises:
            UnknownNameError: There is no such model, method or framing.
            MissingExtraError: The method needs more packages.
        """
        if method not in METHODS:
            raise UnknownNameError("explanation method", method, METHODS)
        reader = self.cells(model, framing)
        key = (reader.bundle.name, method, framing)
        with self._lock:
            if key not in self._explainers:
                self._explainers[key] = Explainer(reader.bundle, method=method, framing=framing)
            return self._explainers[key]

    def erythrocyte_px(self, detector: str = "") -> float:
        """Return the diameter of an erythrocyte at which a detector works."""
        return self._detectors.get(detector or self.detector, self._detectors[self.detector]).erythrocyte_px

    def detector_version(self) -> str:
        """Return name and version of the default detector."""
        bundle = getattr(self._detectors[self.detector], "bundle", None)
        return f"{self.detector} {bundle.version}" if isinstance(bundle, DetectionBundle) else self.detector

    def _known(self, name: str, task: str) -> str:
        if name not in (known := self.names(task)):
            raise UnknownNameError("model", name, known)
        return name

    def describe(self) -> list[dict[str, Any]]:
        """Describe every model as plain values; one that cannot be read is left out."""
        rows = []
        for task in (CLASSIFICATION, DETECTION):
            for name in self.names(task):
                try:
                    rows.append(self._row(name, task))
                except CorpuscleError:
                    continue
        return rows

    def _row(self, name: str, task: str) -> dict[str, Any]:
        from corpuscle.interfaces.api.model_rows import classifier_row, detector_row

        if task == CLASSIFICATION:
            return classifier_row(self.cells(name).bundle)
        with self._lock:
            if name not in self._detectors:
                self._detectors[name] = open_detector(self.place(name))
            bundle = getattr(self._detectors[name], "bundle", None)
        return detector_row(bundle if isinstance(bundle, DetectionBundle) else None, name)


def _name_of(detector: Detector) -> str:
    """Return the short name of a detector."""
    bundle = getattr(detector, "bundle", None)
    return bundle.name if isinstance(bundle, DetectionBundle) else str(getattr(detector, "name", "detector"))
