"""One training of a detector, from recipe to bundle: what `corpuscle train` does with such a recipe."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from corpuscle import __version__
from corpuscle.data.fields import LabeledField, erythrocyte_diameter_px, labeled_fields
from corpuscle.errors import TrainingError
from corpuscle.evaluation.machine import machine_line
from corpuscle.files import written_whole
from corpuscle.models.detection_bundle import DEFAULT_DETECTOR, DetectionBundle, load_detection_bundle
from corpuscle.models.detector import build_detector
from corpuscle.training.detection_curves import write_detection_curves
from corpuscle.training.detection_loop import DetectionProgress, DetectionWatcher, fit_detector, judged_fields
from corpuscle.training.detection_packaging import ScaledSet, make_detection_bundle, renew_rules
from corpuscle.training.detection_recipe import DetectionRecipe, FieldDataRecipe
from corpuscle.training.field_samples import cached_fields

__all__ = ["DetectorTraining", "refit_rules", "train_detector"]


@dataclass(frozen=True, slots=True)
class DetectorTraining:
    """What a run left behind.

    Attributes:
        bundle: The bundle; None where the run was stopped before its end.
        progress: History and best epoch.
        output: The run's folder.
        finished: Whether the run came to its end.
    """

    bundle: DetectionBundle | None
    progress: DetectionProgress
    output: Path
    finished: bool


def train_detector(
    recipe: DetectionRecipe,
    *,
    output: str | Path,
    root: str | Path | None = None,
    watcher: DetectionWatcher | None = None,
    on_fields: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> DetectorTraining:
    """Train as the recipe says and write a bundle; goes on where an earlier run in `output` stopped.

    Writes `recipe.json`, `checkpoint.safetensors`, `best.safetensors`, `curves.csv`, `curves.png`, at the end
    `run.json` with what the run cost, and the folder `bundle`.

    Args:
        recipe: What to do.
        output: Folder of the run.
        root: Folder that holds the data sets.
        watcher: Told of every step and epoch.
        on_fields: Called with (done, all) while fields are read.
        stop: Asked after every epoch; True stops the run, to be gone on with by the same call.

    Raises:
        DataError: A data set is missing, or has no training or validation fields.
        TrainingError: The run cannot go on, or several processes were started.
        OutputError: The folder cannot be written.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainingError("A detector is trained by one process. Start it without torchrun.")
    folder = Path(output)
    train, val = _sets(recipe.data, root)
    if not ((folder / "checkpoint.safetensors").exists() and (folder / "recipe.json").exists()):
        with written_whole(folder / "recipe.json") as part:
            part.write_text(recipe.to_json(), encoding="utf-8")
    cached = [
        item
        for part in train
        for item in cached_fields(
            part.fields, recipe.preprocessing, added_score=recipe.data.added_score, progress=on_fields
        )
    ]
    judged = [item for part in val for item in judged_fields(part.fields, part.diameter_px, recipe.preprocessing)]

    def watch(progress: DetectionProgress, step: int, steps: int) -> None:
        if step == steps:
            last = progress.epochs_done == recipe.run.epochs
            write_detection_curves(progress.history, folder, picture=last or progress.epochs_done % 10 == 0)
        if watcher:
            watcher(progress, step, steps)

    progress = fit_detector(recipe, cached, judged, folder, watcher=watch, stop=stop)
    if progress.epochs_done < recipe.run.epochs:
        return DetectorTraining(None, progress, folder, finished=False)
    write_detection_curves(progress.history, folder)
    bundle = make_detection_bundle(recipe, folder / "bundle", folder / "best.safetensors", train=train, val=val)
    _write_facts(recipe, progress, folder)
    return DetectorTraining(bundle, progress, folder, finished=True)


def refit_rules(model: str | os.PathLike[str] = DEFAULT_DETECTOR, root: str | Path | None = None) -> DetectionBundle:
    """Choose the rules of counting of a bundle anew, on `val` of the data sets that it learned from.

    Weights and graphs stay as they are. Its card keeps no figures of other splits: measure it again.

    Args:
        model: A shipped detector's name, or a bundle's folder; it is written in place.
        root: Folder that holds the data sets.

    Raises:
        BundleError: It is no detector.
        DatasetNotFoundError: A data set is not there.
        OutputError: The folder cannot be written.
    """
    bundle = load_detection_bundle(model)
    names = tuple(dict.fromkeys(str(row["dataset"]) for row in bundle.training_data))
    completed = bool(bundle.recipe.get("data", {}).get("completed", False))
    return renew_rules(bundle, _sets(FieldDataRecipe(names, completed=completed), root)[1])


def _sets(data: FieldDataRecipe, root: str | Path | None) -> tuple[list[ScaledSet], list[ScaledSet]]:
    """List the training and validation fields of each data set, no more than a limit of each."""
    train, val = [], []
    for name in data.datasets:
        learned = _at_most(data.limit, labeled_fields(name, split="train", root=root))
        judged = _at_most(data.limit, labeled_fields(name, split="val", root=root))
        # Judged at the scale of the boxes as published, as `corpuscle evaluate` does.
        diameter = erythrocyte_diameter_px(learned)
        if data.completed:
            learned, judged = [item.completed() for item in learned], [item.completed() for item in judged]
        train.append(ScaledSet(name, learned, diameter))
        val.append(ScaledSet(name, judged, diameter))
    return train, val


def _at_most(limit: int, fields: list[LabeledField]) -> list[LabeledField]:
    return fields[:limit] if limit else fields


def _write_facts(recipe: DetectionRecipe, progress: DetectionProgress, folder: Path) -> None:
    """Write `run.json`: what the run cost."""
    network = build_detector(recipe.model.name)
    facts = {
        "format": 1,
        "task": recipe.task,
        "name": recipe.name,
        "model": recipe.model.name,
        "datasets": list(recipe.data.datasets),
        "seed": recipe.run.seed,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "training_seconds": round(sum(record.seconds for record in progress.history), 1),
        "epochs": progress.epochs_done,
        "best_epoch": progress.best_epoch,
        "machine": machine_line(),
        "code_version": __version__,
    }
    with written_whole(folder / "run.json") as part:
        part.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
