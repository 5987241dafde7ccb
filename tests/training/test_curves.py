from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from corpuscle.errors import OutputError
from corpuscle.training.checkpoint import EpochRecord
from corpuscle.training.curves import write_curves

HISTORY = [EpochRecord(n, 0.01 / n, 2.0 / n, 0.5 + n / 50, 2.1 / n, 0.45 + n / 50, 1.5) for n in range(1, 8)]
COLUMNS = ["epoch", "learning_rate", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds"]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "curves.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == COLUMNS
        return list(reader)


def test_the_table_grows_with_the_history(tmp_path):
    for n in (1, 4, 7):
        write_curves(HISTORY[:n], tmp_path, picture=False)
        found = rows(tmp_path)
        assert [row["epoch"] for row in found] == [str(epoch) for epoch in range(1, n + 1)]
    assert float(found[3]["val_loss"]) == HISTORY[3].val_loss
    assert [path.name for path in tmp_path.iterdir()] == ["curves.csv"]


def test_the_picture_shows_the_curves(tmp_path):
    for n in (1, 7):
        write_curves(HISTORY[:n], tmp_path)
        with Image.open(tmp_path / "curves.png") as picture:
            picture.load()
            assert picture.format == "PNG"
            assert picture.width > 600
            colors = {color for _, color in picture.convert("RGB").getcolors(maxcolors=10**6)}
        # Blue for train, orange for val, as the legend says.
        assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.csv", "curves.png"]


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"curves\.csv cannot be written"):
        write_curves(HISTORY, tmp_path / "file")
