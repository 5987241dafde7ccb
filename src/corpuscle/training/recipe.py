"""A training run as data: frozen dataclasses, read from TOML, saved resolved beside the weights."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from corpuscle.errors import RecipeError, UsageError
from corpuscle.preprocessing.framing import FramingSpec
from corpuscle.preprocessing.transforms import PreprocessingSpec
from corpuscle.training.recipe_tables import override, read_section, read_table

__all__ = [
    "AugmentationRecipe",
    "BundleRecipe",
    "DataRecipe",
    "LessonsRecipe",
    "ModelRecipe",
    "OptimizerRecipe",
    "Recipe",
    "RunRecipe",
    "read_recipe",
]

_RANGES = {
    "data.limit": (0, math.inf),
    "data.balance": (0, 1),
    "model.dropout": (0, 1),
    "model.style_mixing": (0, 1),
    "augmentation.mixup": (0, math.inf),
    "augmentation.cooldown_epochs": (0, math.inf),
    "augmentation.cooldown_strength": (0, math.inf),
    "optimizer.weight_decay": (0, math.inf),
    "optimizer.warmup": (0, 1),
    "optimizer.plateau_patience": (1, math.inf),
    "optimizer.label_smoothing": (0, 1),
    "lessons.teacher_share": (0, 1),
    "lessons.attributes": (0, math.inf),
    "run.seed": (0, 10**8),
    "run.early_stopping": (0, math.inf),
    "run.threads": (0, math.inf),
    "run.epoch_pictures": (0, math.inf),
}
"""Least and largest value of the keys that may be 0 or have an end."""
_SHARES = ("grey", "blur", "tight", "background")
"""Ranges of augmentation that say how many of the pictures are changed."""


@dataclass(frozen=True, slots=True)
class DataRecipe:
    """What to learn from.

    Attributes:
        dataset: A labeled set of the catalog, or a folder with a folder per class.
        classes: Keys of the taxonomy to learn; all that the training split has, if empty.
        widen: How much wider than the frame training crops are cut, so that turning and zooming find real pixels.
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
        stages: What is trained when: tables with `epoch` (the first one, from 1) and `train` (beginnings of weights'
            names, as `head` or `backbone.net.blocks.6`; an empty one is all). Norms of frozen parts keep their
            statistics. All of the network from the start, if not given.
        style_mixing: Share of the batches whose pictures trade a part of the mean and spread of each channel behind
            the first two stages, as if they were stained like another of the batch (MixStyle, Zhou et al. 2021); for
            our residual networks.
    """

    name: str = "corpuscle_s"
    dropout: float = 0.1
    start: dict[str, Any] = field(default_factory=dict)
    pretrained: str = ""
    stages: tuple[dict[str, Any], ...] = ()
    style_mixing: float = 0.0

    def __post_init__(self) -> None:
        """Refuse stages that nobody could follow."""
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
    """

    preset: str = "strong"
    overrides: dict[str, Any] = field(default_factory=dict)
    cooldown_epochs: int = 0
    cooldown_strength: float = 0.5
    mixup: float = 0.0


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
        without_labels: Learn nothing but that two changed views of a picture are the same cell, and look at no label;
            for a recipe that another one names in `model.start`. Its last epoch counts as its best.
    """

    teacher: str = ""
    teacher_share: float = 0.5
    temperature: float = 2.0
    attributes: float = 0.0
    without_labels: bool = False

    def __post_init__(self) -> None:
        """Refuse lessons that exclude each other."""
        if self.without_labels and (self.teacher or self.attributes):
            raise RecipeError("lessons.without_labels leaves nothing to a teacher or to attributes. Leave them out.")


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
        quantize: Whether an 8-bit graph predicts, as is fastest; else the exact one.
        version: What the model calls itself beside its name.
    """

    quantize: bool = True
    version: str = "1"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run; every field of its parts is a key of the TOML file.

    Attributes:
        name: Of the run and of its bundle; the file's name if not given.
    """

    name: str = "unnamed"
    data: DataRecipe = field(default_factory=DataRecipe)
    preprocessing: PreprocessingSpec = field(default_factory=PreprocessingSpec)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    lessons: LessonsRecipe = field(default_factory=LessonsRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)
    bundle: BundleRecipe = field(default_factory=BundleRecipe)

    def __post_init__(self) -> None:
        """Refuse what cannot be followed."""
        choices = {
            "optimizer.name": (self.optimizer.name, ("adamw", "sgd")),
            "optimizer.schedule": (self.optimizer.schedule, ("onecycle", "cosine", "plateau", "constant")),
            "run.precision": (self.run.precision, ("auto", "fp32", "bf16")),
        }
        for key, (value, allowed) in choices.items():
            if value not in allowed:
                raise RecipeError(f"{key} is {value!r}; it must be one of: {', '.join(allowed)}.")
        positive = {
            "run.epochs": self.run.epochs,
            "run.batch_size": self.run.batch_size,
            "optimizer.learning_rate": self.optimizer.learning_rate,
            "optimizer.clip_norm": self.optimizer.clip_norm,
            "data.widen": self.data.widen,
            "lessons.temperature": self.lessons.temperature,
        }
        for key, number in positive.items():
            if not (number > 0 and math.isfinite(number)):
                raise RecipeError(f"{key} must be a number above 0, not {number}.")
        for key, (least, largest) in _RANGES.items():
            section, name = key.split(".")
            number = getattr(getattr(self, section), name)
            if not least <= number <= largest:
                wanted = f"{least} or more" if largest == math.inf else f"between {least} and {largest}"
                raise RecipeError(f"{key} must be {wanted}, not {number}.")
        self._check_the_rest()

    def _check_the_rest(self) -> None:
        """Refuse numbers of tables and single keys with ranges of their own."""
        for key, factor in self.optimizer.rates.items():
            if not (isinstance(factor, (int, float)) and math.isfinite(factor) and factor >= 0):
                raise RecipeError(f"optimizer.rates.{key} must be a number of 0 or more, not {factor!r}.")
        if not 0 <= self.run.ema_decay < 1:
            raise RecipeError(f"run.ema_decay must lie in [0, 1), not {self.run.ema_decay}.")
        for key, value in self.augmentation.overrides.items():
            if not (isinstance(value, (int, float)) and math.isfinite(value)):
                raise RecipeError(f"augmentation.overrides.{key} must be a number, not {value!r}.")
            if key in _SHARES and not 0 <= value <= 1:
                raise RecipeError(f"augmentation.overrides.{key} is a share of the pictures, in [0, 1], not {value}.")
        lessons = self.lessons
        if self.augmentation.mixup and (lessons.teacher or lessons.attributes or lessons.without_labels):
            raise RecipeError(
                "augmentation.mixup blends labels, but no teacher's answers, attributes or views. Set it to 0, or "
                "leave the lessons out."
            )
        if self.model.start:
            Recipe.from_dict(self.model.start)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """Return the resolved recipe as JSON text."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Read plain values, refusing unknown keys and wrong types.

        Raises:
            RecipeError: Which key is wrong, and what it should be.
        """
        try:
            return read_section(cls, values, "")
        except RecipeError:
            raise
        except UsageError as error:
            raise RecipeError(f"[preprocessing]: {error}") from error


def read_recipe(path: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a TOML recipe.

    Args:
        path: The file.
        overrides: `a.b=value` each, the value as in TOML; a bare word counts as text.

    Raises:
        RecipeError: The file is missing, no TOML, or holds a key or value that cannot be followed.
    """
    values = read_table(path)
    for setting in overrides:
        override(values, setting)
    values.setdefault("name", Path(path).stem)
    _resolve_start(values, Path(path), ())
    return Recipe.from_dict(values)


def _resolve_start(values: dict[str, Any], path: Path, followers: tuple[Path, ...]) -> None:
    """Put the recipe that this one starts from in place of its path, as JSON will hold it, and so on back."""
    model = values.get("model", {})
    if not (isinstance(model, dict) and isinstance(model.get("start"), str)):
        return
    chain = (*followers, path.resolve())
    start = path.parent / model["start"]
    if model["start"] and start.resolve() in chain:
        raise RecipeError(
            f"{path} starts from {start.name}, which starts from it in turn. Give one a start of its own."
        )
    if not model["start"]:
        model["start"] = {}
        return
    before = read_table(start)
    before.setdefault("name", start.stem)
    _resolve_start(before, start, chain)
    model["start"] = json.loads(Recipe.from_dict(before).to_json())
