"""Further sources of training pictures beside a recipe's own set: another laboratory's cells, framed their own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpuscle import taxonomy
from corpuscle.data.labeled import LabeledCell, labeled_cells
from corpuscle.errors import NoInputError, RecipeError
from corpuscle.preprocessing.framing import FramingSpec
from corpuscle.preprocessing.transforms import PreprocessingSpec
from corpuscle.training.crops import CropSet, crops_of
from corpuscle.training.recipe import Recipe

__all__ = ["FurtherSource", "as_learned", "at_most", "further_sources", "joined_crops"]


@dataclass(frozen=True, slots=True)
class FurtherSource:
    """Training cells of another set.

    Attributes:
        dataset: Its name.
        spec: How its pictures are framed: as the recipe says, or as the entry of `data.also` does.
        cells: Those of its training split whose class is learned, by that class.
        share: Part of an epoch's pictures that is drawn from it; 0 for as they come.
    """

    dataset: str
    spec: PreprocessingSpec
    cells: tuple[LabeledCell, ...]
    share: float = 0.0


def further_sources(recipe: Recipe, classes: Sequence[str], root: str | Path | None) -> tuple[FurtherSource, ...]:
    """List what `data.also` names.

    Args:
        recipe: The run.
        classes: Keys that are learned; a cell of a finer class counts as its nearest ancestor among them.
        root: Folder that holds the data sets.

    Raises:
        RecipeError: A set is the recipe's own.
        NoInputError: A set has no training cell of the classes.
        DataError: A set is missing.
    """
    sources = []
    for entry in recipe.data.also:
        name = str(entry["dataset"])
        if name == recipe.data.dataset:
            raise RecipeError(f"data.also names {name}, which is the recipe's own set. Name another, or drop it.")
        framing = FramingSpec(**entry["framing"]) if entry.get("framing") else recipe.preprocessing.framing
        cells = at_most(recipe.data.limit, as_learned(labeled_cells(name, split="train", root=root), classes))
        if not cells:
            raise NoInputError(
                f"{name}, named in data.also, has no training cell of: {', '.join(classes)}. Drop it there."
            )
        spec = replace(recipe.preprocessing, framing=framing)
        sources.append(FurtherSource(name, spec, tuple(cells), float(entry.get("share", 0.0))))
    return tuple(sources)


def as_learned(cells: Sequence[LabeledCell], classes: Sequence[str]) -> list[LabeledCell]:
    """Name each cell by the class that is learned: its own or the nearest ancestor in `classes`; others are dropped."""
    named = [(cell, taxonomy.ancestor_in(cell.class_name, classes)) for cell in cells]
    return [replace(cell, class_name=key) for cell, key in named if key]


def at_most(limit: int, cells: Sequence[LabeledCell]) -> list[LabeledCell]:
    """Keep `limit` of the cells, drawn at random and always the same ones, in their order; all of them for 0."""
    if not limit or len(cells) <= limit:
        return list(cells)
    chosen = np.random.default_rng(0).permutation(len(cells))[:limit]
    return [cells[place] for place in sorted(chosen.tolist())]


def joined_crops(
    own: CropSet,
    sources: Sequence[FurtherSource],
    classes: Sequence[str],
    *,
    widen: float = 1.0,
    fine: int = 1,
    balance: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> CropSet:
    """Put the crops of further sources behind those of the recipe's own set.

    Args:
        own: Crops of the recipe's set.
        sources: The others.
        classes: Ordered keys.
        widen: As for `crops_of`.
        fine: Likewise.
        balance: How far rare classes of the own set are drawn more often, in [0, 1].
        progress: Called with (done, all) for each source.
    """
    sets = [own]
    sets += [crops_of(item.cells, classes, item.spec, widen=widen, fine=fine, progress=progress) for item in sources]
    chances = _chances([item.labels for item in sets], [source.share for source in sources], balance)
    if len(sets) == 1:
        return own if chances is None else replace(own, chances=chances)
    return CropSet(
        np.concatenate([item.crops for item in sets]),
        np.concatenate([item.labels for item in sets]),
        tuple(file for item in sets for file in item.files),
        chances,
    )


def _chances(
    labels: Sequence[npt.NDArray[np.int64]], shares: Sequence[float], balance: float
) -> npt.NDArray[np.float64] | None:
    """Say how likely each picture is drawn: that of the own set first, then those of the others with their shares.

    Sets without a share come together with the own one, each picture as likely as one of a class of middling size.
    """
    if not balance and not any(shares):
        return None
    own = _evened(labels[0], balance)
    parts = [own / own.mean(), *(_evened(item, 1.0) if share else np.ones(len(item))
                                 for item, share in zip(labels[1:], shares, strict=True))]  # fmt: skip
    free = sum(part.sum() for part, share in zip(parts, [0.0, *shares], strict=True) if not share)
    rest = 1.0 - sum(shares)
    return np.concatenate(
        [
            part / part.sum() * share if share else part / free * rest
            for part, share in zip(parts, [0.0, *shares], strict=True)
        ]
    )


def _evened(labels: npt.NDArray[np.int64], balance: float) -> npt.NDArray[np.float64]:
    """Weight each picture by the number of those of its class to the power of -balance."""
    counts = np.maximum(np.bincount(labels), 1).astype(np.float64)
    return np.asarray(counts[labels] ** -balance)
