"""Whether heat maps are true: do they lie on the cell, does the answer hang on them, do they need the weights.

- Pointing game: is the strongest place inside the cell (Zhang et al. 2018, doi 10.1007/s11263-017-1059-x)?
- Energy inside: which share of the evidence lies in the cell (Wang et al. 2020, "Score-CAM", section 4.3)?
- Deletion and insertion: how the probability of the class goes when the strongest places are replaced by empty slide,
  or are all that is left of the picture; area under the curve (Petsiuk, Das, Saenko 2018, "RISE").
- Randomized weights: how alike the map of the same network with weights drawn anew is (Adebayo et al. 2018).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpuscle.data.labeled import LabeledCell, labeled_cells
from corpuscle.errors import CorpuscleError, DataError
from corpuscle.evaluation.cell_places import place_of
from corpuscle.evaluation.intervals import Interval, wilson_interval
from corpuscle.evaluation.tables import aligned
from corpuscle.models.bundle import DEFAULT_MODEL, Bundle
from corpuscle.prediction.calibration import softmax
from corpuscle.prediction.classification import CellReader
from corpuscle.preprocessing.transforms import WHITE, cut, prepare, to_batch

__all__ = [
    "BASELINES",
    "ExplanationEvaluation",
    "MethodResult",
    "deletion_insertion",
    "evaluate_explanations",
    "pointing_energy",
    "rank_correlation",
]

Floats = npt.NDArray[np.float32]
Crops = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]
_STEPS: Final = 11
_PER_CALL: Final = 16
BASELINES: Final = ("random", "center")
"""Maps that know nothing of the picture: noise, and a hill in the middle. A method must beat both to say anything."""


class Maker(Protocol):
    """Makes maps (Nxhxw float32, signed) for a batch and one class a picture."""

    def maps(self, batch: Floats, targets: npt.NDArray[np.int64]) -> Floats:
        """Return the maps."""
        ...


@dataclass(frozen=True, slots=True)
class MethodResult:
    """How true the maps of one method are.

    Attributes:
        method: Its name.
        n: Number of cells.
        pointing: Share of the maps whose strongest place lies in the cell.
        interval: Its 95 % Wilson interval.
        energy: Mean share of the evidence that lies in the cell.
        deletion: Mean area under the deletion curve, in [0, 1]; less is better.
        insertion: Mean area under the insertion curve, in [0, 1]; more is better.
        likeness: Mean absolute rank correlation with the maps of the randomized network; None where not measured.
        milliseconds: Time for one map.
    """

    method: str
    n: int
    pointing: float
    interval: Interval
    energy: float
    deletion: float
    insertion: float
    likeness: float | None
    milliseconds: float


@dataclass(frozen=True, slots=True)
class ExplanationEvaluation:
    """How true the maps of a bundle are on one data set, method by method.

    Attributes:
        model: Name and version.
        dataset: As asked for.
        split: As asked for; empty for all.
        n: Number of cells that were measured: those drawn, less those in which no cell was found.
        total: Number of cells of the split.
        area: Mean share of the judged square that the cell fills: what a blind guess would score.
        methods: One result a method, baselines last.
    """

    model: str
    dataset: str
    split: str
    n: int
    total: int
    area: float
    methods: tuple[MethodResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        rows = [
            {name: getattr(item, name) for name in item.__dataclass_fields__ if name != "interval"}
            | {"interval": item.interval.to_dict()}
            for item in self.methods
        ]
        plain = {name: getattr(self, name) for name in ("model", "dataset", "split", "n", "total", "area")}
        return {**plain, "methods": rows}

    def text(self) -> str:
        """Return a table for people."""
        head = ["method", "peak in cell", "95 %", "energy in cell", "deletion", "insertion", "random weights", "ms"]
        rows = [
            [
                item.method,
                f"{item.pointing:.1%}",
                f"{item.interval.low:.1%}-{item.interval.high:.1%}",
                f"{item.energy:.1%}",
                f"{item.deletion:.3f}",
                f"{item.insertion:.3f}",
                "" if item.likeness is None else f"{item.likeness:.2f}",
                f"{item.milliseconds:.1f}",
            ]
            for item in self.methods
        ]
        where = f"{self.dataset} {self.split}".strip()
        return "\n".join(
            [
                f"{self.model} on {where}, n = {self.n} of {self.total}; "
                f"the cell fills {self.area:.1%} of the judged square.",
                *aligned([head, *rows]),
                "Better: more in the cell, less deletion, more insertion, less like the map of random weights.",
                "random and center know nothing of the picture: noise, and a hill in the middle. Cells lie in the",
                "middle of their crops, so center does well in the first columns without being an explanation.",
            ]
        )


def pointing_energy(maps: Floats, masks: Masks) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Say whether each map peaks in its cell, and which share of its evidence lies there.

    Args:
        maps: NxSxS float32; what is below 0 counts as none.
        masks: NxSxS, the pixels of each cell.

    Returns:
        N bool and N float64 in [0, 1]; a map without evidence peaks nowhere and has no share inside.
    """
    flat = np.maximum(maps.reshape(len(maps), -1), 0).astype(np.float64)
    inside = masks.reshape(len(masks), -1)
    total = flat.sum(axis=1)
    hit = inside[np.arange(len(flat)), flat.argmax(axis=1)] & (total > 0)
    return hit, (flat * inside).sum(axis=1) / np.maximum(total, 1e-12)


def deletion_insertion(run: Callable[[Crops], Floats], crop: Crops, cam: Floats, target: int) -> tuple[float, float]:
    """Return the areas under the deletion and the insertion curve of one map.

    Args:
        run: From crops (NxSxSx3 uint8) to probabilities NxK.
        crop: SxSx3 uint8.
        cam: SxS float32; its order alone counts.
        target: Place of the class that was explained.
    """
    side = crop.shape[0]
    order = np.argsort(-cam.ravel(), kind="stable")
    rank = np.empty(side * side, np.int64)
    rank[order] = np.arange(side * side)
    rank = rank.reshape(side, side)
    shares = np.linspace(0, 1, _STEPS)
    crops = np.empty((2, _STEPS, side, side, 3), np.uint8)
    for step, share in enumerate(shares):
        strongest = (rank < round(share * side * side))[..., None]
        crops[0, step] = np.where(strongest, WHITE, crop)
        crops[1, step] = np.where(strongest, crop, WHITE)
    found = run(crops.reshape(-1, side, side, 3))[:, target].reshape(2, _STEPS)
    deletion, insertion = (float(np.trapezoid(curve, shares)) for curve in found)
    return deletion, insertion


def rank_correlation(first: Floats, second: Floats) -> float:
    """Return Spearman's rank correlation of two maps of one size; 0 where one of them is flat."""
    ranks = [_ranks(item) for item in (first, second)]
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Floats) -> npt.NDArray[np.float64]:
    """Rank values; equal ones share their mean rank."""
    _, place, count = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return np.asarray((ends - (count - 1) / 2)[place], np.float64)


@dataclass(frozen=True, slots=True)
class _Cells:
    """What is explained: crops at the network's size, where their cells are, and the predicted classes."""

    crops: Crops
    masks: Masks
    targets: npt.NDArray[np.int64]


def evaluate_explanations(
    dataset: str | Path,
    *,
    makers: Mapping[str, Maker],
    randomized: Mapping[str, Maker],
    model: str | os.PathLike[str] | Bundle = DEFAULT_MODEL,
    split: str = "",
    root: str | Path | None = None,
    limit: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ExplanationEvaluation:
    """Measure how true maps are; each explains the class that was predicted.

    Args:
        dataset: A labeled set. Where it has boxes of the cells they say where the cell is, else segmentation does.
        makers: A way to make maps for each method.
        randomized: The same with weights drawn anew, for those methods where that can be had.
        model: The bundle that the makers were made from.
        split: Split of the set.
        root: Folder that holds the data sets.
        limit: Number of cells, drawn at random with a fixed seed; all if 0.
        progress: Called with (methods done, all).

    Raises:
        DataError: In no picture a cell can be found.
        DatasetNotFoundError: The data set is not there.
    """
    reader = CellReader(model)
    cells = labeled_cells(dataset, split=split, root=root)
    total = len(cells)
    if limit and limit < len(cells):
        chosen = np.random.default_rng(0).permutation(len(cells))[:limit]
        cells = [cells[place] for place in sorted(chosen)]
    given = _prepared(reader, cells)
    names = [*makers, *BASELINES]
    results = []
    for done, name in enumerate(names, start=1):
        results.append(_measure(reader, given, name, makers.get(name), randomized.get(name)))
        if progress:
            progress(done, len(names))
    title = f"{reader.bundle.name} {reader.bundle.version}"
    return ExplanationEvaluation(
        title, str(dataset), split, len(given.crops), total, float(given.masks.mean()), tuple(results)
    )


def _prepared(reader: CellReader, cells: Sequence[LabeledCell]) -> _Cells:
    spec = reader.bundle.preprocessing
    crops, masks = [], []
    nothing = np.zeros(3, np.float32)
    for cell in cells:
        try:
            image, mask = place_of(cell)
        except CorpuscleError:
            continue
        if mask is None:
            continue
        crop, framing = prepare(image, spec, framing=reader.framing)
        painted = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)
        inside = cut(painted, framing, spec.input_px, background=nothing)[..., 0] >= 128
        if inside.any():
            crops.append(crop)
            masks.append(inside)
    if not crops:
        raise DataError("In none of the pictures a stained cell was found. Choose another data set.")
    stacked = np.stack(crops)
    targets = np.concatenate(
        [reader.run_network(to_batch(part, spec)).logits.argmax(axis=1) for part in _parts(stacked)]
    )
    return _Cells(stacked, np.stack(masks), targets.astype(np.int64))


def _parts(crops: Crops) -> Iterator[Crops]:
    for start in range(0, len(crops), _PER_CALL):
        yield crops[start : start + _PER_CALL]


def _measure(
    reader: CellReader, given: _Cells, name: str, maker: Maker | None, randomized: Maker | None
) -> MethodResult:
    """Measure one method, or a baseline where there is no maker."""
    side = given.crops.shape[1]
    began = time.perf_counter()
    small = _maps(reader, given, maker) if maker else _baseline(name, len(given.crops))
    seconds = time.perf_counter() - began
    maps = np.stack([_enlarged(item, side) for item in small])
    hits, energy = pointing_energy(maps, given.masks)
    likeness = None
    if randomized:
        pairs = zip(small, _maps(reader, given, randomized), strict=True)
        likeness = float(np.mean([abs(rank_correlation(first, second)) for first, second in pairs]))

    def run(crops: Crops) -> Floats:
        logits = reader.run_network(to_batch(crops, reader.bundle.preprocessing)).logits
        return np.asarray(softmax(logits, reader.bundle.temperature), np.float32)

    areas = [
        deletion_insertion(run, crop, cam, int(target))
        for crop, cam, target in zip(given.crops, maps, given.targets, strict=True)
    ]
    return MethodResult(
        method=name,
        n=len(hits),
        pointing=float(hits.mean()),
        interval=wilson_interval(int(hits.sum()), len(hits)),
        energy=float(energy.mean()),
        deletion=float(np.mean([pair[0] for pair in areas])),
        insertion=float(np.mean([pair[1] for pair in areas])),
        likeness=likeness,
        milliseconds=1000 * seconds / len(hits),
    )


def _maps(reader: CellReader, given: _Cells, maker: Maker) -> Floats:
    found, start = [], 0
    for part in _parts(given.crops):
        batch = to_batch(part, reader.bundle.preprocessing)
        found.append(maker.maps(batch, given.targets[start : start + len(part)]))
        start += len(part)
    return np.concatenate(found)


def _baseline(name: str, n: int) -> Floats:
    """Return n maps of 10x10 places that know nothing of the pictures."""
    if name == "random":
        return np.random.default_rng(0).random((n, 10, 10)).astype(np.float32)
    away = np.hypot(*(np.mgrid[:10, :10] - 4.5))
    return np.repeat(np.exp(-((away / 3) ** 2))[None].astype(np.float32), n, axis=0)


def _enlarged(cam: Floats, side: int) -> Floats:
    return np.asarray(Image.fromarray(cam).resize((side, side), Image.Resampling.BICUBIC), np.float32)
