from __future__ import annotations

import json

import numpy as np
import pytest

from corpuscle.data.examples import draw_background, draw_cell_with_mask
from corpuscle.evaluation.cell_places import boxed_cell, cell_mask
from corpuscle.evaluation.explanations import (
    BASELINES,
    deletion_insertion,
    evaluate_explanations,
    pointing_energy,
    rank_correlation,
)
from corpuscle.explanation.explaining import METHODS, all_makers, make_maker
from corpuscle.reporting.explanations import explanation_figures


@pytest.mark.parametrize("key", ["neutrophil", "lymphocyte", "basophil", "platelet", "monocyte"])
def test_segmentation_finds_the_stained_part_of_the_cell(key):
    image, true = draw_cell_with_mask(key, 3)
    found = cell_mask(image)
    assert found.shape == true.shape
    assert (found & true).sum() / found.sum() > 0.85
    assert found.sum() / true.sum() > 0.3


def test_a_picture_without_a_stained_cell_has_no_mask():
    blank = np.full((208, 208, 3), 235, np.uint8)
    assert cell_mask(blank) is None
    found = cell_mask(draw_background(2))
    assert found is None or found.any()


def test_a_box_becomes_the_mask_of_its_crop(tmp_path):
    from PIL import Image

    from corpuscle.data.labeled import LabeledCell

    field = np.zeros((100, 200, 3), np.uint8)
    field[20:60, 100:140] = 255
    Image.fromarray(field).save(tmp_path / "field.png")
    cell = LabeledCell("field", tmp_path / "field.png", "neutrophil", "", box=(100.0, 20.0, 140.0, 60.0))
    image, mask = boxed_cell(cell)
    assert mask.shape == image.shape[:2]
    assert ((image[..., 0] == 255) == mask).all()


def test_pointing_and_energy_of_planted_maps():
    masks = np.zeros((4, 10, 10), bool)
    masks[:, 2:5, 2:5] = True
    maps = np.full((4, 10, 10), -1, np.float32)
    maps[0, 3, 3] = 1  # all inside
    maps[1, 8, 8] = 1  # all outside
    maps[2, 3, 3], maps[2, 8, 8] = 3, 1  # three quarters inside; the fourth map is empty
    hits, energy = pointing_energy(maps, masks)
    assert hits.tolist() == [True, False, True, False]
    assert np.allclose(energy, [1, 0, 0.75, 0])


def test_deleting_the_planted_evidence_first_is_quickest():
    """The made-up network gives class 1 the share of the dark spot that is left."""
    crop = np.full((20, 20, 3), 240, np.uint8)
    crop[4:8, 4:8] = 0

    def run(crops):
        share = (crops[:, 4:8, 4:8, 0] == 0).mean((1, 2))
        return np.stack([1 - share, share], axis=1)

    true = np.zeros((20, 20), np.float32)
    true[4:8, 4:8] = 1
    good, bad = (deletion_insertion(run, crop, cam, 1) for cam in (true, -true))
    assert good[0] < 0.1 < 0.9 < bad[0]
    assert good[1] > 0.9 > 0.1 > bad[1]


def test_rank_correlation():
    rising = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert rank_correlation(rising, rising**3) == pytest.approx(1)
    assert rank_correlation(rising, -rising) == pytest.approx(-1)
    assert rank_correlation(rising, np.zeros((3, 4), np.float32)) == 0
    spots = np.zeros((2, 10, 10), np.float32)
    spots[0, 1, 1] = spots[1, 8, 8] = 1
    assert abs(rank_correlation(*spots)) < 0.05


class Planted:
    """A maker whose every map has its peak where it is told."""

    def __init__(self, place):
        self.place = place

    def maps(self, batch, targets):
        assert len(batch) == len(targets)
        found = np.zeros((len(batch), 10, 10), np.float32)
        found[:, self.place[0], self.place[1]] = 1
        return found


def test_the_measure_tells_a_true_method_from_a_false_one(toy, drawn_twice):
    result = evaluate_explanations(
        "drawn",
        makers={"true": Planted((4, 4)), "false": Planted((0, 0))},
        randomized={"true": Planted((9, 9)), "false": Planted((0, 0))},
        model=toy,
        split="test",
    )
    by_name = {item.method: item for item in result.methods}
    assert list(by_name) == ["true", "false", *BASELINES]
    assert by_name["true"].pointing > 0.7
    assert by_name["false"].pointing == 0
    assert by_name["false"].energy < 0.01
    assert by_name["false"].likeness == pytest.approx(1)
    assert by_name["true"].likeness < 0.1
    assert by_name["random"].likeness is None
    assert 0 < result.area < 0.7
    assert result.n <= len([cell for cell in drawn_twice if cell.split == "test"])
    assert json.loads(json.dumps(result.to_dict()))["methods"][0]["method"] == "true"


def test_all_methods_can_be_measured(toy):
    makers, randomized = all_makers(toy)
    assert tuple(makers) == tuple(randomized) == METHODS


def test_the_limit_draws_the_same_cells_each_time(toy, drawn_twice):
    results = [
        evaluate_explanations("drawn", makers={"cam": make_maker(toy)}, randomized={}, model=toy, limit=4)
        for _ in range(2)
    ]
    assert results[0].n <= 4
    assert results[0].methods[0].energy == results[1].methods[0].energy
    assert "peak in cell" in results[0].text()


def test_figures_say_which_rows_are_blind_and_of_how_many_cells(toy, drawn_twice):
    result = evaluate_explanations(
        "drawn", makers={"cam": Planted((4, 4))}, randomized={"cam": Planted((9, 9))}, model=toy, limit=4
    )
    assert result.n <= 4 < result.total
    figures = explanation_figures(result)
    by_name = {item.what.split(": ")[1]: item for item in figures}
    assert by_name["cam, peak in the cell"].interval
    assert "likeness" in " ".join(by_name)
    assert by_name["cam, energy in the cell"].note.startswith(f"{result.n} of {result.total} cells, drawn with seed 0")
    assert "cells lie in the middle of their crops" in by_name["center (blind), peak in the cell"].note
    assert not any("random weights" in name for name in by_name if "blind" in name)


@pytest.mark.slow
def test_the_command_prints_a_table(cli, toy_bundle, drawn_twice, tmp_path):
    done = cli(
        "evaluate", "--explanations", "--dataset", "drawn", "--model", toy_bundle, "--limit", 3, "-o", tmp_path / "o",
        "--record", tmp_path / "figures.md",
    )  # fmt: skip
    assert done.status == 0
    assert [line.split()[0] for line in done.out.splitlines()[2:9]] == [*METHODS, *BASELINES]
    assert json.loads((tmp_path / "o" / "explanations.json").read_text())["n"] <= 3
    assert "occlusion, peak in the cell" in (tmp_path / "figures.md").read_text()
