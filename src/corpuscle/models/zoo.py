"""Names of networks and how to build them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.models.classifier import Classifier, ResidualBackbone

__all__ = ["ZOO", "ZooRow", "build"]


@dataclass(frozen=True, slots=True)
class ZooRow:
    """One network of our own.

    Attributes:
        backbone: Makes the backbone; its `width` is the number of feature channels.
        input_px: Side of the input that it is meant for.
        about: One line for people.
    """

    backbone: Callable[[], ResidualBackbone]
    input_px: int
    about: str


ZOO: Mapping[str, ZooRow] = MappingProxyType(
    {
        "toy": ZooRow(lambda: ResidualBackbone(8, (8, 16), (1, 1)), 32, "seconds to train; for tests"),
        "corpuscle_s": ZooRow(
            lambda: ResidualBackbone(24, (48, 96, 192), (1, 2, 2)), 128, "residual net, 1.5 M parameters"
        ),
    }
)


class _TimmBackbone(nn.Module):
    """A timm network as a feature extractor whose last features are pooled by our head."""

    def __init__(self, name: str) -> None:
        super().__init__()
        import timm

        self.net = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
        self.width = int(self.net.num_features)

    def forward(self, batch: object) -> object:
        return self.net(batch)


def build(name: str, n_classes: int, *, dropout: float = 0.0) -> Classifier:
    """Build a network with random weights.

    Args:
        name: A row of `ZOO`, or `timm:NAME` for any convolutional network of timm.
        n_classes: Width of the answer, at least 2.
        dropout: Share of the embedding that is dropped in training.

    Raises:
        UnknownNameError: There is no network of that name.
        UsageError: Fewer than two classes.
    """
    if n_classes < 2:
        raise UsageError(f"A classifier needs at least two classes, not {n_classes}.")
    if name.startswith("timm:"):
        import timm

        if name[5:] not in timm.list_models():
            close = tuple(timm.list_models(f"*{name[5:9]}*"))[:12]
            raise UnknownNameError("timm network", name[5:], close)
        timm_backbone = _TimmBackbone(name[5:])
        return Classifier(timm_backbone, timm_backbone.width, n_classes, dropout=dropout)
    if name not in ZOO:
        raise UnknownNameError("network", name, (*ZOO, "timm:NAME"))
    backbone = ZOO[name].backbone()
    return Classifier(backbone, backbone.width, n_classes, dropout=dropout)
