from __future__ import annotations

from dataclasses import FrozenInstanceError
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageFilter

from corpuscle.data.cell_styles import STYLES
from corpuscle.data.examples import CLASSES, draw_background, draw_cell, draw_cell_with_mask, write_examples
from corpuscle.errors import OutputError, UnknownNameError, UsageError
from corpuscle.taxonomy import KEYS

GREEN_OF_CHROMATIN = 80
GREEN_OF_PLASMA = 227


@cache
def drawn(class_name, seed=3):
    return draw_cell_with_mask(class_name, seed)


def inside(class_name, seed=3):
    image, mask = drawn(class_name, seed)
    return image[mask].astype(float)


def test_classes_are_sorted_keys_of_the_taxonomy():
    assert list(CLASSES) == sorted(STYLES)
    assert set(CLASSES) <= set(KEYS)


@pytest.mark.parametrize("class_name", CLASSES)
def test_a_cell_lies_in_the_middle_and_has_the_size_of_its_class(class_name):
    image, mask = drawn(class_name)
    assert image.shape == (208, 208, 3)
    assert image.dtype == np.uint8
    assert mask.shape == (208, 208)
    assert mask.dtype == np.bool_
    assert mask[104, 104]
    diameter = 2 * np.sqrt(mask.sum() / np.pi)
    smallest, largest = STYLES[class_name].diameter_px
    assert 0.9 * smallest <= diameter <= 1.1 * largest
    center = np.argwhere(mask).mean(axis=0)
    assert np.hypot(*(center - 103.5)) < 10


@pytest.mark.parametrize("class_name", CLASSES)
def test_the_mask_holds_all_the_stain(class_name):
    image, mask = drawn(class_name)
    grown = np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MaxFilter(5))) > 0
    green = image[..., 1]
    assert green[~grown].min() > GREEN_OF_CHROMATIN
    assert np.median(green[mask]) < GREEN_OF_PLASMA - 40


def test_same_seed_same_bytes_and_other_seed_other_cell():
    assert np.array_equal(draw_cell("monocyte", 3), drawn("monocyte")[0])
    assert not np.array_equal(drawn("monocyte", 4)[1], drawn("monocyte")[1])
    assert not np.array_equal(drawn("lymphocyte")[0], drawn("monocyte")[0])


@pytest.mark.parametrize("size_px", [64, 416])
def test_another_size_is_the_same_scene(size_px):
    image, mask = draw_cell_with_mask("eosinophil", 3, size_px=size_px)
    assert image.shape == (size_px, size_px, 3)
    assert mask.mean() == pytest.approx(drawn("eosinophil")[1].mean(), rel=0.02)
    expected = Image.fromarray(drawn("eosinophil")[0]).resize((32, 32), Image.Resampling.BOX)
    small = Image.fromarray(image).resize((32, 32), Image.Resampling.BOX)
    assert np.abs(np.asarray(expected, float) - np.asarray(small, float)).mean() < 3


def test_classes_differ_the_way_a_hematologist_expects():
    darkness = {name: np.median(inside(name)[:, 1]) for name in CLASSES}
    redness = {name: (inside(name)[:, 0] - inside(name)[:, 2]).mean() for name in CLASSES}
    chromatin = {name: (inside(name)[:, 1] < GREEN_OF_CHROMATIN).mean() for name in CLASSES}
    area = {name: drawn(name)[1].sum() for name in CLASSES}
    assert max(redness, key=redness.__getitem__) == "eosinophil"
    assert max(darkness, key=darkness.__getitem__) == "neutrophil"
    assert min(area, key=area.__getitem__) == "platelet"
    assert chromatin["lymphocyte"] > 0.5 > chromatin["neutrophil"]
    assert chromatin["basophil"] > chromatin["eosinophil"]
    assert area["monocyte"] > area["neutrophil"] > area["lymphocyte"]


def test_a_background_has_erythrocytes_but_no_stain():
    image = draw_background(1)
    assert np.array_equal(image, draw_background(1))
    assert image[..., 1].min() > GREEN_OF_CHROMATIN
    assert (image[..., 1] < 190).mean() > 0.1
    assert abs(np.percentile(image[..., 1], 95) - GREEN_OF_PLASMA) < 8
    assert draw_background(1, size_px=32).shape == (32, 32, 3)


def test_the_table_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        STYLES["platelet"].grain = 1.0


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("erythrocyte", 0, 208), UnknownNameError, "monocyte, neutrophil"),
        (("platelet", -1, 208), UsageError, "0 or more, not -1"),
        (("platelet", 0, 15), UsageError, "16 to 2048 px wide, not 15"),
        (("platelet", 0, 4000), UsageError, "not 4000"),
    ],
)
def test_a_wrong_request_is_refused(arguments, error, said):
    class_name, seed, size_px = arguments
    with pytest.raises(error, match=said):
        draw_cell(class_name, seed, size_px=size_px)


def test_examples_are_written_as_drawn(tmp_path):
    paths = write_examples(tmp_path / "new" / "folder", per_class=2, seed=3)
    assert [path.name for path in paths[:3]] == ["basophil_1.png", "basophil_2.png", "eosinophil_1.png"]
    assert len(paths) == 2 * len(CLASSES)
    with Image.open(paths[-2]) as picture:
        assert np.array_equal(np.asarray(picture), drawn("platelet")[0])


def test_no_example_is_no_request(tmp_path):
    with pytest.raises(UsageError, match="not 0"):
        write_examples(tmp_path, per_class=0)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file, no folder")
    with pytest.raises(OutputError, match=r"taken.basophil_1\.png cannot be written"):
        write_examples(tmp_path / "taken")
