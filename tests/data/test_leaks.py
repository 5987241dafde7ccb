from __future__ import annotations

from pathlib import Path

from corpuscle.data.labeled import LabeledCell
from corpuscle.data.leaks import shared_sources


def cells(*names: str) -> list[LabeledCell]:
    """Cells from `file` or `file@group`."""
    made = []
    for name in names:
        file, _, group = name.partition("@")
        made.append(LabeledCell(file, Path(file), "monocyte", "", group))
    return made


def test_shared_photographs_are_counted_once_each():
    found = shared_sources(cells("1@a", "2@a", "3@b"), cells("4@a", "5@a", "6@c", "7@b", "8@d"))
    assert (found.judged, found.shared, found.cells) == (4, 2, 3)
    assert found.sentence() == "leaks: 50 % of test photographs are also in training (2 of 4)"


def test_without_groups_the_files_are_compared():
    found = shared_sources(cells("1", "2"), cells("2", "3", "4", "5"))
    assert found.sentence() == "leaks: 25 % of test pictures are also in training (1 of 4)"


def test_a_clean_split_says_nothing():
    assert shared_sources(cells("1@a", "2@b"), cells("3@c", "4@d")).sentence() == ""


def test_pictures_of_unknown_photographs_are_left_out():
    found = shared_sources(cells("1@a"), cells("2@a", "3@b", "9"))
    assert (found.judged, found.shared) == (2, 1)
