from __future__ import annotations

import numpy as np
import pytest

from corpuscle.errors import DataError
from corpuscle.evaluation.average_precision import (
    OVERLAPS,
    TrueBoxes,
    average_precision,
    average_precision_intervals,
)
from corpuscle.records import Detections


def found(*rows: tuple[float, int, list[float]]) -> Detections:
    return Detections(
        np.array([row[2] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[0] for row in rows], np.float32),
        np.array([row[1] for row in rows], np.int64),
    )


def drawn(*rows: tuple[int, list[float]]) -> TrueBoxes:
    boxes = np.array([row[1] for row in rows], np.float32).reshape(-1, 4)
    return TrueBoxes(boxes, np.array([row[0] for row in rows], np.int64))


A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]


def random_fields(seed: int, fields: int = 12) -> tuple[list[Detections], list[TrueBoxes]]:
    rng = np.random.default_rng(seed)
    answers, truth = [], []
    for _ in range(fields):
        n = int(rng.integers(0, 30))
        corner = rng.uniform(0, 200, (n, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(5, 60, (n, 2))], axis=1).astype(np.float32)
        kinds = rng.integers(0, 3, n)
        truth.append(TrueBoxes(boxes, kinds.astype(np.int64)))
        seen = rng.random(n) < 0.8
        noisy = boxes[seen] + rng.normal(0, 4, (int(seen.sum()), 4)).astype(np.float32)
        noisy[:, 2:] = np.maximum(noisy[:, 2:], noisy[:, :2] + 1)
        extra = rng.uniform(0, 200, (5, 2))
        more = np.concatenate([extra, extra + rng.uniform(5, 60, (5, 2))], axis=1)
        everything = np.concatenate([noisy, more]).astype(np.float32)
        scores = np.round(rng.random(len(everything)), 2).astype(np.float32)  # with ties
        labels = np.concatenate([kinds[seen], rng.integers(0, 3, 5)]).astype(np.int64)
        answers.append(Detections(everything, scores, labels))
    return answers, truth


def test_a_perfect_answer_is_one():
    result = average_precision([found((0.9, 0, A), (0.8, 1, B))], [drawn((0, A), (1, B))])
    assert (result.map50, result.map50_95) == (1.0, 1.0)
    assert result.cells == {"erythrocyte": 1, "leukocyte": 1, "platelet": 0}
    assert set(result.by_kind) == {"erythrocyte", "leukocyte"}


def test_by_hand_with_a_miss_and_a_mistake_between():
    """Right, wrong, right of three cells: precision 1 up to recall 1/3, 2/3 up to recall 2/3, then 0."""
    answer = found((0.9, 0, A), (0.8, 0, [80, 80, 90, 90]), (0.7, 0, B))
    result = average_precision([answer], [drawn((0, A), (0, B), (0, C))])
    assert result.map50 == pytest.approx((34 * 1.0 + 33 * 2 / 3) / 101)


def test_a_cell_found_twice_counts_once():
    result = average_precision([found((0.9, 0, A), (0.8, 0, A), (0.7, 0, B))], [drawn((0, A), (0, B))])
    assert result.map50 == pytest.approx((51 * 1.0 + 50 * 2 / 3) / 101)


def test_an_overlap_counts_up_to_its_own_threshold():
    result = average_precision([found((0.9, 0, [0, 0, 10, 7.2]))], [drawn((0, A))])
    expected = [1.0 if overlap <= 0.72 else 0.0 for overlap in OVERLAPS]
    assert result.by_kind["erythrocyte"] == pytest.approx(tuple(expected))


def test_only_the_best_hundred_of_a_field_count():
    rows = [(0.9, 0, [200.0, 200, 210, 210])] * 100 + [(0.1, 0, A)]
    assert average_precision([found(*rows)], [drawn((0, A))]).map50 == 0
    assert average_precision([found(*rows)], [drawn((0, A))], most=200).map50 == pytest.approx(1 / 101)


def test_nothing_found_is_zero_and_nothing_drawn_is_refused():
    assert average_precision([found()], [drawn((0, A))]).map50_95 == 0
    with pytest.raises(DataError, match="No box is drawn"):
        average_precision([found((0.9, 0, A))], [drawn()])
    with pytest.raises(DataError, match="cannot be compared"):
        average_precision([found()], [])


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_pycocotools(seed):
    pytest.importorskip("pycocotools")
    from corpuscle.evaluation.detector import coco_average_precision

    answers, truth = random_fields(seed)
    result = average_precision(answers, truth)
    assert coco_average_precision(answers, truth) == pytest.approx((result.map50, result.map50_95), abs=1e-6)


def test_the_order_of_fields_does_not_change_it():
    answers, truth = random_fields(7)
    # Without ties between fields, which the sorting would break by order.
    rng = np.random.default_rng(0)
    answers = [Detections(item.boxes, rng.random(len(item)).astype(np.float32), item.kinds) for item in answers]
    order = rng.permutation(len(truth))
    turned = average_precision([answers[place] for place in order], [truth[place] for place in order])
    assert turned.map50_95 == pytest.approx(average_precision(answers, truth).map50_95, abs=1e-12)


def test_intervals_lie_around_the_figure_and_shrink_with_more_fields():
    answers, truth = random_fields(1, 40)
    result = average_precision(answers, truth)
    half, all_of_it = average_precision_intervals(answers, truth, resamples=120)
    assert half.low < result.map50 < half.high
    assert all_of_it.low < result.map50_95 < all_of_it.high
    few = average_precision_intervals(answers[:6], truth[:6], resamples=120)[0]
    assert few.high - few.low > half.high - half.low
