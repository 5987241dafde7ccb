"""The labeled sets that the project draws itself."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from corpuscle.data import examples, labeled
from corpuscle.data.labeled import labeled_cells


@pytest.fixture
def drawn(monkeypatch):
    """Which cells were asked for, by class and seed; they are not drawn, as that takes long."""
    asked: list[tuple[str, int]] = []

    def draw(key: str, seed: int) -> np.ndarray:
        asked.append((key, seed))
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(examples, "draw_cell", draw)
    labeled._drawn_many.cache_clear()
    yield asked
    labeled._drawn_many.cache_clear()


def test_the_small_set_has_all_classes_in_all_splits(drawn):
    cells = labeled_cells("drawn")
    assert len(set(drawn)) == len(drawn) == len(cells)
    counts = {split: sum(cell.split == split for cell in cells) for split in ("train", "val", "test")}
    assert counts == {"train": 12 * 8, "val": 4 * 8, "test": 4 * 8}
    assert {cell.class_name for cell in cells if cell.split == "test"} == set(examples.CLASSES)
    assert len({cell.file for cell in cells}) == len(cells)
    assert cells[0].read().shape == (8, 8, 3)


def test_the_large_set_is_for_learning_and_shares_no_cell_with_the_small_one(drawn):
    cells = labeled_cells("drawn-many")
    assert {cell.split for cell in cells} == {"train"}
    assert dict.fromkeys(examples.CLASSES, 100) == Counter(cell.class_name for cell in cells)
    assert len({cell.file for cell in cells}) == len(cells) == len(drawn)
    assert labeled_cells("drawn-many", split="train") == cells
    assert len(drawn) == len(cells), "drawn once"
    labeled_cells("drawn")
    assert len(set(drawn)) == len(drawn)
