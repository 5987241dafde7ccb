from __future__ import annotations

import shutil

import pytest

from corpuscle.data.attributes import ATTRIBUTES, attributed_cells, fit_list, select_list
from corpuscle.errors import DataError


def test_rows_without_a_picture_are_left_out_and_values_are_the_projects(attributed_root):
    cells = attributed_cells(root=attributed_root)
    assert len(cells) == 30  # three classes of ten; the 31st row has no picture, and platelets have no row
    by_file = {item.cell.file: item for item in cells}
    values = dict(zip([item.key for item in ATTRIBUTES], by_file["lymphocyte/LY_0.jpg"].values, strict=True))
    assert values["granule_type"] == values["granule_color"] == "none"
    assert values["nucleus_shape"] == "unsegmented-round"
    assert values["chromatin_density"] == "dense"


def test_nothing_of_the_test_split_and_no_twin_of_a_tested_picture_is_fitted_on(attributed_root):
    cells = attributed_cells(root=attributed_root)
    chosen = {item.cell.file for item in fit_list(cells)}
    # 0 is a twin of 4, which is tested; 7 is of PBC's val split, 9 of its test split.
    assert chosen == {f"{key}/{key[:2].upper()}_{n}.jpg" for key in ("neutrophil", "eosinophil", "lymphocyte")
                      for n in (1, 2, 3)}  # fmt: skip


def test_the_unseen_part_of_a_list_is_pbcs_test_split(attributed_root):
    cells = attributed_cells(root=attributed_root)
    assert {item.cell.split for item in select_list(cells, "test")} == {"train", "test"}
    assert {item.cell.split for item in select_list(cells, "test", unseen=True)} == {"test"}


@pytest.mark.parametrize(("old", "new"), [("segmented-bilobed", "square"), ("nucleus_shape", "nucleus")])
def test_an_unknown_value_or_a_missing_column_is_told_with_its_line(attributed_root, tmp_path, old, new):
    root = tmp_path / "root"
    shutil.copytree(attributed_root, root)
    table = root / "wbcatt" / "pbc_attr_v1_train.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DataError, match=r"pbc_attr_v1_train\.csv, line \d+: .*corpuscle fetch wbcatt"):
        attributed_cells(root=root)
