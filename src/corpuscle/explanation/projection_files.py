"""A map of cells as files: an interactive page, coordinates, a picture, and what TensorBoard's projector opens."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpuscle import taxonomy
from corpuscle.explanation.map_colors import Coloring, colorings
from corpuscle.explanation.projection import CellMap
from corpuscle.files import make_folder, written_whole
from corpuscle.prediction.embedding import EmbeddedCells

__all__ = ["coordinates_table", "map_page", "write_page", "write_projector", "write_table"]

_PER_SHEET: Final = 32
_QUALITY: Final = 82
_SPRITE_PX: Final = 8192
"""Longest side of a sprite that TensorBoard's projector takes."""


def map_page(cells: EmbeddedCells, cell_map: CellMap, *, about: str) -> str:
    """Return one self-contained interactive page (HTML) that loads nothing from anywhere.

    Args:
        cells: The cells.
        cell_map: Their map, a row of coordinates for each.
        about: One line below the title.
    """
    folder = resources.files("corpuscle.explanation")
    page = folder.joinpath("projection.html").read_text(encoding="utf-8")
    script = folder.joinpath("projection.js").read_text(encoding="utf-8")
    # No name of a file can end the element that holds the data.
    values = json.dumps(_page_values(cells, cell_map, about), ensure_ascii=True).replace("<", "\\u003c")
    return page.replace("__SCRIPT__", script).replace("__DATA__", values)


def _page_values(cells: EmbeddedCells, cell_map: CellMap, about: str) -> dict[str, Any]:
    classes = list(cells.predictions[0].probabilities)
    probabilities = np.asarray([list(item.probabilities.values()) for item in cells.predictions])
    thumbnail = cells.thumbnails.shape[1]
    return {
        "about": about,
        "dimensions": cell_map.coordinates.shape[1],
        "coordinates": _packed(cell_map.coordinates.astype("<f4")),
        "files": [item.file for item in cells.specimens],
        "labels": [_name(item.label) for item in cells.specimens],
        "sources": [item.source for item in cells.specimens],
        "classes": [_name(key) for key in classes],
        "predictions": [classes.index(item.class_name) for item in cells.predictions],
        "confidences": [round(item.confidence, 4) for item in cells.predictions],
        "reasons": [item.reason if item.refused else "" for item in cells.predictions],
        "probabilities": _packed(np.rint(255 * probabilities).astype(np.uint8)),
        "thumbnail": thumbnail,
        "perSheet": _PER_SHEET,
        "sheets": [_sheet(cells.thumbnails[start : start + _PER_SHEET**2])
                   for start in range(0, len(cells), _PER_SHEET**2)],
        "colorings": {item.name: _coloring_values(item) for item in colorings(cells)},
    }  # fmt: skip


def _coloring_values(coloring: Coloring) -> dict[str, Any]:
    colors = ["#{:02x}{:02x}{:02x}".format(*color) for color in coloring.colors]
    return {"codes": _packed(coloring.codes), "names": coloring.names, "colors": colors, "ramp": coloring.ramp}


def _packed(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _name(key: str) -> str:
    return taxonomy.cell_class(key).name_en if key else ""


def _tiled(thumbnails: npt.NDArray[np.uint8], across: int) -> npt.NDArray[np.uint8]:
    """Lay thumbnails (NxTxTx3) out in rows of `across`, the rest white."""
    n, side = thumbnails.shape[:2]
    down = math.ceil(n / across)
    sheet = np.full((down * across, side, side, 3), 255, np.uint8)
    sheet[:n] = thumbnails
    return sheet.reshape(down, across, side, side, 3).swapaxes(1, 2).reshape(down * side, across * side, 3)


def _sheet(thumbnails: npt.NDArray[np.uint8]) -> str:
    """Return thumbnails as one JPEG in a data URL."""
    file = io.BytesIO()
    Image.fromarray(_tiled(thumbnails, _PER_SHEET)).save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def write_page(cells: EmbeddedCells, cell_map: CellMap, folder: Path, *, about: str) -> Path:
    """Write the interactive page as `map.html`.

    Raises:
        OutputError: It cannot be written.
    """
    path = folder / "map.html"
    with written_whole(path) as part:
        part.write_text(map_page(cells, cell_map, about=about), encoding="utf-8")
    return path


def coordinates_table(cells: EmbeddedCells, cell_map: CellMap) -> list[list[str]]:
    """Return head and rows of the table of coordinates: file, label, class, confidence, refused, source, x, y(, z)."""
    axes = ["x", "y", "z"][: cell_map.coordinates.shape[1]]
    rows = [["file", "label", "class", "confidence", "refused", "source", *axes]]
    for specimen, prediction, place in zip(cells.specimens, cells.predictions, cell_map.coordinates, strict=True):
        rows.append(
            [
                specimen.file, specimen.label, prediction.class_name, f"{prediction.confidence:.6f}",
                "true" if prediction.refused else "false", specimen.source, *(f"{value:.6g}" for value in place),
            ]
        )  # fmt: skip
    return rows


def write_table(cells: EmbeddedCells, cell_map: CellMap, folder: Path) -> Path:
    """Write `coordinates.csv`.

    Raises:
        OutputError: It cannot be written.
    """
    path = folder / "coordinates.csv"
    with (
        written_whole(path) as part,
        part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows(coordinates_table(cells, cell_map))
    return path


def write_projector(cells: EmbeddedCells, folder: Path) -> Path:
    """Write what TensorBoard's embedding projector opens: vectors, metadata, sprite and configuration.

    `tensorboard --logdir FOLDER` shows it; its page can load vectors and metadata by hand as well. The format is that
    of https://www.tensorflow.org/tensorboard/tensorboard_projector_plugin.

    Returns:
        The folder.

    Raises:
        OutputError: A file cannot be written.
    """
    make_folder(folder)
    with written_whole(folder / "vectors.tsv") as part, part.open("w", encoding="utf-8") as file:
        for row in cells.embeddings:
            file.write("\t".join(f"{value:.6g}" for value in row) + "\n")
    with written_whole(folder / "metadata.tsv") as part, part.open("w", encoding="utf-8", errors="replace") as file:
        file.write("file\tlabel\tclass\tconfidence\trefused\tsource\n")
        for specimen, prediction in zip(cells.specimens, cells.predictions, strict=True):
            values = (specimen.file, specimen.label or "none", prediction.class_name, f"{prediction.confidence:.4f}",
                      str(prediction.refused).lower(), specimen.source)  # fmt: skip
            file.write("\t".join(" ".join(value.split()) for value in values) + "\n")
    across = math.ceil(math.sqrt(len(cells)))
    thumbnails, side = cells.thumbnails, min(cells.thumbnails.shape[1], _SPRITE_PX // across)
    if side < thumbnails.shape[1]:
        small = [Image.fromarray(item).resize((side, side), Image.Resampling.BOX) for item in thumbnails]
        thumbnails = np.stack([np.asarray(item) for item in small])
    # The projector reads as many rows as columns.
    sprite = np.full((across * side, across * side, 3), 255, np.uint8)
    tiled = _tiled(thumbnails, across)
    sprite[: len(tiled)] = tiled
    with written_whole(folder / "sprite.png") as part:
        Image.fromarray(sprite).save(part, format="PNG")
    lines = [
        "embeddings {",
        '  tensor_name: "cells"',
        '  tensor_path: "vectors.tsv"',
        '  metadata_path: "metadata.tsv"',
    ]
    lines += ["  sprite {", '    image_path: "sprite.png"', *[f"    single_image_dim: {side}"] * 2, "  }", "}"]
    with written_whole(folder / "projector_config.pbtxt") as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
