"""One training, from recipe to bundle: the function behind `corpuscle train`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from corpuscle import __version__, taxonomy
from corpuscle.data.labeled import LabeledCell, labeled_cells
from corpuscle.data.splits import stratified_group_split
from corpuscle.errors import DataError, NoInputError, RecipeError
from corpuscle.files import written_whole
from corpuscle.models.bundle import Bundle
from corpuscle.preprocessing.transforms import prepare
from corpuscle.training.checkpoint import Progress
from corpuscle.training.crops import CropSet, crops_of
from corpuscle.training.curves import write_curves
from corpuscle.training.distributed import Processes, join
from corpuscle.training.facts import learned_before, rows_before, split_leak, write_facts
from corpuscle.training.lessons import open_teacher, with_lessons
from corpuscle.training.loop import Watcher, fit
from corpuscle.training.packaging import make_bundle, training_row
from corpuscle.training.recipe import Recipe
from corpuscle.training.sources import FurtherSource, as_learned, at_most, further_sources, joined_crops

__all__ = ["TrainingResult", "train"]

_FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a run left behind.

    Attributes:
        bundle: The bundle; None where the run was stopped before its end, or in all processes but the first.
        progress: History and best epoch.
        output: The run's folder.
        finished: Whether the run came to its end.
    """

    bundle: Bundle | None
    progress: Progress
    output: Path
    finished: bool


def train(
    recipe: Recipe,
    *,
    output: str | Path,
    root: str | Path | None = None,
    watcher: Watcher | None = None,
    on_crops: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train as the recipe says and write a bundle; goes on where an earlier run in `output` stopped.

    Writes `recipe.json`, `checkpoint.safetensors`, `best.safetensors`, `curves.csv`, `curves.png`, at the end
    `run.json` with what the run cost, and the folder `bundle`.
    Under `torchrun` all processes work on the same run and the first one writes.

    Args:
        recipe: What to do.
        output: Folder of the run.
        root: Folder that holds the data sets.
        watcher: Told of every step and epoch.
        on_crops: Called with (done, all) while pictures are cut for the cache.
        stop: Asked after every epoch; True stops the run, to be gone on with by the same call.

    Raises:
        DataError: The data set has no training or validation cells.
        TrainingError: The run cannot go on.
        OutputError: The folder cannot be written.
    """
    folder = Path(output)
    with join() as processes:
        return _train(recipe, folder, root, processes, watcher=watcher, on_crops=on_crops, stop=stop)


def _train(
    recipe: Recipe,
    folder: Path,
    root: str | Path | None,
    processes: Processes,
    *,
    watcher: Watcher | None,
    on_crops: Callable[[int, int], None] | None,
    stop: Callable[[], bool],
) -> TrainingResult:
    """Follow the recipe and those that it starts from; package in the first process."""
    if recipe.lessons.without_labels:
        raise RecipeError(
            f"{recipe.name} learns no label, so that no model can be made of it. Name it in model.start of a recipe "
            "that does."
        )
    result = _follow_all(recipe, folder, root, processes, _Hooks(watcher, on_crops, stop))
    if not (result.finished and processes.is_first):
        return TrainingResult(None, result.progress, folder, result.finished)
    bundle = _package(recipe, folder, result)
    leak = split_leak(recipe.data.dataset, root, also=[*result.learned, *learned_before(recipe, root)])
    write_facts(recipe, result.progress, folder, len(result.classes), leak=leak)
    return TrainingResult(bundle, result.progress, folder, finished=True)


@dataclass(frozen=True, slots=True)
class _Hooks:
    """What the caller wants to be told and asked."""

    watcher: Watcher | None
    on_crops: Callable[[int, int], None] | None
    stop: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _Followed:
    """What following one recipe gave."""

    progress: Progress
    finished: bool
    classes: tuple[str, ...]
    cells: dict[str, list[LabeledCell]]
    further: tuple[FurtherSource, ...]
    val: CropSet
    learned: tuple[LabeledCell, ...]
    rows: tuple[dict[str, object], ...]


def _follow_all(
    recipe: Recipe, folder: Path, root: str | Path | None, processes: Processes, hooks: _Hooks
) -> _Followed:
    """Follow the recipe to start from, if there is one, and so on, then this one; stops at what was not finished."""
    before = None
    if recipe.model.start:
        before = _follow_all(Recipe.from_dict(recipe.model.start), folder / "start", root, processes, hooks)
        if not before.finished:
            return before
    return _follow(recipe, folder, root, processes, hooks, before=before)


def _follow(
    recipe: Recipe,
    folder: Path,
    root: str | Path | None,
    processes: Processes,
    hooks: _Hooks,
    *,
    before: _Followed | None,
) -> _Followed:
    """Prepare the data of one recipe and fit, from the weights of the one followed before, if there is one."""
    cells = _split_cells(recipe, root)
    classes = _classes(recipe, cells["train"])
    for name, part in cells.items():
        _check_classes(classes, part, name)
    if before and before.classes != classes:
        raise RecipeError(f"{recipe.name} and the recipe that it starts from learn other classes. Name data.classes.")
    open_teacher(recipe, classes)  # which is refused, if it must be, before anything is cut
    further = further_sources(recipe, classes, root)
    listed = cells | {f"also {source.dataset}": list(source.cells) for source in further}
    processes.check_same("version, recipe or data", _identity(recipe, classes, listed))
    # Beside a checkpoint of another recipe, which `fit` refuses, its own recipe stays.
    if processes.is_first and not ((folder / "checkpoint.safetensors").exists() and (folder / "recipe.json").exists()):
        _write_recipe(recipe, folder)
    # The first process fills the cache while the others wait, so that nothing is cut twice; one that does not share
    # the cache then cuts its own.
    if not processes.is_first:
        processes.agree(0)
    data, show = recipe.data, hooks.on_crops
    wide = crops_of(cells["train"], classes, recipe.preprocessing, widen=data.widen, fine=data.fine, progress=show)
    wide = joined_crops(wide, further, classes, widen=data.widen, fine=data.fine, balance=data.balance, progress=show)
    wide = with_lessons(wide, recipe, (cells["train"], further), classes, root=root, progress=hooks.on_crops)
    val = crops_of(cells["val"], classes, recipe.preprocessing, progress=hooks.on_crops)
    if processes.is_first:
        processes.agree(0)

    def watch(progress: Progress, step: int, steps: int) -> None:
        if step == steps:
            last = progress.epochs_done == recipe.run.epochs
            write_curves(progress.history, folder, picture=last or progress.epochs_done % 5 == 0)
        if hooks.watcher:
            hooks.watcher(progress, step, steps)

    start = folder / "start" / "best.safetensors" if before else None
    progress = fit(recipe, wide, val, classes, folder, start=start, processes=processes, watcher=watch, stop=hooks.stop)
    patience = recipe.run.early_stopping
    finished = progress.epochs_done >= recipe.run.epochs or bool(patience and progress.stale_epochs >= patience)
    if finished and processes.is_first:
        write_curves(progress.history, folder)
    learned = [*cells["train"], *(cell for source in further for cell in source.cells)]
    rows = _training_rows(recipe, cells["train"], further, before.rows if before else ())
    learned += before.learned if before else ()
    return _Followed(progress, finished, classes, cells, further, val, tuple(learned), tuple(rows))


def _training_rows(
    recipe: Recipe,
    own: Sequence[LabeledCell],
    further: Sequence[FurtherSource],
    before: Sequence[dict[str, object]],
) -> list[dict[str, object]]:
    """Describe all that a run learned from: its own sets, then what it has at second hand and from recipes before."""
    rows = [training_row(recipe.data.dataset, "train", own)]
    rows += [training_row(source.dataset, "train", source.cells) for source in further]
    if recipe.lessons.without_labels:
        rows = [row | {"citation": f"{row['citation']}; shown without labels"} for row in rows]
    rows += rows_before(recipe, rows)
    seen = {(row["dataset"], row["split"]) for row in rows}
    return rows + [row for row in before if (row["dataset"], row["split"]) not in seen]


def _package(recipe: Recipe, folder: Path, result: _Followed) -> Bundle:
    """Make the bundle of a finished run."""
    cells, spec = result.cells, recipe.preprocessing
    plain = joined_crops(crops_of(cells["train"], result.classes, spec), result.further, result.classes)
    stains = np.asarray([prepare(cell.read(), spec)[1].stain for cell in cells["val"]])
    return make_bundle(
        recipe, result.classes, folder / "bundle", folder / "best.safetensors", train=plain, val=result.val,
        training_data=result.rows, stains=stains,
    )  # fmt: skip


def _split_cells(recipe: Recipe, root: str | Path | None) -> dict[str, list[LabeledCell]]:
    """Return the training and validation cells; a data set without splits is split, groups kept whole."""
    cells = labeled_cells(recipe.data.dataset, root=root)
    if recipe.data.classes:
        cells = as_learned(cells, recipe.data.classes)
    if not any(cell.split == "val" for cell in cells):
        cells = _with_val(cells, recipe.run.seed)
    parts: dict[str, list[LabeledCell]] = {}
    for name in ("train", "val"):
        part = at_most(recipe.data.limit, [cell for cell in cells if cell.split == name])
        if not part:
            raise NoInputError(f"{recipe.data.dataset} has no cells to {name} on. Add pictures, or lower data.limit.")
        parts[name] = part
    return parts


def _with_val(cells: Sequence[LabeledCell], seed: int) -> list[LabeledCell]:
    """Split what is no test cell into train and val (and test, where the set has none)."""
    has_test = any(cell.split == "test" for cell in cells)
    fractions = {"train": 0.9, "val": 0.1} if has_test else _FRACTIONS
    free = [cell for cell in cells if cell.split != "test"]
    names = stratified_group_split(
        [cell.class_name for cell in free], [cell.group for cell in free], fractions=fractions, seed=seed
    )
    return [
        *(replace(cell, split=name) for cell, name in zip(free, names, strict=True)),
        *(cell for cell in cells if cell.split == "test"),
    ]


def _classes(recipe: Recipe, cells: Sequence[LabeledCell]) -> tuple[str, ...]:
    """Return the ordered classes to learn: the recipe's, or those of the training cells in the taxonomy's order."""
    counts = Counter(cell.class_name for cell in cells)
    keys = recipe.data.classes or tuple(key for key in taxonomy.KEYS if key in counts)
    for key in keys:
        taxonomy.cell_class(key)
    if len(keys) < 2:
        raise DataError(f"{recipe.data.dataset} has only the class {', '.join(keys)} to train on; two are needed.")
    return tuple(keys)


def _check_classes(classes: tuple[str, ...], cells: Sequence[LabeledCell], split: str) -> None:
    """Refuse a split that lacks a class before hours are spent: the bundle's thresholds need all of them."""
    missing = [key for key in classes if key not in {cell.class_name for cell in cells}]
    if missing:
        raise DataError(
            f"The {split} split has no cell of: {', '.join(missing)}. Add pictures, raise data.limit, or name the "
            "classes to learn in data.classes."
        )


def _identity(recipe: Recipe, classes: tuple[str, ...], cells: dict[str, list[LabeledCell]]) -> str:
    """Say what processes that train together must agree on: version, recipe, classes, and the cells with labels."""
    listing = {name: [[cell.file, cell.class_name] for cell in part] for name, part in cells.items()}
    return json.dumps([__version__, recipe.to_dict(), classes, listing])


def _write_recipe(recipe: Recipe, folder: Path) -> None:
    """Save the resolved recipe beside the weights."""
    with written_whole(folder / "recipe.json") as part:
        part.write_text(recipe.to_json(), encoding="utf-8")
