"""Exact class activation maps of a bundle's ONNX graph: where in the picture the evidence for a class lies.

The networks that ship average their last features and put one linear layer behind them. A logit is therefore exactly
the bias plus the mean, over places, of the features weighted by the class's row of that layer (Zhou et al. 2016, doi
10.1109/CVPR.2016.319). The graph gives the features beside the logits, so a map costs one small product more than the
prediction itself. For such a network Grad-CAM is the same map times a constant.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corpuscle.errors import UsageError
from corpuscle.models.alignment import align, measure_shift
from corpuscle.models.bundle import Bundle
from corpuscle.models.head import Head, read_head
from corpuscle.prediction.engine import Engine
from corpuscle.records import Framing

__all__ = ["CamMaker", "evidence_maps", "place_map", "relative_evidence"]

Floats = npt.NDArray[np.float32]
_SHARPNESS = -0.5
"""Parameter of the cubic kernel (Keys 1981, doi 10.1109/TASSP.1981.1163711): passes through the given values."""


def evidence_maps(features: Floats, head: Head) -> Floats:
    """Weigh features with the head: what each place adds to each logit.

    Args:
        features: NxDxhxw float32, the last features of the network.
        head: Weights KxD and bias K.

    Returns:
        NxKxhxw float32, signed, not normalized. The mean over the places plus the bias is the logit.

    Raises:
        UsageError: The features have another width than the head.
    """
    if features.ndim != 4 or features.shape[1] != head.weights.shape[1]:
        raise UsageError(
            f"The features have the shape {features.shape}, but the head takes {head.weights.shape[1]} channels. "
            "Give NxDxhxw of the same network."
        )
    n, depth, height, width = features.shape
    maps = head.weights @ features.reshape(n, depth, height * width)
    return np.asarray(maps.reshape(n, len(head.bias), height, width), np.float32)


def relative_evidence(features: Floats, head: Head, targets: npt.NDArray[np.int64]) -> Floats:
    """Return the evidence for one class a picture beyond the mean evidence for all classes.

    Args:
        features: NxDxhxw float32.
        head: Weights KxD and bias K.
        targets: N int64, places of the classes.

    Returns:
        Nxhxw float32, signed. Its mean is the logit less the mean logit, but for the bias.
    """
    maps = evidence_maps(features, head)
    return np.asarray(maps[np.arange(len(maps)), targets] - maps.mean(axis=1), np.float32)


def place_map(evidence: Floats, framing: Framing, shape: tuple[int, int]) -> Floats:
    """Lay a map over the picture that it explains.

    Evidence against the class counts as none. What lies outside the framed square was not seen by the network and is 0.

    Args:
        evidence: hxw float32, signed, over the framed square.
        framing: Which square of the picture that is.
        shape: Height and width of the picture in pixels.

    Returns:
        The class activation map: height x width float32 in [0, 1], its largest value 1; all 0 where nothing speaks for
        the class.
    """
    down = _spread(evidence.shape[0], shape[0], framing.y_min, framing.side_px)
    across = _spread(evidence.shape[1], shape[1], framing.x_min, framing.side_px)
    placed = np.maximum(down @ evidence.astype(np.float32) @ across.T, np.float32(0))
    top = float(placed.max(initial=0.0))
    return placed / np.float32(top) if top > 0 else np.zeros(shape, np.float32)


def _spread(cells: int, pixels: int, start_px: float, side_px: float) -> Floats:
    """Return the pixels x cells matrix that resamples a profile of `cells` values over part of a line of pixels."""
    where = (np.arange(pixels) + 0.5 - start_px) / side_px
    place = where * cells - 0.5
    base = np.floor(place).astype(np.int64)
    matrix = np.zeros((pixels, cells), np.float32)
    rows = np.arange(pixels)
    for step in (-1, 0, 1, 2):
        distance = np.abs(place - (base + step))
        np.add.at(matrix, (rows, np.clip(base + step, 0, cells - 1)), _cubic(distance))
    matrix[(where < 0) | (where >= 1)] = 0
    return matrix


def _cubic(distance: npt.NDArray[np.float64]) -> Floats:
    """Weight of a value at a distance in [0, 2]."""
    a, d = _SHARPNESS, distance
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.asarray(np.where(d <= 1, near, np.where(d < 2, far, 0.0)), np.float32)


class CamMaker:
    """Makes exact maps with one bundle; needs no deep-learning framework, and several threads may ask it at once."""

    method = "cam"

    def __init__(self, bundle: Bundle, *, graph: str = "") -> None:
        """Open the graph and read the head.

        Args:
            bundle: A checked bundle.
            graph: Another of its ONNX files than the one that it predicts with.

        Raises:
            UsageError: Its network has no exact map.
            BundleError: Its files cannot be used.
        """
        self.head = read_head(bundle)
        self._engine = Engine(bundle, graph=graph)
        self.shift = measure_shift(self._features, bundle.preprocessing)

    def maps(self, batch: Floats, targets: npt.NDArray[np.int64]) -> Floats:
        """Return what each place adds to the logit of one class a picture, beyond what it adds to all logits.

        A softmax does not see what all logits share, so that part is no evidence; with it taken away more peaks lay in
        the annotated cells of BCCD's training and validation photographs.

        Args:
            batch: Nx3xSxS float32, scaled as the bundle's preprocessing says.
            targets: N int64, places of the classes in the bundle.

        Returns:
            Nxhxw float32, signed, moved to where the features look.
        """
        return self.from_features(self._features(batch), targets)

    def from_features(self, features: Floats, targets: npt.NDArray[np.int64]) -> Floats:
        """Return the same from features (NxDxhxw float32) that are there already."""
        return align(relative_evidence(features, self.head, targets), self.shift)

    def _features(self, batch: Floats) -> Floats:
        features = self._engine.run(batch, features=True).features
        if features is None:
            raise UsageError("The graph gave no features. Export the bundle again.")
        return features
