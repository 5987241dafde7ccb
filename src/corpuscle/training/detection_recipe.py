"""A detector's training run as data: frozen dataclasses, read from TOML, saved resolved beside the weights."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from corpuscle.data.fields import FIELD_SETS
from corpuscle.errors import RecipeError, UsageError
from corpuscle.models.detector import DETECTORS
from corpuscle.preprocessing.field_scaling import STRIDE_PX, FieldSpec
from corpuscle.training.recipe_parts import OptimizerRecipe
from corpuscle.training.recipe_tables import override, read_section, read_table

__all__ = [
    "DetectionRecipe",
    "FieldAugmentation",
    "FieldDataRecipe",
    "FieldModelRecipe",
    "FieldRunRecipe",
    "is_detection",
    "read_detection_recipe",
]

TASK = "detection"


@dataclass(frozen=True, slots=True)
class FieldDataRecipe:
    """What to learn from.

    Attributes:
        datasets: Sets of labeled fields; all are learned, and the detector is judged on the `val` split of each.
        completed: Learn, and be judged by, the boxes as they are after this project's second reading, if any.
        added_score: What is wanted of the score of a cell that the second reading added, as a share of what is wanted
            of one that the annotators drew: below 1, those that annotators draw come first.
        limit: Use at most this many fields of each split of each set, 0 for all; for trying a recipe out.
    """

    datasets: tuple[str, ...] = ("bccd", "txl-pbc")
    completed: bool = False
    added_score: float = 1.0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class FieldModelRecipe:
    """Which network.

    Attributes:
        name: A row of `DETECTORS`.
        backbone: A classifier's bundle (name or folder) whose backbone the detector starts from; random weights if
            empty.
    """

    name: str = "corpuscle_field"
    backbone: str = ""


@dataclass(frozen=True, slots=True)
class FieldAugmentation:
    """How fields are changed at random.

    Attributes:
        preset: Row of the classifier's `PRESETS`, for stain, light, focus and noise.
        overrides: Single ranges that differ from the preset.
        canvas_px: Side of a training picture, a multiple of 16.
        smallest: Least size of the cells, as a share of the trained one.
        largest: Largest size, likewise.
        stretch: Largest change of the ratio of height to width to either side (natural logarithm, halved).
        whole: Share of the fields that are shown no larger than they fit, whole, into their window.
        mosaic: Share of the training pictures put together from four fields.
        cooldown_epochs: Number of last epochs without mosaics and with weaker changes of color and sharpness.
        cooldown_strength: How strong these are then, as a fraction.
    """

    preset: str = "strong"
    overrides: dict[str, Any] = field(default_factory=dict)
    canvas_px: int = 256
    smallest: float = 0.6
    largest: float = 1.6
    stretch: float = 0.05
    whole: float = 0.5
    mosaic: float = 0.5
    cooldown_epochs: int = 0
    cooldown_strength: float = 0.5


@dataclass(frozen=True, slots=True)
class FieldRunRecipe:
    """How long, with what chance, on what arithmetic.

    Attributes:
        epochs: Passes over the training fields.
        batch_size: Pictures a step.
        seed: Of weights, order and augmentation.
        ema_decay: Decay a step of the averaged weights that are judged and kept; 0 keeps the raw ones.
        judge_every: Epochs between two judgments on `val`; the last epoch is always judged.
        precision: `auto` (a one-second probe chooses), `fp32` or `bf16`.
        threads: CPU threads, 0 for all that it may use. A run may go on with another number.
    """

    epochs: int = 100
    batch_size: int = 8
    seed: int = 0
    ema_decay: float = 0.999
    judge_every: int = 5
    precision: str = "auto"
    threads: int = 0


@dataclass(frozen=True, slots=True)
class FieldBundleRecipe:
    """How the finished detector is packed.

    Attributes:
        quantize: Whether an 8-bit graph is made too; it predicts if it costs less than half a point of mAP on `val`.
        version: What the detector calls itself beside its name.
    """

    quantize: bool = True
    version: str = "1"


_RANGES = {
    "data.limit": (0, math.inf),
    "data.added_score": (0.1, 1),
    "augmentation.smallest": (0.1, 1),
    "augmentation.largest": (1, 10),
    "augmentation.stretch": (0, 0.5),
    "augmentation.whole": (0, 1),
    "augmentation.mosaic": (0, 1),
    "augmentation.cooldown_epochs": (0, math.inf),
    "augmentation.cooldown_strength": (0, math.inf),
    "optimizer.learning_rate": (1e-8, 10),
    "optimizer.clip_norm": (1e-3, math.inf),
    "optimizer.weight_decay": (0, math.inf),
    "optimizer.warmup": (0, 1),
    "run.epochs": (1, math.inf),
    "run.batch_size": (1, math.inf),
    "run.seed": (0, 10**8),
    "run.ema_decay": (0, 0.999999),
    "run.judge_every": (1, math.inf),
    "run.threads": (0, math.inf),
}


@dataclass(frozen=True, slots=True)
class DetectionRecipe:
    """One training run of a detector; every field of its parts is a key of the TOML file.

    Attributes:
        task: `detection`, which tells this recipe from a classifier's.
        name: Of the run and of its bundle; the file's name if not given.
    """

    task: str = TASK
    name: str = "unnamed"
    data: FieldDataRecipe = field(default_factory=FieldDataRecipe)
    preprocessing: FieldSpec = field(default_factory=FieldSpec)
    model: FieldModelRecipe = field(default_factory=FieldModelRecipe)
    augmentation: FieldAugmentation = field(default_factory=FieldAugmentation)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    run: FieldRunRecipe = field(default_factory=FieldRunRecipe)
    bundle: FieldBundleRecipe = field(default_factory=FieldBundleRecipe)

    def __post_init__(self) -> None:
        """Refuse what cannot be followed."""
        choices = {
            "task": (self.task, (TASK,)),
            "model.name": (self.model.name, tuple(DETECTORS)),
            "optimizer.name": (self.optimizer.name, ("adamw", "sgd")),
            "optimizer.schedule": (self.optimizer.schedule, ("onecycle", "cosine", "constant")),
            "run.precision": (self.run.precision, ("auto", "fp32", "bf16")),
        }
        choices |= {f"data.datasets ({name})": (name, FIELD_SETS) for name in self.data.datasets}
        for key, (value, allowed) in choices.items():
            if value not in allowed:
                raise RecipeError(f"{key} is {value!r}; it must be one of: {', '.join(allowed)}.")
        if not self.data.datasets or len(set(self.data.datasets)) < len(self.data.datasets):
            raise RecipeError("data.datasets must name at least one set, and each set once.")
        for key, (least, largest) in _RANGES.items():
            section, name = key.split(".")
            number = getattr(getattr(self, section), name)
            if not least <= number <= largest:
                wanted = f"{least} or more" if largest == math.inf else f"between {least} and {largest}"
                raise RecipeError(f"{key} must be {wanted}, not {number}.")
        side = self.augmentation.canvas_px
        if side < 4 * STRIDE_PX or side % STRIDE_PX:
            raise RecipeError(f"augmentation.canvas_px must be a multiple of {STRIDE_PX} from 64 on, not {side}.")
        for key, value in self.augmentation.overrides.items():
            if not (isinstance(value, (int, float)) and math.isfinite(value)):
                raise RecipeError(f"augmentation.overrides.{key} must be a number, not {value!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """Return the resolved recipe as JSON text."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DetectionRecipe:
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


def is_detection(path: str | Path) -> bool:
    """Whether a recipe is one for a detector.

    Raises:
        RecipeError: It is missing or no TOML.
    """
    return read_table(path).get("task") == TASK


def read_detection_recipe(path: str | Path, overrides: tuple[str, ...] = ()) -> DetectionRecipe:
    """Read a TOML recipe of a detector.

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
    return DetectionRecipe.from_dict(values)
