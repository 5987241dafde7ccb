"""The page of a study: what was published, what came out here, and what the splits leak, all as tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corpuscle.evaluation.intervals import wilson_interval
from corpuscle.reporting.abroad import abroad_rows
from corpuscle.reporting.study_plan import Published, Row, Study
from corpuscle.reporting.unseen import unseen_rows

__all__ = ["RowOutcome", "first_run", "row_outcome", "runs_of", "study_page"]

_MADE = "<!-- Made by `corpuscle study` from the runs; what was measured lies beside it as JSON. -->"


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """What all runs of one row gave together; parts of one seed are put together, seeds are averaged.

    Attributes:
        seeds: Seeds of which every part was run.
        n: Number of pictures that one seed judged.
        accuracies: Accuracy of each seed.
        interval: 95 % Wilson interval of the mean accuracy at n pictures.
        groups: Number of photographs that one seed judged; 0 without groups.
        group_right: Photographs named right, of each seed.
        confusion: Pictures by label and prediction, over all seeds.
        classes: Order of the confusion.
        leaks: What the splits share, in words, without repetition; empty if nothing.
        facts: `run.json` of the first run.
        training_seconds: Of each run.
    """

    seeds: tuple[int, ...]
    n: int
    accuracies: tuple[float, ...]
    interval: tuple[float, float]
    groups: int
    group_right: tuple[int, ...]
    confusion: np.ndarray[Any, np.dtype[np.int64]]
    classes: tuple[str, ...]
    leaks: tuple[str, ...]
    facts: dict[str, Any]
    training_seconds: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """Mean accuracy over the seeds."""
        return statistics.fmean(self.accuracies)

    def averages(self) -> tuple[float, float, float]:
        """Return precision, recall and F1, averaged over the classes that have pictures."""
        found = [values for values in self.per_class() if values[3]]
        return tuple(statistics.fmean(item[place] for item in found) for place in range(3))  # type: ignore[return-value]

    def per_class(self) -> list[tuple[float, float, float, int]]:
        """Return precision, recall, F1 and support of each class, over all seeds."""
        rows = []
        for place in range(len(self.classes)):
            right = int(self.confusion[place, place])
            support, predicted = int(self.confusion[place].sum()), int(self.confusion[:, place].sum())
            precision, recall = right / predicted if predicted else 0.0, right / support if support else 0.0
            f1 = 2 * precision * recall / (precision + recall) if right else 0.0
            rows.append((precision, recall, f1, support))
        return rows


def row_outcome(row: Row, runs: dict[str, Any]) -> RowOutcome | None:
    """Put the finished runs of a row together.

    Args:
        row: The row.
        runs: What `collect_study` gathered, by `PART-seedK`.

    Returns:
        The outcome over the seeds that have all parts; None where there is none yet.
    """
    names = {seed: [f"{part.name}-seed{seed}" for part in row.parts] for seed in row.seeds}
    done = {seed: [runs[name] for name in parts] for seed, parts in names.items() if all(n in runs for n in parts)}
    if not done:
        return None
    every = [run for parts in done.values() for run in parts]
    accuracies, right_groups = [], []
    for parts in done.values():
        matrices = [np.asarray(run["test"]["confusion"]) for run in parts]
        accuracies.append(sum(int(np.trace(item)) for item in matrices) / sum(int(item.sum()) for item in matrices))
        right_groups.append(sum(int(run["test"]["by_group"]["right"]) for run in parts if run["test"]["by_group"]))
    first = next(iter(done.values()))
    n = sum(int(run["test"]["n"]) for run in first)
    spread = wilson_interval(round(statistics.fmean(accuracies) * n), n)
    leaks = [str(run["facts"]["leak"] or run["test"]["leak"]) for run in every]
    return RowOutcome(
        seeds=tuple(done),
        n=n,
        accuracies=tuple(accuracies),
        interval=(spread.low, spread.high),
        groups=sum(int(run["test"]["by_group"]["n"]) for run in first if run["test"]["by_group"]),
        group_right=tuple(right_groups),
        confusion=np.sum([np.asarray(run["test"]["confusion"]) for run in every], axis=0),
        classes=tuple(first[0]["test"]["classes"]),
        leaks=tuple(dict.fromkeys(leak for leak in leaks if leak)),
        facts=dict(first[0]["facts"]),
        training_seconds=tuple(float(run["facts"]["training_seconds"]) for run in every),
    )


def first_run(row: Row, runs: dict[str, Any]) -> str:
    """Return the name of the first finished run of a row; empty where there is none."""
    names = [f"{part.name}-seed{seed}" for seed in row.seeds for part in row.parts]
    return next((name for name in names if name in runs), "")


def runs_of(row: Row, runs: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the finished runs of a row measured, seed by seed."""
    names = [f"{part.name}-seed{seed}" for seed in row.seeds for part in row.parts]
    return [runs[name] for name in names if name in runs]


def study_page(study: Study, entries: dict[str, Any]) -> str:
    """Return the page of a study as Markdown.

    Args:
        study: The study.
        entries: What `collect_study` gathered.
    """
    outcomes = [(row, row_outcome(row, entries["runs"])) for row in study.rows]
    lines = [f"# {study.title}", "", _MADE, "", study.about.strip(), ""]
    lines += _published(study.published)
    lines += ["## What came out here", "", *_outcomes(outcomes)]
    lines += abroad_rows((row.label, runs_of(row, entries["runs"])) for row in study.rows)
    lines += unseen_rows((row.label, runs_of(row, entries["runs"])) for row in study.rows)
    for row, outcome in outcomes:
        if outcome is not None:
            lines += _classes(row, outcome)
            curves = f"{study.name}-{first_run(row, entries['runs'])}.png"
            lines += [f"![Loss and accuracy of train and val, epoch by epoch]({curves})", ""]
            lines += _samples(entries["runs"][first_run(row, entries["runs"])].get("samples", []))
    lines += _splits(entries["splits"], entries.get("left_out", {}))
    if study.reading.strip():
        lines += ["## What it teaches", "", study.reading.strip(), ""]
    lines += [
        "## Do it again",
        "",
        "```",
        f"corpuscle study studies/{study.name}.toml",
        "```",
        "",
        *_machines(outcomes),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return [*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows), ""]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _published(rows: Sequence[Published]) -> list[str]:
    if not rows:
        return []
    head = ("work", "protocol", "accuracy", "precision", "recall", "F1")
    cells = (
        (row.work, row.protocol, *(_number(value) for value in (row.accuracy, row.precision, row.recall, row.f1)))
        for row in rows
    )
    return ["## What was published", "", *_table(head, cells)]


def _outcomes(outcomes: Sequence[tuple[Row, RowOutcome | None]]) -> list[str]:
    """Return one line a row; a row without runs says so, and a leak stands in the line of its figure."""
    head = ("run", "protocol", "seeds", "n", "accuracy", "95 % interval", "seeds from-to", "photographs right",
            "95 % interval ", "precision", "recall", "F1", "published", "parameters", "multiply-adds", "training",
            "leak")  # fmt: skip
    cells: list[Sequence[object]] = []
    for row, outcome in outcomes:
        if outcome is None:
            cells.append(
                (row.label, row.protocol, *[""] * 2, "not run yet", *[""] * 7, _number(row.published), *[""] * 4)
            )
            continue
        photographs, group_ends = "", ""
        if outcome.groups:
            mean = statistics.fmean(outcome.group_right)
            ends = wilson_interval(round(mean), outcome.groups)
            photographs, group_ends = f"{mean:.4g} of {outcome.groups}", f"{ends.low:.4f}-{ends.high:.4f}"
        low, high = outcome.interval
        spread = f"{min(outcome.accuracies):.4f}-{max(outcome.accuracies):.4f}" if len(outcome.accuracies) > 1 else ""
        cells.append((
            row.label, row.protocol, len(outcome.seeds), outcome.n, _number(outcome.accuracy), f"{low:.4f}-{high:.4f}",
            spread, photographs, group_ends, *(_number(value) for value in outcome.averages()),
            _number(row.published), f"{outcome.facts['parameters']:,}", f"{outcome.facts['multiply_adds']:,}",
            f"{statistics.fmean(outcome.training_seconds) / 60:.1f} min", "; ".join(outcome.leaks) or "none",
        ))  # fmt: skip
    notes = [
        "Accuracy is the mean over the seeds; its interval is Wilson's at n pictures and takes them to be independent,",
        "which versions of one photograph are not: believe the interval of the photographs. Precision, recall and F1",
        "are means over the classes. The weights were chosen on a validation part of the training pictures.",
        "",
    ]
    return [*_table(head, cells), *notes]


def _classes(row: Row, outcome: RowOutcome) -> list[str]:
    """Return the report of one row and its confusion matrix."""
    cells = [
        (key, *(f"{value:.4f}" for value in values[:3]), values[3])
        for key, values in zip(outcome.classes, outcome.per_class(), strict=True)
    ]
    seeds = f"seeds {', '.join(map(str, outcome.seeds))}"
    lines = [f"### {row.label}, {row.protocol} ({seeds})", "", *_leak_line(outcome)]
    lines += _table(("class", "precision", "recall", "F1", "support"), cells)
    matrix = ([key, *line] for key, line in zip(outcome.classes, outcome.confusion.tolist(), strict=True))
    return [*lines, *_table(("label \\ prediction", *outcome.classes), matrix)]


def _leak_line(outcome: RowOutcome) -> list[str]:
    return [f"**{'; '.join(outcome.leaks)}**", ""] if outcome.leaks else []


def _samples(rows: Sequence[dict[str, str]]) -> list[str]:
    """Return a few predictions of one run by the name of the picture, the surest mistakes last."""
    if not rows:
        return []
    cells = [(row["file"], row["label"], row["class"], f"{float(row['confidence']):.3f}") for row in rows]
    about = "Sample predictions: one right answer of each class at random, then the mistakes that it was surest of."
    return [about, "", *_table(("picture", "label", "prediction", "confidence"), cells)]


def _splits(splits: dict[str, Any], left_out: dict[str, int]) -> list[str]:
    """Return how many cells of each class each split has."""
    if not splits:
        return []
    rows: list[Sequence[object]] = []
    classes = sorted({key for table in splits.values() for counts in table.values() for key in counts})
    for name, table in sorted(splits.items()):
        for split in sorted(table, key=("train", "val", "test", "").index):
            counts = table[split]
            rows.append((name, split or "all", *(counts.get(key, 0) for key in classes), sum(counts.values())))
    about = "Where a set has no `val`, a tenth of the training groups is held back for it, no group in both."
    twins = [
        f"Of {name}, {n} pictures are left out, because a duplicate or an overlapping photograph lies in another split."
        for name, n in sorted(left_out.items())
        if name in splits
    ]
    return ["## Splits", "", *_table(("data set", "split", *classes, "sum"), rows), " ".join([about, *twins]), ""]


def _machines(outcomes: Sequence[tuple[Row, RowOutcome | None]]) -> list[str]:
    machines = dict.fromkeys(str(outcome.facts["machine"]) for _, outcome in outcomes if outcome is not None)
    return [f"Trained on: {'; '.join(machines)}."] if machines else []
