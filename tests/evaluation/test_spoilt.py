"""The table of corruptions judges what it says it judges."""

from __future__ import annotations

import numpy as np
import pytest

from corpuscle.data.labeled import LabeledCell
from corpuscle.errors import DataError, UnknownNameError, UsageError
from corpuscle.evaluation import spoilt
from corpuscle.evaluation.corruptions import corrupt
from corpuscle.evaluation.spoilt import CLEAN, corruption_table, protocol_picture


@pytest.fixture(scope="module")
def table(toy_bundle, toy_folder):
    return corruption_table(
        toy_folder, model=toy_bundle, split="test", limit=6, corruptions=("pixelate", "stain_deposit")
    )


def test_every_corruption_has_five_lines_and_the_clean_pictures_one(table):
    assert [(item.corruption, item.severity) for item in table.results] == [
        (name, severity) for name in ("pixelate", "stain_deposit") for severity in range(1, 6)
    ]
    assert (table.clean.corruption, table.clean.severity) == (CLEAN, 0)
    assert (table.n, table.total) == (6, 8)


def test_the_mean_error_counts_each_condition_the_same(table):
    errors = [1 - item.balanced_accuracy for item in table.results]
    assert table.mean_error == pytest.approx(np.mean(errors))
    assert table.mean_of("pixelate") == pytest.approx(np.mean(errors[:5]))


def test_table_and_json_say_the_same(table):
    values = table.to_dict()
    assert values["mean_balanced_error"] == table.mean_error
    assert set(values["mean_balanced_error_of"]) == {"pixelate", "stain_deposit"}
    assert len(values["results"]) == 10
    assert values["results"][3]["balanced_error"] == table.results[3].error
    text = table.text()
    assert f"{100 * table.results[9].error:.2f}" in text
    assert f"mean balanced error over all: {table.mean_error:.4f}" in text
    assert "n = 6 of 8" in text


def test_the_network_sees_the_spoilt_pictures(toy_bundle, toy_folder, monkeypatch):
    """Pictures that are all turned to plain grey cannot be told apart: the recall of one class is 1, of the rest 0."""
    monkeypatch.setattr(spoilt, "corrupt", lambda image, *_, **__: np.full_like(image, 200))
    table = corruption_table(toy_folder, model=toy_bundle, split="test", corruptions=("bubble",))
    assert [item.balanced_accuracy for item in table.results] == [0.25] * 5
    assert [item.accepted for item in table.results] == [0.0] * 5
    assert [item.accepted_accuracy for item in table.results] == [None] * 5
    assert table.clean.balanced_accuracy > 0.25


def test_a_limit_keeps_the_share_of_each_class():
    cells = [LabeledCell(f"{key}{place}", None, key, "") for key in "aabbbb" for place in range(50)]
    chosen = [cell.class_name for cell in spoilt._chosen(cells, 30)]
    assert (chosen.count("a"), chosen.count("b")) == (10, 20)
    assert spoilt._chosen(cells, 30) == spoilt._chosen(cells[::-1], 30)
    assert spoilt._chosen(cells, 1000) == cells


def test_pictures_are_brought_to_224_pixels_first(drawn_cells, monkeypatch, toy_bundle, toy_folder):
    image = drawn_cells["neutrophil"][0]
    assert protocol_picture(image).shape == (224, 224, 3)
    assert protocol_picture(image[:104]).shape == (224, 448, 3)
    large = protocol_picture(image, center_px=104)
    assert large.shape == (224, 224, 3)
    assert np.abs(large[::56, ::56].astype(int) - image[52:156:26, 52:156:26]).mean() < 12
    shapes = []
    monkeypatch.setattr(
        spoilt, "corrupt", lambda image, *args, **kw: shapes.append(image.shape) or corrupt(image, *args, **kw)
    )
    corruption_table(toy_folder, model=toy_bundle, split="test", limit=2, corruptions=("pixelate",))
    assert set(shapes) == {(224, 224, 3)}


def test_wrong_wishes_are_refused(toy_bundle, toy_folder, tmp_path, drawn_files):
    with pytest.raises(UnknownNameError, match="no corruption named 'rain'"):
        corruption_table(toy_folder, model=toy_bundle, corruptions=("rain",))
    with pytest.raises(UsageError, match="0 or more"):
        corruption_table(toy_folder, model=toy_bundle, limit=-1)
    strange = tmp_path / "set" / "basophil"
    strange.mkdir(parents=True)
    (strange / "a.png").write_bytes(drawn_files[0].read_bytes())
    with pytest.raises(DataError, match="no cell of a class"):
        corruption_table(strange.parent, model=toy_bundle, split="")
