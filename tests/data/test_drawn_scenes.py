from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image

from corpuscle.data.drawn_scenes import SceneSpec, draw_scene, write_example_field
from corpuscle.data.placing import Placer
from corpuscle.errors import OutputError, UnknownNameError, UsageError

SPEC = SceneSpec(
    width_px=360,
    height_px=270,
    erythrocyte_px=40,
    erythrocytes=14,
    platelets=3,
    leukocytes={"neutrophil": 1, "basophil": 1},
)


@cache
def drawn(seed=0, **changes):
    return draw_scene(replace(SPEC, **changes), seed)


def test_the_truth_lists_every_cell_that_was_asked_for():
    counts = Counter(cell.class_name for cell in drawn().cells)
    assert counts == {"neutrophil": 1, "basophil": 1, "platelet": 3, "erythrocyte": 14}
    assert drawn().image.shape == (270, 360, 3)
    assert drawn().um_per_px == 7.5 / 40


def test_boxes_lie_in_the_field_and_have_the_size_of_their_cell():
    for cell in drawn().cells:
        x_min, y_min, x_max, y_max = cell.box
        assert 0 <= x_min < x_max <= 360
        assert 0 <= y_min < y_max <= 270
    whole = [
        c for c in drawn().cells if c.kind == "erythrocyte" and min(c.box[:2]) > 1 and c.box[2] < 359 and c.box[3] < 269
    ]
    sides = np.array([[c.box[2] - c.box[0], c.box[3] - c.box[1]] for c in whole])
    assert np.median(sides) == pytest.approx(40, rel=0.1)


def test_what_is_stained_lies_in_the_boxes_of_stained_cells():
    image = drawn().image.astype(int)
    violet = image[..., 2] - image[..., 0] > 25
    inside = np.zeros(violet.shape, bool)
    for cell in drawn().cells:
        if cell.kind != "erythrocyte":
            x_min, y_min, x_max, y_max = (round(edge) for edge in cell.box)
            inside[max(0, y_min - 2) : y_max + 2, max(0, x_min - 2) : x_max + 2] = True
            assert violet[y_min:y_max, x_min:x_max].mean() > 0.1
    assert (violet & ~inside).sum() == 0


def test_same_seed_same_bytes_and_other_seed_other_field():
    assert np.array_equal(draw_scene(SPEC).image, drawn().image)
    assert drawn(1).cells != drawn().cells


def test_the_magnification_scales_the_scene():
    large = draw_scene(replace(SPEC, width_px=720, height_px=540, erythrocyte_px=80))
    small = np.asarray(Image.fromarray(large.image).resize((90, 68), Image.Resampling.BOX), float)
    other = np.asarray(Image.fromarray(drawn().image).resize((90, 68), Image.Resampling.BOX), float)
    assert np.abs(small - other).mean() < 4
    for one, two in zip(large.cells, drawn().cells, strict=True):
        assert np.array(one.box) / 2 == pytest.approx(np.array(two.box), abs=0.6)


def test_clumps_overlap_and_without_them_nothing_does():
    def overlaps(field):
        boxes = [c.box for c in field.cells if c.kind == "erythrocyte"]
        middles = np.array([[(b[0] + b[2]) / 2, (b[1] + b[3]) / 2] for b in boxes])
        apart = np.hypot(*(middles[:, None] - middles[None]).transpose(2, 0, 1))
        return int((apart[np.triu_indices(len(boxes), 1)] < 38).sum())

    assert overlaps(drawn()) == 0
    assert overlaps(drawn(clumped=0.9)) >= 5


def test_options_change_the_light_the_focus_and_the_stain():
    image = drawn().image.astype(float)
    dim = drawn(uneven_light=0.5).image.astype(float)
    corners = [(slice(0, 20), slice(0, 20)), (slice(-20, None), slice(-20, None)), (slice(0, 20), slice(-20, None))]
    assert min(dim[c].mean() / image[c].mean() for c in corners) < 0.7
    assert (
        np.abs(np.diff(drawn(blur_px=3.0).image[..., 1].astype(float))).mean() < np.abs(np.diff(image[..., 1])).mean()
    )
    strong = drawn(stain=(1.0, 1.8, 1.0)).image
    assert strong[..., 1].mean() < image[..., 1].mean() - 5
    assert strong[..., 0].mean() == pytest.approx(image[..., 0].mean(), abs=1)


def test_black_around_a_field_moves_its_cells():
    plain, dark = drawn(), drawn(black_px=50)
    height, width = plain.image.shape[:2]
    assert dark.image.shape == (height + 100, width + 100, 3)
    assert dark.image[:40].max() == dark.image[:, -40:].max() == 4
    inside = dark.image[60:-60, 60:-60].astype(int) - plain.image[10:-10, 10:-10]
    assert np.abs(inside).max() <= 1
    assert [np.subtract(one.box, other.box).tolist() for one, other in zip(dark.cells, plain.cells, strict=True)] == [
        pytest.approx([50] * 4)
    ] * len(plain.cells)


def test_cells_may_be_cut_by_the_border():
    cut = draw_scene(replace(SPEC, whole=False, platelets=30, leukocytes={}), 3)
    touching = [
        c for c in cut.cells if c.kind == "platelet" and (min(c.box[:2]) <= 0.5 or c.box[2] > 359 or c.box[3] > 269)
    ]
    assert touching


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"leukocytes": {"platelet": 1}}, UnknownNameError, "neutrophil"),
        ({"width_px": 5}, UsageError, "32 to 12000"),
        ({"erythrocyte_px": 1}, UsageError, "4 to 400"),
        ({"clumped": 2}, UsageError, "clumped"),
        ({"erythrocytes": -1}, UsageError, "0 or more"),
        ({"stain": (0, 1, 1)}, UsageError, "above 0"),
        ({"black_px": -1}, UsageError, "black"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes, error, said):
    with pytest.raises(error, match=said):
        replace(SPEC, **changes)
    with pytest.raises(UsageError, match="seed"):
        draw_scene(SPEC, -1)


def test_the_example_is_written_with_its_truth(tmp_path):
    path = write_example_field(tmp_path / "new")
    truth = json.loads(path.with_suffix(".json").read_text())
    with Image.open(path) as picture:
        assert picture.size == (truth["width_px"], truth["height_px"])
    assert Counter(cell["class"] for cell in truth["cells"])["neutrophil"] == 3
    (tmp_path / "taken").write_text("x")
    with pytest.raises(OutputError):
        write_example_field(tmp_path / "taken")


def test_places_keep_their_distance_until_there_is_no_room():
    placer = Placer(100, 100, np.random.default_rng(0))
    placer.reserve(10)
    places = []
    while (place := placer.put(10, gap=1.0)) is not None:
        places.append(place)
    assert 8 <= len(places) <= 30
    for number, place in enumerate(places):
        for other in places[:number]:
            assert np.hypot(place.row - other.row, place.column - other.column) >= 20
    assert Placer(10, 10, np.random.default_rng(0)).put(20, whole=True) is None
