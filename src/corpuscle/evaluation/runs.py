"""A trained run as it lies in its folder: how it was trained, its bundle, and how it did on a split."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpuscle import taxonomy
from corpuscle.errors import BundleNotFoundError, CorpuscleError, DataError, NoInputError
from corpuscle.evaluation.intervals import Interval, wilson_interval
from corpuscle.models.bundle import Bundle, load_bundle

__all__ = ["Answer", "SplitResult", "TrainedRun", "TrainingFacts", "read_run"]

_FORMAT = 1
_FACTS = "run.json"
_LEAK = "leaks"


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What `run.json` says.

    Attributes:
        name: Name of the run.
        model: Name of the network.
        dataset: Data set that it was trained on.
        seed: Seed of the training.
        input_px: Side of the network's input in pixels.
        parameters: Number of the network's weights.
        multiply_adds: Multiplications with addition that one cell costs.
        training_seconds: How long the training took.
        epochs: Number of epochs done.
        best_epoch: The epoch whose weights were kept.
        machine: On what it was trained.
        leak: Why figures flatter as far as the training knows; empty if nothing is known to leak.
        code_version: Version of Corpuscle that trained it.
    """

    name: str
    model: str
    dataset: str
    seed: int
    input_px: int
    parameters: int
    multiply_adds: int
    training_seconds: float
    epochs: int
    best_epoch: int
    machine: str
    leak: str
    code_version: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said of one file: its label, and whether the model gave it that class or one above it."""

    label: str
    right: bool


@dataclass(frozen=True, slots=True)
class SplitResult:
    """How a run did on one split.

    Attributes:
        dataset: Data set that was judged.
        split: Its split; empty for all.
        n: Number of files judged.
        accuracy: Share that is right, in [0, 1].
        accuracy_interval: Its 95 % Wilson interval.
        balanced_accuracy: Mean recall of the classes that have files, in [0, 1].
        group_count: Number of groups that the files come from; None where they are not known.
        leak: Why the figures flatter as far as the evaluation knows; empty if nothing is known to leak.
        answers: The answer of each file, by the name of the file.
    """

    dataset: str
    split: str
    n: int
    accuracy: float
    accuracy_interval: Interval
    balanced_accuracy: float
    group_count: int | None
    leak: str
    answers: Mapping[str, Answer]

    @property
    def where(self) -> str:
        """Data set and split in one text."""
        return f"{self.dataset} {self.split}".strip()


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A run folder, read and checked.

    Attributes:
        folder: Where it lies.
        facts: How it was trained.
        bundle: Its model.
        graph_bytes: Size of the graph that predicts.
        bundle_bytes: Size of all files of the bundle.
        result: How it did.
    """

    folder: Path
    facts: TrainingFacts
    bundle: Bundle
    graph_bytes: int
    bundle_bytes: int
    result: SplitResult

    @property
    def leak(self) -> str:
        """Why the figures flatter, beginning with "leaks"; empty if nothing is known to leak."""
        known = dict.fromkeys(text for text in (self.facts.leak, self.result.leak) if text)
        text = "; ".join(known)
        return text if not text or text.startswith(_LEAK) else f"{_LEAK}: {text}"


def read_run(folder: str | os.PathLike[str], *, split: str = "test") -> TrainedRun:
    """Read the folder of a trained run.

    Args:
        folder: Has `run.json`, `bundle/` and `evaluation/<split>/`.
        split: Which evaluation to read.

    Raises:
        NoInputError: The folder is no run, or was not evaluated on the split.
        DataError: `run.json` or the evaluation is broken, or they contradict each other.
        BundleError: The bundle cannot be used.
    """
    place = Path(folder)
    facts = _read_facts(place)
    try:
        bundle = load_bundle(place / "bundle")
    except BundleNotFoundError as error:
        raise NoInputError(
            f"The run {place} has no bundle: {place / 'bundle'} is missing. Finish its training first."
        ) from error
    return TrainedRun(
        folder=place,
        facts=facts,
        bundle=bundle,
        graph_bytes=bundle.graph_path.stat().st_size,
        bundle_bytes=sum(path.stat().st_size for path in bundle.folder.iterdir() if path.is_file()),
        result=_read_result(place, split, bundle),
    )


def _read_facts(folder: Path) -> TrainingFacts:
    path = folder / _FACTS
    if not path.is_file():
        raise NoInputError(f"{folder} is no run: it has no {_FACTS}. Give a folder that `corpuscle train` wrote.")
    values = _read_json(path, "Train again, or leave this run out.")
    if values.get("format") != _FORMAT:
        raise DataError(f"{path} is not of format {_FORMAT}. Use the version of Corpuscle that wrote it.")
    checks: dict[str, Callable[[Any], bool]] = {
        **dict.fromkeys(("name", "model", "dataset", "machine", "code_version"), _is_filled_text),
        **dict.fromkeys(("parameters", "multiply_adds", "input_px", "epochs"), _is_count),
        **dict.fromkeys(("seed", "best_epoch"), lambda value: _is_whole(value) and value >= 0),
        "leak": lambda value: isinstance(value, str),
        "training_seconds": lambda value: _is_number(value) and value >= 0,
    }
    for key, is_good in checks.items():
        if key not in values or not is_good(values[key]):
            found = repr(values[key]) if key in values else "nothing"
            raise DataError(f"{path} has {found} as {key}. Train again, or leave this run out.")
    return TrainingFacts(**{key: values[key] for key in checks})


def _read_result(folder: Path, split: str, bundle: Bundle) -> SplitResult:
    place = folder / "evaluation" / split
    again = (
        f"Evaluate it: `corpuscle evaluate --model {folder / 'bundle'} --dataset NAME --split {split} "
        f"--output {place}`."
    )
    for name in ("predictions.csv", "evaluation.json"):
        if not (place / name).is_file():
            raise NoInputError(f"The run {folder} has no {name} for the split {split!r} in {place}. {again}")
    summary, values = place / "evaluation.json", _read_json(place / "evaluation.json", again)
    answers = _read_answers(place / "predictions.csv", bundle, again)
    n, right = len(answers), sum(answer.right for answer in answers.values())
    accuracy, balanced, groups = (values.get(key) for key in ("accuracy", "balanced_accuracy", "group_count"))
    texts = [values.get(key) for key in ("dataset", "split", "leak")]
    shares = _is_share(accuracy) and _is_share(balanced)
    if not shares or not all(isinstance(text, str) for text in texts) or not (groups is None or _is_count(groups)):
        raise DataError(f"{summary} lacks a figure of an evaluation. {again}")
    if values.get("n") != n or not math.isclose(float(values["accuracy"]) * n, right, abs_tol=1e-6 * n):
        raise DataError(
            f"{summary} speaks of accuracy {accuracy} for n = {values.get('n')}, but predictions.csv beside it has "
            f"{right} of {n} right. {again}"
        )
    return SplitResult(
        dataset=str(texts[0]),
        split=str(texts[1]),
        n=n,
        accuracy=right / n,
        accuracy_interval=wilson_interval(right, n),
        balanced_accuracy=float(values["balanced_accuracy"]),
        group_count=groups,
        leak=str(texts[2]),
        answers=answers,
    )


def _read_answers(path: Path, bundle: Bundle, again: str) -> dict[str, Answer]:
    """Read the table of predictions; a label finer than the model's classes counts as the class above it."""
    answers: dict[str, Answer] = {}
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = csv.DictReader(file, strict=True)
            columns = rows.fieldnames or []
            classes = tuple(name[2:] for name in columns if name.startswith("p_"))
            if not {"file", "label", "class"} <= set(columns):
                raise DataError(f"{path} lacks one of the columns file, label and class. {again}")
            if classes != bundle.classes:
                raise DataError(f"{path} has other classes than the bundle in {bundle.folder}. {again}")
            for row in rows:
                name = row["file"]
                if name in answers:
                    raise DataError(f"{path} names the file {name!r} twice, so it cannot be paired. {again}")
                known = taxonomy.ancestor_in(row["label"], classes) if row["label"] else ""
                if not known or row["class"] not in classes:
                    raise DataError(f"{path} has a label or class of {name!r} that the model does not know. {again}")
                answers[name] = Answer(row["label"], row["class"] == known)
    except DataError:
        raise
    except (OSError, csv.Error, CorpuscleError) as error:
        raise DataError(f"{path} cannot be read ({error}). {again}") from error
    if not answers:
        raise DataError(f"{path} holds no prediction. {again}")
    return answers


def _read_json(path: Path, advice: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}). {advice}") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} holds no table of names and values. {advice}")
    return values


def _is_filled_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1
