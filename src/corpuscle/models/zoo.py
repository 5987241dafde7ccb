"""Names of networks and how to build them."""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.models.classifier import Classifier, FlatClassifier, ResidualBackbone, plain_convolutions
from corpuscle.models.fronts import Front

__all__ = ["ZOO", "CellNetwork", "ZooRow", "build", "timm_name"]

CellNetwork = Classifier | FlatClassifier
"""What `build` gives: both kinds answer a batch with logits, embedding and features."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a builder needs to know: number of classes, side of the input, share of the embedding dropped, and front."""

    n_classes: int
    input_px: int
    dropout: float
    front: Front | None = None


@dataclass(frozen=True, slots=True)
class ZooRow:
    """One network.

    Attributes:
        make: Builds it with random weights.
        input_px: Side of the input that it is meant for.
        about: One line for people.
        timm: Name of the timm network inside; empty for our own.
        least_px: Smallest side that it takes.
        fixed: Whether it takes pictures of that one side only that it was built for.
    """

    make: Callable[[Plan], CellNetwork]
    input_px: int
    about: str
    timm: str = ""
    least_px: int = 8
    fixed: bool = False


class _TimmBackbone(nn.Module):
    """A timm network as a feature extractor whose last features are pooled by our head."""

    def __init__(self, name: str) -> None:
        super().__init__()
        import timm

        net = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
        # The heads of VGG start with convolutions as wide as the whole picture; only what is before them is wanted.
        self.net: nn.Module = nn.ModuleDict({"features": net.features}) if name.startswith("vgg") else net
        self.is_vgg = name.startswith("vgg")
        self.width = int(net.num_features) if not self.is_vgg else _last_width(net.features)

    def forward(self, batch: Any) -> Any:
        return self.net["features"](batch) if isinstance(self.net, nn.ModuleDict) else self.net(batch)


def _last_width(layers: nn.Module) -> int:
    """Return the number of channels of the last convolution."""
    return [layer.out_channels for layer in layers.modules() if isinstance(layer, nn.Conv2d)][-1]


def _residual(
    stem: int,
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    stride: int = 2,
    *,
    first_stride: int = 2,
    mixed: int = 0,
    grouped: bool = False,
) -> Callable[[Plan], Classifier]:
    def make(plan: Plan) -> Classifier:
        backbone = ResidualBackbone(
            stem, widths, depths, stride=stride, first_stride=first_stride, mixed=mixed, grouped=grouped,
            front=plan.front,
        )  # fmt: skip
        return Classifier(backbone, backbone.width, plan.n_classes, dropout=plan.dropout)

    return make


def _timm_pooled(name: str) -> Callable[[Plan], Classifier]:
    def make(plan: Plan) -> Classifier:
        backbone = _TimmBackbone(name)
        return Classifier(backbone, backbone.width, plan.n_classes, dropout=plan.dropout)

    return make


def _vgg_flat(plan: Plan) -> FlatClassifier:
    backbone = _TimmBackbone("vgg19")
    flat = backbone.width * (plan.input_px // 32) ** 2
    return FlatClassifier(backbone, flat, plan.n_classes, dense=256, dropout=plan.dropout)


def _convolutions(widths: tuple[int, ...], dense: int, *, norm: bool) -> Callable[[Plan], FlatClassifier]:
    def make(plan: Plan) -> FlatClassifier:
        side = plan.input_px // 2 ** len(widths)
        backbone = plain_convolutions(widths, norm=norm)
        flat = widths[-1] * side**2
        return FlatClassifier(backbone, flat, plan.n_classes, dense=dense, dropout=plan.dropout)

    return make


def _fnn(plan: Plan) -> FlatClassifier:
    return FlatClassifier(nn.Identity(), 3 * plan.input_px**2, plan.n_classes, dense=128, dropout=plan.dropout)


ZOO: Mapping[str, ZooRow] = MappingProxyType(
    {
        "toy": ZooRow(_residual(8, (8, 16), (1, 1)), 32, "seconds to train; for tests"),
        "corpuscle_s": ZooRow(
            _residual(24, (48, 96, 192), (1, 2, 2)), 128, "our residual net, 1.5 M parameters"
        ),
        "corpuscle_mixed": ZooRow(
            _residual(24, (48, 96, 192), (1, 2, 2), mixed=2), 128, "corpuscle_s with instance norms in half of the "
            "early channels, for stains never seen; the shipped one",
        ),
        "corpuscle_group": ZooRow(
            _residual(24, (48, 96, 192), (1, 2, 2), grouped=True), 128, "corpuscle_s with norms of groups of channels, "
            "which keep nothing from training",
        ),
        "corpuscle_xs": ZooRow(
            _residual(16, (32, 64, 96), (1, 1, 1), 1), 28, "our residual net for pictures of 28 px"
        ),
        "corpuscle_28": ZooRow(
            _residual(32, (48, 96, 192), (1, 2, 2), 1, first_stride=1), 28, "our larger residual net for 28 px, 1.5 M "
            "parameters",
        ),
        "fnn": ZooRow(_fnn, 28, "one hidden layer of 128 units on the bare pixels", fixed=True),
        "cnn2": ZooRow(
            _convolutions((32, 64), 64, norm=False), 28, "two convolutions, one dense layer, dropout", fixed=True
        ),
        "sequential": ZooRow(
            _convolutions((32, 64, 128, 128), 128, norm=True), 80, "four convolutions in a row, one dense layer",
            least_px=16, fixed=True,
        ),
        "mobilenetv2": ZooRow(
            _timm_pooled("mobilenetv2_100"), 224, "inverted residuals (Sandler et al. 2018)", "mobilenetv2_100", 32
        ),
        "resnet50": ZooRow(_timm_pooled("resnet50"), 224, "residual net (He et al. 2016)", "resnet50", 32),
        "inceptionv3": ZooRow(
            _timm_pooled("inception_v3"), 299, "factorized inception (Szegedy et al. 2016)", "inception_v3", 75
        ),
        "vgg19": ZooRow(
            _vgg_flat, 224, "VGG (Simonyan, Zisserman 2015), flattened, one dense layer of 256", "vgg19", 32, fixed=True
        ),
        "vgg19_pooled": ZooRow(_timm_pooled("vgg19"), 224, "vgg19 with its features averaged", "vgg19", 32),
    }
)  # fmt: skip


def timm_name(name: str) -> str:
    """Return the timm network inside a network of the zoo; empty for our own."""
    return name[5:] if name.startswith("timm:") else ZOO[name].timm


def build(
    name: str,
    n_classes: int,
    *,
    dropout: float = 0.0,
    input_px: int = 0,
    style_mixing: float = 0.0,
    front: Front | None = None,
) -> CellNetwork:
    """Build a network with random weights.

    Args:
        name: A row of `ZOO`, or `timm:NAME` for any convolutional network of timm.
        n_classes: Width of the answer, at least 2.
        dropout: Share of the embedding that is dropped in training.
        input_px: Side of the input; the row's own if 0. Only networks that flatten depend on it.
        style_mixing: Share of the training batches in which pictures trade a part of their style; see `mixed_styles`.
        front: What pictures go through before the first convolution.

    Raises:
        UnknownNameError: There is no network of that name.
        UsageError: Fewer than two classes, pictures too small for the network, or one that mixes no styles or takes no
            front.
    """
    if n_classes < 2:
        raise UsageError(f"A classifier needs at least two classes, not {n_classes}.")
    if name.startswith("timm:"):
        _check_timm(name[5:])
        network: CellNetwork = _timm_pooled(name[5:])(Plan(n_classes, input_px, dropout))
    else:
        if name not in ZOO:
            raise UnknownNameError("network", name, (*ZOO, "timm:NAME"))
        row = ZOO[name]
        side = input_px or row.input_px
        if side < row.least_px:
            raise UsageError(
                f"The network {name} needs pictures of {row.least_px} px or more, not {side}. Set input_px."
            )
        network = row.make(Plan(n_classes, side, dropout, front))
    if isinstance(network.backbone, ResidualBackbone):
        network.backbone.style_mixing = style_mixing
    elif style_mixing or front:
        key = "style_mixing" if style_mixing else "front"
        able = ", ".join(row for row in ZOO if row.startswith("corpuscle"))
        raise UsageError(f"The network {name} takes no {key}. Leave out model.{key}, or choose one of: {able}.")
    return network


def _check_timm(name: str) -> None:
    import timm

    if name not in timm.list_models():
        close = tuple(timm.list_models(f"*{glob.escape(name[:4])}*"))[:12]
        raise UnknownNameError("timm network", name, close)
