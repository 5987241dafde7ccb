"""Weights that somebody else trained, put into the backbone of one of our classifiers.

Weights learned elsewhere come with the batch statistics of other pictures, and sometimes of another padding: the
TensorFlow nets pad at one side, ours at both. `reestimate_norms` measures the statistics again on the pictures at
hand, before anything is trained or frozen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from corpuscle.errors import DataError, InputError, UsageError
from corpuscle.models.bundle import load_bundle, shipped_bundles
from corpuscle.models.zoo import CellNetwork, timm_name

__all__ = ["FROM_TIMM", "is_bundle", "load_pretrained", "pretrained_about", "pretrained_licence", "reestimate_norms"]

FROM_TIMM = "timm"
"""What to ask for where timm is to get its own weights over the network."""

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def pretrained_licence(name: str) -> str:
    """Return the licence that timm states for its weights of a network of the zoo; empty where there are none."""
    inner = timm_name(name)
    if not inner:
        return ""
    import timm

    entry = timm.get_pretrained_cfg(inner)
    return str(entry.license or "not stated") if entry is not None and entry.has_weights else "no weights"


def pretrained_about(name: str, source: str) -> str:
    """Say on a model card where the weights of a backbone come from, and under which licence.

    Raises:
        InputError: The file cannot be read.
    """
    if source == FROM_TIMM:
        return f"Backbone started from timm's weights of {timm_name(name)} ({pretrained_licence(name)})."
    if is_bundle(source):
        bundle = load_bundle(source)
        return f"Backbone started from the bundle {bundle.name} {bundle.version}. " + " ".join(bundle.attribution)
    try:
        with safe_open(source, framework="pt") as file:
            origin = (file.metadata() or {}).get("source", "source and licence not stated in the file")
    except (OSError, SafetensorError) as error:
        raise InputError(f"The weights {source} cannot be read ({error}). Name a safetensors file.") from error
    return f"Backbone started from the weights {Path(source).name}: {origin}."


def load_pretrained(network: CellNetwork, name: str, source: str, *, classes: Sequence[str] = ()) -> None:
    """Put weights into the backbone; the head keeps its random ones, unless `classes` are given.

    Args:
        network: What `build(name, ...)` gave.
        name: Its name in the zoo.
        source: `FROM_TIMM`, a safetensors file with timm's key names (a classifier in it is left out), or a bundle of
            the same network: a shipped one's name or a folder.
        classes: Ordered keys that the head tells apart; it then gets the rows of a bundle that knows all of them.

    Raises:
        UsageError: The network has no timm network inside, and `source` is no bundle; or a head is wanted that the
            source does not have.
        InputError: The weights cannot be read, or belong to another network.
        DataError: timm cannot get its weights.
        BundleError: The bundle cannot be used.
    """
    if is_bundle(source):
        _from_bundle(network, name, source, classes)
        return
    if classes:
        raise UsageError(f"The weights {source} have no head for blood cells. Name a bundle, or leave out given_head.")
    inner = timm_name(name)
    if not inner:
        raise UsageError(f"The network {name} is our own: there are no weights to start from. Leave out `pretrained`.")
    tensors = _from_timm(inner) if source == FROM_TIMM else _from_file(Path(source))
    target: nn.Module = network.backbone.net  # type: ignore[assignment]
    needed = target.state_dict()
    counters = {key for key in needed if key.endswith("num_batches_tracked")}
    missing = [key for key in needed if key not in tensors and key not in counters]
    if missing:
        raise InputError(
            f"The weights {source} lack {missing[0]} of {inner}. Give those of {inner}, with timm's names."
        )
    strange = [key for key in needed if key in tensors and tensors[key].shape != needed[key].shape]
    if strange:
        raise InputError(f"The weights {source} do not fit {inner} at {strange[0]}. Give those of {inner}.")
    target.load_state_dict({key: tensors.get(key, value).to(value.dtype) for key, value in needed.items()})


def is_bundle(source: str) -> bool:
    """Say whether weights to start from are those of a bundle: a shipped one's name, or a folder."""
    return bool(source) and (source in shipped_bundles() or Path(source).is_dir())


def _from_bundle(network: CellNetwork, name: str, source: str, classes: Sequence[str]) -> None:
    """Put the backbone of a bundle into a network that has the same weights, and the head's rows of some classes."""
    bundle = load_bundle(source)
    missing = [key for key in classes if key not in bundle.classes]
    if missing:
        raise UsageError(
            f"The bundle {bundle.name} does not know: {', '.join(missing)}. Leave out given_head, or name another."
        )
    tensors = _from_file(bundle.folder / "weights.safetensors")
    backbone = {
        key.removeprefix("backbone."): value.float() if value.is_floating_point() else value
        for key, value in tensors.items()
        if key.startswith("backbone.")
    }
    rows = [bundle.classes.index(key) for key in classes]
    try:
        network.backbone.load_state_dict(backbone)
        if rows:
            network.head.load_state_dict({key: tensors[f"head.{key}"][rows].float() for key in ("weight", "bias")})
    except RuntimeError as error:
        other = bundle.recipe.get("model", {}).get("name")
        raise InputError(
            f"The bundle {bundle.name} holds the network {other}, not {name}, and its weights do not fit. Name one of "
            f"{name}."
        ) from error


def _from_timm(inner: str) -> dict[str, torch.Tensor]:
    """Let timm get its weights, from its cache or over the network."""
    import timm

    try:
        tensors: dict[str, torch.Tensor] = timm.create_model(inner, pretrained=True).state_dict()
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"timm cannot get its weights of {inner} ({first}). Connect to the network once, or name a safetensors "
            "file with --pretrained FILE."
        ) from error
    return tensors


def _from_file(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"The weights {path} cannot be read ({error}). Name a safetensors file.") from error


@torch.no_grad()
def reestimate_norms(network: nn.Module, batches: Iterable[torch.Tensor]) -> int:
    """Measure the running mean and variance of every batch normalization anew, as plain averages over the batches.

    Args:
        network: Left in the mode, training or evaluation, that it was in.
        batches: Nx3xHxW float32 each, as the network gets them; some hundred pictures are enough.

    Returns:
        Number of normalizations.
    """
    norms = [layer for layer in network.modules() if isinstance(layer, _NORMS)]
    if not norms:
        return 0
    was_training, momenta = network.training, [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None
    # Only the norms: what else is at random in training would be measured too.
    network.eval()
    for layer in norms:
        layer.train()
    for batch in batches:
        network(batch)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    network.train(was_training)
    return len(norms)
