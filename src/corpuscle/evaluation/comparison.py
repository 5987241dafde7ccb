"""Trained runs side by side: how right, how large, how fast, and whether they differ by more than chance."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from corpuscle.errors import DataError, UsageError
from corpuscle.evaluation.machine import machine_line
from corpuscle.evaluation.network_speed import network_rates
from corpuscle.evaluation.paired import holm, mcnemar
from corpuscle.evaluation.runs import TrainedRun, read_run
from corpuscle.evaluation.tables import aligned, duration, p_value, short_amount
from corpuscle.prediction.writing import NOTICE

__all__ = ["AgainstReference", "ComparedRun", "Comparison", "compare"]


@dataclass(frozen=True, slots=True)
class AgainstReference:
    """A run against the reference on the files that both judged.

    Attributes:
        common: Number of these files; files of different data sets are never the same.
        only_reference: How many of them only the reference got right; None without common files.
        only_run: How many only the run got right; None without common files.
        p: Exact p-value of McNemar's test; None without common files.
        holm_p: The same after Holm's correction over all runs that were tested; None without common files.
    """

    common: int
    only_reference: int | None = None
    only_run: int | None = None
    p: float | None = None
    holm_p: float | None = None


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One line of a comparison.

    Attributes:
        label: What the run is called here: its name, with its folder where two runs have one name.
        run: The run as read.
        cells_per_second: Cells that its network alone judges in a second on one thread of this machine.
        against: How it stands against the reference; None for the reference itself.
    """

    label: str
    run: TrainedRun
    cells_per_second: float
    against: AgainstReference | None

    def to_dict(self) -> dict[str, Any]:
        """Return one flat table of plain values; None stands for what there is not."""
        facts, result, against = self.run.facts, self.run.result, self.against
        return {
            "run": self.label,
            "folder": str(self.run.folder),
            "model": facts.model,
            "trained_on": facts.dataset,
            "seed": facts.seed,
            "dataset": result.dataset,
            "split": result.split,
            "n": result.n,
            "accuracy": result.accuracy,
            "accuracy_low": result.accuracy_interval.low,
            "accuracy_high": result.accuracy_interval.high,
            "balanced_accuracy": result.balanced_accuracy,
            "leak": self.run.leak,
            "input_px": facts.input_px,
            "parameters": facts.parameters,
            "multiply_adds": facts.multiply_adds,
            "graph_bytes": self.run.graph_bytes,
            "bundle_bytes": self.run.bundle_bytes,
            "cells_per_second": self.cells_per_second,
            "training_seconds": facts.training_seconds,
            "epochs": facts.epochs,
            "best_epoch": facts.best_epoch,
            "training_machine": facts.machine,
            "code_version": facts.code_version,
            "common_with_reference": against.common if against else None,
            "only_reference_right": against.only_reference if against else None,
            "only_run_right": against.only_run if against else None,
            "mcnemar_p": against.p if against else None,
            "mcnemar_holm_p": against.holm_p if against else None,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side.

    Attributes:
        split: Split as asked for.
        reference: Label of the run that the others are tested against.
        machine: On what the speed was measured.
        runs: A line a run, in the order given.
        notes: What a reader has to know about these numbers, in sentences.
    """

    split: str
    reference: str
    machine: str
    runs: tuple[ComparedRun, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "notice": NOTICE,
            "split": self.split,
            "reference": self.reference,
            "machine": self.machine,
            "runs": [row.to_dict() for row in self.runs],
            "notes": list(self.notes),
        }

    def accuracy_rows(self) -> list[list[str]]:
        """Return how right each run is and how it stands against the reference: a head and a row a run."""
        head = ["run", "on", "n", "accuracy", "95 % Wilson", "balanced", "common", "b", "c", "p", "Holm p", "leak"]
        return [head, *(_accuracy_row(row) for row in self.runs)]

    def cost_rows(self) -> list[list[str]]:
        """Return what each run costs: a head and a row a run."""
        head = ["run", "model", "parameters", "multiply-adds", "graph MB", "cells/s", "training", "leak"]
        return [head, *(_cost_row(row) for row in self.runs)]

    def text(self) -> str:
        """Return two tables for people, what their columns mean, and the notes."""
        lines = [*aligned(self.accuracy_rows(), left=(0, 1, 11)), "", *aligned(self.cost_rows(), left=(0, 1, 7)), ""]
        lines += [*self.legend(), *(f"Note: {note}" for note in self.notes), "", NOTICE]
        return "\n".join(lines)

    def legend(self) -> list[str]:
        """Return what the columns mean, in sentences."""
        return [
            f"b: only {self.reference} (the reference) is right; c: only this run is; both of the files in common. "
            "p: exact McNemar test; Holm p: corrected for the number of tests.",
            "graph MB: the ONNX file that predicts. cells/s: the network alone, one thread, batches of 8, runs taking "
            f"turns, on {self.machine}. training: as timed then, whatever the machine.",
        ]


def compare(
    runs: Sequence[str | os.PathLike[str]],
    *,
    split: str = "test",
    reference: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Put trained runs side by side.

    Each run is tested against the reference with McNemar's exact test on the files that both judged, and the p-values
    are corrected after Holm. The speed of the networks is measured now.

    Args:
        runs: Folders of runs that were evaluated on the split; one alone gives a table without a test.
        split: Which evaluation of each run to read.
        reference: Folder or name of one of the runs; the first one if not given.
        progress: Called with (turns done, all turns) while the speed is measured.

    Raises:
        UsageError: No run is given, one is given twice, or the reference is none of them.
        NoInputError: A folder is no run, or was not evaluated on the split.
        DataError: A run contradicts itself, or two runs were judged by different labels of the same file.
        BundleError: A bundle cannot be used.
    """
    _check_distinct(runs)
    read = [read_run(folder, split=split) for folder in runs]
    _check_labels(read)
    labels = _labels(read)
    place = _reference_place(read, labels, reference)
    rates = network_rates([run.bundle for run in read], progress=progress)
    tests = _against(read, place)
    rows = tuple(map(ComparedRun, labels, read, rates, tests))
    return Comparison(
        split=split,
        reference=labels[place],
        machine=machine_line(),
        runs=rows,
        notes=tuple(_notes(rows, rows[place])),
    )


def _check_distinct(runs: Sequence[str | os.PathLike[str]]) -> None:
    if isinstance(runs, (str, os.PathLike)) or not runs:
        raise UsageError("There is no run to compare. Give a list of folders that `corpuscle train` wrote.")
    places = [Path(folder).resolve() for folder in runs]
    twice = [str(folder) for folder, place in zip(runs, places, strict=True) if places.count(place) > 1]
    if twice:
        raise UsageError(f"The run {twice[0]} is given twice. Give each run once.")


def _check_labels(runs: Sequence[TrainedRun]) -> None:
    """Refuse runs that were judged by different labels: one of them was measured on something else."""
    seen: dict[tuple[str, str], tuple[str, Path]] = {}
    for run in runs:
        for file, answer in run.result.answers.items():
            label, folder = seen.setdefault((_set_name(run), file), (answer.label, run.folder))
            if label != answer.label:
                raise DataError(
                    f"{folder} and {run.folder} were judged by different labels of {run.result.dataset}: {file!r} is "
                    f"{label} in one and {answer.label} in the other. Evaluate both anew on the same data."
                )


def _set_name(run: TrainedRun) -> str:
    return str(Path(run.result.dataset))


def _labels(runs: Sequence[TrainedRun]) -> list[str]:
    """Name the runs so that no two are called the same."""
    names = Counter(run.facts.name for run in runs)
    return [run.facts.name if names[run.facts.name] == 1 else f"{run.facts.name} ({run.folder})" for run in runs]


def _reference_place(
    runs: Sequence[TrainedRun], labels: Sequence[str], reference: str | os.PathLike[str] | None
) -> int:
    if reference is None:
        return 0
    asked = Path(reference).resolve()
    for place, run in enumerate(runs):
        if run.folder.resolve() == asked:
            return place
    if str(reference) in labels:
        return labels.index(str(reference))
    raise UsageError(f"The reference {reference} is none of the runs. Choose one of: {', '.join(labels)}.")


def _against(runs: Sequence[TrainedRun], place: int) -> list[AgainstReference | None]:
    """Test every run but the reference, and correct for the number of tests that could be made."""
    tests = [None if run is runs[place] else _test(runs[place], run) for run in runs]
    made = [number for number, test in enumerate(tests) if test and test.p is not None]
    corrected = holm([test.p for test in tests if test and test.p is not None])
    for number, value in zip(made, corrected, strict=True):
        test = tests[number]
        tests[number] = replace(test, holm_p=value) if test else None
    return tests


def _test(reference: TrainedRun, run: TrainedRun) -> AgainstReference:
    if _set_name(reference) != _set_name(run):
        return AgainstReference(0)
    theirs, ours = reference.result.answers, run.result.answers
    common = [file for file in theirs if file in ours]
    if not common:
        return AgainstReference(0)
    found = mcnemar(np.array([theirs[file].right for file in common]), np.array([ours[file].right for file in common]))
    return AgainstReference(found.n, found.b, found.c, found.p)


def _accuracy_row(row: ComparedRun) -> list[str]:
    result, against = row.run.result, row.against
    ends = f"{result.accuracy_interval.low:.4f}-{result.accuracy_interval.high:.4f}"
    if against is None:
        test = ["", "", "", "reference", ""]
    elif against.p is None or against.holm_p is None:
        test = ["0", "", "", "not tested", ""]
    else:
        counts = (against.common, against.only_reference, against.only_run)
        test = [*map(str, counts), p_value(against.p), p_value(against.holm_p)]
    figures = [f"{result.accuracy:.4f}", ends, f"{result.balanced_accuracy:.4f}"]
    return [row.label, result.where, str(result.n), *figures, *test, _leak_word(row)]


def _cost_row(row: ComparedRun) -> list[str]:
    facts = row.run.facts
    return [
        row.label,
        facts.model,
        short_amount(facts.parameters),
        short_amount(facts.multiply_adds),
        f"{row.run.graph_bytes / 1e6:.2f}",
        f"{row.cells_per_second:.3g}" if row.cells_per_second < 100 else f"{row.cells_per_second:.0f}",
        duration(facts.training_seconds),
        _leak_word(row),
    ]


def _leak_word(row: ComparedRun) -> str:
    return "leaks" if row.run.leak else ""


def _notes(rows: Sequence[ComparedRun], reference: ComparedRun) -> list[str]:
    notes = [f"{row.label} {row.run.leak}. Its figures flatter." for row in rows if row.run.leak]
    base = reference.run.result
    for row in rows:
        result, against = row.run.result, row.against
        if against is None:
            continue
        if against.common == 0:
            notes.append(
                f"{row.label} ({result.where}) and {reference.label} ({base.where}) have no file in common: they "
                "cannot be tested against each other, and their accuracies are of different pictures."
            )
        elif against.common < max(result.n, base.n):
            notes.append(
                f"{row.label} and {reference.label} have {against.common} files in common, of {result.n} and "
                f"{base.n}: the test is on these alone, the accuracies are on all files of each."
            )
        if set(row.run.bundle.classes) != set(reference.run.bundle.classes):
            notes.append(
                f"{row.label} and {reference.label} know different classes, so being right is not equally hard."
            )
    shared = [(result.group_count, result.n) for result in (row.run.result for row in rows) if result.group_count]
    groups, n = min(shared, key=lambda pair: pair[0] / pair[1], default=(1, 1))
    if groups < n:
        notes.append(
            f"Pictures share groups ({groups} groups of {n} pictures); the Wilson interval and McNemar's test take "
            "them to be independent, so intervals are too narrow and p-values too small."
        )
    if len({row.run.facts.machine for row in rows}) > 1:
        notes.append("The runs were trained on different machines: their training times cannot be compared.")
    if len(rows) == 1:
        notes.append("One run alone is no comparison, so nothing was tested.")
    return notes
