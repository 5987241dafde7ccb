"""What a map of labeled cells says: classes that run into each other, labels that look wrong, pictures twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from corpuscle import taxonomy
from corpuscle.errors import UsageError
from corpuscle.evaluation.intervals import Interval, wilson_interval
from corpuscle.evaluation.neighbors import nearest_neighbors, trustworthiness
from corpuscle.evaluation.tables import aligned
from corpuscle.prediction.embedding import EmbeddedCells

__all__ = ["Confusable", "MapReport", "Suspect", "Twins", "label_doubts", "report_map"]

Floats = npt.NDArray[np.float32]
_NEIGHBORS: Final = 15
_SUSPECT: Final = 0.5
_TWIN_GRAY: Final = 6.0
"""Mean difference of two thumbnails in gray values below which they show one picture."""
_TWIN_SHARE: Final = 0.3
"""Distance of twins relative to the median distance to the nearest neighbor."""


@dataclass(frozen=True, slots=True)
class Confusable:
    """Two classes that lie next to each other.

    Attributes:
        first: A class.
        second: Another.
        share: Share of the nearest neighbors of cells of either that are of the other.
    """

    first: str
    second: str
    share: float


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that looks wrong.

    Attributes:
        file: The cell.
        label: What it is labeled.
        suggestion: What its neighbors and the model say.
        doubt: In [0, 1], the larger the surer that the label is wrong.
    """

    file: str
    label: str
    suggestion: str
    doubt: float


@dataclass(frozen=True, slots=True)
class Twins:
    """Two files with one picture.

    Attributes:
        first: A file.
        second: Another.
        labels: What each is labeled; empty where it is not.
        distance: Distance of their embeddings relative to the median distance to a nearest neighbor.
    """

    first: str
    second: str
    labels: tuple[str, str]
    distance: float


@dataclass(frozen=True, slots=True)
class MapReport:
    """What a map says.

    Attributes:
        n: Number of cells.
        labeled: How many of them have a label.
        accuracy: Share of the labeled whose nearest labeled neighbor has the same label; None with too few.
        interval: Its 95 % Wilson interval.
        trust: Trustworthiness of the map, at most 1.
        confusable: Pairs of classes, the most mixed first.
        suspects: Labels that look wrong, the surest first.
        twins: Near duplicates, contradicting labels first, then the nearest.
    """

    n: int
    labeled: int
    accuracy: float | None
    interval: Interval | None
    trust: float
    confusable: tuple[Confusable, ...]
    suspects: tuple[Suspect, ...]
    twins: tuple[Twins, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "n": self.n,
            "labeled": self.labeled,
            "nearest_neighbor_accuracy": self.accuracy,
            "nearest_neighbor_interval": self.interval.to_dict() if self.interval else None,
            "trustworthiness": self.trust,
            "confusable": [{"first": c.first, "second": c.second, "share": c.share} for c in self.confusable],
            "suspects": [{"file": s.file, "label": s.label, "suggestion": s.suggestion, "doubt": s.doubt}
                         for s in self.suspects],
            "twins": [{"first": t.first, "second": t.second, "labels": list(t.labels), "distance": t.distance}
                      for t in self.twins],
        }  # fmt: skip

    def text(self, *, most: int = 10) -> str:
        """Return the report for people, with the first few of each list."""
        lines = [f"{self.n} cells, {self.labeled} with a label. Trustworthiness of the map: {self.trust:.3f}."]
        if self.accuracy is not None and self.interval is not None:
            ends = self.interval
            lines.append(
                f"The nearest neighbor has the same label for {self.accuracy:.2%} "
                f"(95 % {ends.low:.2%}-{ends.high:.2%}, n = {self.labeled})."
            )
        if self.confusable:
            lines += ["", "Classes that run into each other (share of neighbors that are of the other class):"]
            lines += aligned([[f"  {_name(c.first)} / {_name(c.second)}", f"{c.share:.2%}"]
                              for c in self.confusable[:most]])  # fmt: skip
        if self.labeled:
            lines += ["", f"Labels that look wrong: {len(self.suspects)}."]
            rows = [[f"  {s.file}", _name(s.label), f"rather {_name(s.suggestion)}", f"{s.doubt:.2f}"]
                    for s in self.suspects[:most]]  # fmt: skip
            lines += aligned(rows, left=(0, 1, 2)) if rows else []
        lines += ["", f"Pictures that are there twice: {len(self.twins)} pairs."]
        lines += [f"  {t.first} = {t.second}" + _contradiction(t) for t in self.twins[:most]]
        return "\n".join(lines)


def _name(key: str) -> str:
    return taxonomy.cell_class(key).name_en


def _contradiction(twins: Twins) -> str:
    first, second = twins.labels
    return f"  (labeled {_name(first)} and {_name(second)})" if first and second and first != second else ""


def label_doubts(
    labels: npt.NDArray[np.int64], probabilities: Floats, neighbors: npt.NDArray[np.int64]
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Say how doubtful each label is, and which class is likelier.

    The model and the nearest neighbors are two witnesses. Each gives every class a share: the model its probability,
    the neighbors their votes, where a neighbor whose own label the model finds unlikely counts less. The doubt is how
    much more the best other class has than the label, on the mean of both; no witness alone can bring it above 0.5. In
    the spirit of confident learning (Northcutt, Jiang, Chuang 2021, doi 10.1613/jair.1.12125).

    Args:
        labels: N int64, places of the classes.
        probabilities: NxK float32.
        neighbors: NxM int64, places of the nearest other cells.

    Returns:
        N float32 in [0, 1], and N int64, the likeliest other class.
    """
    n, k = probabilities.shape
    trust = probabilities[np.arange(n), labels] + 0.1
    votes = np.zeros((n, k), np.float64)
    for column in neighbors.T:
        np.add.at(votes, (np.arange(n), labels[column]), trust[column])
    shares = (votes / votes.sum(axis=1, keepdims=True) + probabilities) / 2
    own = shares[np.arange(n), labels]
    others = shares.copy()
    others[np.arange(n), labels] = -1
    best = others.argmax(axis=1)
    doubt = np.maximum(others[np.arange(n), best] - own, 0.0)
    return doubt.astype(np.float32), best.astype(np.int64)


def report_map(cells: EmbeddedCells, coordinates: Floats) -> MapReport:
    """Read a map.

    Args:
        cells: The cells, some or all with labels.
        coordinates: Nxd float32, a row of the map for each.

    Raises:
        UsageError: The map has another number of rows, or there are fewer than three cells.
    """
    if len(coordinates) != len(cells) or len(cells) < 3:
        raise UsageError(f"A report needs three cells or more, a place for each, not {len(cells)} cells and "
                         f"{len(coordinates)} places.")  # fmt: skip
    accuracy, interval = None, None
    confusable: tuple[Confusable, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    classes = tuple(cells.predictions[0].probabilities)
    keys = [taxonomy.ancestor_in(item.label, classes) or item.label if item.label else "" for item in cells.specimens]
    known = np.flatnonzero([bool(key) for key in keys])
    if len(known) > 2:
        names = (*classes, *sorted({keys[place] for place in known} - set(classes)))
        labels = np.asarray([names.index(keys[place]) for place in known], np.int64)
        # In a small set so many neighbors would reach into other classes.
        fair = len(known) // (3 * len(set(labels.tolist())))
        near, _ = nearest_neighbors(cells.embeddings[known], min(max(3, min(_NEIGHBORS, fair)), len(known) - 1))
        right = int((labels[near[:, 0]] == labels).sum())
        accuracy, interval = right / len(known), wilson_interval(right, len(known))
        confusable = _confusable(labels, near, names)
        probabilities = np.zeros((len(known), len(names)), np.float32)
        probabilities[:, : len(classes)] = [list(cells.predictions[place].probabilities.values()) for place in known]
        doubts, better = label_doubts(labels, probabilities, near)
        order = [place for place in np.argsort(-doubts, kind="stable") if doubts[place] > _SUSPECT]
        suspects = tuple(
            Suspect(cells.specimens[known[p]].file, names[labels[p]], names[better[p]], float(doubts[p])) for p in order
        )
    trust = trustworthiness(cells.embeddings, coordinates)
    twins = _twins(cells, keys)
    return MapReport(len(cells), len(known), accuracy, interval, trust, confusable, suspects, twins)


def _confusable(
    labels: npt.NDArray[np.int64], near: npt.NDArray[np.int64], names: Sequence[str]
) -> tuple[Confusable, ...]:
    """Rank pairs of classes by how often cells of one are neighbors of cells of the other."""
    k = len(names)
    table = np.zeros((k, k))
    np.add.at(table, (np.repeat(labels, near.shape[1]), labels[near].ravel()), 1)
    sums = table.sum(axis=1)
    pairs = [
        Confusable(names[a], names[b], float((table[a, b] + table[b, a]) / (sums[a] + sums[b])))
        for a in range(k)
        for b in range(a + 1, k)
        if table[a, b] + table[b, a] > 0
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.share))


def _twins(cells: EmbeddedCells, keys: Sequence[str]) -> tuple[Twins, ...]:
    """Find pairs whose embeddings and whose thumbnails are all but the same."""
    near, away = nearest_neighbors(cells.embeddings, min(3, len(cells) - 1))
    usual = max(float(np.median(away[:, 0])), 1e-9)
    small = cells.thumbnails.astype(np.int16)
    found: dict[tuple[int, int], float] = {}
    for place, (others, distances) in enumerate(zip(near, away / usual, strict=True)):
        for other, distance in zip(others.tolist(), distances.tolist(), strict=True):
            pair = (min(place, other), max(place, other))
            alike = distance < _TWIN_SHARE and float(np.abs(small[place] - small[other]).mean()) < _TWIN_GRAY
            if alike:
                found[pair] = distance
    rows = [
        Twins(cells.specimens[a].file, cells.specimens[b].file, (keys[a], keys[b]), distance)
        for (a, b), distance in found.items()
    ]
    return tuple(sorted(rows, key=lambda item: (not _contradiction(item), item.distance)))
