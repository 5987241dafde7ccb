"""A training run as data: frozen dataclasses, read from TOML, saved resolved beside the weights."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from corpuscle.errors import RecipeError, UsageError
from corpuscle.preprocessing.transforms import PreprocessingSpec
from corpuscle.training.recipe_parts import (
    AugmentationRecipe,
    BundleRecipe,
    DataRecipe,
    LessonsRecipe,
    ModelRecipe,
    OptimizerRecipe,
    RunRecipe,
)
from corpuscle.training.recipe_tables import override, read_section, read_table

__all__ = ["Recipe", "read_recipe"]

_RANGES = {
    "data.fine": (1, 8),
    "data.limit": (0, math.inf),
    "data.balance": (0, 1),
    "model.dropout": (0, 1),
    "model.style_mixing": (0, 1),
    "augmentation.mixup": (0, math.inf),
    "augmentation.cutmix": (0, math.inf),
    "augmentation.cooldown_epochs": (0, math.inf),
    "augmentation.cooldown_strength": (0, math.inf),
    "optimizer.weight_decay": (0, math.inf),
    "optimizer.warmup": (0, 1),
    "optimizer.plateau_patience": (1, math.inf),
    "optimizer.label_smoothing": (0, 1),
    "lessons.teacher_share": (0, 1),
    "lessons.attributes": (0, math.inf),
    "lessons.masks": (0, math.inf),
    "run.seed": (0, 10**8),
    "run.early_stopping": (0, math.inf),
    "run.threads": (0, math.inf),
    "run.epoch_pictures": (0, math.inf),
}
"""Least and largest value of the keys that may be 0 or have an end."""
_SHARES = ("grey", "blur", "tight", "background")
"""Ranges of augmentation that say how many of the pictures are changed."""


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
        lessons, mixings = self.lessons, (self.augmentation.mixup, self.augmentation.cutmix)
        if all(mixings):
            raise RecipeError("augmentation.mixup and augmentation.cutmix exclude each other. Set one of them to 0.")
        if any(mixings) and (lessons.teacher or lessons.attributes or lessons.masks or lessons.without_labels):
            key = "mixup" if mixings[0] else "cutmix"
            raise RecipeError(
                f"augmentation.{key} blends labels, but no teacher's answers, attributes, masks or views. Set it to 0, "
                "or leave the lessons out."
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
