from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from corpuscle.errors import OutputError
from corpuscle.evaluation.model import evaluate
from corpuscle.records import Failure
from corpuscle.reporting.evaluations import write_evaluation

NAMES = [
    "confusion.csv", "confusion.png", "evaluation.json", "mistakes.csv", "predictions.csv",
    "reliability.png", "report.txt", "samples.png",
]  # fmt: skip


@pytest.fixture(scope="module")
def result(toy, toy_folder):
    return evaluate(toy_folder, model=toy)


@pytest.fixture(scope="module")
def written(result, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    assert sorted(path.name for path in write_evaluation(result, folder)) == NAMES
    return folder


def rows(path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_the_folder_holds_what_was_promised_and_nothing_else(written):
    assert sorted(path.name for path in written.iterdir()) == NAMES


def test_the_report_begins_with_the_line_that_says_whether_it_leaks(written, result):
    text = (written / "report.txt").read_text(encoding="utf-8")
    assert text.startswith(result.summary() + "\n")
    assert "leaks" in text.splitlines()[0]
    assert result.evaluation.report_text() in text


def test_the_json_is_that_of_the_library(written, result):
    assert json.loads((written / "evaluation.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(result.to_dict())
    )


def test_the_tables_agree_with_the_figures(written, result):
    evaluation = result.evaluation
    confusion = rows(written / "confusion.csv")
    assert [row.pop("label") for row in confusion] == list(evaluation.classes)
    matrix = np.array([[int(value) for value in row.values()] for row in confusion])
    assert np.array_equal(matrix, evaluation.confusion)
    predictions = rows(written / "predictions.csv")
    assert list(predictions[0])[:4] == ["file", "label", "class", "confidence"]
    assert np.mean([row["label"] == row["class"] for row in predictions]) == evaluation.accuracy
    assert np.mean([row["refused"] == "false" for row in predictions]) == result.accepted
    assert all(not row["file"].startswith("/") for row in predictions)
    mistakes = rows(written / "mistakes.csv")
    assert len(mistakes) == sum(row["label"] != row["class"] for row in predictions) > 0
    confidences = [float(row["confidence"]) for row in mistakes]
    assert confidences == sorted(confidences, reverse=True)


def test_the_matrix_is_drawn(written):
    with Image.open(written / "confusion.png") as picture:
        assert min(picture.size) > 200


def test_samples_are_drawn_side_by_side(written):
    with Image.open(written / "samples.png") as picture:
        assert picture.width > 4 * 180


def test_writing_again_replaces_what_was_there(written, result, tmp_path):
    write_evaluation(result, tmp_path)
    (tmp_path / "report.txt").write_text("old")
    write_evaluation(result, tmp_path)
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_names_that_are_no_text_survive(result, tmp_path):
    odd = b"platelet/a\xff.png".decode("utf-8", "surrogateescape")
    (label, item), *others = result.answers
    answers = ((dataclasses.replace(label, file=odd), dataclasses.replace(item, file=odd)), *others)
    strange = dataclasses.replace(result, answers=answers, failures=(Failure(odd, "is empty"),))
    write_evaluation(strange, tmp_path)
    assert rows(tmp_path / "predictions.csv")[0]["file"] == odd
    assert json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["failures"][0]["file"] == odd


def test_a_file_in_the_way_is_told(result, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        write_evaluation(result, tmp_path / "file")
