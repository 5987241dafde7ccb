from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpuscle import taxonomy
from corpuscle.errors import DataError, UnknownNameError, UsageError
from corpuscle.models.bundle import load_bundle
from corpuscle.prediction.correction import (
    CONFUSION,
    Confusion,
    correct_shares,
    most_likely_shares,
    read_confusion,
    stated_confusion,
)
from corpuscle.prediction.counting import differential_of, make_differential
from corpuscle.prediction.findings import find_findings
from corpuscle.prediction.reference_ranges import REFERENCE_RANGES, ReferenceRange, flag_of
from corpuscle.prediction.refusal import UNLIKE
from corpuscle.records import FieldCell, FieldReading, Ruler


def field_of(*groups, file="a.png", erythrocytes=0):
    """A field of `(class, number of cells, options)`."""
    cells = []
    for group in [*groups, ("erythrocyte", erythrocytes)]:
        key, number, options = (*group, {})[:3]
        kind = {"platelet": "platelet", "erythrocyte": "erythrocyte"}.get(key, "leukocyte")
        for _ in range(number):
            cells.append(FieldCell(len(cells) + 1, kind, (0, 0, 9, 9), 0.9, class_name=key, **options))
    return FieldReading(file, 99, 99, tuple(cells), Ruler(0.1, 1.0, "erythrocytes", 9))


def keys(findings):
    return {finding.key: finding for finding in findings}


@given(st.dictionaries(st.sampled_from(taxonomy.KEYS), st.integers(0, 500)))
def test_a_differential_sums_to_a_hundred_and_ignores_what_is_no_leukocyte(counts):
    result = make_differential(counts)
    leukocytes = {key: value for key, value in counts.items() if taxonomy.cell_class(key).in_differential}
    assert result.n == sum(leukocytes.values())
    assert make_differential(leukocytes).shares == result.shares
    if result.n:
        assert sum(row.percent for row in result.shares) == pytest.approx(100)
        assert all(row.interval.low <= row.percent <= row.interval.high for row in result.shares)
    else:
        assert "no differential" in result.warning


def test_the_numbers_of_a_usual_smear():
    result = make_differential({"neutrophil": 60, "lymphocyte": 27, "monocyte": 9, "eosinophil": 3, "basophil": 1})
    row = result.share("monocyte")
    assert (row.n, row.percent) == (9, 9)
    assert (round(row.interval.low, 1), round(row.interval.high, 1)) == (4.8, 16.2)
    assert [share.class_name for share in result.shares] == [
        "basophil", "eosinophil", "immature_granulocyte", "lymphocyte", "monocyte", "neutrophil",
    ]  # fmt: skip
    assert (result.warning, result.note[:3]) == ("", "100")


def test_few_cells_come_with_a_warning_and_some_with_a_note():
    assert "Only 99" in make_differential({"neutrophil": 99}).warning
    assert make_differential({"neutrophil": 199}).note
    plenty = make_differential({"neutrophil": 200})
    assert (plenty.warning, plenty.note) == ("", "")


def test_erythroblasts_are_given_per_hundred_leukocytes():
    result = make_differential({"neutrophil": 80, "lymphocyte": 20, "erythroblast": 5})
    assert (result.n, result.erythroblasts, result.erythroblasts_per_100) == (100, 5, 5)
    assert result.erythroblast_interval.low == pytest.approx(1.6, abs=0.1)
    assert result.erythroblast_interval.high == pytest.approx(12.1, abs=0.2)
    assert make_differential({"erythroblast": 5}).erythroblasts_per_100 is None


def test_finer_classes_take_the_place_of_their_parent():
    result = make_differential({"segmented_neutrophil": 50, "band_neutrophil": 10, "lymphocyte": 40})
    assert "neutrophil" not in [row.class_name for row in result.shares]
    mixed = make_differential({"band_neutrophil": 10, "neutrophil": 50})
    assert {row.class_name: row.n for row in mixed.shares if row.n} == {"band_neutrophil": 10, "neutrophil": 50}


def test_refused_and_cut_cells_are_left_out_and_fields_add_up():
    first = field_of(("neutrophil", 3), ("lymphocyte", 2, {"refused": True, "reason": "too doubtful"}))
    second = field_of(("neutrophil", 1, {"on_border": True}), ("lymphocyte", 4), ("platelet", 9), file="b.png")
    result = differential_of([first, second])
    assert (result.n, result.refused, result.on_border, result.fields) == (7, 2, 1, 2)
    assert result.share("lymphocyte").n == 4


def test_what_is_no_class_is_refused():
    with pytest.raises(UnknownNameError):
        make_differential({"blob": 3})
    with pytest.raises(UsageError, match="-1"):
        make_differential({"neutrophil": -1})
    with pytest.raises(UnknownNameError, match="interval"):
        make_differential({"neutrophil": 1}, interval="wald")


def test_flags_respect_the_interval():
    usual = ReferenceRange("monocyte", 2, 10, "a book")
    assert [flag_of(*ends, usual) for ends in ((11, 20), (0, 1), (3, 9), (8, 12))] == [
        "high",
        "low",
        "within",
        "unsure",
    ]
    assert make_differential({"eosinophil": 10, "neutrophil": 90}).share("eosinophil").flag == "unsure"
    assert make_differential({"eosinophil": 20, "neutrophil": 80}).share("eosinophil").flag == "high"


def test_ranges_have_a_source_and_belong_to_the_differential():
    for row in REFERENCE_RANGES:
        assert taxonomy.cell_class(row.class_name).in_differential
        assert len(row.source) > 20
    with pytest.raises(UsageError, match="lower end first"):
        ReferenceRange("monocyte", 10, 2, "x")


def test_correction_recovers_the_shares_behind_mistakes():
    mistakes = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.0, 0.05, 0.95]])
    shares = np.array([0.6, 0.3, 0.1])
    assert most_likely_shares(1000 * shares @ mistakes, mistakes) == pytest.approx(shares, abs=1e-3)


def test_a_perfect_classifier_needs_no_correction_and_none_is_negative():
    classes = ("neutrophil", "lymphocyte", "erythroblast")
    rows = correct_shares({"neutrophil": 70, "lymphocyte": 30}, classes, (np.eye(3, dtype=int) * 500).tolist())
    assert {row.class_name: round(row.percent, 3) for row in rows} == {"neutrophil": 70, "lymphocyte": 30}
    low, high = rows[0].interval.low, rows[0].interval.high
    assert 58 < low < 65
    assert 75 < high < 81
    impossible = correct_shares({"neutrophil": 100}, classes, [[50, 50, 0], [50, 50, 0], [0, 0, 100]])
    assert all(row.percent >= 0 for row in impossible)


def test_a_correction_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match="lacks the counted class monocyte"):
        correct_shares({"monocyte": 3}, ("neutrophil", "lymphocyte"), [[5, 0], [0, 5]])
    with pytest.raises(UsageError, match="no cell of the class lymphocyte"):
        correct_shares({"neutrophil": 3}, ("neutrophil", "lymphocyte"), [[5, 0], [0, 0]])
    with pytest.raises(UsageError, match="needs 2 rows"):
        Confusion(("neutrophil", "lymphocyte"), ((1, 2),))
    assert correct_shares({}, ("neutrophil", "lymphocyte"), [[5, 0], [0, 5]]) == ()


def test_a_bundle_states_its_confusion_or_says_that_it_does_not(tmp_path):
    bundle = load_bundle()
    matrix = np.eye(len(bundle.classes), dtype=int).tolist()
    row = {"figure": CONFUSION, "dataset": "pbc", "n": 8, "classes": list(bundle.classes), "value": matrix}
    rows = ({**row, "split": "val", "n": 99}, {**row, "split": "test"})
    stated = stated_confusion(dataclasses.replace(bundle, metrics=rows))
    assert stated.source == "pbc, split test, 8 cells"
    with pytest.raises(UsageError, match="does not state its own confusion matrix"):
        stated_confusion(dataclasses.replace(bundle, metrics=()))
    (tmp_path / "evaluation.json").write_text("[1]")
    with pytest.raises(DataError, match="no evaluation"):
        read_confusion(tmp_path / "evaluation.json")


def find(*fields):
    return keys(find_findings(fields, differential_of(fields)))


def test_a_healthy_smear_has_no_finding():
    assert (
        find(
            field_of(
                ("neutrophil", 120),
                ("lymphocyte", 60),
                ("monocyte", 10),
                ("eosinophil", 6),
                ("platelet", 60),
                erythrocytes=900,
            )
        )
        == {}
    )


def test_a_left_shift_is_suggested_with_its_cells():
    found = find(field_of(("neutrophil", 150), ("immature_granulocyte", 12), ("lymphocyte", 38)))
    assert len(found["left_shift"].cells) == 12
    assert found["left_shift"].cells[0] == ("a.png", 151)
    assert "left_shift" not in find(field_of(("neutrophil", 150), ("immature_granulocyte", 2), ("lymphocyte", 48)))
    bands = find(field_of(("segmented_neutrophil", 100), ("band_neutrophil", 40), ("lymphocyte", 60)))
    assert len(bands["left_shift_bands"].cells) == 40


@pytest.mark.parametrize(
    ("groups", "key"),
    [
        ([("eosinophil", 30), ("neutrophil", 120), ("lymphocyte", 50)], "eosinophilia"),
        ([("basophil", 20), ("neutrophil", 120), ("lymphocyte", 60)], "basophilia"),
        ([("monocyte", 50), ("neutrophil", 100), ("lymphocyte", 50)], "monocytosis"),
        ([("lymphocyte", 120), ("neutrophil", 80)], "lymphocytosis"),
        ([("neutrophil", 40), ("lymphocyte", 60), ("monocyte", 100)], "neutropenia"),
        ([("segmented_neutrophil", 190), ("lymphocyte", 10)], "neutrophilia"),
    ],
)
def test_shares_outside_of_what_is_usual_are_found_by_their_interval(groups, key):
    found = find(field_of(*groups))
    assert key in found
    assert "diagnos" not in found[key].text
    few = [(name, max(1, number // 40)) for name, number in groups]
    assert key not in find(field_of(*few))


def test_every_erythroblast_is_a_finding():
    found = find(field_of(("neutrophil", 120), ("lymphocyte", 60), ("erythroblast", 1), ("monocyte", 10)))
    assert found["erythroblasts"].cells == (("a.png", 181),)


def test_refused_cells_that_look_alike_are_grouped():
    strange = {"refused": True, "reason": f"{UNLIKE}; too blurred"}
    found = find(field_of(("neutrophil", 20), ("monocyte", 4, strange), ("basophil", 1, strange)))
    assert len(found["refused_alike"].cells) == 4
    doubtful = {"refused": True, "reason": "too doubtful"}
    assert "refused_alike" not in find(field_of(("neutrophil", 20), ("monocyte", 4, doubtful)))


def test_few_or_clumped_platelets_are_found():
    assert "few_platelets" in find(field_of(("platelet", 3), erythrocytes=800))
    assert "few_platelets" not in find(field_of(("platelet", 0), erythrocytes=100))
    assert "few_platelets" not in find(field_of(("platelet", 40), erythrocytes=800))
    assert len(find(field_of(("platelet", 5, {"clump": 1})))["platelet_clumps"].cells) == 5
