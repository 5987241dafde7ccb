"""Follows a study: trains what is missing, keeps what each run measured, and writes the page."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from corpuscle.data.labeled import labeled_cells
from corpuscle.errors import CorpuscleError, UsageError
from corpuscle.files import make_folder, written_whole
from corpuscle.reporting.abroad import ABROAD, measure_abroad
from corpuscle.reporting.cards import measure_bundle
from corpuscle.reporting.samples import sample_rows
from corpuscle.reporting.study_page import first_run, row_outcome, study_page
from corpuscle.reporting.study_plan import Part, Row, Study
from corpuscle.reporting.unseen import UNSEEN, measure_unseen
from corpuscle.training.checkpoint import EpochRecord
from corpuscle.training.curves import draw_curves
from corpuscle.training.loop import Watcher
from corpuscle.training.recipe import Recipe, read_recipe
from corpuscle.training.train import train

__all__ = ["StudyHooks", "check_parts", "collect_study", "follow_study", "write_study"]


_LEFT_OUT_OF = {"pbc-vgg19-study": "pbc", "kaggle-wbc": "kaggle-wbc-fold-1"}
"""Protocols that leave cells out, and the set that has all of them."""


@dataclass(frozen=True, slots=True)
class StudyHooks:
    """What the caller wants to be told and asked.

    Attributes:
        run: Told the name of each run before it starts.
        watcher: Told of every step and epoch.
        crops: Called with (done, all) while pictures are cut or judged.
        stop: Asked after every epoch; True stops the study, to be gone on with later.
    """

    run: Callable[[str], None] = lambda name: None  # noqa: ARG005
    watcher: Watcher | None = None
    crops: Callable[[int, int], None] | None = None
    stop: Callable[[], bool] = lambda: False


def _folder(output: Path, study: Study, part: Part, seed: int) -> Path:
    return output / study.name / f"{part.name}-seed{seed}"


def _recipe(row: Row, part: Part, seed: int, pretrained: str) -> Recipe:
    recipe = read_recipe(row.recipe, (*part.settings, f"run.seed={seed}"))
    # Weights at hand take the place of those that timm would get over the network; a bundle's stay.
    if pretrained and recipe.model.pretrained == "timm":
        recipe = replace(recipe, model=replace(recipe.model, pretrained=pretrained))
    return recipe


def _is_done(folder: Path, row: Row) -> bool:
    needed = [
        "run.json",
        "evaluation/test/evaluation.json",
        *([ABROAD] if row.abroad else []),
        *([UNSEEN] if row.unseen else []),
    ]
    return all((folder / name).exists() for name in needed)


def check_parts(study: Study, names: Iterable[str]) -> None:
    """Check that a study has parts of some names.

    Raises:
        UsageError: It has no part of one of them.
    """
    known = {part.name for row in study.rows for part in row.parts}
    for name in names:
        if name not in known:
            raise UsageError(f"The study {study.name} has no part {name!r}. Its parts: {', '.join(sorted(known))}.")


def follow_study(
    study: Study,
    output: Path,
    *,
    root: str | Path | None = None,
    pretrained: str = "",
    only: tuple[str, ...] = (),
    hooks: StudyHooks | None = None,
) -> bool:
    """Train and measure every run of a study that is not done yet, each in `OUTPUT/STUDY/PART-seedK`.

    Args:
        study: The study.
        output: Folder of all studies' runs.
        root: Folder that holds the data sets.
        pretrained: Weights for recipes that start from timm's; theirs if empty.
        only: Names of parts to run; all if empty.
        hooks: What to tell and ask.

    Returns:
        Whether all is done; False where it was stopped.

    Raises:
        UsageError: `only` names no part of the study.
        CorpuscleError: A run failed.
    """
    calls = hooks or StudyHooks()
    check_parts(study, only)
    for row in study.rows:
        for part in row.parts:
            for seed in row.seeds:
                folder = _folder(output, study, part, seed)
                if (only and part.name not in only) or _is_done(folder, row):
                    continue
                calls.run(f"{study.name}: {part.name}, seed {seed}")
                recipe = _recipe(row, part, seed, pretrained)
                result = train(
                    recipe, output=folder, root=root, watcher=calls.watcher, on_crops=calls.crops, stop=calls.stop
                )
                if not result.finished:
                    return False
                if result.bundle is not None:
                    measure_bundle(result.bundle, recipe.data.dataset, root=root, folder=folder, progress=calls.crops)
                    if row.abroad:
                        measure_abroad(result.bundle, row.abroad, folder, root=root)
                    if row.unseen:
                        measure_unseen(result.bundle, recipe.data.dataset, folder, root=root)
    return True


def collect_study(study: Study, output: Path, store: Path, *, root: str | Path | None = None) -> dict[str, Any]:
    """Gather what the finished runs of a study measured, beside what the store holds of earlier ones.

    Args:
        study: The study.
        output: Folder of all studies' runs.
        store: The JSON file beside the page; need not exist.
        root: Folder that holds the data sets, to count classes and splits.

    Returns:
        `runs` by `PART-seedK`; `splits`: cells by data set, split and class; `left_out`: cells by data set that were
        taken out because a twin of theirs lies in another split.

    Raises:
        UsageError: The store or a run's file cannot be read.
    """
    try:
        kept: dict[str, Any] = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}
        entries: dict[str, Any] = {key: dict(kept.get(key, {})) for key in ("runs", "splits", "left_out")}
        for row in study.rows:
            for part in row.parts:
                for seed in row.seeds:
                    folder = _folder(output, study, part, seed)
                    if _is_done(folder, row):
                        entries["runs"][folder.name] = _measured(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"What was measured of {study.name} cannot be read ({error}). Run the study again.") from error
    known = set(entries["splits"]) - (set(_LEFT_OUT_OF) - set(entries["left_out"]))
    for name in sorted({str(run["facts"]["dataset"]) for run in entries["runs"].values()} - known):
        try:
            cells = labeled_cells(name, root=root)
        except CorpuscleError:
            continue
        counts = Counter((cell.split, cell.class_name) for cell in cells)
        table: dict[str, dict[str, int]] = {}
        for (split, key), n in sorted(counts.items()):
            table.setdefault(split, {})[key] = n
        entries["splits"][name] = table
        if name in _LEFT_OUT_OF:
            entries["left_out"][name] = len(labeled_cells(_LEFT_OUT_OF[name], root=root)) - len(cells)
    return entries


def _measured(folder: Path) -> dict[str, Any]:
    """Read what a run cost and how it did on its test split."""
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    found = json.loads((folder / "evaluation" / "test" / "evaluation.json").read_text(encoding="utf-8"))
    keys = ("n", "accuracy", "accuracy_interval", "accuracy_group_interval", "balanced_accuracy", "macro", "classes",
            "confusion", "calibration_error", "leak", "by_group", "per_class")  # fmt: skip
    history = (folder / "curves.csv").read_text(encoding="utf-8").splitlines()
    samples = sample_rows(folder / "evaluation" / "test" / "predictions.csv")
    run = {"facts": facts, "test": {key: found.get(key) for key in keys}, "curves": history, "samples": samples}
    for key, name in (("abroad", ABROAD), ("unseen", UNSEEN)):
        if (folder / name).exists():
            run[key] = json.loads((folder / name).read_text(encoding="utf-8"))
    return run


def write_study(study: Study, page: Path, entries: dict[str, Any]) -> None:
    """Write a study's page, the store beside it, and the curves of the first finished run of each row.

    Raises:
        OutputError: They cannot be written.
    """
    make_folder(page.parent)
    with written_whole(page.with_suffix(".json")) as part:
        part.write_text(json.dumps(entries, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    for row in study.rows:
        name = first_run(row, entries["runs"])
        if row_outcome(row, entries["runs"]) is not None:
            history = [_record(line) for line in csv.DictReader(entries["runs"][name]["curves"])]
            draw_curves(history, page.with_name(f"{study.name}-{name}.png"), dots_per_inch=64)
    with written_whole(page) as part:
        part.write_text(study_page(study, entries), encoding="utf-8")


def _record(line: dict[str, str]) -> EpochRecord:
    """Read a line of `curves.csv` back."""
    numbers = {key: float(value) for key, value in line.items() if key != "epoch"}
    return EpochRecord(epoch=int(line["epoch"]), **numbers)
