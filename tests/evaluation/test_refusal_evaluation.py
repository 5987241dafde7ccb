"""Scores of strangeness are compared on the same pictures, and the figures add up."""

from __future__ import annotations

import numpy as np
import pytest

from corpuscle.data.labeled import labeled_cells
from corpuscle.errors import DataError, UsageError
from corpuscle.evaluation.refusal import SCORES, nearest_neighbours, refusal_study


@pytest.fixture(scope="module")
def study(toy_bundle, toy_folder):
    return refusal_study(toy_folder, model=toy_bundle, split="test", strange=6)


def test_each_made_kind_has_every_score(study):
    assert [item.kind for item in study.kinds] == ["blank", "noise", "ramp", "text", "shapes"]
    assert study.missing == ("erythrocyte", "background")
    for item in study.kinds:
        assert tuple(item.auc) == SCORES
        assert all(0 <= area <= 1 for area in item.auc.values())
        assert item.n == 6
        assert item.refused_interval.low <= item.refused <= item.refused_interval.high


def test_pictures_without_any_cell_are_told_apart_by_the_shipped_rule(study):
    blank = study.kinds[0]
    assert blank.auc["shipped rule"] == 1.0
    assert blank.refused == 1.0
    assert all(item.auc["shipped rule"] >= max(item.auc["energy"], 0.8) for item in study.kinds)


def test_accuracy_among_the_accepted_counts_the_accepted_only(study, toy_reader, toy_folder):
    from corpuscle.data.labeled import labeled_cells

    cells = labeled_cells(toy_folder, split="test")
    answers = toy_reader.read([cell.path for cell in cells])
    kept = [(cell, answer) for cell, answer in zip(cells, answers, strict=True) if not answer.refused]
    assert study.n == len(cells)
    assert study.accepted == pytest.approx(len(kept) / len(cells))
    right = sum(cell.class_name == answer.class_name for cell, answer in kept)
    assert study.accepted_accuracy == (pytest.approx(right / len(kept)) if kept else None)


def test_table_and_json_say_the_same(study):
    values, text = study.to_dict(), study.text()
    assert [row["kind"] for row in values["kinds"]] == [item.kind for item in study.kinds]
    assert f"{study.kinds[1].auc['energy']:.4f}" in text
    assert "Not measured, as BCCD is not at hand: erythrocyte, background." in text


def test_the_fifth_neighbour_counts():
    bank = np.eye(6, dtype=np.float32)
    near = nearest_neighbours(np.repeat(bank[:1], 5, axis=0), bank[:2])
    assert near == pytest.approx([0, 2**0.5])
    assert nearest_neighbours(bank, 3 * bank[:1]) == pytest.approx([2**0.5])
    assert nearest_neighbours(bank[:2], bank[:1]) == pytest.approx([2**0.5])


def test_wrong_wishes_are_refused(toy_bundle, toy_folder, tmp_path, drawn_files):
    for wish in ({"limit": -1}, {"strange": 1}):
        with pytest.raises(UsageError):
            refusal_study(toy_folder, model=toy_bundle, **wish)
    strange = tmp_path / "set" / "val" / "basophil"
    strange.mkdir(parents=True)
    (strange / "a.png").write_bytes(drawn_files[0].read_bytes())
    with pytest.raises(DataError, match="no cell of a class"):
        refusal_study(tmp_path / "set", model=toy_bundle)


def test_classes_that_were_never_learned_are_strangers_of_their_own_kind(toy):
    """The drawn set has eight classes, the toy knows a few of them."""
    study = refusal_study("drawn", model=toy, split="test", strange=4, made=())
    unknown = sorted({cell.class_name for cell in labeled_cells("drawn")} - set(toy.classes))
    assert [item.kind for item in study.kinds] == [f"never learned: {key}" for key in unknown]
    assert all(item.n == 4 for item in study.kinds)
    assert study.n == 4 * len(toy.classes)
