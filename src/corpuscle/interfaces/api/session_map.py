"""The map of a session's cells: what the network saw in each, laid out so that like lies near like."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from corpuscle.data.labeled import LabeledCell
from corpuscle.errors import UsageError
from corpuscle.explanation.projection import check_method, make_map
from corpuscle.interfaces.api.cell_rows import class_now, kind_now
from corpuscle.interfaces.api.jobs import Job
from corpuscle.interfaces.api.store import Row
from corpuscle.interfaces.api.workbench import Workbench
from corpuscle.prediction.classification import CellReader
from corpuscle.prediction.embedding import Specimen, embed_cells

__all__ = ["MapRequest", "map_points"]

_AT_ONCE: Final = 128


@dataclass(frozen=True, slots=True)
class MapRequest:
    """Which map of which session is wanted; refuses a method or a number of dimensions that no map has."""

    session: str
    method: str = "pca"
    dimensions: int = 2

    def __post_init__(self) -> None:
        """Refuse what no map has."""
        check_method(self.method, self.dimensions)


def map_points(bench: Workbench, job: Job, request: MapRequest) -> list[dict[str, Any]]:
    """Lay the leukocytes and platelets of a session out.

    Returns:
        For each cell its id, coordinates, class as it stands and confidence.

    Raises:
        UsageError: The session has too few cells.
        MissingExtraError: The method's package is not installed.
    """
    with bench.store.steady():
        images, cells = bench.store.images(request.session), bench.store.cells(request.session)
    models = {row["id"]: str(json.loads(row["facts"]).get("model", "")) for row in images}
    rows = [row for row in cells if row["class"] and kind_now(row) in ("leukocyte", "platelet")]
    if not rows:
        raise UsageError("This session has no leukocyte or platelet to map yet. Add pictures.")
    reader = bench.readers.named(models[rows[0]["image"]])
    own = f"{reader.bundle.name} {reader.bundle.version}"
    job.total = len(rows)
    found = {
        row["id"]: np.frombuffer(row["embedding"], np.float32)
        for row in rows
        if row["embedding"] and models[row["image"]] == own
    }
    missing = [row for row in rows if row["id"] not in found]
    for start in range(0, len(missing), _AT_ONCE):
        new = _seen(bench, job, reader, missing[start : start + _AT_ONCE])
        bench.store.keep_embeddings(new)
        found |= new
    job.done = len(rows)
    vectors = np.stack([found[row["id"]] for row in rows])
    cell_map = make_map(vectors, method=request.method, dimensions=request.dimensions, model=own)
    return [_point(row, place) for row, place in zip(rows, cell_map.coordinates, strict=True)]


def _point(row: Row, place: npt.NDArray[np.float32]) -> dict[str, Any]:
    axes = {axis: float(f"{value:.6g}") for axis, value in zip("xyz", place, strict=False)}
    return {"cell": row["id"], **axes, "class": class_now(row), "confidence": row["confidence"]}


def _seen(bench: Workbench, job: Job, reader: CellReader, rows: Sequence[Row]) -> dict[str, npt.NDArray[np.float32]]:
    """Let the network look at some cells again."""
    specimens = []
    for row in rows:
        job.check()
        picture = bench.pictures.picture(row)
        specimens.append(Specimen(row["id"], "", "", LabeledCell(row["id"], Path(row["id"]), "", "", pixels=picture)))
    cells = embed_cells(specimens, model=reader, workers=bench.readers.workers)
    job.done += len(rows)
    return {item.file: vector for item, vector in zip(cells.specimens, cells.embeddings, strict=True)}
