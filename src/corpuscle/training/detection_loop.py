"""The training loop of a detector: plain PyTorch, readable from top to bottom, resumable after every epoch."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from corpuscle.data.fields import LabeledField
from corpuscle.errors import RecipeError, TrainingError
from corpuscle.evaluation.average_precision import AveragePrecision, TrueBoxes, average_precision
from corpuscle.models.assignment import detection_loss
from corpuscle.models.bundle import load_bundle
from corpuscle.models.detector import STEP_PX, Detector, build_detector
from corpuscle.prediction.classification import default_workers
from corpuscle.prediction.suppression import decode_maps
from corpuscle.preprocessing.augmentation import AugmentationSpec, preset, recolored
from corpuscle.preprocessing.field_scaling import FieldSpec, field_batch, scaled_field
from corpuscle.records import CELL_KINDS, Detections
from corpuscle.training.checkpoint import load_weights, restore_checkpoint, save_checkpoint, save_weights
from corpuscle.training.detection_recipe import DetectionRecipe, FieldAugmentation
from corpuscle.training.field_samples import CachedField, collated, draw_sample
from corpuscle.training.precision import faster_precision
from corpuscle.training.schedule import learning_rate, make_optimizer, update_average

__all__ = ["DetectionProgress", "DetectionRecord", "DetectionWatcher", "JudgedField", "fit_detector", "judged_fields"]

_JUDGED_SCORE = 0.02
_JUDGED_OVERLAP = 0.6


@dataclass(frozen=True, slots=True)
class DetectionRecord:
    """Figures of one epoch; the mean average precisions lie in [0, 1] and are those of `val`, nan if not judged."""

    epoch: int
    learning_rate: float
    score_loss: float
    box_loss: float
    val_map50: float
    val_map50_95: float
    seconds: float


@dataclass(slots=True)
class DetectionProgress:
    """Where a run stands besides its tensors."""

    epochs_done: int = 0
    best_epoch: int = 0
    best_map: float = -1.0
    precision: str = "fp32"
    history: list[DetectionRecord] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class JudgedField:
    """A field ready to be judged.

    Attributes:
        batch: 1x3xHxW float32, as the network gets it.
        truth: Its boxes in pixels of the network's input.
        source: Its data set.
    """

    batch: torch.Tensor
    truth: TrueBoxes
    source: str


DetectionWatcher = Callable[[DetectionProgress, int, int], None]
"""Called with the progress, the steps done in this epoch and the steps of an epoch; after an epoch the two agree."""


@dataclass(slots=True)
class _Run:
    """The moving parts of one run."""

    recipe: DetectionRecipe
    train: Sequence[CachedField]
    val: Sequence[JudgedField]
    network: Detector
    average: Detector
    optimizer: torch.optim.Optimizer
    progress: DetectionProgress

    @property
    def steps(self) -> int:
        return len(self.train) // self.recipe.run.batch_size


def judged_fields(fields: Sequence[LabeledField], diameter_px: float, spec: FieldSpec) -> list[JudgedField]:
    """Prepare fields as a detector sees them.

    Args:
        fields: Of one magnification.
        diameter_px: Their median erythrocyte.
        spec: The network's view.
    """
    prepared = []
    for item in fields:
        image = item.read()
        picture = scaled_field(image, spec.erythrocyte_px / diameter_px, spec)
        factor = np.tile((picture.shape[1] / image.shape[1], picture.shape[0] / image.shape[0]), 2).astype(np.float32)
        batch = torch.from_numpy(field_batch(picture, spec)).contiguous(memory_format=torch.channels_last)
        prepared.append(JudgedField(batch, TrueBoxes(item.boxes * factor, item.kinds), item.source))
    return prepared


def fit_detector(
    recipe: DetectionRecipe,
    train: Sequence[CachedField],
    val: Sequence[JudgedField],
    output: Path,
    *,
    watcher: DetectionWatcher | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> DetectionProgress:
    """Train until the recipe's end, from the checkpoint in `output` if there is one.

    Args:
        recipe: What to do.
        train: Training fields of all sets, at one scale.
        val: The averaged weights are judged on them, set by set, and the best ones are kept.
        output: Folder for `checkpoint.safetensors` and `best.safetensors`.
        watcher: Told of every step and epoch.
        stop: Asked after every epoch; True ends the run there, to be gone on with later.

    Returns:
        The history and the best epoch.

    Raises:
        TrainingError: The loss is no number any more, or a checkpoint does not fit.
        RecipeError: The batch is larger than the training set, or the backbone does not fit.
        OutputError: The folder cannot be written.
    """
    run = _start(recipe, train, val)
    checkpoint = output / "checkpoint.safetensors"
    if checkpoint.exists():
        run.progress = restore_checkpoint(
            checkpoint, (run.network, run.average), run.optimizer, recipe=recipe.to_dict(), read=_read_progress
        )
    elif recipe.model.backbone:
        _begin_with(run, recipe.model.backbone)
    while run.progress.epochs_done < recipe.run.epochs:
        record = _epoch(run, watcher)
        if _note(run.progress, record):
            save_weights(output / "best.safetensors", run.average.state_dict())
        save_checkpoint(
            checkpoint, run.network, run.average, run.optimizer, run.progress, recipe=recipe.to_dict()
        )  # fmt: skip
        if watcher:
            watcher(run.progress, run.steps, run.steps)
        if stop():
            break
    return run.progress


def _read_progress(values: dict[str, Any]) -> DetectionProgress:
    history = [DetectionRecord(**record) for record in values["history"]]
    return DetectionProgress(**{**values, "history": history})


def _start(recipe: DetectionRecipe, train: Sequence[CachedField], val: Sequence[JudgedField]) -> _Run:
    """Build network, averaged copy and optimizer from the seed."""
    torch.set_num_threads(recipe.run.threads or max(1, default_workers()))
    if len(train) < recipe.run.batch_size:
        raise RecipeError(
            f"There are {len(train)} training fields, fewer than run.batch_size {recipe.run.batch_size}. Lower it."
        )
    torch.manual_seed(recipe.run.seed)
    network = build_detector(recipe.model.name).to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).eval()
    for weight in average.parameters():
        weight.requires_grad = False
    precision = recipe.run.precision
    if precision == "auto":
        precision = faster_precision(recipe.augmentation.canvas_px)
    optimizer = make_optimizer(network, recipe.optimizer)
    return _Run(recipe, train, val, network, average, optimizer, DetectionProgress(precision=precision))


def _begin_with(run: _Run, backbone: str) -> None:
    """Take the backbone of a classifier's bundle."""
    bundle = load_bundle(backbone)
    weights = load_weights(bundle.folder / "weights.safetensors")
    mine = {key.removeprefix("backbone."): value for key, value in weights.items() if key.startswith("backbone.")}
    spec, other = run.recipe.preprocessing, bundle.preprocessing
    if (spec.mean, spec.std) != (other.mean, other.std):
        raise RecipeError(f"The backbone of {backbone} saw pictures scaled by mean {other.mean} and std {other.std}.")
    try:
        for network in (run.network, run.average):
            network.backbone.load_state_dict(mine)
    except RuntimeError as error:
        raise RecipeError(
            f"The backbone of {backbone} does not fit the detector {run.recipe.model.name}. Name another in "
            "model.backbone, or none."
        ) from error


def _colors(plan: FieldAugmentation, *, cooling: bool) -> AugmentationSpec:
    """Return the ranges of color, light, focus and noise."""
    base = preset(plan.preset)
    for key in plan.overrides:
        if key not in base.__dataclass_fields__:
            known = ", ".join(base.__dataclass_fields__)
            raise RecipeError(f"Unknown key augmentation.overrides.{key}. Known here: {known}.")
    spec = replace(base, **plan.overrides)
    return spec.scaled(plan.cooldown_strength) if cooling else spec


def _epoch(run: _Run, watcher: DetectionWatcher | None) -> DetectionRecord:
    """Train one epoch and, if it is time, judge the averaged weights on `val`."""
    recipe, epoch, began = run.recipe, run.progress.epochs_done, time.monotonic()
    seed = recipe.run.seed * 100_003 + epoch
    order = np.random.default_rng(seed).permutation(len(run.train))
    plan = recipe.augmentation
    cooling = epoch >= recipe.run.epochs - plan.cooldown_epochs
    colors = _colors(plan, cooling=cooling)
    if cooling:
        plan = replace(plan, mosaic=0.0)
    run.network.train()
    sums = np.zeros(2)
    rate = 0.0
    for step in range(run.steps):
        chosen = order[step * recipe.run.batch_size : (step + 1) * recipe.run.batch_size]
        rng = np.random.default_rng((seed, step))
        samples = [draw_sample(run.train, int(number), plan, rng) for number in chosen]
        batch, targets = collated(samples)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        batch = recolored(batch, colors, generator=generator)
        total = epoch * run.steps + step
        rate = learning_rate(recipe.optimizer, total, recipe.run.epochs * run.steps)
        sums += _step(run, batch, targets, rate)
        update_average(run.average, run.network, recipe.run.ema_decay, total)
        if watcher and step + 1 < run.steps:
            watcher(run.progress, step + 1, run.steps)
    score_loss, box_loss = (sums / run.steps).tolist()
    last = epoch + 1 == recipe.run.epochs
    judged = _judge(run) if last or (epoch + 1) % recipe.run.judge_every == 0 else (math.nan, math.nan)
    return DetectionRecord(epoch + 1, rate, score_loss, box_loss, *judged, time.monotonic() - began)


def _step(run: _Run, batch: torch.Tensor, targets: Any, rate: float) -> np.ndarray[Any, Any]:
    """Change the weights by one batch; returns the two losses."""
    spec = run.recipe.preprocessing
    mean, std = torch.tensor(spec.mean)[:, None, None], torch.tensor(spec.std)[:, None, None]
    batch = ((batch - mean) / std).contiguous(memory_format=torch.channels_last)
    for group in run.optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=run.progress.precision == "bf16"):
        output = run.network(batch)
    parts = detection_loss(output, targets)
    loss = parts.score + parts.box
    if not math.isfinite(loss.item()):
        raise TrainingError(
            f"The loss became {loss.item()} in epoch {run.progress.epochs_done + 1}. Lower optimizer.learning_rate."
        )
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(run.network.parameters(), run.recipe.optimizer.clip_norm)
    run.optimizer.step()
    return np.asarray([parts.score.item(), parts.box.item()])


@torch.inference_mode()
def _judge(run: _Run) -> tuple[float, float]:
    """Mean average precision of the averaged weights on `val`, the mean over the data sets: mAP50 and mAP50-95."""
    found: dict[str, list[Detections]] = {}
    truth: dict[str, list[TrueBoxes]] = {}
    for item in run.val:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=run.progress.precision == "bf16"):
            output = run.average(item.batch)
        cells = decode_maps(
            output.logits[0].float().sigmoid().numpy(), output.reaches[0].float().numpy(),
            least_scores=(_JUDGED_SCORE,) * len(CELL_KINDS), overlap_limits=(_JUDGED_OVERLAP,) * len(CELL_KINDS),
            step_px=STEP_PX,
        )  # fmt: skip
        found.setdefault(item.source, []).append(cells)
        truth.setdefault(item.source, []).append(item.truth)
    figures: list[AveragePrecision] = [average_precision(found[name], truth[name]) for name in found]
    return float(np.mean([item.map50 for item in figures])), float(np.mean([item.map50_95 for item in figures]))


def _note(progress: DetectionProgress, record: DetectionRecord) -> bool:
    """Enter an epoch into the progress; returns whether `val` was never better."""
    improved = math.isfinite(record.val_map50_95) and record.val_map50_95 > progress.best_map
    if improved:
        progress.best_map, progress.best_epoch = record.val_map50_95, record.epoch
    progress.history.append(record)
    progress.epochs_done += 1
    return improved
