"""A page of measured figures that only commands write: `benchmarks.json` keeps them, `benchmarks.md` shows them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from corpuscle.errors import UsageError
from corpuscle.evaluation.benchmark import ClassifyBenchmark
from corpuscle.evaluation.detector import CompletedFigures, DetectorEvaluation
from corpuscle.evaluation.intervals import Interval
from corpuscle.evaluation.model import ModelEvaluation
from corpuscle.evaluation.robustness import FramingRobustness
from corpuscle.files import written_whole

__all__ = ["Figure", "figures_of", "record"]

_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    Attributes:
        what: What was measured.
        value: As text, with its unit if it has one.
        interval: The 95 % interval, or empty where there is none.
        where: Data set and split.
        n: Number of cells or files.
        seeds: Number of trainings it rests on; empty where none is involved.
        note: What a reader has to know.
    """

    what: str
    value: str
    interval: str
    where: str
    n: int
    seeds: str = "1"
    note: str = ""


def figures_of(
    result: ModelEvaluation | DetectorEvaluation | FramingRobustness | ClassifyBenchmark,
) -> list[Figure]:
    """Turn what a command measured into figures."""
    if isinstance(result, ModelEvaluation):
        return _evaluation_figures(result)
    if isinstance(result, DetectorEvaluation):
        return _detector_figures(result)
    if isinstance(result, FramingRobustness):
        where = f"{result.dataset} {result.split}"
        return [
            Figure(
                f"same class when {item.name}", f"{item.same:.4f}",
                f"{item.interval.low:.4f}-{item.interval.high:.4f}", where, item.n,
                note=f"accuracy {item.accuracy:.4f}",
            )
            for item in result.variants
        ]  # fmt: skip
    where = f"{result.n_files} files of {result.picture}, {result.model}, torch {result.torch}"
    rows = [Figure(name, f"{rate:.0f} a second", "", where, result.n_files, "") for name, rate in result.rates.items()]
    rows += [Figure(name, f"{ratio:.2f}", "", where, result.n_files, "") for name, ratio in result.ratios.items()]
    if result.memory_growth is not None:
        name = f"memory after {result.memory_files} files / after 1000"
        rows.append(Figure(name, f"{result.memory_growth:.3f}", "", where, result.memory_files, ""))
    return rows


def _evaluation_figures(result: ModelEvaluation) -> list[Figure]:
    evaluation, where = result.evaluation, result.where
    spread = evaluation.balanced_accuracy_interval
    kept = result.accepted_interval
    rows = [
        ("accuracy", evaluation.accuracy, evaluation.accuracy_interval),
        ("balanced accuracy", evaluation.balanced_accuracy, spread),
        ("macro F1", evaluation.macro.f1, None),
        ("calibration error (15 bins)", evaluation.calibration_error, None),
        ("share accepted", result.accepted, None),
        ("accuracy among the accepted", result.accepted_accuracy, kept),
        ("prediction sets that hold the label", result.set_coverage, None),
        ("mean size of a prediction set", result.set_size, None),
    ]
    figures = [
        Figure(
            f"{result.model}: {name}", f"{value:.4f}",
            f"{interval.low:.4f}-{interval.high:.4f}" if interval else "", where, evaluation.n, note=result.leak,
        )
        for name, value, interval in rows
        if value is not None
    ]  # fmt: skip
    figures += [
        Figure(
            f"{result.model}: prediction sets of {item.class_name} that hold it", f"{item.coverage:.4f}",
            f"{item.interval.low:.4f}-{item.interval.high:.4f}", where, item.n,
            note="; ".join(part for part in (result.leak, f"mean size {item.size:.3f}") if part),
        )
        for item in result.coverage
    ]  # fmt: skip
    return figures


def _detector_figures(result: DetectorEvaluation) -> list[Figure]:
    where = f"{result.dataset} {result.split}".strip()
    note = "; ".join(part for part in (result.leak, result.note) if part)
    n, found = result.precision.pictures, result.precision
    rows: list[tuple[str, float, Interval | None, int]] = [
        ("mAP50", found.map50, result.map50_interval, n),
        ("mAP50-95", found.map50_95, result.map50_95_interval, n),
    ]
    rows += [(f"AP50 of {kind}s", values[0], None, n) for kind, values in found.by_kind.items()]
    for kind, errors in result.counting.by_kind.items():
        rows.append((f"fields with the exact number of {kind}s", errors.exact, errors.exact_interval, errors.fields))
        rows.append((f"mean absolute error of {kind}s", errors.absolute, errors.absolute_interval, errors.fields))
        if errors.concordance is not None:
            rows.append((f"Lin's concordance of counts of {kind}s", errors.concordance, None, errors.fields))
        if errors.percentage is not None:
            ends = errors.percentage_interval
            rows.append((f"mean absolute percentage error of {kind}s", errors.percentage, ends, errors.fields))
    told = [(*row, note) for row in rows]
    told += [(*row, result.leak) for row in _completed_rows(result.completed)] if result.completed else []
    return [
        Figure(
            f"{result.model}: {name}", f"{value:.4f}", f"{ends.low:.4f}-{ends.high:.4f}" if ends else "", where,
            fields, note=note,
        )
        for name, value, ends, fields, note in told
    ]  # fmt: skip


def _completed_rows(result: CompletedFigures) -> list[tuple[str, float, Interval | None, int]]:
    """Return the figures against boxes that hold the cells that annotators left out."""
    n, found, also = result.precision.pictures, result.precision, "with those that the annotators left out"
    rows: list[tuple[str, float, Interval | None, int]] = [
        (f"mAP50, {also}", found.map50, result.map50_interval, n),
        (f"mAP50-95, {also}", found.map50_95, result.map50_95_interval, n),
        (f"AP50 of erythrocytes, {also}", found.by_kind["erythrocyte"][0], None, n),
    ]
    errors = result.counting.by_kind["erythrocyte"]
    rows.append((f"mean absolute error of erythrocytes, {also}", errors.absolute, errors.absolute_interval, n))
    if errors.percentage is not None:
        ends = errors.percentage_interval
        rows.append((f"mean absolute percentage error of erythrocytes, {also}", errors.percentage, ends, n))
    return rows


def record(page: Path, command: str, machine: str, figures: list[Figure]) -> None:
    """Enter what one command measured into a page; what the same command measured before is replaced.

    Args:
        page: The Markdown page; the figures themselves are kept beside it with the suffix `.json`.
        command: The command line, to be run again.
        machine: On what.
        figures: What it measured.

    Raises:
        UsageError: `page` is no `.md` file, or the file beside it is not one of ours.
        OutputError: The page cannot be written.
    """
    if page.suffix != ".md":
        raise UsageError(f"The page {page} must end in .md.")
    store = page.with_suffix(_SUFFIX)
    try:
        entries = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}
        entries[command] = {"machine": machine, "figures": [asdict(item) for item in figures]}
        text = _page(entries)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{store} is no list of figures ({error}). Move it away and measure again.") from error
    with written_whole(store) as part:
        part.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with written_whole(page) as part:
        part.write_text(text, encoding="utf-8")


def _page(entries: dict[str, dict[str, object]]) -> str:
    """Return the page as Markdown."""
    lines = [
        "# Measured figures",
        "",
        "Every number on this page was written by the command above its table, none by hand. Splits are those of the",
        "data set's split table; thresholds and weights were chosen on `val`. One seed means one training.",
        "Speed is a ratio inside one run: absolute rates depend on the machine and on what else it does.",
    ]
    for command, entry in sorted(entries.items()):
        lines += ["", f"## `{command}`", "", f"Machine: {entry['machine']}", ""]
        lines += ["| what | value | 95 % interval | where | n | seeds | note |", "|---|---|---|---|---|---|---|"]
        rows = entry["figures"]
        if not isinstance(rows, list):
            raise TypeError("figures must be a list")
        lines += [
            f"| {row['what']} | {row['value']} | {row['interval']} | {row['where']} | {row['n']} | {row['seeds']} | "
            f"{row['note']} |"
            for row in rows
        ]
    return "\n".join(lines) + "\n"
