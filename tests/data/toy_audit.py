"""Drawn pictures that no two seeds share, and the findings about them, for the tests of audits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from corpuscle.data.audit import AuditReport

SIDE = 112
CLASSES = ("eosinophil", "lymphocyte", "monocyte")


def scene(seed: int, side: int = SIDE + 60) -> np.ndarray:
    """Draw a field of colored discs and granules that no other seed gives."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    image = np.full((side, side, 3), (250, 225, 205), np.float32)
    for _ in range(side // 5):
        radius = rng.uniform(3, 14)
        inside = ((x - rng.uniform(0, side)) ** 2 + (y - rng.uniform(0, side)) ** 2 * rng.uniform(0.7, 1.4)) < radius**2
        image[inside] = image[inside] * 0.35 + rng.uniform(40, 220, 3).astype(np.float32) * 0.65
    return np.clip(image, 20, 255).astype(np.uint8)


def window(image: np.ndarray, left: int, top: int, side: int = SIDE) -> np.ndarray:
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def crop(seed: int) -> np.ndarray:
    return window(scene(seed), 30, 30)


def save(path: Path, image: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **({"quality": 92} | options if path.suffix == ".jpg" else options))


def found(report: AuditReport) -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        (finding.kind, finding.severity, finding.files)
        for finding in report.findings
        if finding.kind != "unknown_patients"
    ]
