"""What a run learns beside its labels, picture by picture: a teacher's answers, and attributes of the cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpuscle.data.attributes import ATTRIBUTES, attributed_cells, fit_list
from corpuscle.data.labeled import LabeledCell
from corpuscle.errors import NoInputError, RecipeError
from corpuscle.files import make_folder, written_whole
from corpuscle.models.bundle import Bundle, load_bundle
from corpuscle.prediction.classification import default_workers
from corpuscle.prediction.engine import Engine
from corpuscle.preprocessing.transforms import PreprocessingSpec, to_batch
from corpuscle.training.crops import CropSet, cache_path, crops_of
from corpuscle.training.recipe import Recipe
from corpuscle.training.sources import FurtherSource

__all__ = ["ATTRIBUTE_VALUES", "attribute_places", "open_teacher", "teacher_logits", "with_lessons"]

ATTRIBUTE_VALUES: dict[str, tuple[str, ...]] = {
    item.key: tuple(dict.fromkeys(item.values.values())) for item in ATTRIBUTES
}
"""Key of each attribute and its values, in the order in which they are learned."""

Progress = Callable[[int, int], None]
_BATCH = 32


def with_lessons(
    crops: CropSet,
    recipe: Recipe,
    parts: tuple[Sequence[LabeledCell], Sequence[FurtherSource]],
    classes: Sequence[str],
    *,
    root: str | Path | None = None,
    progress: Progress | None = None,
) -> CropSet:
    """Put what the recipe wants to be learned beside the labels to training crops.

    Args:
        crops: Those of the recipe's own cells, then those of the further sources.
        recipe: The run.
        parts: The recipe's own cells and the further sources.
        classes: Ordered keys.
        root: Folder that holds the data sets.
        progress: Called with (done, all) while a teacher's pictures are cut and judged.

    Raises:
        RecipeError: The teacher lacks a class.
        BundleError: The teacher cannot be used.
        NoInputError: Attributes are asked for and no training picture has any.
        DatasetNotFoundError: WBCAtt is not there.
    """
    own, further = parts
    teacher = open_teacher(recipe, classes)
    if teacher is not None:
        home = teacher.preprocessing
        framed = [(own, home)]
        for source in further:
            # Pictures that the recipe frames in a way of their own are framed so for the teacher as well.
            special = source.spec.framing != recipe.preprocessing.framing
            framed.append((source.cells, replace(home, framing=source.spec.framing) if special else home))
        answers = [teacher_logits(teacher, cells, classes, spec, progress=progress) for cells, spec in framed]
        crops = replace(crops, answers=np.concatenate(answers))
    if recipe.lessons.attributes:
        every = [*own, *(cell for source in further for cell in source.cells)]
        crops = replace(crops, attributes=attribute_places(every, root=root))
    return crops


def open_teacher(recipe: Recipe, classes: Sequence[str]) -> Bundle | None:
    """Return the teacher that a recipe names; None where it has none, or where its answers would not count.

    Args:
        recipe: The run.
        classes: Keys that are learned.

    Raises:
        RecipeError: It does not know one of the classes.
        BundleError: It cannot be used.
    """
    if not (recipe.lessons.teacher and recipe.lessons.teacher_share):
        return None
    teacher = load_bundle(recipe.lessons.teacher)
    missing = [key for key in classes if key not in teacher.classes]
    if missing:
        raise RecipeError(
            f"The teacher {teacher.name} does not know: {', '.join(missing)}. Name a teacher that does in "
            "lessons.teacher, or the classes to learn in data.classes."
        )
    return teacher


def teacher_logits(
    teacher: Bundle,
    cells: Sequence[LabeledCell],
    classes: Sequence[str],
    spec: PreprocessingSpec,
    *,
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Return what a bundle answers to cells, from the cache where they were asked before.

    Args:
        teacher: The bundle.
        cells: The cells.
        classes: Ordered keys, all of which the bundle knows; it may have another order, and others besides.
        spec: How the cells are framed for the bundle, at its own size.
        progress: Called with (done, all).

    Returns:
        NxK float32, a column for each of `classes`: logits divided by the bundle's own temperature.
    """
    path = cache_path(cells, spec, purpose=f"answers-{teacher.files[teacher.graph][:16]}")
    if path.exists():
        logits: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
    else:
        logits = _asked(teacher, cells, spec, progress)
        make_folder(path.parent)
        with written_whole(path) as part, part.open("wb") as file:
            np.save(file, logits, allow_pickle=False)
    columns = [teacher.classes.index(key) for key in classes]
    return np.ascontiguousarray(logits[:, columns] / np.float32(teacher.temperature))


def _asked(
    teacher: Bundle, cells: Sequence[LabeledCell], spec: PreprocessingSpec, progress: Progress | None
) -> npt.NDArray[np.float32]:
    """Run the graph of a bundle over cells; NxC float32 logits, a column for each class of the bundle."""
    labels = sorted({cell.class_name for cell in cells})
    crops, engine = crops_of(cells, labels, spec, progress=progress).crops, Engine(teacher)

    def answer(start: int) -> npt.NDArray[np.float32]:
        return engine.run(to_batch(np.ascontiguousarray(crops[start : start + _BATCH]), spec)).logits

    found = []
    with ThreadPoolExecutor(default_workers()) as pool:
        for logits in pool.map(answer, range(0, len(crops), _BATCH)):
            found.append(logits)
            if progress:
                progress(min(len(found) * _BATCH, len(crops)), len(crops))
    return np.concatenate(found)


def attribute_places(cells: Sequence[LabeledCell], *, root: str | Path | None = None) -> npt.NDArray[np.int64]:
    """Return which value of each attribute WBCAtt says that cells have.

    Only its train list is used, as far as it is in PBC's train split: figures on its other lists stay clean.

    Args:
        cells: The cells, of any set.
        root: Folder that holds the data sets.

    Returns:
        NxA int64, places in `ATTRIBUTE_VALUES`; -1 for cells without attributes.

    Raises:
        NoInputError: None of the cells has attributes.
        DatasetNotFoundError: PBC or WBCAtt is not there.
    """
    known = {item.cell.path.absolute(): item.values for item in fit_list(attributed_cells(root=root))}
    places = np.full((len(cells), len(ATTRIBUTES)), -1, np.int64)
    for row, cell in enumerate(cells):
        values = known.get(cell.path.absolute()) if cell.box is None and cell.pixels is None else None
        if values is not None:
            places[row] = [kinds.index(value) for kinds, value in zip(ATTRIBUTE_VALUES.values(), values, strict=True)]
    if (places < 0).all():
        raise NoInputError(
            "None of the training pictures has attributes of WBCAtt. Learn from pbc, or set lessons.attributes to 0."
        )
    return places
