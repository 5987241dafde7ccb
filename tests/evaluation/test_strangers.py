"""Strangers are what they are called, are the same each time, and hold no known cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpuscle.errors import DataError, DatasetNotFoundError, UnknownNameError, UsageError
from corpuscle.evaluation.strangers import STRANGERS, strangers

MADE = ("blank", "noise", "ramp", "text", "shapes")
RED, VIOLET = (230, 60, 60), (90, 50, 160)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Three fields in the layout of BCCD: red erythrocytes, one of them beside a violet leukocyte."""
    root = tmp_path_factory.mktemp("data")
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / "bccd" / name).mkdir(parents=True)
    for stem in ("a", "b", "c"):
        picture = np.full((240, 320, 3), 220, np.uint8)
        objects = ""
        for kind, color, left, top in (("RBC", RED, 20, 30), ("RBC", RED, 200, 150), ("WBC", VIOLET, 190, 80)):
            picture[top : top + 60, left : left + 60] = color
            box = "".join(
                f"<{key}>{value}</{key}>"
                for key, value in (("xmin", left), ("ymin", top), ("xmax", left + 60), ("ymax", top + 60))
            )
            objects += f"<object><name>{kind}</name><bndbox>{box}</bndbox></object>"
        Image.fromarray(picture).save(root / "bccd" / "JPEGImages" / f"{stem}.jpg", quality=95)
        (root / "bccd" / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{objects}</annotation>")
    (root / "bccd" / "ImageSets" / "Main" / "val.txt").write_text("a\nb\nc\n")
    return root


def has(image: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((np.abs(image.astype(int) - color).max(axis=2) < 40).any())


@pytest.mark.parametrize("kind", MADE)
def test_made_kinds_are_pictures_and_depend_on_the_seed_alone(kind):
    first, again, other = (strangers(kind, 4, seed=seed) for seed in (1, 1, 2))
    assert len(first) == 4
    assert all(image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 for image in first)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))
    assert any((first[0] != image).any() for image in first[1:])


def test_erythrocytes_come_without_leukocytes(root):
    found = strangers("erythrocyte", 10, root=root)
    assert len(found) == 3
    assert all(has(image, RED) and not has(image, VIOLET) for image in found)
    assert len(strangers("erythrocyte", 2, root=root)) == 2


def test_background_holds_neither(root):
    found = strangers("background", 10, root=root)
    assert len(found) == 3
    assert not any(has(image, RED) or has(image, VIOLET) for image in found)


def test_what_cannot_be_given_is_said(root, tmp_path):
    assert set(MADE) < set(STRANGERS)
    with pytest.raises(UnknownNameError, match="no kind of picture named 'cat'"):
        strangers("cat", 1)
    with pytest.raises(UsageError, match="At least one"):
        strangers("blank", 0)
    with pytest.raises(DatasetNotFoundError):
        strangers("erythrocyte", 1, root=tmp_path)
    with pytest.raises(DataError, match=r"extra\.txt cannot be read"):
        strangers("erythrocyte", 1, root=root, split="extra")
    (root / "bccd" / "ImageSets" / "Main" / "none.txt").write_text("")
    with pytest.raises(DataError, match="gives no picture"):
        strangers("background", 1, root=root, split="none")
