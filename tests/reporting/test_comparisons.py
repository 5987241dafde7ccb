from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpuscle.errors import OutputError
from corpuscle.evaluation import comparison as comparison_module
from corpuscle.evaluation.comparison import compare
from corpuscle.evaluation.model import evaluate
from corpuscle.evaluation.runs import read_run
from corpuscle.reporting import comparisons
from corpuscle.reporting.comparisons import comparison_page, comparison_picture, write_comparison
from corpuscle.reporting.evaluations import write_evaluation

NAMES = ["comparison.csv", "comparison.json", "comparison.md", "comparison.png"]


@pytest.fixture
def result(make_run, monkeypatch):
    monkeypatch.setattr(comparison_module, "network_rates", lambda bundles, progress: (12.5,) * len(bundles))
    a = make_run("a", "1101")
    b = make_run("b|c", "0111", leak="duplicates across splits", multiply_adds=4_100_000_000)
    return compare([a, b, make_run("d", "11", first=9)])


def test_the_folder_holds_what_was_promised_and_nothing_else(result, tmp_path):
    folder = tmp_path / "new" / "folder"
    written = write_comparison(result, folder)
    assert sorted(path.name for path in written) == NAMES == sorted(path.name for path in folder.iterdir())
    assert json.loads((folder / "comparison.json").read_text()) == json.loads(json.dumps(result.to_dict()))
    with Image.open(folder / "comparison.png") as picture:
        assert np.array_equal(np.array(picture), comparison_picture(result))


def test_the_table_holds_the_figures_as_numbers(result, tmp_path):
    write_comparison(result, tmp_path)
    with (tmp_path / "comparison.csv").open(newline="") as file:
        first, second, third = csv.DictReader(file)
    assert (float(first["accuracy"]), first["mcnemar_p"], first["leak"]) == (0.75, "", "")
    assert (second["run"], second["leak"]) == ("b|c", "leaks: duplicates across splits")
    assert (second["only_reference_right"], second["only_run_right"], float(second["mcnemar_p"])) == ("1", "1", 1.0)
    assert (second["multiply_adds"], second["cells_per_second"], second["reference"]) == ("4100000000", "12.5", "a")
    assert (third["common_with_reference"], third["mcnemar_p"], third["mcnemar_holm_p"]) == ("0", "", "")


def test_the_page_is_one_table_with_the_leak_in_the_line_and_the_notes_below(result):
    page = comparison_page(result)
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) == 5
    head = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert head[:5] == ["run", "on", "n", "accuracy", "leak"]
    assert {"95 % Wilson", "balanced", "b", "c", "p", "Holm p", "parameters", "multiply-adds", "cells/s"} <= set(head)
    assert len(set(head)) == len(head)
    assert rows[3].startswith("| b\\|c | pbc test | 4 | 0.7500 | leaks |")
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
    assert "![Accuracy against cost](comparison.png)" in page
    assert "leaks: duplicates across splits" in page
    assert "no file in common" in page
    assert page.endswith("Preliminary. Not a medical device.\n")


def test_runs_of_one_name_are_told_apart_in_the_picture(make_run, monkeypatch, tmp_path):
    monkeypatch.setattr(comparison_module, "network_rates", lambda bundles, progress: (12.5,) * len(bundles))
    drawn = []
    monkeypatch.setattr(comparisons, "draw_tradeoff", lambda points, **words: drawn.extend(points))
    same = make_run("a", "1101")
    other = Path(shutil.copytree(same, tmp_path / "elsewhere" / "fine-seed0"))
    comparison_picture(compare([same, other, make_run("b", "1111")]))
    assert [point.name for point in drawn] == [same.name, "fine-seed0", "b"]


def test_what_an_evaluation_writes_can_be_compared(make_run, drawn_twice):
    """The folder of `corpuscle evaluate` is what a comparison reads, finer labels and leaks included."""
    run = make_run("a", "1")
    evaluated = evaluate("drawn", model=run / "bundle", split="test")
    write_evaluation(evaluated, run / "evaluation" / "test")
    found = read_run(run).result
    figures = evaluated.evaluation
    assert (found.n, found.accuracy, found.balanced_accuracy) == (
        figures.n,
        figures.accuracy,
        figures.balanced_accuracy,
    )
    assert found.accuracy_interval == figures.accuracy_interval
    assert (found.dataset, found.split, found.leak) == ("drawn", "test", "")
    assert len(found.answers) == figures.n > 5


def test_a_file_in_the_way_is_told(result, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        write_comparison(result, tmp_path / "file")
