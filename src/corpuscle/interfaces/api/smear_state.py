"""A session as it stands: the models' readings with people's labels put in, for every count and every export."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from corpuscle import taxonomy
from corpuscle.interfaces.api.cell_rows import class_now, kind_now
from corpuscle.interfaces.api.store import Row, Store
from corpuscle.prediction.counting import differential_of
from corpuscle.prediction.findings import find_findings
from corpuscle.prediction.reference_ranges import reference_range
from corpuscle.records import CELL_KINDS, FieldCell, FieldReading, Ruler

__all__ = ["readings_of", "summary_of"]

_NO_RULER = Ruler(0.0, 1.0, "guess", 0)


def readings_of(store: Store, session: str) -> list[FieldReading]:
    """Return the pictures of a session as readings; of a session with fields the fields, else the crops.

    A person's label takes the place of the model's class and its refusal; what a person called no cell is left out,
    so that numbers have gaps. A crop counts as a field with the one cell that it shows.
    """
    with store.steady():
        images, cells = store.images(session), store.cells(session)
    wanted = "field" if any(row["kind"] == "field" for row in images) else "crop"
    by_image: dict[str, list[Row]] = {}
    for cell in cells:
        by_image.setdefault(cell["image"], []).append(cell)
    return [_reading(row, by_image.get(row["id"], [])) for row in images if row["kind"] == wanted]


def _reading(image: Row, rows: Sequence[Row]) -> FieldReading:
    facts = json.loads(image["facts"])
    cells = [_cell(row, image) for row in rows if kind_now(row)]
    relabeled = sum(row["label"] is not None and row["label"] != row["class"] for row in rows)
    notes = list(facts.get("quality", []))
    if relabeled:
        notes.append(f"{relabeled} {'cell was' if relabeled == 1 else 'cells were'} named otherwise by a person.")
    ruler = facts.get("ruler")
    if ruler:
        measured = Ruler(
            ruler["um_per_px"] or 0.0, ruler["scale"], ruler["method"], ruler["n_erythrocytes"], ruler["note"]
        )
    else:
        measured = _NO_RULER
    return FieldReading(
        image["name"], image["width"], image["height"], tuple(cells), measured, tuple(notes), facts.get("sha256", "")
    )


def _cell(row: Row, image: Row) -> FieldCell:
    facts = json.loads(row["facts"])
    by_person = row["label"] is not None
    same = not by_person or row["label"] == row["class"]
    box = facts.get("box") or _judged(facts["framing"], image)
    return FieldCell(
        number=row["number"],
        kind=kind_now(row),  # type: ignore[arg-type]
        box=(box[0], box[1], box[2], box[3]),
        score=1.0 if facts.get("score") is None else facts["score"],
        class_name=class_now(row),
        confidence=row["confidence"] if same else None,
        refused=bool(row["refused"]) and not by_person,
        reason="" if by_person else facts.get("reason", ""),
        on_border=facts.get("on_border", False),
        touching=facts.get("touching", False),
        clump=facts.get("clump", 0),
        prediction_set=tuple(facts.get("set", ())) if same else (),
        probabilities=(facts.get("probabilities") or {}) if same else {},
    )


def _judged(framing: dict[str, Any], image: Row) -> tuple[float, float, float, float]:
    """Return the part of a crop that was judged, as a box inside it."""
    x_min, y_min = max(0.0, framing["x_min"]), max(0.0, framing["y_min"])
    x_max = min(float(image["width"]), framing["x_min"] + framing["side_px"])
    y_max = min(float(image["height"]), framing["y_min"] + framing["side_px"])
    if x_max - x_min < 1 or y_max - y_min < 1:
        return 0.0, 0.0, float(image["width"]), float(image["height"])
    return x_min, y_min, x_max, y_max


def summary_of(store: Store, session: str, *, interval: str = "wilson") -> dict[str, Any]:
    """Return counts, differential and findings of a session as it stands.

    Raises:
        UnknownNameError: There is no such interval.
    """
    with store.steady():
        readings, rows = readings_of(store, session), store.cells(session)
    differential = differential_of(readings, interval=interval)
    cells = [cell for reading in readings for cell in reading.cells]
    named = Counter(cell.class_name for cell in cells if cell.class_name and not cell.refused)
    ranges = {row.key: reference_range(row.key) for row in taxonomy.CLASSES}
    return {
        "counts": {kind: sum(cell.kind == kind for cell in cells) for kind in CELL_KINDS},
        "differential": differential.to_dict(),
        "reference_ranges": [{"class": key, **item.to_dict()} for key, item in ranges.items() if item],
        "findings": [finding.to_dict() for finding in find_findings(readings, differential)],
        "refused": sum(cell.refused for cell in cells),
        "n_reviewed": sum(row["label"] is not None for row in rows),
        "n_cells": len(rows),
        "classes": [{"class": key, "n": named[key]} for key in taxonomy.KEYS if named[key]],
    }
