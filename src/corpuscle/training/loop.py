"""The training loop: plain PyTorch, readable from top to bottom, resumable after every epoch."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from corpuscle.errors import RecipeError, TrainingError
from corpuscle.models.pretrained import load_pretrained, reestimate_norms
from corpuscle.models.restored import described_network
from corpuscle.models.zoo import CellNetwork
from corpuscle.prediction.classification import default_workers
from corpuscle.preprocessing.augmentation import AugmentationSpec, augment, augment_with_parts, preset
from corpuscle.preprocessing.transforms import to_batch
from corpuscle.training.checkpoint import (
    EpochRecord,
    Progress,
    begin_alike,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from corpuscle.training.crops import CropSet
from corpuscle.training.distributed import Processes, synchronize_norms
from corpuscle.training.mixing import blend, cut_in
from corpuscle.training.objective import Targets, add_lessons, judge_views, loss_of, targets_of, without_lessons
from corpuscle.training.precision import faster_precision
from corpuscle.training.recipe import Recipe
from corpuscle.training.schedule import follow_stage, learning_rate, make_optimizer, note_plateau, update_average

__all__ = ["Watcher", "fit"]

_NORM_PICTURES = 1024

Watcher = Callable[[Progress, int, int], None]
"""Called with the progress, the steps done in this epoch and the steps of an epoch; after an epoch the two agree."""


@dataclass(slots=True)
class _Run:
    """The moving parts of one run."""

    recipe: Recipe
    train: CropSet
    val: CropSet
    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    processes: Processes
    progress: Progress
    n_classes: int

    @property
    def steps(self) -> int:
        limit = self.recipe.run.epoch_pictures
        n = len(self.train.labels)
        return (min(limit, n) if limit else n) // self.recipe.run.batch_size


def fit(
    recipe: Recipe,
    train: CropSet,
    val: CropSet,
    classes: Sequence[str],
    output: Path,
    *,
    start: Path | None = None,
    processes: Processes | None = None,
    watcher: Watcher | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Progress:
    """Train until the recipe's end, from the checkpoint in `output` if there is one.

    Args:
        recipe: What to do.
        train: Crops cut `recipe.data.widen` times wider than the frame.
        val: Crops at the network's size; the averaged weights are judged on them after each epoch.
        classes: Ordered keys.
        output: Folder for `checkpoint.safetensors` and `best.safetensors`.
        start: Weights to begin with instead of random ones; a checkpoint goes before them.
        processes: The group to train in; alone if not given.
        watcher: Told of every step and epoch, in the first process.
        stop: Asked after every epoch; True ends the run there, to be gone on with later.

    Returns:
        The history and the best epoch.

    Raises:
        TrainingError: The loss is no number any more, or a checkpoint does not fit.
        RecipeError: The batch does not divide among the processes, or is larger than the training split.
        OutputError: The folder cannot be written.
    """
    run = _start(recipe, train, val, len(classes), processes or Processes())
    checkpoint = output / "checkpoint.safetensors"

    def begin() -> Progress:
        if checkpoint.exists():
            return load_checkpoint(checkpoint, run.network, run.average, run.optimizer, recipe=recipe.to_dict())
        if start is not None:
            _begin_with(run, start)
        elif recipe.model.pretrained:
            _begin_pretrained(run, classes)
        return run.progress

    run.progress = begin_alike(begin, run.network, run.average, run.optimizer, processes=run.processes)
    model = run.network
    while run.progress.epochs_done < recipe.run.epochs and not _is_stale(run):
        run.network.train()
        changed = follow_stage(run.network, recipe.model.stages, run.progress.epochs_done)
        if run.processes.world > 1 and (changed or model is run.network):
            model = DistributedDataParallel(run.network)
        record = _epoch(run, model, watcher)
        improved = _note(run, record)
        if run.processes.is_first:
            if improved:
                save_weights(output / "best.safetensors", without_lessons(run.average.state_dict()))
            save_checkpoint(checkpoint, run.network, run.average, run.optimizer, run.progress, recipe=recipe.to_dict())
            if watcher:
                watcher(run.progress, run.steps, run.steps)
        if run.processes.agree(int(stop())):
            break
    return run.progress


def _start(recipe: Recipe, train: CropSet, val: CropSet, n_classes: int, processes: Processes) -> _Run:
    """Build network, averaged copy and optimizer from the seed."""
    threads = recipe.run.threads or max(1, default_workers() // processes.here)
    torch.set_num_threads(threads)
    if len(train.labels) < recipe.run.batch_size:
        raise RecipeError(
            f"The training split has {len(train.labels)} pictures, fewer than run.batch_size {recipe.run.batch_size}. "
            "Lower run.batch_size."
        )
    processes.rows(recipe.run.batch_size)
    if recipe.lessons.without_labels and processes.world > 1:
        raise RecipeError("lessons.without_labels compares all pictures of a batch with each other. Start one process.")
    torch.manual_seed(recipe.run.seed)
    built = described_network(asdict(recipe.model), n_classes, recipe.preprocessing)
    add_lessons(built, recipe)
    network: nn.Module = built.to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).eval()
    for weight in average.parameters():
        weight.requires_grad = False
    if processes.world > 1:
        synchronize_norms(network)
    precision = recipe.run.precision
    if precision == "auto":
        faster = faster_precision(recipe.preprocessing.input_px)
        precision = ("fp32", "bf16")[processes.agree(int(faster == "bf16"))]
    optimizer = make_optimizer(network, recipe.optimizer)
    return _Run(recipe, train, val, network, average, optimizer, processes, Progress(precision=precision), n_classes)


def _begin_pretrained(run: _Run, classes: Sequence[str]) -> None:
    """Take given weights for the backbone, and for the head where the recipe says so.

    They go into the averaged copy first, whose norms are not shared among processes and can be measured by one alone.
    """
    model = run.recipe.model
    head = tuple(classes) if model.given_head else ()
    load_pretrained(cast(CellNetwork, run.average), model.name, model.pretrained, classes=head)
    reestimate_norms(run.average, _plain_batches(run.recipe, run.train))
    run.network.load_state_dict(run.average.state_dict())


def _plain_batches(recipe: Recipe, train: CropSet) -> Iterator[torch.Tensor]:
    """Yield unchanged training pictures at the network's size, as the network gets them."""
    chosen = np.random.default_rng(recipe.run.seed).permutation(len(train.labels))[:_NORM_PICTURES]
    spec, data = recipe.preprocessing, recipe.data
    generator = torch.Generator().manual_seed(0)
    for part in np.array_split(np.sort(chosen), max(1, len(chosen) // 32)):
        crops = torch.from_numpy(train.crops[part])
        batch = augment(
            crops, preset("none"), size_px=spec.input_px, widen=data.widen, fine=data.fine,
            resampling=spec.resampling, generator=generator,
        )  # fmt: skip
        yield _scaled(batch, recipe)


def _scaled(batch: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Scale pictures in [0, 1] by the recipe's mean and spread."""
    spec = recipe.preprocessing
    mean, std = torch.tensor(spec.mean)[:, None, None], torch.tensor(spec.std)[:, None, None]
    return ((batch - mean) / std).contiguous(memory_format=torch.channels_last)


def _begin_with(run: _Run, start: Path) -> None:
    """Put given weights into the network and its average."""
    weights = load_weights(start)
    try:
        for network in (run.network, run.average):
            own = network.state_dict()
            network.load_state_dict(weights | {key: own[key] for key in own.keys() - without_lessons(own).keys()})
    except RuntimeError as error:
        raise TrainingError(
            f"The weights {start} do not fit the network {run.recipe.model.name}; the recipe in model.start needs the "
            "same model.name and the same classes."
        ) from error


def _is_stale(run: _Run) -> bool:
    patience = run.recipe.run.early_stopping
    return bool(patience) and run.progress.stale_epochs >= patience


def _augmentation(recipe: Recipe, epoch: int) -> AugmentationSpec:
    """Return the ranges of one epoch: the preset with its overrides, weaker in the last epochs."""
    plan = recipe.augmentation
    base = preset(plan.preset)
    for key in plan.overrides:
        if key not in base.__dataclass_fields__:
            known = ", ".join(base.__dataclass_fields__)
            raise RecipeError(f"Unknown key augmentation.overrides.{key}. Known here: {known}.")
    spec = replace(base, **plan.overrides)
    cooling = epoch >= recipe.run.epochs - plan.cooldown_epochs
    return spec.scaled(plan.cooldown_strength) if cooling else spec


def _epoch(run: _Run, model: nn.Module, watcher: Watcher | None) -> EpochRecord:
    """Train one epoch and judge the averaged weights on `val`."""
    recipe, epoch, began = run.recipe, run.progress.epochs_done, time.monotonic()
    seed = recipe.run.seed * 100_003 + epoch
    torch.manual_seed(seed * 64 + run.processes.rank)
    order = _order(run.train, run.steps * recipe.run.batch_size, seed)
    spec = _augmentation(recipe, epoch)
    sums = torch.zeros(2, dtype=torch.float64)
    rate = 0.0
    for step in range(run.steps):
        chosen = np.sort(order[step * recipe.run.batch_size : (step + 1) * recipe.run.batch_size])
        batch, targets = _changed(run, chosen, spec, torch.Generator().manual_seed(seed * 1_000_003 + step))
        total = epoch * run.steps + step
        rate = learning_rate(recipe.optimizer, total, recipe.run.epochs * run.steps, factor=run.progress.plateau_factor)
        sums += _step(run, model, batch, targets, rate)
        update_average(run.average, run.network, recipe.run.ema_decay, total)
        if watcher and run.processes.is_first and step + 1 < run.steps:
            watcher(run.progress, step + 1, run.steps)
    loss, right = (run.processes.sum(sums) / (run.steps * recipe.run.batch_size)).tolist()
    val_loss, val_accuracy = _judge(run)
    _check_loss(val_loss, epoch)
    seconds = time.monotonic() - began
    return EpochRecord(epoch + 1, rate, loss, right, val_loss, val_accuracy, seconds)


def _changed(
    run: _Run, chosen: npt.NDArray[np.int64], spec: AugmentationSpec, generator: torch.Generator
) -> tuple[torch.Tensor, Targets]:
    """Return this process's part of a batch, changed at random, and its targets.

    Without labels each picture comes twice, second views behind the first ones. Where pictures of a batch meet, every
    process changes all of it, so that it does not matter how many there are.
    """
    recipe, mine = run.recipe, run.processes.rows(run.recipe.run.batch_size)
    mixup, cutmix = recipe.augmentation.mixup, recipe.augmentation.cutmix
    views, wants_parts = 2 if recipe.lessons.without_labels else 1, recipe.lessons.masks > 0
    rows = slice(0, recipe.run.batch_size) if mixup or cutmix or spec.background else mine
    batch, parts = augment_with_parts(
        torch.from_numpy(run.train.crops[np.tile(chosen[rows], views)]), spec, size_px=recipe.preprocessing.input_px,
        widen=recipe.data.widen, fine=recipe.data.fine, resampling=recipe.preprocessing.resampling,
        generator=generator, rows=slice(rows.start * views, rows.stop * views),
        total=recipe.run.batch_size * views, parts=wants_parts,
    )  # fmt: skip
    shares = None
    if mixup or cutmix:
        labels, mixed = torch.from_numpy(run.train.labels[chosen[rows]]), blend if mixup else cut_in
        batch, shares = mixed(batch, labels, run.n_classes, parameter=mixup or cutmix, generator=generator)
    if rows != mine:
        batch = batch[mine]
        shares, parts = (None if item is None else item[mine] for item in (shares, parts))
    return batch, replace(targets_of(run.train, chosen[mine]), shares=shares, parts=parts)


def _order(train: CropSet, pictures: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw the places of an epoch's pictures: each once, or by their chances where they have some."""
    generator = np.random.default_rng(seed)
    if train.chances is None:
        return generator.permutation(len(train.labels))
    return generator.choice(len(train.labels), size=pictures, p=train.chances)


def _step(run: _Run, model: nn.Module, batch: torch.Tensor, targets: Targets, rate: float) -> torch.Tensor:
    """Change the weights by one batch; returns the sums of loss and of right answers."""
    recipe = run.recipe.optimizer
    batch = _scaled(batch, run.recipe)
    for group in run.optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=run.progress.precision == "bf16"):
        output = model(batch)
    loss = loss_of(run.recipe, run.network, output, targets)
    _check_loss(loss.item(), run.progress.epochs_done)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    trained = [weight for weight in model.parameters() if weight.grad is not None]
    torch.nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
    run.optimizer.step()
    right = (output.logits[: len(targets.labels)].argmax(1) == targets.labels).sum()
    return torch.tensor([loss.item() * len(targets.labels), right.item()], dtype=torch.float64)


def _check_loss(loss: float, epoch: int) -> None:
    """Refuse to go on with a loss that is no number."""
    if not math.isfinite(loss):
        raise TrainingError(f"The loss became {loss} in epoch {epoch + 1}. Lower optimizer.learning_rate.")


@torch.inference_mode()
def _judge(run: _Run) -> tuple[float, float]:
    """Cross-entropy and accuracy of the averaged weights on `val`, every process alike."""
    total, right, seen = 0.0, 0, list[torch.Tensor]()
    for start in range(0, len(run.val.labels), 64):
        crops = np.ascontiguousarray(run.val.crops[start : start + 64])
        batch = torch.from_numpy(to_batch(crops, run.recipe.preprocessing))
        labels = torch.from_numpy(run.val.labels[start : start + 64])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=run.progress.precision == "bf16"):
            output = run.average(batch.contiguous(memory_format=torch.channels_last))
        logits = output.logits.float()
        if run.recipe.lessons.without_labels:
            seen.append(output.embedding.float())
        total += functional.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(1) == labels).sum())
    if seen:
        return judge_views(run.average, torch.cat(seen), torch.from_numpy(run.val.labels))
    return total / len(run.val.labels), right / len(run.val.labels)


def _note(run: _Run, record: EpochRecord) -> bool:
    """Enter an epoch into the progress; returns whether `val` was never better. Without labels the last is best."""
    progress = run.progress
    before = (progress.best_accuracy, -progress.best_loss)
    improved = run.recipe.lessons.without_labels or (record.val_accuracy, -record.val_loss) > before
    if improved:
        progress.best_accuracy, progress.best_loss, progress.best_epoch = (
            record.val_accuracy, record.val_loss, record.epoch,
        )  # fmt: skip
    progress.stale_epochs = 0 if improved else progress.stale_epochs + 1
    note_plateau(run.recipe.optimizer, progress, improved=improved)
    progress.history.append(record)
    progress.epochs_done += 1
    return improved
