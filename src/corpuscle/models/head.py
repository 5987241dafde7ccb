"""The linear layer at the end of a network, read from a bundle without a deep-learning framework."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from corpuscle.errors import BundleError, UsageError
from corpuscle.models.bundle import Bundle

__all__ = ["Head", "read_head"]

_WEIGHT, _BIAS = "head.weight", "head.bias"
_DENSE = "dense.weight"


@dataclass(frozen=True, slots=True)
class Head:
    """How averaged features become logits: `features.mean((2, 3)) @ weights.T + bias`.

    Attributes:
        weights: KxD float32, a row for each class of the bundle.
        bias: K float32.
    """

    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        """Refuse shapes that do not belong together."""
        if self.weights.ndim != 2 or self.bias.shape != self.weights.shape[:1]:
            raise UsageError(
                f"A head needs weights KxD and a bias K, not {self.weights.shape} and {self.bias.shape}. Check both."
            )


def read_head(bundle: Bundle) -> Head:
    """Read the head of a network that averages its features.

    Raises:
        UsageError: The network flattens its features, so that no exact class activation map exists.
        BundleError: The weights cannot be read or do not fit the bundle.
    """
    path = bundle.folder / "weights.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            if _DENSE in names:
                raise UsageError(
                    f"{bundle.name} flattens its features, so it has no exact class activation map. "
                    "Choose another method, such as gradcam."
                )
            weights, bias = (file.get_tensor(name).astype(np.float32) for name in (_WEIGHT, _BIAS))
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} cannot be read, or lacks its head ({error}). Get the bundle again.") from error
    width = bundle.reference().means.shape[1]
    if weights.shape != (len(bundle.classes), width) or bias.shape != (len(bundle.classes),):
        raise BundleError(
            f"{path} has a head of {weights.shape}, but the bundle has {len(bundle.classes)} classes and embeddings of "
            f"{width} numbers. Get the bundle again."
        )
    return Head(weights, bias)
