"""Finds the cells of a whole microscope field with the ONNX graph of a detector's bundle."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpuscle.errors import BundleError, UnreadableImageError, UsageError
from corpuscle.models.detection_bundle import DEFAULT_DETECTOR, DetectionBundle, load_detection_bundle
from corpuscle.prediction.engine import open_session
from corpuscle.prediction.suppression import decode_maps
from corpuscle.preprocessing.field_scaling import STRIDE_PX, field_batch, scaled_field
from corpuscle.preprocessing.framing import Picture, shape_of
from corpuscle.records import CELL_KINDS, CellKind, Detections

if TYPE_CHECKING:
    from corpuscle.prediction.classical import ClassicalFinder

__all__ = ["FieldDetector", "FieldMaps", "open_detector"]


@dataclass(frozen=True, slots=True)
class FieldMaps:
    """What the network says of one picture, before it is turned into cells.

    Attributes:
        scores: Kxhxw float32 in [0, 1].
        reaches: 4xhxw float32, pixels of the network's input.
        factors: Pixels of the network's input that one pixel of the picture is wide and high.
        size: Width and height of the picture in its own pixels.
    """

    scores: npt.NDArray[np.float32]
    reaches: npt.NDArray[np.float32]
    factors: tuple[float, float]
    size: tuple[int, int]


class FieldDetector:
    """A detector ready to work; safe to call from several threads at once."""

    takes_pictures: ClassVar[bool] = True

    def __init__(self, bundle: DetectionBundle, *, graph: str = "", threads: int = 1) -> None:
        """Open the graph of a bundle.

        Args:
            bundle: A checked bundle.
            graph: Another of its ONNX files than the one that it names.
            threads: Threads inside one call.

        Raises:
            BundleError: onnxruntime cannot read the graph, or it lacks an output.
        """
        self.bundle = bundle
        path = bundle.folder / (graph or bundle.graph)
        self._session = open_session(path, threads=threads)
        if not {"scores", "reaches"} <= {output.name for output in self._session.get_outputs()}:
            raise BundleError(f"{path} lacks one of the outputs scores and reaches. Export it again.")
        self._input = self._session.get_inputs()[0].name

    @classmethod
    def load(cls, model: str | os.PathLike[str] = DEFAULT_DETECTOR, *, threads: int = 1) -> FieldDetector:
        """Open a shipped detector by its name, or one by its folder.

        Raises:
            BundleNotFoundError: There is none.
            BundleError: It cannot be used, or is no detector.
        """
        return cls(load_detection_bundle(model), threads=threads)

    @property
    def name(self) -> str:
        """Name and version of the bundle."""
        return f"{self.bundle.name} {self.bundle.version}"

    @property
    def erythrocyte_px(self) -> float:
        """Median diameter of the erythrocytes that it was trained for, in pixels of the network's input."""
        return self.bundle.preprocessing.erythrocyte_px

    @property
    def max_side_px(self) -> int:
        """Longest side of a scaled picture, in pixels, that `detect` takes."""
        return self.bundle.max_side_px

    @property
    def score_thresholds(self) -> dict[CellKind, float]:
        """Score of each kind below which nothing is reported, chosen for counting."""
        return {kind: self.bundle.rules[kind].least_score for kind in CELL_KINDS}

    def detect(self, image: Picture, *, scale: float = 1.0, least_score: float | None = None) -> Detections:
        """Find the cells of a field or tile.

        Args:
            image: HxWx3 RGB, as an array of uint8 or as Pillow holds it in mode RGB.
            scale: Factor by which the picture is resized before the network sees it: `erythrocyte_px` over the median
                diameter of the picture's erythrocytes in pixels.
            least_score: Report everything from this score on instead of what is to be counted.

        Returns:
            The cells, boxes in pixels of `image`, cut at its border.

        Raises:
            UnreadableImageError: The array is no picture.
            UsageError: The scale is not above 0, or the scaled picture is longer than `max_side_px`.
        """
        return self.decode(self.maps(image, scale=scale), least_score=least_score)

    def maps(self, image: Picture, *, scale: float = 1.0) -> FieldMaps:
        """Run the network on a field or tile; arguments and errors are those of `detect`."""
        _check_picture(image)
        if not (scale > 0 and np.isfinite(scale)):
            raise UsageError(f"The scale must be a number above 0, not {scale}.")
        height, width = shape_of(image)
        if round(max(height, width) * scale) > self.max_side_px + STRIDE_PX:
            raise UsageError(
                f"A picture of {width}x{height} px at the scale {scale:.3g} is longer than the {self.max_side_px} px "
                "that the detector takes at once. Cut it into tiles."
            )
        spec = self.bundle.preprocessing
        picture = scaled_field(image, scale, spec)
        scores, reaches = self.run(field_batch(picture, spec))
        factors = (picture.shape[1] / width, picture.shape[0] / height)
        return FieldMaps(scores[0], reaches[0], factors, (width, height))

    def run(self, batch: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Run the bare graph.

        Args:
            batch: Nx3xHxW float32, of `field_batch`.

        Returns:
            Scores (NxKxhxw float32 in [0, 1]) and reaches (Nx4xhxw float32, pixels of the input).
        """
        scores, reaches = self._session.run(["scores", "reaches"], {self._input: batch})
        return scores, reaches

    def decode(
        self,
        maps: FieldMaps,
        *,
        least_score: float | None = None,
        overlap_limits: tuple[float, ...] | None = None,
    ) -> Detections:
        """Turn maps into cells.

        Args:
            maps: Of `maps`.
            least_score: Of all kinds, instead of the bundle's.
            overlap_limits: Of each kind, instead of the bundle's.
        """
        rules = [self.bundle.rules[kind] for kind in CELL_KINDS]
        found = decode_maps(
            maps.scores, maps.reaches,
            least_scores=tuple(rule.least_score if least_score is None else least_score for rule in rules),
            overlap_limits=overlap_limits or tuple(rule.overlap_limit for rule in rules), step_px=self.bundle.step_px,
        )  # fmt: skip
        across, down = maps.factors
        factors = np.asarray((across, down, across, down), np.float32)
        limits = np.asarray((*maps.size, *maps.size), np.float32)
        boxes = np.asarray(np.clip(found.boxes / factors, 0, limits), np.float32)
        # In the padding beside the picture there is nothing to find.
        there = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
        return Detections(boxes[there], found.scores[there], found.kinds[there])


def _check_picture(image: Picture) -> None:
    """Refuse what is no picture."""
    if isinstance(image, Image.Image):
        if image.mode != "RGB" or 0 in image.size:
            raise UnreadableImageError(
                f"A field must be a picture of mode RGB, not {image.mode} of {image.width}x{image.height}. Convert it."
            )
    elif image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UnreadableImageError(
            f"A field must be an array HxWx3 of uint8 (RGB), not {image.dtype} of shape {image.shape}. Convert it."
        )


def open_detector(model: str | os.PathLike[str] = DEFAULT_DETECTOR) -> FieldDetector | ClassicalFinder:
    """Open a detector: a shipped one by its name, one by its folder, or `classical`, which has learned nothing.

    Raises:
        BundleNotFoundError: There is none.
        BundleError: It cannot be used, or is no detector.
        MissingExtraError: `classical` needs scikit-image, which is not installed.
    """
    if str(model) == "classical":
        from corpuscle.prediction.classical import ClassicalFinder

        return ClassicalFinder()
    return FieldDetector.load(model)
