from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from corpuscle.data.bccd_photographs import SecondReading
from corpuscle.data.fields import LabeledField
from corpuscle.prediction.detection import FieldMaps
from corpuscle.prediction.suppression import decode_maps
from corpuscle.records import Detections
from corpuscle.training.counting_rules import MappedField, choose_rules


class FakeDetector:
    """Decodes maps as a detector does."""

    def decode(self, maps: FieldMaps, *, least_score: float, overlap_limits: tuple[float, ...]) -> Detections:
        return decode_maps(
            maps.scores, maps.reaches, least_scores=(least_score,) * 3, overlap_limits=overlap_limits, step_px=4
        )


def mapped(scores_of: dict[int, list[float]], counts: tuple[int, int, int], **facts) -> MappedField:
    """A field in which cells of each kind stand in a row with given scores; `counts` were drawn."""
    scores, reaches = np.zeros((3, 4, 120), np.float32), np.full((4, 4, 120), 4.0, np.float32)
    for kind, values in scores_of.items():
        for place, value in enumerate(values):
            scores[kind, 1, 4 * place + 2] = value
    kinds = np.repeat(np.arange(3), counts)
    field = LabeledField("f", Path("f"), facts.pop("source", "a"), "val", "f", np.zeros((len(kinds), 4), np.float32),
                         kinds, **facts)  # fmt: skip
    return MappedField(field, FieldMaps(scores, reaches, (1.0, 1.0), (480, 16)))


def test_the_score_that_counts_right_is_chosen():
    real, dirt = [0.8] * 6, [0.3] * 5
    fields = [mapped({0: real + dirt, 1: [0.9, 0.5], 2: [0.4, 0.2]}, (6, 1, 1))] * 4
    rules = choose_rules(FakeDetector(), fields)
    assert 0.3 < rules["erythrocyte"].least_score < 0.8
    assert 0.5 < rules["leukocyte"].least_score < 0.9
    assert 0.2 < rules["platelet"].least_score < 0.4


def test_fields_without_boxes_of_erythrocytes_do_not_count_for_them():
    good = mapped({0: [0.8] * 5 + [0.2] * 5}, (5, 0, 0))
    bare = mapped({0: [0.8] * 9}, (0, 0, 0), erythrocytes_unlabeled=True)
    assert (
        choose_rules(FakeDetector(), [good, bare, bare])["erythrocyte"]
        == choose_rules(FakeDetector(), [good])["erythrocyte"]
    )


def test_overlapping_cells_are_kept_apart_where_that_counts_right():
    def close(drawn: int) -> MappedField:
        item = mapped({0: [0.9, 0.85]}, (drawn, 0, 0))
        item.maps.reaches[:] = 25.0  # boxes of 50 px, 16 px apart: they overlap by about a half
        return item

    one, two = (choose_rules(FakeDetector(), [close(drawn)] * 3)["erythrocyte"] for drawn in (1, 2))
    assert one.overlap_limit < two.overlap_limit


def test_each_data_set_has_the_same_weight():
    many = [mapped({0: [0.9] * 4 + [0.5] * 4}, (8, 0, 0), source="a")] * 30
    few = [mapped({0: [0.9] * 4 + [0.5] * 4}, (4, 0, 0), source="b")] * 3
    # Counting all is 100 % off in b, counting the sure ones 50 % off in a.
    assert choose_rules(FakeDetector(), many + few)["erythrocyte"].least_score > 0.5


def test_fields_with_cells_left_out_have_no_say_in_erythrocytes():
    drawn = [mapped({0: [0.9] * 6 + [0.5] * 4}, (10, 0, 0))] * 2
    left_out = dataclasses.replace(mapped({0: [0.9] * 6 + [0.5] * 4}, (6, 0, 0)), complete=False)
    assert choose_rules(FakeDetector(), [*drawn, *[left_out] * 9])["erythrocyte"].least_score < 0.5
    assert choose_rules(FakeDetector(), [left_out] * 9)["erythrocyte"].least_score > 0.5


def test_fields_that_were_read_again_have_a_say_with_what_is_there():
    more = SecondReading(np.zeros((4, 4), np.float32), np.zeros((0, 4), np.float32))
    poor = mapped({0: [0.9] * 6 + [0.5] * 4}, (6, 0, 0))
    again = dataclasses.replace(
        poor, complete=False, field=dataclasses.replace(poor.field, readings={"erythrocyte": more})
    )
    assert choose_rules(FakeDetector(), [poor])["erythrocyte"].least_score > 0.5
    assert choose_rules(FakeDetector(), [again])["erythrocyte"].least_score < 0.5
