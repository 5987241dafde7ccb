"""How well a model tells what it knows from what it does not: several scores of strangeness, compared fairly.

Every score is computed from the same outputs of the same network. A higher value means stranger.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpuscle import taxonomy
from corpuscle.data.labeled import LabeledCell, labeled_cells
from corpuscle.errors import DataError, DatasetNotFoundError, UsageError
from corpuscle.evaluation.intervals import Interval, wilson_interval
from corpuscle.evaluation.metrics import roc_auc
from corpuscle.evaluation.spoilt import chosen_cells
from corpuscle.evaluation.strangers import STRANGERS, strangers
from corpuscle.evaluation.tables import aligned
from corpuscle.models.bundle import DEFAULT_MODEL, Bundle
from corpuscle.prediction.calibration import energy, softmax
from corpuscle.prediction.classification import BATCH, CellReader
from corpuscle.prediction.refusal import NO_CELL, NOT_STAINED
from corpuscle.preprocessing.quality import faults, measure_quality
from corpuscle.preprocessing.transforms import prepare, to_batch

__all__ = ["SCORES", "KindResult", "RefusalStudy", "nearest_neighbours", "refusal_study"]

Image8 = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
SCORES = ("maximum probability", "energy", "Mahalanobis", "nearest neighbours", "Mahalanobis + energy", "shipped rule")
"""What is compared. `shipped rule` is what the bundle refuses by, behind the checks of stain and picture quality."""

_NEIGHBOUR = 5
_BANK = 480
_GATE = 1e3
_UNSEEN = "never learned: "


@dataclass(frozen=True, slots=True)
class KindResult:
    """One kind of strangers against the cells at home.

    Attributes:
        kind: One of `STRANGERS`, or `never learned: CLASS`.
        n: Number of pictures.
        auc: Area under the ROC curve of each score, in [0, 1].
        refused: Share that the shipped rules refuse, doubt included.
        refused_interval: Its 95 % Wilson interval.
    """

    kind: str
    n: int
    auc: dict[str, float]
    refused: float
    refused_interval: Interval


@dataclass(frozen=True, slots=True)
class RefusalStudy:
    """What `refusal_study` measured.

    Attributes:
        model: Name and version of the bundle.
        dataset: Where home is.
        split: Its split.
        n: Number of cells at home.
        accepted: Share of them that the shipped rules accept.
        accepted_accuracy: Share of these that are right; None if all were refused.
        accepted_interval: Its 95 % Wilson interval.
        kinds: A line for each kind of strangers.
        missing: Kinds that could not be measured, as their pictures are not at hand.
    """

    model: str
    dataset: str
    split: str
    n: int
    accepted: float
    accepted_accuracy: float | None
    accepted_interval: Interval | None
    kinds: tuple[KindResult, ...]
    missing: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "model": self.model, "dataset": self.dataset, "split": self.split, "n": self.n, "accepted": self.accepted,
            "accepted_accuracy": self.accepted_accuracy,
            "accepted_interval": self.accepted_interval.to_dict() if self.accepted_interval else None,
            "kinds": [
                {**asdict(item), "refused_interval": item.refused_interval.to_dict()} for item in self.kinds
            ],
            "missing": list(self.missing),
        }  # fmt: skip

    def text(self) -> str:
        """Return the table for people."""
        where = f"{self.dataset} {self.split}".strip()
        lines = [f"{self.model}, home: {where}, n = {self.n}", "", "AUROC against home, and the share refused"]
        rows: list[tuple[str, ...]] = [("kind", "n", *SCORES, "refused")]
        for item in self.kinds:
            areas = (f"{item.auc[score]:.4f}" for score in SCORES)
            rows.append((item.kind, str(item.n), *areas, f"{item.refused:.3f}"))
        lines += aligned(rows)
        if self.accepted_accuracy is not None and self.accepted_interval is not None:
            ends = self.accepted_interval
            lines += ["", f"At home {self.accepted:.4f} accepted; of these {self.accepted_accuracy:.4f} right "
                          f"(95 % {ends.low:.4f}-{ends.high:.4f})."]  # fmt: skip
        if self.missing:
            lines.append(f"Not measured, as BCCD is not at hand: {', '.join(self.missing)}.")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the network gives for pictures, and what the shipped rules make of them."""

    logits: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    is_gated: npt.NDArray[np.bool_]
    is_refused: npt.NDArray[np.bool_]
    classes: tuple[str, ...]


def refusal_study(
    dataset: str | Path = "pbc",
    *,
    model: str | os.PathLike[str] | Bundle = DEFAULT_MODEL,
    split: str = "val",
    root: str | Path | None = None,
    limit: int = 0,
    strange: int = 150,
    made: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RefusalStudy:
    """Compare scores of strangeness on pictures that show no known cell.

    Cells of the data set with a label that the model never learned are strangers too, each class a kind of its own.
    The list of BCCD photographs that erythrocytes and background are cut from has the name of the split (`test` where
    no split is named). Neighbours are looked for among 480 cells of the data set's `train`, each class with its share.

    Args:
        dataset: A labeled set: home.
        model: Name of a shipped bundle, a bundle's folder, or a loaded bundle.
        split: Its split.
        root: Folder that holds the data sets.
        limit: About this many cells at home; all if 0.
        strange: Most pictures of each kind.
        made: Which of `STRANGERS` are tried besides; all of them if not given.
        progress: Called with (kinds done, all).

    Raises:
        UsageError: A number is out of range.
        DataError: No cell has a label that the model knows.
        DatasetNotFoundError: The data set is not there.
    """
    if limit < 0 or strange < 2:
        raise UsageError(f"Give a limit of 0 or more and at least 2 strangers a kind, not {limit} and {strange}.")
    reader = CellReader(model)
    cells = _known(dataset, split, root, reader.bundle.classes, limit)
    bank = _look(reader, (cell.read() for cell in _known(dataset, "train", root, reader.bundle.classes, _BANK)))
    home = _look(reader, (cell.read() for cell in cells))
    scorer = _Scorer(reader.bundle, bank.embedding, home)
    kinds = [
        scorer.result(f"{_UNSEEN}{key}", _look(reader, (cell.read() for cell in chosen_cells(part, strange))))
        for key, part in _never_learned(dataset, split, root, reader.bundle.classes).items()
    ]
    missing = []
    wanted = STRANGERS if made is None else made
    for kind in wanted:
        try:
            pictures = strangers(kind, strange, seed=1, split=split or "test", root=root)
        except DatasetNotFoundError:
            missing.append(kind)
            continue
        kinds.append(scorer.result(kind, _look(reader, iter(pictures))))
        if progress:
            progress(len(kinds) + len(missing), len(kinds) + len(missing) + len(wanted) - list(wanted).index(kind) - 1)
    labels = [taxonomy.ancestor_in(cell.class_name, reader.bundle.classes) for cell in cells]
    right = np.asarray([label == name for label, name in zip(labels, home.classes, strict=True)])
    n_kept, n_right = int((~home.is_refused).sum()), int((right & ~home.is_refused).sum())
    return RefusalStudy(
        model=f"{reader.bundle.name} {reader.bundle.version}", dataset=str(dataset), split=split, n=len(cells),
        accepted=n_kept / len(cells), accepted_accuracy=n_right / n_kept if n_kept else None,
        accepted_interval=wilson_interval(n_right, n_kept) if n_kept else None,
        kinds=tuple(kinds), missing=tuple(missing),
    )  # fmt: skip


def _known(
    dataset: str | Path, split: str, root: str | Path | None, classes: Sequence[str], limit: int
) -> list[LabeledCell]:
    cells = [
        cell
        for cell in labeled_cells(dataset, split=split, root=root)
        if taxonomy.ancestor_in(cell.class_name, classes)
    ]
    if not cells:
        raise DataError(f"{dataset} {split} has no cell of a class that the model knows: {', '.join(classes)}.")
    return chosen_cells(cells, limit)


def _never_learned(
    dataset: str | Path, split: str, root: str | Path | None, classes: Sequence[str]
) -> dict[str, list[LabeledCell]]:
    """Return the cells whose label the model does not know, by label."""
    found: dict[str, list[LabeledCell]] = {}
    for cell in labeled_cells(dataset, split=split, root=root):
        if not taxonomy.ancestor_in(cell.class_name, classes):
            found.setdefault(cell.class_name, []).append(cell)
    return dict(sorted(found.items()))


def _look(reader: CellReader, images: Iterator[Image8]) -> _Seen:
    """Run the network and the shipped rules over pictures."""
    logits, embeddings, gated, answers = [], [], list[bool](), []
    spec = reader.bundle.preprocessing
    while part := list(islice(images, BATCH)):
        prepared = [prepare(image, spec) for image in part]
        crops, framings = np.stack([crop for crop, _ in prepared]), [framing for _, framing in prepared]
        outputs = reader.run_network(to_batch(crops, spec))
        logits.append(outputs.logits)
        embeddings.append(outputs.embedding)
        found = reader.read_crops(crops, framings, [""] * len(part))
        for answer, crop, framing in zip(found, crops, framings, strict=True):
            reasons = answer.reason.split("; ")
            is_odd = NO_CELL in reasons or NOT_STAINED in reasons
            gated.append(is_odd or bool(faults(measure_quality(crop, framing))))
        answers += found
    refused = np.asarray([answer.refused for answer in answers])
    names = tuple(answer.class_name for answer in answers)
    return _Seen(np.concatenate(logits), np.concatenate(embeddings), np.asarray(gated), refused, names)


def nearest_neighbours(bank: npt.NDArray[np.float32], embedding: npt.NDArray[np.float32]) -> Floats:
    """Return the distance of each embedding to its fifth neighbour in a bank, all brought to unit length.

    After Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors".

    Args:
        bank: MxD float32 of known cells; the farthest of them counts where there are fewer than five.
        embedding: NxD float32.
    """
    known, asked = (
        values.astype(np.float64) / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        for values in (bank, embedding)
    )
    squared = np.maximum(2 - 2 * asked @ known.T, 0)
    place = min(_NEIGHBOUR, len(known)) - 1
    return np.asarray(np.sqrt(np.partition(squared, place, axis=1)[:, place]))


class _Scorer:
    """Computes all scores, and the area under the curve of each against home."""

    def __init__(self, bundle: Bundle, bank: npt.NDArray[np.float32], home: _Seen) -> None:
        self._bundle, self._bank, self._reference = bundle, bank, bundle.reference()
        plain = self._plain(home)
        # Scores that are added are first brought to one unit: from the median of home to its 99 % quantile.
        self._units = {name: np.quantile(values, [0.5, 0.99]) for name, values in plain.items()}
        self._home = self._all(home)

    def _plain(self, seen: _Seen) -> dict[str, Floats]:
        return {
            "maximum probability": 1 - softmax(seen.logits, self._bundle.temperature).max(axis=1),
            "energy": energy(seen.logits, self._bundle.temperature),
            "Mahalanobis": self._reference.distance(seen.embedding).astype(np.float64),
            "nearest neighbours": nearest_neighbours(self._bank, seen.embedding),
        }

    def _all(self, seen: _Seen) -> dict[str, Floats]:
        scores = self._plain(seen)
        parts = []
        for name in ("Mahalanobis", "energy"):
            middle, high = self._units[name]
            parts.append((scores[name] - middle) / max(high - middle, 1e-12))
        scores["Mahalanobis + energy"] = parts[0] + parts[1]
        strange = self._bundle.refusal.strangeness(scores["Mahalanobis"], scores["energy"])
        scores["shipped rule"] = strange + _GATE * seen.is_gated
        return scores

    def result(self, kind: str, seen: _Seen) -> KindResult:
        """Set one kind of strangers against home."""
        scores, areas = self._all(seen), {}
        for name in SCORES:
            is_strange = np.concatenate([np.zeros(len(self._home[name]), bool), np.ones(len(scores[name]), bool)])
            areas[name] = roc_auc(is_strange, np.concatenate([self._home[name], scores[name]])) or 0.0
        n, refused = len(seen.is_refused), int(seen.is_refused.sum())
        return KindResult(kind, n, areas, refused / n, wilson_interval(refused, n))
