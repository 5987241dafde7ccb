"""What runs of a study say to cells of a class that they never learned."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from corpuscle.evaluation.refusal import SCORES, refusal_study
from corpuscle.files import written_whole
from corpuscle.models.bundle import Bundle

__all__ = ["UNSEEN", "measure_unseen", "unseen_rows"]

UNSEEN = "unseen.json"
"""File of a run that holds what `measure_unseen` measured."""


def measure_unseen(bundle: Bundle, dataset: str, folder: Path, *, root: str | Path | None = None) -> dict[str, Any]:
    """Set the cells of classes that a bundle never learned against those it knows, on `test`; write `unseen.json`.

    Args:
        bundle: A bundle that lacks one or more classes of the data set.
        dataset: The labeled set.
        folder: Folder of the run.
        root: Folder that holds the data sets.

    Raises:
        DataError: The set is missing or has no cell that the bundle knows.
        OutputError: The folder cannot be written.
    """
    values = refusal_study(dataset, model=bundle, split="test", root=root, strange=10**6, made=()).to_dict()
    with written_whole(folder / UNSEEN) as part:
        part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return values


def unseen_rows(rows: Iterable[tuple[str, Sequence[dict[str, Any]]]]) -> list[str]:
    """Return the table of a study's page, a line a row and class, and the mean; nothing where no run was measured.

    Args:
        rows: Label of each row and its finished runs, as `collect_study` gathers them; seeds are averaged.
    """
    lines, areas = [], []
    for label, runs in rows:
        found = [run["unseen"] for run in runs if run.get("unseen")]
        for place, kind in enumerate(found[0]["kinds"] if found else []):
            means = [fmean(one["kinds"][place]["auc"][score] for one in found) for score in SCORES]
            refused = fmean(one["kinds"][place]["refused"] for one in found)
            areas.append(means)
            cells = [label, str(kind["n"]), str(found[0]["n"]), *(f"{value:.4f}" for value in means), f"{refused:.3f}"]
            lines.append(f"| {' | '.join(cells)} |")
    if not lines:
        return []
    mean = [fmean(column) for column in zip(*areas, strict=True)]
    lines.append(f"| mean | | | {' | '.join(f'{value:.4f}' for value in mean)} | |")
    head = ("run", "n never learned", "n at home", *(f"AUROC, {score}" for score in SCORES), "refused")
    return ["## A class never learned", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines, ""]
