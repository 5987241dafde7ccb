"""What was measured about trust reaches files and figures unchanged."""

from __future__ import annotations

import csv
import json

import pytest

from corpuscle.evaluation.spoilt import CLEAN, CorruptionTable, SpoiltResult
from corpuscle.reporting.trust import corruption_figures, write_corruptions


@pytest.fixture
def table() -> CorruptionTable:
    results = [SpoiltResult("bubble", severity, 1 - severity / 10, 1 - severity / 20, 0.9) for severity in range(1, 5)]
    results.append(SpoiltResult("bubble", 5, 0.2, 0.0, None))
    return CorruptionTable("toy 1", "pbc", "test", 10, 20, 3, SpoiltResult(CLEAN, 0, 0.99, 0.95, 1.0), tuple(results))


def test_figures_say_the_mean_each_kind_and_what_was_refused(table):
    mean, clean, bubble = corruption_figures(table)
    assert mean.value == bubble.value == f"{(0.1 + 0.2 + 0.3 + 0.4 + 0.8) / 5:.4f}"
    assert (mean.where, mean.n) == ("pbc test", 10)
    assert "10 of 20 cells" in mean.note
    assert clean.value == "0.0100"
    assert bubble.note.startswith("by severity 0.1000 0.2000 0.3000 0.4000 0.8000; refused 0.050 ")
    assert bubble.note.endswith(" 1.000")


def test_files_hold_every_line(table, tmp_path):
    paths = write_corruptions(table, tmp_path / "new")
    assert all(path.is_file() for path in paths)
    rows = list(csv.DictReader(paths[2].read_text().splitlines()))
    assert [row["corruption"] for row in rows] == [CLEAN] + 5 * ["bubble"]
    assert (rows[5]["balanced_error"], rows[5]["accuracy_among_accepted"]) == ("0.800000", "")
    assert json.loads(paths[0].read_text())["mean_balanced_error"] == pytest.approx(table.mean_error)
    assert "mean balanced error over all" in paths[1].read_text()
