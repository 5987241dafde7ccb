"""What a network costs: weights and multiplications, counted without running it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from corpuscle.models.pretrained import pretrained_licence
from corpuscle.models.zoo import ZOO, CellNetwork, build

__all__ = ["NetworkSize", "ZooListing", "list_zoo", "network_size"]


@dataclass(frozen=True, slots=True)
class NetworkSize:
    """Size of one network.

    Attributes:
        parameters: Number of trained weights.
        multiply_adds: Multiplications with addition that one picture costs, in convolutions and dense layers.
    """

    parameters: int
    multiply_adds: int


def network_size(network: CellNetwork, input_px: int) -> NetworkSize:
    """Count on the `meta` device, where tensors have shapes only.

    Args:
        network: Any network that `build` gives; not changed.
        input_px: Side of the picture.
    """
    with torch.device("meta"):
        batch = torch.empty(1, 3, input_px, input_px)
    training = network.training
    shapes = {key: value.to("meta") for key, value in network.state_dict().items()}
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        torch.func.functional_call(network.eval(), shapes, (batch,))
    network.train(training)
    # The counter takes a multiplication with its addition for two operations.
    return NetworkSize(sum(weight.numel() for weight in network.parameters()), counter.get_total_flops() // 2)


@dataclass(frozen=True, slots=True)
class ZooListing:
    """One row of `corpuscle models`.

    Attributes:
        name: What a recipe calls it.
        about: One line for people.
        input_px: Side that it is meant for, at which it was counted.
        parameters: Number of weights, with a head for eight classes.
        multiply_adds: For one picture.
        licence: Of timm's pretrained weights; empty for our own networks.
    """

    name: str
    about: str
    input_px: int
    parameters: int
    multiply_adds: int
    licence: str


def list_zoo(names: tuple[str, ...] = (), *, n_classes: int = 8) -> list[ZooListing]:
    """Count every network of the zoo.

    Args:
        names: Rows, or `timm:NAME` each (counted at 224 px); the whole zoo if empty.
        n_classes: Width of the head.

    Raises:
        UnknownNameError: There is no network of some name.
    """
    rows = []
    for name in names or tuple(ZOO):
        side = ZOO[name].input_px if name in ZOO else 224
        with torch.device("meta"):
            network = build(name, n_classes, input_px=side)
        size = network_size(network, side)
        about = ZOO[name].about if name in ZOO else "any network of timm"
        rows.append(ZooListing(name, about, side, size.parameters, size.multiply_adds, pretrained_licence(name)))
    return rows
