"""Where in a picture a network's evidence lies, by methods that need the network itself and its gradients.

Each method explains a logit less the mean of all logits, because a softmax does not see what all of them share. Methods
that compare with "no cell there" put the empty slide in its place. Captum does the work where it has the method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion
from torch import nn

from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.models.alignment import align, measure_shift
from corpuscle.models.classifier import Classifier
from corpuscle.models.zoo import CellNetwork
from corpuscle.preprocessing.transforms import WHITE, PreprocessingSpec

__all__ = ["METHODS", "NetworkMaker"]

_STEPS = 32
"""Points between the empty slide and the picture at which integrated gradients are taken."""
_GRID = 20
"""Least number of cells across the map of a method that works on pixels."""
_PER_CALL = 16
_ON_FEATURES = ("cam", "gradcam", "gradcam++")


class _Relative(nn.Module):
    """The network's logits less their mean, as captum wants them: one tensor."""

    def __init__(self, network: CellNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(batch).logits
        return logits - logits.mean(dim=1, keepdim=True)


class NetworkMaker:
    """Makes maps with a torch network. Not for several threads at once."""

    def __init__(self, network: CellNetwork, spec: PreprocessingSpec, method: str) -> None:
        """Choose a method.

        Args:
            network: In evaluation mode, on the CPU.
            spec: How its batches were scaled, which says what the empty slide looks like in them.
            method: One of `METHODS`.

        Raises:
            UnknownNameError: There is no such method.
            UsageError: The network has no exact class activation map.
        """
        if method not in METHODS:
            raise UnknownNameError("explanation method", method, tuple(METHODS))
        if method == "cam" and not isinstance(network, Classifier):
            raise UsageError(
                "This network flattens its features, so it has no exact class activation map. "
                "Choose another method, such as gradcam."
            )
        self.method = method
        self._relative = _Relative(network).eval()
        white = (torch.tensor([WHITE / 255.0] * 3) - torch.tensor(spec.mean)) / torch.tensor(spec.std)
        self._empty = white.float().reshape(1, 3, 1, 1)
        self._shift = measure_shift(self._features, spec) if method in _ON_FEATURES else (0.0, 0.0)

    def maps(self, batch: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the evidence for one class a picture.

        Args:
            batch: Nx3xSxS float32, scaled as the bundle's preprocessing says.
            targets: N int64, places of the classes.

        Returns:
            Nxhxw float32, signed; h and w depend on the network and the method.
        """
        pictures, places = torch.from_numpy(batch), torch.from_numpy(targets)
        with torch.enable_grad():
            found = METHODS[self.method](self._relative, pictures, places, self._empty)
        return align(np.asarray(found.detach().numpy(), np.float32), self._shift)

    def _features(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(self._relative.network(torch.from_numpy(batch)).features.numpy(), np.float32)


def _cam(relative: _Relative, batch: torch.Tensor, targets: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """The features weighted by the head (Zhou et al. 2016, doi 10.1109/CVPR.2016.319)."""
    network = relative.network
    weights = network.head.weight
    with torch.no_grad():
        rows = weights[targets] - weights.mean(dim=0, keepdim=True)
        return torch.einsum("ndhw,nd->nhw", network(batch).features, rows)


def _gradcam(relative: _Relative, batch: torch.Tensor, targets: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """The features weighted by their mean gradient (Selvaraju et al. 2017, doi 10.1109/ICCV.2017.74)."""
    backbone = relative.network.backbone
    tool: Any = LayerGradCam(relative, backbone)
    found: torch.Tensor = tool.attribute(batch.clone().requires_grad_(), target=targets)
    return found.mean(dim=1)


def _gradcam_plus(relative: _Relative, batch: torch.Tensor, targets: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """Grad-CAM with a weight a place (Chattopadhay et al. 2018, doi 10.1109/WACV.2018.00097, equations 10 and 19)."""
    output = relative.network(batch.clone().requires_grad_())
    score = (output.logits - output.logits.mean(dim=1, keepdim=True)).gather(1, targets[:, None]).sum()
    slope = torch.autograd.grad(score, output.features)[0]
    features = output.features.detach()
    total = features.sum(dim=(2, 3), keepdim=True)
    below = 2 * slope**2 + total * slope**3
    share = slope**2 / torch.where(below.abs() > 1e-12, below, torch.ones_like(below))
    weights = (share * torch.relu(slope)).sum(dim=(2, 3), keepdim=True)
    found: torch.Tensor = (weights * features).sum(dim=1)
    return found


def _integrated(relative: _Relative, batch: torch.Tensor, targets: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
    """Gradients summed on the way from the empty slide to the picture (Sundararajan, Taly, Yan 2017), in blocks."""
    tool: Any = IntegratedGradients(relative)
    baseline = empty.expand_as(batch)
    found: torch.Tensor = tool.attribute(
        batch, baselines=baseline, target=targets, n_steps=_STEPS, internal_batch_size=_PER_CALL
    )
    return _blocks(found.sum(dim=1))


def _occlusion(relative: _Relative, batch: torch.Tensor, targets: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
    """How much the logit falls when a patch becomes empty slide (Zeiler and Fergus 2014)."""
    side = batch.shape[-1]
    patch, step = max(1, side // 5), max(1, side // 12)
    tool: Any = Occlusion(relative)
    found: torch.Tensor = tool.attribute(
        batch, sliding_window_shapes=(3, patch, patch), strides=(3, step, step), target=targets,
        baselines=empty.expand_as(batch), perturbations_per_eval=max(1, _PER_CALL // len(batch)),
    )  # fmt: skip
    return _blocks(found.mean(dim=1))


def _blocks(pixels: torch.Tensor) -> torch.Tensor:
    """Average a map of pixels (NxSxS) over blocks: single pixels of such maps are noise."""
    width = max(1, pixels.shape[-1] // _GRID)
    averaged: torch.Tensor = torch.nn.functional.avg_pool2d(pixels[:, None], width)
    return averaged[:, 0]


_Method = Callable[[_Relative, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
METHODS: dict[str, _Method] = {
    "cam": _cam,
    "gradcam": _gradcam,
    "gradcam++": _gradcam_plus,
    "integrated_gradients": _integrated,
    "occlusion": _occlusion,
}
"""Names of the methods; each takes network, batch, targets and the empty slide, and gives Nxhxw."""
