"""What a finished run cost and what is known against its figures: `run.json`, by which runs are compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from corpuscle import __version__
from corpuscle.data.labeled import LABELED_SETS, LabeledCell, labeled_cells
from corpuscle.data.leaks import shared_sources
from corpuscle.errors import CorpuscleError
from corpuscle.evaluation.machine import machine_line
from corpuscle.files import written_whole
from corpuscle.models.bundle import load_bundle
from corpuscle.models.pretrained import is_bundle
from corpuscle.models.restored import described_network
from corpuscle.models.sizes import network_size
from corpuscle.training.checkpoint import Progress
from corpuscle.training.recipe import Recipe

__all__ = ["learned_before", "rows_before", "split_leak", "write_facts"]


def rows_before(recipe: Recipe, known: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """List the training data that a run has at second hand: of the weights that it starts from, and of its teacher.

    Args:
        recipe: The run.
        known: Rows of the manifest that need not be named again.

    Returns:
        Rows as in a bundle's `training_data`; the citation says through which bundle they came.
    """
    rows: list[dict[str, Any]] = []
    seen = {(row.get("dataset"), row.get("split")) for row in known}
    for source, what in ((recipe.model.pretrained, "started from"), (recipe.lessons.teacher, "taught by")):
        if not is_bundle(source):
            continue
        bundle = load_bundle(source)
        for row in bundle.training_data:
            if (key := (row.get("dataset"), row.get("split"))) not in seen:
                seen.add(key)
                rows.append(row | {"citation": f"{row.get('citation', '')}; {what} {bundle.name} {bundle.version}"})
    return rows


def learned_before(recipe: Recipe, root: str | Path | None) -> list[LabeledCell]:
    """List the cells that a run has learned at second hand, as far as bundles name sets of the catalog.

    Args:
        recipe: The run.
        root: Folder that holds the data sets.
    """
    cells: list[LabeledCell] = []
    for row in rows_before(recipe):
        name, split = str(row.get("dataset", "")), str(row.get("split", ""))
        if name in LABELED_SETS and split in {"train", "val", "test"}:
            with suppress(CorpuscleError):  # a set that is not at hand cannot be compared
                cells += labeled_cells(name, split=split, root=root)
    return cells


def split_leak(dataset: str, root: str | Path | None, *, also: Sequence[LabeledCell] = ()) -> str:
    """Measure what the training and test splits of a data set share.

    Args:
        dataset: The set.
        root: Folder that holds the data sets.
        also: Cells that were learned besides: of other sets, or by the weights that the run starts from.

    Returns:
        `leaks: ...` with the numbers; empty if nothing is shared, or if the set has no test split.
    """
    try:
        learned = labeled_cells(dataset, split="train", root=root)
        judged = labeled_cells(dataset, split="test", root=root)
    except CorpuscleError:
        return ""
    return shared_sources([*learned, *also], judged).sentence()


def write_facts(recipe: Recipe, progress: Progress, folder: Path, n_classes: int, *, leak: str) -> None:
    """Write `run.json`.

    Args:
        recipe: The run.
        progress: Its history.
        folder: The run's folder.
        n_classes: Number of classes.
        leak: What `split_leak` found.

    Raises:
        OutputError: The folder cannot be written.
    """
    spec = recipe.preprocessing
    size = network_size(described_network(asdict(recipe.model), n_classes, spec), spec.input_px)
    facts = {
        "format": 1,
        "name": recipe.name,
        "model": recipe.model.name,
        "dataset": recipe.data.dataset,
        "also": [str(entry["dataset"]) for entry in recipe.data.also],
        "seed": recipe.run.seed,
        "input_px": spec.input_px,
        "parameters": size.parameters,
        "multiply_adds": size.multiply_adds,
        "training_seconds": round(sum(record.seconds for record in progress.history), 1),
        "epochs": progress.epochs_done,
        "best_epoch": progress.best_epoch,
        "machine": machine_line(),
        "leak": leak,
        "code_version": __version__,
    }
    with written_whole(folder / "run.json") as part:
        part.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
