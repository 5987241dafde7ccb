"""Adds to a bundle what says why: attributes in words and the nearest known cells, with their measured worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpuscle import taxonomy
from corpuscle.data.attributes import ATTRIBUTES, AttributedCell, attributed_cells, fit_list, select_list
from corpuscle.data.catalog import DATASETS
from corpuscle.data.labeled import LABELED_SETS, LabeledCell, labeled_cells
from corpuscle.errors import DataError, UsageError
from corpuscle.evaluation.attributes import AttributeEvaluation, evaluate_attributes
from corpuscle.evaluation.neighbors import nearest_neighbors
from corpuscle.files import written_whole
from corpuscle.models.attribute_probe import AttributeProbe, write_probe
from corpuscle.models.bundle import Bundle, write_manifest
from corpuscle.models.card import model_card
from corpuscle.models.known_cells import KnownCells, make_known_cells, write_known_cells
from corpuscle.prediction.probing import Annotated, choose_certain, fit_probe, usual_shares
from corpuscle.prediction.refit import Embedded, embed
from corpuscle.reporting.ledger import Figure

__all__ = ["Enrichment", "KnownCellsResult", "enrich", "enrichment_figures"]

Progress = Callable[[int, int], None]
_RARE = 0.05
_SEEN = "the network learned the class of most of these cells, not their attributes"
_UNSEEN = "cells of PBC's test split alone, none of which the network has seen"
_QUERIES = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class KnownCellsResult:
    """What an index of known cells is worth.

    Attributes:
        n: Number of known cells.
        axes: Numbers kept for each.
        size_bytes: Size of the file.
        queries: Number of cells that were looked up.
        same_nearest: Share of them whose nearest known cell is the exact one.
        farther: By which share the cell found is farther than the exact one, at most, for 95 % of them.
        same_class: Share of them whose nearest known cell has their label.
        where: Which cells were looked up.
    """

    n: int
    axes: int
    size_bytes: int
    queries: int
    same_nearest: float
    farther: float
    same_class: float
    where: str

    def text(self) -> str:
        """Return one line for people."""
        return (
            f"{self.n} known cells, {self.axes} numbers each, {self.size_bytes / 1e6:.2f} MB. Of {self.queries} cells "
            f"of {self.where}: {self.same_nearest:.1%} find the nearest one that exact embeddings give, 95 % one at "
            f"most {self.farther:.1%} farther; the nearest has the label of {self.same_class:.1%}."
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Enrichment:
    """What was added to a bundle.

    Attributes:
        bundle: The bundle as written.
        attributes: On WBCAtt's test list, and on that part of it which the network has not seen; empty if not asked.
        known: What the index of known cells is worth; None if not asked.
    """

    bundle: Bundle
    attributes: tuple[AttributeEvaluation, ...]
    known: KnownCellsResult | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        known = dataclasses.asdict(self.known) if self.known else None
        return {"bundle": str(self.bundle.folder), "attributes": [item.to_dict() for item in self.attributes],
                "known_cells": known}  # fmt: skip

    def text(self) -> str:
        """Return everything for people."""
        return "\n\n".join([*(item.text() for item in self.attributes), *([self.known.text()] if self.known else [])])


def enrich(
    bundle: Bundle, *, known: Sequence[str] = (), root: str | Path | None = None, progress: Progress | None = None
) -> Enrichment:
    """Fit attributes, index the known cells, measure both, and write them into the bundle's folder with card and hash.

    Args:
        bundle: A bundle whose folder can be written.
        known: Labeled sets whose train split is indexed; those that the bundle names as its training data if empty.
        root: Folder that holds the data sets.
        progress: Called with (done, all), once for each run over cells.

    Raises:
        UsageError: The bundle names no training data that is known, so `known` must.
        DataError: The bundle knows none of the annotated classes.
        DatasetNotFoundError: PBC, WBCAtt or a set of known cells is not there.
        OutputError: The folder cannot be written.
    """
    names = list(known) or [row["dataset"] for row in bundle.training_data if row["dataset"] in LABELED_SETS]
    if not names:
        raise UsageError(f"{bundle.name} names no training data that is known. Name a labeled set with --known.")
    probe, evaluations = _attributes(bundle, attributed_cells(root=root), progress)
    index, result = _known_cells(bundle, list(dict.fromkeys(names)), root, progress)
    write_probe(bundle, probe)
    path = write_known_cells(bundle, index)
    result = dataclasses.replace(result, size_bytes=path.stat().st_size)
    kept = [row for row in bundle.metrics if row["dataset"] != "wbcatt"]
    changed = dataclasses.replace(
        bundle,
        metrics=(*kept, *(row for item in evaluations for row in _metric_rows(item))),
        attribution=_attribution(bundle),
    )
    with written_whole(bundle.folder / "README.md") as part:
        part.write_text(model_card(changed), encoding="utf-8")
    return Enrichment(write_manifest(changed), evaluations, result)


def _attribution(bundle: Bundle) -> tuple[str, ...]:
    """Name WBCAtt among those whose work is in the bundle."""
    row = DATASETS["wbcatt"]
    line = f"Attributes fitted on {row.name} ({row.licence}): {row.citation}."
    return (*(item for item in bundle.attribution if item != line), line)


def _attributes(
    bundle: Bundle, cells: Sequence[AttributedCell], progress: Progress | None
) -> tuple[AttributeProbe, tuple[AttributeEvaluation, ...]]:
    """Fit on WBCAtt's train list, choose on its val list, measure once on its test list."""
    train, test = fit_list(cells), select_list(cells, "test")
    val = [item for item in cells if item.part == "val" and item.cell.split != "test"]
    classes = tuple(sorted({item.cell.class_name for item in train} & set(bundle.classes)))
    if not classes:
        raise DataError(f"{bundle.name} knows none of the annotated classes.")
    chosen = [item for item in [*train, *val, *test] if item.cell.class_name in classes]
    embedded = embed(bundle, [item.cell for item in chosen], progress=progress)
    attributes = {item.key: tuple(dict.fromkeys(item.values.values())) for item in ATTRIBUTES}
    places = np.asarray(
        [[attributes[a.key].index(v) for a, v in zip(ATTRIBUTES, c.values, strict=True)] for c in chosen]
    )
    labels = np.asarray([classes.index(item.cell.class_name) for item in chosen])
    part = np.asarray([item.part for item in chosen])

    def rows(mask: npt.NDArray[np.bool_]) -> tuple[Annotated, npt.NDArray[np.int64]]:
        return Annotated(embedded.embedding[mask], places[mask]), labels[mask]

    (fit, fit_labels), (check, check_labels) = rows(part == "train"), rows(part == "val")
    sizes = [len(values) for values in attributes.values()]
    weights, bias, _ = fit_probe(fit, check, sizes)
    usual = usual_shares(fit.values, fit_labels, sizes, len(classes))
    probe = AttributeProbe(attributes, classes, weights, bias, usual, 1.0, _RARE)
    probe = choose_certain(probe, check, check_labels)
    columns = probe.columns().values()
    majority = [int(np.bincount(column).argmax()) for column in fit.values.T]
    usual_values = np.stack([usual[:, block].argmax(axis=1) for block in columns], axis=1)
    unseen = (part == "test") & np.asarray([item.cell.split == "test" for item in chosen])
    evaluations = []
    for mask, where, note in ((part == "test", "wbcatt test", _SEEN), (unseen, "wbcatt test, pbc test", _UNSEEN)):
        given, truth = rows(mask)
        evaluations.append(
            evaluate_attributes(
                probe, given, truth, (majority, usual_values), model=f"{bundle.name} {bundle.version}", where=where,
                note=note,
            )
        )  # fmt: skip
    return probe, tuple(evaluations)


def _known_cells(
    bundle: Bundle, names: Sequence[str], root: str | Path | None, progress: Progress | None
) -> tuple[KnownCells, KnownCellsResult]:
    """Index the train splits of data sets, and look cells of the first one's test split up."""
    cells, files = list[LabeledCell](), list[str]()
    for name in names:
        some = _known_to(bundle, labeled_cells(name, split="train", root=root))
        cells += some
        files += [f"{name}/{cell.file}" for cell in some]
    found = embed(bundle, cells, progress=progress)
    _, away = nearest_neighbors(found.embedding, 1)
    index = make_known_cells(found.embedding, files, found.labels, bundle.classes, unit=float(np.median(away[:, 0])))
    queries = _known_to(bundle, labeled_cells(names[0], split="test", root=root))
    drawn = np.sort(np.random.default_rng(0).permutation(len(queries))[:_QUERIES])
    asked = embed(bundle, [queries[place] for place in drawn], progress=progress)
    same, farther, alike = _agreement(index, asked, found, files)
    result = KnownCellsResult(
        len(index.files), index.axes.shape[1], 0, len(drawn), same, farther, alike, f"{names[0]} test"
    )
    return index, result


def _known_to(bundle: Bundle, cells: Sequence[LabeledCell]) -> list[LabeledCell]:
    return [cell for cell in cells if taxonomy.ancestor_in(cell.class_name, bundle.classes)]


def _agreement(index: KnownCells, asked: Embedded, known: Embedded, files: Sequence[str]) -> tuple[float, float, float]:
    """Return how often the index finds the nearest cell, how much farther it is else, how often its label is right."""
    place_of = {file: place for place, file in enumerate(files)}
    found = [near for (near,) in index.nearest(asked.embedding, 1)]
    places = np.asarray([place_of[file] for file in index.files])
    points, same, more = known.embedding[places], 0, []
    for near, query in zip(found, asked.embedding, strict=True):
        away = np.linalg.norm(points - query, axis=1)
        same += near.file == index.files[int(away.argmin())]
        own = float(np.linalg.norm(known.embedding[place_of[near.file]] - query))
        more.append(own / max(float(away.min()), 1e-9) - 1)
    alike = sum(
        near.class_name == index.classes[label] for near, label in zip(found, asked.labels.tolist(), strict=True)
    )
    return same / len(found), float(np.quantile(more, 0.95)), alike / len(found)


def _metric_rows(result: AttributeEvaluation) -> list[dict[str, Any]]:
    """Return the rows of a card."""
    rows: list[dict[str, Any]] = []
    split = result.where.removeprefix("wbcatt ")
    for item in result.results:
        for figure, value, ends in (
            ("accuracy", item.accuracy, item.interval),
            ("macro F1", item.macro_f1, item.macro_f1_interval),
        ):
            rows.append(
                {
                    "dataset": "wbcatt", "split": split, "figure": f"{figure} of {item.attribute}", "value": value,
                    "interval": [ends.low, ends.high], "n": result.n, "seeds": 1,
                    "note": f"{result.note}; majority {item.majority:.4f}",
                }
            )  # fmt: skip
    return rows


def enrichment_figures(result: Enrichment) -> list[Figure]:
    """Return what was measured for the page of figures."""
    figures = []
    for part in result.attributes:
        for item in part.results:
            about = f"majority {item.majority:.4f}, the class alone {item.by_class:.4f}; {part.note}"
            for name, value, ends in (
                ("accuracy", item.accuracy, item.interval),
                ("macro F1", item.macro_f1, item.macro_f1_interval),
            ):
                figures.append(
                    Figure(
                        f"{part.model}: {item.attribute.replace('_', ' ')}, {name}", f"{value:.4f}",
                        f"{ends.low:.4f}-{ends.high:.4f}", part.where, part.n, note=about,
                    )
                )  # fmt: skip
    if result.known:
        known = result.known
        model = f"{result.bundle.name} {result.bundle.version}"
        about = f"{known.n} known cells, {known.axes} numbers each, {known.size_bytes / 1e6:.2f} MB"
        rows = (
            ("exactly nearest known cell found", known.same_nearest),
            ("nearest known cell has the label", known.same_class),
        )
        figures += [
            Figure(f"{model}: {name}", f"{value:.4f}", "", known.where, known.queries, note=about)
            for name, value in rows
        ]
    return figures
