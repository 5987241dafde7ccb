"""What a picture goes through before the first convolution, as a part of the network and of its graph.

None of it has weights. Each is one of the classical answers to stains that were never seen: bring all pictures to one
stain, or show the network where nucleus and cell are, so that it need not learn that from colors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from corpuscle.errors import UnknownNameError
from corpuscle.preprocessing.transforms import WHITE

__all__ = ["FRONTS", "Front", "equalized_stain", "stain_masks"]

FRONTS = ("stain", "masks")
"""Names of the fronts."""

_WHITE = WHITE / 255
_STAINED, _SOFTNESS = 0.12, 0.03
"""Mean optical density above which a place counts as stained, and how softly."""
_WINDOW = 0.25
"""Spread of the window, in sides of the picture, in which places count: about that of a framed cell."""
_MEAN, _SPREAD = (0.55, 0.75, 0.35), (0.35, 0.35, 0.2)
"""Density in red, green and blue that stained places are brought to: about those of May Gruenwald-Giemsa."""
_LEAST_SPREAD, _LEAST_SHARE = 0.05, 0.01
_NUCLEUS, _REACH = 0.45, 0.3
"""Share of the strongest red density from which a place belongs to the nucleus, and how far from the center (in sides
of the picture) that is looked for."""


@dataclass(frozen=True, slots=True)
class Front:
    """A front for pictures that were scaled by a bundle's mean and spread.

    Attributes:
        kind: Row of `FRONTS`: `stain` equalizes the stain of each picture, `masks` adds two channels.
        mean: Of the scaling, for red, green and blue.
        std: Likewise.

    Raises:
        UnknownNameError: There is no such kind.
    """

    kind: str
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)

    def __post_init__(self) -> None:
        """Refuse kinds that do not exist."""
        if self.kind not in FRONTS:
            raise UnknownNameError("front", self.kind, FRONTS)

    @property
    def channels(self) -> int:
        """How many channels the first convolution gets."""
        return 5 if self.kind == "masks" else 3

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Take Nx3xHxW, scaled; give NxCxHxW, C being `channels`."""
        mean, std = (_channels(values, batch) for values in (self.mean, self.std))
        picture = batch.float() * std + mean
        if self.kind == "masks":
            return torch.cat([batch, stain_masks(picture).to(batch.dtype) * 2 - 1], 1)
        return ((equalized_stain(picture) - mean) / std).to(batch.dtype)


def equalized_stain(picture: torch.Tensor) -> torch.Tensor:
    """Bring the stained places of each picture to one mean and spread of optical density in each channel.

    The statistics are those of Reinhard et al. 2001 (doi 10.1109/38.946629), taken in optical density and over stained
    places alone, those in the middle before all, so that it matters little how much empty slide and which neighbors a
    frame shows. A picture without stained places stays nearly as it is.

    Args:
        picture: Nx3xHxW float32 in [0, 1], white-balanced.

    Returns:
        Nx3xHxW float32 in [0, 1].
    """
    # Light is the logarithm of what is left of the lamp's: the density with the other sign, which saves two steps.
    light = torch.log(picture.clamp(1 / 255, 1.0)) - math.log(_WHITE)
    stained = torch.sigmoid(light.mean(1, keepdim=True) / -_SOFTNESS - _STAINED / _SOFTNESS)
    window = _window(picture, 2 * _WINDOW**2)
    counted = stained * (window / window.mean())
    weighted = light * counted
    share = counted.mean((2, 3), keepdim=True)
    least = share + 1e-4
    mean = weighted.mean((2, 3), keepdim=True) / least
    square = (weighted * light).mean((2, 3), keepdim=True) / least - mean * mean * (2 - share / least)
    gain = _channels(_SPREAD, picture) / torch.sqrt(square.clamp_min(0.0) + _LEAST_SPREAD**2)
    shift = -_channels(_MEAN, picture) - mean * gain
    # Nothing is equalized where nothing is stained.
    known = stained * (share / (share + _LEAST_SHARE))
    light = light + known * (light * (gain - 1) + shift)
    return (torch.exp(light) * _WHITE).clamp(0.0, 1.0)


def stain_masks(picture: torch.Tensor) -> torch.Tensor:
    """Say softly where nuclei and cells are, by thresholds on the optical density.

    Args:
        picture: Nx3xHxW float32 in [0, 1], white-balanced, a cell in the middle.

    Returns:
        Nx2xHxW float32 in [0, 1]: nucleus (red density against the strongest near the center) and stained place.
    """
    density = -torch.log(picture.clamp(1 / 255, 1.0) / _WHITE)
    near = _window(picture, _REACH**2)
    red = density[:, :1]
    strongest = (red * near).amax((2, 3), keepdim=True).clamp_min(0.1)
    nucleus = torch.sigmoid((red / strongest - _NUCLEUS) / 0.06)
    stained = torch.sigmoid((density.mean(1, keepdim=True) - _STAINED) / _SOFTNESS)
    return torch.cat([nucleus, stained], 1)


def _window(picture: torch.Tensor, width: float) -> torch.Tensor:
    """Return HxW weights that fall off from the middle as a normal distribution does."""
    rows, columns = (
        (torch.arange(side, device=picture.device) + 0.5) / side - 0.5 for side in picture.shape[2:]
    )  # fmt: skip
    return torch.exp(-(rows[:, None] ** 2 + columns[None] ** 2) / width)


def _channels(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, device=like.device)[:, None, None]
