from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpuscle.data.labeled import LabeledCell
from corpuscle.errors import UsageError
from corpuscle.evaluation.map_report import label_doubts, report_map
from corpuscle.evaluation.neighbors import nearest_neighbors, trustworthiness
from corpuscle.prediction.embedding import EmbeddedCells, Specimen
from corpuscle.records import Framing, Prediction

CLASSES = ("basophil", "lymphocyte", "monocyte", "neutrophil")


@settings(max_examples=20)
@given(st.integers(5, 60), st.integers(1, 4), st.integers(0, 9))
def test_neighbors_are_those_of_scikit_learn(n, count, seed):
    from sklearn.neighbors import NearestNeighbors

    points = np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)
    places, distances = nearest_neighbors(points, count)
    wanted, _ = NearestNeighbors(n_neighbors=count).fit(points).kneighbors()
    assert np.allclose(distances, wanted, atol=1e-4)
    assert np.allclose(np.linalg.norm(points[places] - points[:, None], axis=2), distances, atol=1e-4)


def test_trustworthiness_is_that_of_scikit_learn():
    from sklearn.manifold import trustworthiness as theirs

    rng = np.random.default_rng(0)
    points = rng.normal(size=(150, 12)).astype(np.float32)
    for coordinates in (points[:, :2], rng.normal(size=(150, 2)).astype(np.float32)):
        assert trustworthiness(points, coordinates) == pytest.approx(
            theirs(points, coordinates, n_neighbors=12), abs=1e-3
        )
    assert trustworthiness(points, points) == pytest.approx(1)


def test_too_many_neighbors_are_refused():
    with pytest.raises(UsageError, match="Give more pictures"):
        nearest_neighbors(np.zeros((3, 2), np.float32), 3)


def planted(n: int = 800, flips: float = 0.03) -> tuple[EmbeddedCells, set[str]]:
    """Four clusters with some overlap, a model that is right for 97 %, and labels flipped for a share of them."""
    rng = np.random.default_rng(1)
    true = rng.integers(0, 4, n)
    embeddings = (4 * np.eye(4, 16)[true] + rng.normal(size=(n, 16))).astype(np.float32)
    logits = 5 * np.eye(4)[true] + rng.normal(size=(n, 4)) * 1.6
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = true.copy()
    wrong = rng.permutation(n)[: round(flips * n)]
    labels[wrong] = (labels[wrong] + rng.integers(1, 4, len(wrong))) % 4
    specimens, predictions = [], []
    for place in range(n):
        name, key = f"{place}.png", CLASSES[labels[place]]
        specimens.append(Specimen(name, key, "made up", LabeledCell(name, Path(name), key, "")))
        values = dict(zip(CLASSES, probabilities[place].tolist(), strict=True))
        best = max(values, key=values.__getitem__)
        predictions.append(
            Prediction(name, best, values[best], values, False, "", (best,), 0.5, Framing("whole", 0, 0, 9))
        )
    thumbnails = rng.integers(0, 256, (n, 8, 8, 3)).astype(np.uint8)
    cells = EmbeddedCells(tuple(specimens), tuple(predictions), embeddings, thumbnails, ())
    return cells, {f"{place}.png" for place in wrong}


def test_planted_flips_come_out_on_top():
    cells, wrong = planted()
    suspects = [item.file for item in report_map(cells, cells.embeddings[:, :2]).suspects]
    found = wrong & set(suspects)
    assert len(found) / len(wrong) >= 0.9
    assert len(found) / len(suspects) >= 0.9
    assert set(suspects[:10]) <= wrong


def test_right_labels_are_left_alone():
    cells, _ = planted(flips=0.0)
    assert len(report_map(cells, cells.embeddings[:, :2]).suspects) <= 0.005 * len(cells)


def test_neither_witness_alone_is_enough():
    labels = np.array([0, 1, 1, 1])
    sure = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    neighbors = np.array([[1, 2, 3], [2, 3, 1], [1, 3, 2], [1, 2, 3]])
    against_neighbors, _ = label_doubts(labels, sure, neighbors)
    assert against_neighbors.max() <= 0.5
    both, better = label_doubts(labels, sure[[1, 1, 2, 3]], neighbors)
    assert both[0] > 0.9
    assert better[0] == 1


def test_twins_are_found_and_a_contradiction_comes_first():
    cells, _ = planted(200, 0.0)
    for first, second in ((3, 4), (10, 11)):
        cells.embeddings[second] = cells.embeddings[first]
        cells.thumbnails[second] = cells.thumbnails[first]
    specimens = list(cells.specimens)
    labels = [item.label for item in specimens]
    for place, label in ((3, labels[4]), (4, labels[4]), (10, "monocyte"), (11, "basophil")):
        specimens[place] = Specimen(specimens[place].file, label, "made up", specimens[place].cell)
    changed = EmbeddedCells(tuple(specimens), cells.predictions, cells.embeddings, cells.thumbnails, ())
    report = report_map(changed, cells.embeddings[:, :2])
    assert [(item.first, item.second) for item in report.twins] == [("10.png", "11.png"), ("3.png", "4.png")]
    assert "labeled monocyte and basophil" in report.text()


def test_overlapping_classes_are_named_first():
    cells, _ = planted()
    moved = cells.embeddings.copy()
    labels = np.array([item.label for item in cells.specimens])
    moved[labels == "monocyte"] += 3.5 * (np.eye(16)[1] - np.eye(16)[2]).astype(np.float32)
    closer = EmbeddedCells(cells.specimens, cells.predictions, moved, cells.thumbnails, ())
    first = report_map(closer, moved[:, :2]).confusable[0]
    assert {first.first, first.second} == {"lymphocyte", "monocyte"}


def test_cells_without_labels_have_a_report_of_their_own():
    cells, _ = planted(60)
    bare = tuple(Specimen(item.file, "", item.source, item.cell) for item in cells.specimens)
    report = report_map(
        EmbeddedCells(bare, cells.predictions, cells.embeddings, cells.thumbnails, ()), cells.embeddings[:, :2]
    )
    assert report.accuracy is None
    assert report.suspects == ()
    assert "0 with a label" in report.text()
    with pytest.raises(UsageError, match="three cells"):
        report_map(cells, cells.embeddings[:5, :2])
