"""A field's cells in the formats of other programs: COCO, GeoJSON for QuPath, YOLO."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from corpuscle import taxonomy
from corpuscle.records import FieldCell, FieldReading

__all__ = ["CATEGORIES", "category_of", "coco_annotation", "coco_categories", "coco_image", "geojson", "yolo_lines"]

CATEGORIES: tuple[str, ...] = ("leukocyte", *taxonomy.KEYS)
"""Names in exported files: a leukocyte of no class, then the classes of the taxonomy; the place is YOLO's number."""

_REFUSED = "refused"
_NAMESPACE = uuid.UUID("6f2f0f0e-6f0c-5b6e-9d55-0c0b5f1d7a10")
Color = tuple[int, int, int]


def category_of(cell: FieldCell) -> str:
    """Return the name that an exported cell has: its class, and the kind alone where none was given or it was refused.

    Whoever trains on an export must not learn what the model itself declined to say.
    """
    return cell.kind if cell.refused or not cell.class_name else cell.class_name


def coco_categories() -> list[dict[str, Any]]:
    """Return the categories of a COCO file, numbered from 1."""
    return [{"id": place, "name": name, "supercategory": _kind(name)} for place, name in enumerate(CATEGORIES, start=1)]


def _kind(name: str) -> str:
    return "leukocyte" if name == "leukocyte" else taxonomy.cell_class(name).kind


def coco_image(reading: FieldReading, image_id: int) -> dict[str, Any]:
    """Return a field as an entry of COCO's images."""
    return {
        "id": image_id,
        "file_name": reading.file,
        "width": reading.width_px,
        "height": reading.height_px,
        "um_per_px": reading.ruler.um_per_px or None,
    }


def coco_annotation(cell: FieldCell, image_id: int, annotation_id: int) -> dict[str, Any]:
    """Return a cell as an entry of COCO's annotations; the box is x, y, width and height."""
    x_min, y_min, x_max, y_max = (round(edge, 2) for edge in cell.box)
    width, height = round(x_max - x_min, 2), round(y_max - y_min, 2)
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": CATEGORIES.index(category_of(cell)) + 1,
        "bbox": [x_min, y_min, width, height],
        "area": round(width * height, 2),
        "segmentation": [[x_min, y_min, x_max, y_min, x_max, y_max, x_min, y_max]],
        "iscrowd": 0,
        "score": round(cell.score, 4),
        "number": cell.number,
        "confidence": None if cell.confidence is None else round(cell.confidence, 6),
        "refused": cell.refused,
    }


def geojson(reading: FieldReading, color_of: Callable[[str], Color]) -> dict[str, Any]:
    """Return a field as the GeoJSON that QuPath (0.4 and later) reads, in full pixels of the picture or slide.

    Args:
        reading: The field.
        color_of: Gives the color of a class or kind.
    """
    return {
        "type": "FeatureCollection",
        "features": [_feature(reading, cell, color_of) for cell in reading.cells],
    }


def _feature(reading: FieldReading, cell: FieldCell, color_of: Callable[[str], Color]) -> dict[str, Any]:
    (left, top), factor = reading.origin_px, reading.downsample
    x_min, x_max = (round(left + factor * edge, 2) for edge in cell.box[::2])
    y_min, y_max = (round(top + factor * edge, 2) for edge in cell.box[1::2])
    ring = [[x_min, y_min], [x_max, y_min], [x_max, y_max], [x_min, y_max], [x_min, y_min]]
    name = category_of(cell)
    measurements = {"number": cell.number, "score": round(cell.score, 4)}
    if cell.confidence is not None:
        measurements["confidence"] = round(cell.confidence, 6)
    title = f"{name} ({_REFUSED})" if cell.refused else name
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{reading.file}#{cell.number}")),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "objectType": "annotation",
            "name": str(cell.number),
            "classification": {"name": title, "color": list(color_of(name))},
            "isLocked": False,
            "measurements": measurements,
        },
    }


def yolo_lines(reading: FieldReading) -> str:
    """Return a field as YOLO text: number of the category in `CATEGORIES`, middle and size as parts of the field."""
    lines = []
    for cell in reading.cells:
        x_min, y_min, x_max, y_max = cell.box
        values = (
            (x_min + x_max) / 2 / reading.width_px, (y_min + y_max) / 2 / reading.height_px,
            (x_max - x_min) / reading.width_px, (y_max - y_min) / reading.height_px,
        )  # fmt: skip
        lines.append(f"{CATEGORIES.index(category_of(cell))} " + " ".join(f"{value:.6f}" for value in values) + "\n")
    return "".join(lines)
