"""How well whole fields are counted as a user counts them: with the erythrocytes as ruler, no scale told."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpuscle.data.drawn_scenes import SceneSpec, draw_scene
from corpuscle.data.fields import LabeledField, labeled_fields
from corpuscle.errors import CorpuscleError, DataError, UsageError
from corpuscle.evaluation.agreement import bland_altman, lin_concordance
from corpuscle.evaluation.counting_errors import CountingErrors, KindErrors, counting_errors
from corpuscle.evaluation.intervals import Interval
from corpuscle.prediction.fields import FieldReader
from corpuscle.records import CELL_KINDS, CellKind, Failure

__all__ = ["DRAWN_SCENES", "SCENES", "CountingEvaluation", "KindAgreement", "evaluate_counting"]

DRAWN_SCENES = "drawn-scenes"
"""Name of the drawn fields as a data set; its splits are the keys of `SCENES`."""

_PLAIN = SceneSpec(leukocytes={"neutrophil": 2, "lymphocyte": 1, "monocyte": 1}, platelets=5, erythrocytes=70)
SCENES: dict[str, SceneSpec] = {
    "plain": _PLAIN,
    "clumped": replace(_PLAIN, clumped=0.6),
    "blurred": replace(_PLAIN, blur_px=1.5),
    "uneven-light": replace(_PLAIN, uneven_light=0.45),
    "stain": replace(_PLAIN, stain=(1.3, 1.0, 0.8)),
    "small": replace(_PLAIN, erythrocyte_px=24, width_px=400, height_px=300),
    "large": replace(_PLAIN, erythrocyte_px=90, width_px=1440, height_px=1080),
    "surrounded": replace(_PLAIN, black_px=160),
}
"""Drawn fields of several kinds: clumps, blur, uneven light, another stain, other magnifications, black around."""

_PER_SCENE = 6
_ERYTHROCYTE = CELL_KINDS.index("erythrocyte")
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class KindAgreement:
    """Agreement of the counts of one kind with the annotator's: concordance, bias and limits (counted less drawn)."""

    concordance: float
    concordance_interval: Interval
    bias: float
    lower: float
    upper: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {key: getattr(self, key) for key in self.__dataclass_fields__}
        return values | {"concordance_interval": self.concordance_interval.to_dict()}


@dataclass(frozen=True, slots=True)
class CountingEvaluation:
    """What `evaluate_counting` measured.

    Attributes:
        model: Detector by name.
        dataset: Data set as asked for.
        split: Split as asked for; empty for all.
        leak: Why the figures flatter, empty if nothing is known to leak.
        n: Number of fields.
        errors: Errors of the counts of each kind.
        agreement: Agreement of the counts of each kind; a kind whose counts are all equal is left out.
        rulers: How many fields were measured by which ruler.
        failures: Fields that could not be read.
        reviewed: Errors of the counts of each kind where cells that the annotators left out count too, in the fields
            that were looked through for them; a kind that nobody looked for is not there.
    """

    model: str
    dataset: str
    split: str
    leak: str
    n: int
    errors: CountingErrors
    agreement: dict[CellKind, KindAgreement]
    rulers: dict[str, int]
    failures: tuple[Failure, ...] = field(default=())
    reviewed: dict[CellKind, KindErrors] = field(default_factory=dict)

    def text(self) -> str:
        """Return a report for people."""
        where = f"{self.dataset} {self.split}".strip()
        lines = [
            f"{self.model} on {where} (n = {self.n} fields{'; ' + self.leak if self.leak else ''}), magnification by "
            + ", ".join(f"{method} {count}" for method, count in sorted(self.rulers.items())),
            "",
            f"{'kind':<13}{'exact':>8}{'abs. error':>12}{'% error':>9}{'bias':>8}{'concordance':>13}   limits",
        ]
        for kind, row in self.errors.by_kind.items():
            percent = f"{row.percentage:9.2f}" if row.percentage is not None else f"{'-':>9}"
            line = f"{kind:<13}{row.exact:8.1%}{row.absolute:12.3f}{percent}{row.bias:+8.2f}"
            own = self.agreement.get(kind)
            if own:
                line += f"{own.concordance:13.3f}   {own.lower:+.1f} to {own.upper:+.1f}"
            lines.append(line)
        if self.reviewed:
            lines += ["", "with the cells that the annotators left out"]
        for kind, row in self.reviewed.items():
            percent = "" if row.percentage is None else f", off by {row.percentage:.2f} %"
            lines.append(f"{kind:<13}{row.exact:8.1%}{row.absolute:12.3f}{percent} ({row.fields} fields)")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {key: getattr(self, key) for key in ("model", "dataset", "split", "leak", "n", "rulers")}
        return values | {
            "errors": self.errors.to_dict(),
            "agreement": {kind: row.to_dict() for kind, row in self.agreement.items()},
            "reviewed": {kind: row.to_dict() for kind, row in self.reviewed.items()},
            "failures": [{"file": failure.file, "reason": failure.reason} for failure in self.failures],
        }


def evaluate_counting(
    dataset: str,
    *,
    reader: FieldReader,
    split: str = "",
    root: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CountingEvaluation:
    """Count labeled fields as a user would and compare with their boxes.

    Fields whose erythrocytes nobody drew do not count for erythrocytes.

    Args:
        dataset: A set of labeled fields, or `drawn-scenes` with the splits of `SCENES`.
        reader: What reads fields.
        split: Keep only this split; all if empty.
        root: Folder that holds the data sets.
        progress: Called with (done, all).

    Raises:
        UnknownNameError: There is no such set.
        DataError: No field could be read.
    """
    total, fields = _fields(dataset, split, root)
    found, drawn, annotated, reviewed = [], [], [], []
    rulers: Counter[str] = Counter()
    failures = []
    for done, item in enumerate(fields, start=1):
        try:
            image = item.read()
            reading = reader.read(image)
        except CorpuscleError as error:
            failures.append(Failure(item.name, str(error)))
            continue
        rulers[reading.ruler.method] += 1
        found.append([reading.count(kind) for kind in CELL_KINDS])
        drawn.append(item.counts)
        annotated.append([not (item.bare and kind == _ERYTHROCYTE) for kind in range(len(CELL_KINDS))])
        reviewed.append(item.reviewed)
        if progress:
            progress(done, total)
    if not found:
        raise DataError(f"None of the {total} fields of {dataset} could be read. Check the data set.")
    tables = np.array(found, np.int64), np.array(drawn, np.int64), np.array(annotated, bool)
    description = reader.describe()["detector"]
    return CountingEvaluation(
        f"{description['name']} {description['version']}".strip(), dataset, split,
        _leak(description, dataset, split), len(found), counting_errors(*tables), _agreement(*tables), dict(rulers),
        tuple(failures), _of_reviewed(tables[0], reviewed),
    )  # fmt: skip


def _of_reviewed(
    found: npt.NDArray[np.int64], reviewed: Sequence[Mapping[CellKind, int]]
) -> dict[CellKind, KindErrors]:
    """Return the errors of each kind against what is there after a second look, in the fields that had one."""
    there = np.array([[counts.get(kind, 0) for kind in CELL_KINDS] for counts in reviewed], np.int64)
    looked = np.array([[kind in counts for kind in CELL_KINDS] for counts in reviewed], bool)
    return counting_errors(found, there, looked).by_kind if looked.any() else {}


@dataclass(frozen=True, slots=True)
class _Item:
    """A field: its name, how to read it, its counts, whether its erythrocytes lack boxes, and counts read again."""

    name: str
    read: Callable[[], npt.NDArray[np.uint8]]
    counts: list[int]
    bare: bool = False
    reviewed: Mapping[CellKind, int] = field(default_factory=dict)


def _fields(dataset: str, split: str, root: str | os.PathLike[str] | None) -> tuple[int, Iterator[_Item]]:
    """Return how many fields there are, and each."""
    if dataset != DRAWN_SCENES:
        labeled = labeled_fields(dataset, split=split, root=None if root is None else Path(root))
        return len(labeled), map(_labeled, labeled)
    names: Sequence[str] = [split] if split else list(SCENES)
    if split and split not in SCENES:
        raise UsageError(f"{DRAWN_SCENES} has the splits {', '.join(SCENES)}, not {split!r}. Choose one of them.")
    return len(names) * _PER_SCENE, (_drawn(name, seed) for name in names for seed in range(_PER_SCENE))


def _labeled(item: LabeledField) -> _Item:
    counts = np.bincount(item.kinds, minlength=len(CELL_KINDS)).tolist()
    there = np.bincount(item.completed().kinds, minlength=len(CELL_KINDS))
    reviewed = {kind: int(there[CELL_KINDS.index(kind)]) for kind in item.readings}
    return _Item(item.file, item.read, counts, item.erythrocytes_unlabeled, reviewed)


def _drawn(name: str, seed: int) -> _Item:
    scene = draw_scene(SCENES[name], seed)
    return _Item(f"{name} {seed}", lambda: scene.image, [scene.count(kind) for kind in CELL_KINDS])


def _leak(detector: dict[str, Any], dataset: str, split: str) -> str:
    """Say whether the detector learned from, or was chosen on, what it is judged on."""
    used = {(str(row["dataset"]), str(row["split"])) for row in detector.get("training_data", [])}
    if any(name == dataset and split in ("", learned) for name, learned in used):
        return "leaks: fields that the detector was trained on are among these"
    if split == "val" and any(name == dataset for name, _ in used):
        return "chosen on this split"
    return ""


def _agreement(
    found: npt.NDArray[np.int64], drawn: npt.NDArray[np.int64], annotated: npt.NDArray[np.bool_]
) -> dict[CellKind, KindAgreement]:
    agreement: dict[CellKind, KindAgreement] = {}
    for number, kind in enumerate(CELL_KINDS):
        rows = annotated[:, number]
        counted, truth = found[rows, number], drawn[rows, number]
        if rows.sum() < _FEWEST or len({*counted.tolist(), *truth.tolist()}) < 2:
            continue
        concordance, interval = lin_concordance(counted, truth)
        limits = bland_altman(counted, truth)
        agreement[kind] = KindAgreement(concordance, interval, limits.bias, limits.lower, limits.upper)
    return agreement
