"""What the page of models shows of each bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from corpuscle.models.bundle import Bundle
from corpuscle.models.detection_bundle import DetectionBundle

__all__ = ["classifier_row", "detector_row"]


def classifier_row(bundle: Bundle) -> dict[str, Any]:
    """Return a classifier as plain values: what it knows, what it was measured to do, its card."""
    return _row(bundle, "classification", list(bundle.classes), bundle.preprocessing.input_px)


def detector_row(bundle: DetectionBundle | None, name: str) -> dict[str, Any]:
    """Return a detector, likewise; one that is no network has only a name."""
    if bundle is None:
        return {
            "name": name, "task": "detection", "version": "", "classes": [], "parameters": None, "input_px": None,
            "size_bytes": 0, "licence": "", "attribution": [], "metrics": [], "trained_on": [], "reliability": [],
            "card": "",
        }  # fmt: skip
    return _row(bundle, "detection", list(bundle.kinds), bundle.max_side_px)


def _row(bundle: Bundle | DetectionBundle, task: str, classes: list[str], input_px: int) -> dict[str, Any]:
    curves = [row for row in bundle.metrics if "bins" in row or row.get("figure") == "reliability"]
    return {
        "name": bundle.name,
        "task": task,
        "version": bundle.version,
        "classes": classes,
        "parameters": _parameters(bundle.folder / "weights.safetensors"),
        "input_px": input_px,
        "size_bytes": _size(bundle.graph_path),
        "licence": bundle.licence,
        "attribution": list(bundle.attribution),
        "metrics": [row for row in bundle.metrics if row not in curves],
        "trained_on": list(bundle.training_data),
        "reliability": curves,
        "card": _text(bundle.folder / "README.md"),
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _parameters(path: Path) -> int | None:
    """Count the numbers of a network by the head of its file of weights; nothing is loaded."""
    import math

    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            shapes = [(name, file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    # Running means and variances of norms are measured, not learned.
    return sum(
        int(math.prod(shape)) for name, shape in shapes if not name.rpartition(".")[2].startswith(("running_", "num_"))
    )
