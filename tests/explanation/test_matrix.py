"""The picture of a confusion matrix."""

from __future__ import annotations

import numpy as np
import pytest
from picture_parts import border

from corpuscle.errors import UsageError
from corpuscle.explanation import palette
from corpuscle.explanation.drawing import draw_confusion_matrix
from corpuscle.taxonomy import KEYS

LONG = "immature_granulocyte"


def mean_place(image: np.ndarray, color: tuple[int, int, int]) -> tuple[float, float]:
    """Mean row and column of the pixels of one color, of which there must be enough for a cell."""
    rows, columns = np.nonzero((image == color).all(axis=2))
    assert len(rows) > 1000, f"no cell of color {color}"
    return rows.mean(), columns.mean()


class TestConfusionMatrix:
    def test_cells_are_shaded_by_the_share_of_the_row(self) -> None:
        image = draw_confusion_matrix(np.array([[90, 10], [20, 20]]), ["a", "b"], title="t")
        top_left = mean_place(image, palette.shade(0.9))
        top_right = mean_place(image, palette.shade(0.1))
        below = mean_place(image, palette.shade(0.5))
        assert top_left[0] == pytest.approx(top_right[0], abs=4)
        assert top_left[1] + 40 < top_right[1]
        assert below[0] > top_left[0] + 40

    def test_the_size_of_a_class_does_not_change_its_shades(self) -> None:
        small = draw_confusion_matrix(np.array([[3, 1], [0, 4]]), ["a", "b"], title="t")
        large = draw_confusion_matrix(np.array([[75, 25], [0, 4]]), ["a", "b"], title="t")
        for share in (0.0, 0.25, 0.75, 1.0):
            assert mean_place(small, palette.shade(share)) == pytest.approx(
                mean_place(large, palette.shade(share)), abs=3
            )

    def test_a_zero_is_faint(self) -> None:
        def has_faint_ink(counts: list[list[int]]) -> bool:
            image = draw_confusion_matrix(np.array(counts), ["a", "b"], title="t")
            rows, columns = np.nonzero((image == palette.shade(0.0)).all(axis=2))
            cell = image[rows.min() : rows.max(), columns.min() : columns.max()]
            return bool((cell == palette.FAINT).all(axis=2).any() and not (cell == palette.INK).all(axis=2).any())

        assert has_faint_ink([[5, 0], [5, 5]])
        assert not has_faint_ink([[1_000_000, 1], [5, 5]])

    @pytest.mark.parametrize("k", [2, 9, 20])
    def test_long_names_stay_inside_and_off_the_cells(self, k: int) -> None:
        counts = np.full((k, k), 3) + 50 * np.eye(k, dtype=np.int64)
        long, short = (
            draw_confusion_matrix(counts, [name] * k, title=f"{LONG} " * 20) for name in (LONG * 2, "monocyte")
        )
        assert (border(long, 26) == 255).all()
        assert long.shape[1] > short.shape[1]
        for share in (53 / counts[0].sum(), 3 / counts[0].sum()):
            shade = palette.shade(share)
            assert (long == shade).all(axis=2).sum() == pytest.approx((short == shade).all(axis=2).sum(), abs=8)

    def test_large_counts_widen_the_cells(self) -> None:
        few = draw_confusion_matrix(np.eye(3, dtype=np.int64), ["a", "b", "c"], title="t")
        many = draw_confusion_matrix(987_654_321 * np.eye(3, dtype=np.int64), ["a", "b", "c"], title="t")
        assert many.shape[1] > few.shape[1] + 3 * 20
        assert (border(many, 26) == 255).all()

    def test_underscores_are_spaces(self) -> None:
        counts = np.eye(2, dtype=np.int64)
        np.testing.assert_array_equal(
            draw_confusion_matrix(counts, ["band_neutrophil", "b"], title="t"),
            draw_confusion_matrix(counts, ["band neutrophil", "b"], title="t"),
        )

    def test_a_class_without_labels_has_no_recall(self) -> None:
        none = draw_confusion_matrix(np.array([[4, 0], [0, 0]]), ["a", "b"], title="t")
        wrong = draw_confusion_matrix(np.array([[4, 0], [1, 0]]), ["a", "b"], title="t")
        assert none.shape == wrong.shape
        assert (none[:, -70:] != wrong[:, -70:]).any()

    def test_recall_never_rounds_to_perfect(self) -> None:
        nearly = draw_confusion_matrix(np.array([[100_000, 1], [0, 1]]), ["a", "b"], title="t")
        perfect = draw_confusion_matrix(np.array([[100_000, 0], [0, 1]]), ["a", "b"], title="t")
        assert (nearly[:, -75:] != perfect[:, -75:]).any()

    def test_same_input_same_picture(self) -> None:
        counts = np.arange(16).reshape(4, 4)
        first, second = (draw_confusion_matrix(counts, list(KEYS[:4]), title="t") for _ in range(2))
        np.testing.assert_array_equal(first, second)

    @pytest.mark.parametrize(
        ("matrix", "classes"),
        [
            (np.zeros((2, 3), np.int64), ["a", "b"]),
            (np.zeros(4, np.int64), ["a", "b"]),
            (np.eye(2), ["a", "b"]),
            (np.eye(2, dtype=bool), ["a", "b"]),
            (np.array([[1, -1], [0, 1]]), ["a", "b"]),
            (np.eye(2, dtype=np.int64), ["a", "b", "c"]),
            (np.eye(1, dtype=np.int64), ["a"]),
            (np.eye(65, dtype=np.int64), ["a"] * 65),
        ],
    )
    def test_what_is_no_confusion_matrix(self, matrix: np.ndarray, classes: list[str]) -> None:
        with pytest.raises(UsageError):
            draw_confusion_matrix(matrix, classes, title="t")
