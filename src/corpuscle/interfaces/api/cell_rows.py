"""Cells and pictures of the store as plain values for JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from corpuscle import taxonomy
from corpuscle.interfaces.api.store import Row
from corpuscle.records import CELL_KINDS

__all__ = ["NOT_A_CELL", "cell_values", "class_now", "doubtful_first", "image_values", "kind_now"]

NOT_A_CELL: Final = "not_a_cell"
"""The label of what a detector took for a cell and a person did not."""

_KINDS: Final = {"platelet": "platelet", "erythrocyte": "erythrocyte"}


def class_now(row: Row) -> str:
    """Return the class that stands: a person's if there is one, else the model's."""
    return str(row["label"] or row["class"])


def kind_now(row: Row) -> str:
    """Return the kind that stands; empty for what is no cell."""
    if not row["label"]:
        return str(row["kind"])
    return "" if row["label"] == NOT_A_CELL else _KINDS.get(taxonomy.cell_class(row["label"]).kind, "leukocyte")


def cell_values(row: Row) -> dict[str, Any]:
    """Return a cell as plain values."""
    facts = json.loads(row["facts"])
    label = {"class": row["label"], "who": row["who"], "when": row["labeled"]} if row["label"] else None
    return {
        "id": row["id"],
        "image": row["image"],
        "source": "field" if facts.get("box") else "crop",
        "number": row["number"],
        "kind": row["kind"],
        "box": facts.get("box"),
        "class": row["class"],
        "class_now": class_now(row),
        "confidence": row["confidence"],
        "probabilities": facts.get("probabilities") or None,
        "set": facts.get("set", []),
        "refused": bool(row["refused"]),
        "reason": facts.get("reason", ""),
        "notes": facts.get("notes", []),
        "on_border": facts.get("on_border", False),
        "touching": facts.get("touching", False),
        "clump": facts.get("clump", 0),
        "score": facts.get("score"),
        "framing": facts.get("framing"),
        "reviewed": label is not None,
        "label": label,
        "attributes": facts.get("attributes", []),
        "words": facts.get("words"),
    }


def doubtful_first(rows: Iterable[Row]) -> list[Row]:
    """Order cells for review: what nobody looked at first, of these the refused ones, then by falling doubt."""

    def key(row: Row) -> tuple[bool, bool, float]:
        sure = 1.0 if row["confidence"] is None else float(row["confidence"])
        return row["label"] is not None, not row["refused"], sure

    return sorted(rows, key=key)


def image_values(row: Row, cells: Sequence[Row]) -> dict[str, Any]:
    """Return a picture as plain values, with its cells counted as they stand."""
    facts = json.loads(row["facts"])
    kinds = Counter(kind_now(cell) for cell in cells)
    return {
        "id": row["id"],
        "name": row["name"],
        "kind": row["kind"],
        "width": row["width"],
        "height": row["height"],
        "n_cells": sum(kinds[kind] for kind in CELL_KINDS),
        "counts": {kind: kinds[kind] for kind in CELL_KINDS} if row["kind"] == "field" else None,
        "ruler": facts.get("ruler"),
        "quality": facts.get("quality", []),
        "model": facts.get("model", ""),
        "shown_scale": facts.get("shown_scale", 1.0),
        "added": row["added"],
    }
