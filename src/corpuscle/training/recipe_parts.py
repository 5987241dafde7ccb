"""The tables of a recipe as data: frozen dataclasses whose fields are the keys of the TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from corpuscle.errors import RecipeError, UsageError
from corpuscle.preprocessing.framing import FramingSpec

__all__ = [
    "AugmentationRecipe",
    "BundleRecipe",
    "DataRecipe",
    "LessonsRecipe",
    "ModelRecipe",
    "OptimizerRecipe",
    "RunRecipe",
]

_FRONTS = ("stain", "masks")
"""As in `models.fronts`, which needs torch."""


@dataclass(frozen=True, slots=True)
class DataRecipe:
    """What to learn from.

    Attributes:
        dataset: A labeled set of the catalog, or a folder with a folder per class.
        classes: Keys of the taxonomy to learn; all that the training split has, if empty.
        widen: How much wider than the frame training crops are cut, so that turning and zooming find real pixels.
        fine: How many times finer than the network's input training crops are kept. Turning and zooming blur a picture
            by a part of a pixel, which tiny ones feel: those of 28 px are better moved at 84 px and shrunk then.
        limit: Use at most this many cells of each split, 0 for all; for trying a recipe out.
        balance: How far rare classes of the recipe's own set are drawn more often: 0 leaves every picture as likely as
            any other, 1 draws each class equally often, 0.5 is between. Above 0, pictures of an epoch are drawn with
            replacement.
        also: Further sets whose training cells are learned too, as far as their classes are: tables with `dataset`,
            `framing` where its pictures want another than the recipe's, and `share`, the part of an epoch's pictures
            that is drawn from it, each of its classes equally often (without it they come as they are). Nothing is
            validated on them.
    """

    dataset: str = "pbc"
    classes: tuple[str, ...] = ()
    widen: float = 1.5
    fine: int = 1
    limit: int = 0
    balance: float = 0.0
    also: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Refuse further sets without a name, with a frame that cannot be cut, or with more than all of an epoch."""
        for entry in self.also:
            if not isinstance(entry.get("dataset"), str) or not set(entry) <= {"dataset", "framing", "share"}:
                raise RecipeError(
                    'Each of data.also needs dataset = "NAME", and may have a table framing and a share; nothing else.'
                )
            share = entry.get("share", 0.0)
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
                raise RecipeError(f"The share of {entry['dataset']} in data.also must lie in [0, 1), not {share!r}.")
            try:
                FramingSpec(**entry.get("framing", {}))
            except (TypeError, UsageError) as error:
                raise RecipeError(f"data.also, framing of {entry['dataset']}: {str(error).rstrip('.')}.") from error
        if sum(entry.get("share", 0.0) for entry in self.also) >= 1:
            raise RecipeError("The shares of data.also leave nothing for the recipe's own set. Lower them.")


@dataclass(frozen=True, slots=True)
class ModelRecipe:
    """Which network.

    Attributes:
        name: A row of the zoo, or `timm:NAME`.
        dropout: Share of the embedding dropped in training.
        start: Another recipe, by its path from this one, whose best weights this run starts from; it is followed
            first, in the folder `start` of the run, and may itself start from one. Random weights if not given.
        pretrained: Weights of the backbone that somebody else trained: `timm` for timm's own, which it gets over the
            network, a safetensors file with timm's key names, or a bundle of the same network (name or folder). Norms
            are then measured anew on the training split.
        given_head: Whether the last layer starts from the bundle's as well, which must know all classes learned here.
        stages: What is trained when: tables with `epoch` (the first one, from 1) and `train` (beginnings of weights'
            names, as `head` or `backbone.net.blocks.6`; an empty one is all). Norms of frozen parts keep their
            statistics. All of the network from the start, if not given.
        style_mixing: Share of the batches whose pictures trade a part of the mean and spread of each channel behind
            the first two stages, as if they were stained like another of the batch (MixStyle, Zhou et al. 2021); for
            our residual networks.
        front: What pictures go through before the first convolution, as part of the network: `stain` brings the stained
            places of each picture to one mean and spread of optical density (Reinhard et al. 2001), `masks` adds two
            channels that say where nuclei and stained places are; for our residual networks.
    """

    name: str = "corpuscle_s"
    dropout: float = 0.1
    start: dict[str, Any] = field(default_factory=dict)
    pretrained: str = ""
    given_head: bool = False
    stages: tuple[dict[str, Any], ...] = ()
    style_mixing: float = 0.0
    front: str = ""

    def __post_init__(self) -> None:
        """Refuse stages that nobody could follow, fronts that do not exist, and what is not given."""
        if self.given_head and not self.pretrained:
            raise RecipeError("model.given_head needs a bundle in model.pretrained. Name one.")
        if self.front not in {"", *_FRONTS}:
            raise RecipeError(f"model.front is {self.front!r}; it must be {' or '.join(_FRONTS)}, or left out.")
        for stage in self.stages:
            names = stage.get("train")
            listed = isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names)
            if set(stage) != {"epoch", "train"} or not isinstance(stage["epoch"], int) or not listed:
                raise RecipeError('Each of model.stages needs epoch = NUMBER and train = ["BEGINNING OF A NAME", ...].')
        epochs = [int(stage["epoch"]) for stage in self.stages]
        if epochs and (epochs[0] != 1 or any(b <= a for a, b in pairwise(epochs))):
            raise RecipeError(f"The epochs of model.stages must start at 1 and grow, not be {epochs}.")


@dataclass(frozen=True, slots=True)
class AugmentationRecipe:
    """How crops are changed at random.

    Attributes:
        preset: Row of `PRESETS`.
        overrides: Single ranges that differ from the preset.
        cooldown_epochs: Number of last epochs with weaker changes of color and sharpness.
        cooldown_strength: How strong these are then, as a fraction.
        mixup: Above 0, each picture is blended with another one of its batch, and so are their labels (Zhang et al.
            2018). The share of the other, at most a half, comes from a Beta distribution with this parameter: 0.2
            leaves most pictures nearly alone, 1 takes any share as often as another.
        cutmix: Above 0, a rectangle of another picture is cut into each, and labels are blended by area (Yun et al.
            2019); its share of the picture is drawn as for mixup.
    """

    preset: str = "strong"
    overrides: dict[str, Any] = field(default_factory=dict)
    cooldown_epochs: int = 0
    cooldown_strength: float = 0.5
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass(frozen=True, slots=True)
class OptimizerRecipe:
    """How weights change.

    Attributes:
        name: `adamw` or `sgd` (with Nesterov momentum 0.9).
        learning_rate: The largest one of the schedule.
        weight_decay: Decoupled for adamw; never on biases and norms.
        schedule: `onecycle` (linear warm-up, then a half cosine), `cosine`, `plateau` or `constant`.
        warmup: Share of the steps that `onecycle` warms up for.
        plateau_patience: Epochs without progress after which `plateau` multiplies the rate by 0.3.
        clip_norm: Largest norm of the gradient.
        label_smoothing: Share of each label spread over all classes.
        rates: Factors on the learning rate of weights whose names begin so, as `{ backbone = 0.1 }`; the longest
            beginning counts.
    """

    name: str = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    schedule: str = "onecycle"
    warmup: float = 0.1
    plateau_patience: int = 3
    clip_norm: float = 2.0
    label_smoothing: float = 0.05
    rates: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LessonsRecipe:
    """What is learned beside the labels. It costs training time alone: the bundle has the same network without it.

    Attributes:
        teacher: A bundle (a shipped one's name or a folder) whose answers to the training pictures are learned beside
            the labels (Hinton et al. 2015). It judges each picture once, unchanged, in its own framing and size, and
            must know all classes that are learned.
        teacher_share: Share of the loss that comes from the teacher's answers; the labels have the rest.
        temperature: Divisor of the logits of teacher and pupil when their answers are compared; above 1 the teacher's
            second thoughts count more.
        attributes: Weight of telling the eleven attributes that WBCAtt annotates, in the loss; 0 for not. Pictures
            without them, and those of WBCAtt's own val and test lists, only teach their class.
        masks: Weight of drawing nucleus and cell, as thresholds find them, from the last features, in the loss; 0 for
            not.
        without_labels: Learn nothing but that two changed views of a picture are the same cell, and look at no label;
            for a recipe that another one names in `model.start`. Its last epoch counts as its best.
    """

    teacher: str = ""
    teacher_share: float = 0.5
    temperature: float = 2.0
    attributes: float = 0.0
    masks: float = 0.0
    without_labels: bool = False

    def __post_init__(self) -> None:
        """Refuse lessons that exclude each other."""
        if self.without_labels and (self.teacher or self.attributes or self.masks):
            raise RecipeError(
                "lessons.without_labels leaves nothing to a teacher, to attributes or to masks. Leave them out."
            )


@dataclass(frozen=True, slots=True)
class RunRecipe:
    """How long, with what chance, on what arithmetic.

    Attributes:
        epochs: Passes over the training split.
        batch_size: Pictures a step, over all processes.
        seed: Of weights, order and augmentation.
        ema_decay: Decay a step of the averaged weights that are judged and kept; 0 keeps the raw ones.
        early_stopping: Epochs without a better `val` after which training ends, 0 for never.
        precision: `auto` (a one-second probe chooses), `fp32` or `bf16`.
        threads: CPU threads a process, 0 for all that it may use. On a machine that does other work too, 1 is
            many times faster than 2. A run may go on with another number.
        epoch_pictures: Pictures of one epoch, drawn anew each time from the training split; 0 for all of it. For sets
            that hold many versions of few photographs.
    """

    epochs: int = 30
    batch_size: int = 64
    seed: int = 0
    ema_decay: float = 0.998
    early_stopping: int = 0
    precision: str = "auto"
    threads: int = 0
    epoch_pictures: int = 0


@dataclass(frozen=True, slots=True)
class BundleRecipe:
    """How the finished network is packed.

    Attributes:
        quantize: Whether an 8-bit graph predicts, as is fastest; else the exact one, as always for networks with norms
            of groups of channels.
        version: What the model calls itself beside its name.
    """

    quantize: bool = True
    version: str = "1"
