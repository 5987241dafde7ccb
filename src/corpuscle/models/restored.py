"""From a bundle back to the torch network that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from corpuscle.errors import BundleError
from corpuscle.models.bundle import Bundle
from corpuscle.models.fronts import Front
from corpuscle.models.zoo import CellNetwork, build
from corpuscle.preprocessing.transforms import PreprocessingSpec

__all__ = ["described_network", "restore_network", "with_random_weights"]


def described_network(model: Mapping[str, Any], n_classes: int, spec: PreprocessingSpec) -> CellNetwork:
    """Build the network that a recipe's table `model` describes, with random weights.

    Args:
        model: The table; `name`, and where they are not the usual ones `dropout`, `style_mixing` and `front`.
        n_classes: Width of the answer.
        spec: How its pictures are framed and scaled.

    Raises:
        UnknownNameError: There is no such network or front.
        UsageError: The network cannot be built so.
    """
    kind = str(model.get("front", ""))
    return build(
        str(model["name"]), n_classes, dropout=float(model.get("dropout", 0.0)), input_px=spec.input_px,
        style_mixing=float(model.get("style_mixing", 0.0)),
        front=Front(kind, tuple(spec.mean), tuple(spec.std)) if kind else None,
    )  # fmt: skip


def restore_network(bundle: Bundle) -> CellNetwork:
    """Build the network of a bundle with its own weights, in evaluation mode.

    Raises:
        BundleError: The bundle does not say which network it is, or the weights do not fit it.
    """
    model = bundle.recipe.get("model", {})
    name = str(model.get("name", ""))
    if not name:
        raise BundleError(f"The bundle {bundle.folder} does not name its network in the recipe. Train it again.")
    network = described_network(model, len(bundle.classes), bundle.preprocessing)
    path = bundle.folder / "weights.safetensors"
    try:
        weights = {key: value.float() for key, value in load_file(path).items()}
        network.load_state_dict(weights)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BundleError(f"{path} does not fit the network {name} ({error}). Get the bundle again.") from error
    return network.eval()


def with_random_weights(bundle: Bundle, *, seed: int = 0) -> CellNetwork:
    """Build the network of a bundle with weights drawn anew and norms at rest, in evaluation mode.

    What explains the trained network and not just the picture must change when its weights are lost (Adebayo et al.
    2018, "Sanity checks for saliency maps").
    """
    network = restore_network(bundle)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if not tensor.dtype.is_floating_point:
                continue
            if tensor.ndim > 1:
                scale = (2.0 / tensor[0].numel()) ** 0.5
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)
            else:  # gains and variances to 1, shifts and means to 0
                tensor.fill_(1.0 if key.endswith("running_var") or _is_gain(key, network) else 0.0)
    return network.eval()


def _is_gain(key: str, network: torch.nn.Module) -> bool:
    """Say whether a vector is the gain of a norm."""
    return key.endswith(".weight") and key.removesuffix("weight") + "bias" in dict(network.named_parameters())
