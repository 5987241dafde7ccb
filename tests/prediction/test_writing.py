"""Predictions as CSV and JSON: scripts depend on the columns, so they stand here word for word."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import sys
from pathlib import Path

import pytest

from corpuscle import __version__
from corpuscle.errors import OutputError, UsageError
from corpuscle.prediction.writing import (
    NOTICE,
    errors_path,
    open_writer,
    prediction_row,
    prediction_values,
    write_failures,
)
from corpuscle.records import Failure, Framing, Prediction

FAILURE = Failure("b.png", 'b.png is damaged, says "Pillow"')


@pytest.fixture
def prediction(toy) -> Prediction:
    shares = (0.1, 0.2, 0.65, 0.05)
    return Prediction(
        file="slide 1/a,1.png",
        class_name=toy.classes[2],
        confidence=0.65,
        probabilities=dict(zip(toy.classes, shares, strict=True)),
        refused=True,
        reason="too doubtful",
        prediction_set=(toy.classes[2], toy.classes[1]),
        distance=0.123456,
        framing=Framing("cell", -1.23456, 2.0, 30.0, "framed", 0.54321),
    )


def written(path: Path | None, bundle, answers, *, as_json: bool = False) -> str:
    stdout = io.StringIO()
    with open_writer(path, bundle, stdout, as_json=as_json) as writer:
        for answer in answers:
            writer.add(answer)
    return stdout.getvalue() if path is None else path.read_text(encoding="utf-8")


def test_the_columns_of_the_csv_are_a_promise(toy, prediction, tmp_path):
    text = written(tmp_path / "out.csv", toy, [prediction, FAILURE])
    assert text == (
        "file,class,confidence,refused,reason,set,p_neutrophil,p_eosinophil,p_lymphocyte,p_platelet\n"
        '"slide 1/a,1.png",lymphocyte,0.650000,true,too doubtful,lymphocyte|eosinophil,'
        "0.100000,0.200000,0.650000,0.050000\n"
    )


def test_an_accepted_cell_has_no_reason(toy, prediction):
    row = prediction_row(dataclasses.replace(prediction, refused=False, reason=""))
    assert (row["refused"], row["reason"]) == ("false", "")


def test_the_json_is_a_promise(toy, prediction, tmp_path):
    values = json.loads(written(tmp_path / "out.json", toy, [prediction, FAILURE, prediction]))
    assert list(values) == ["corpuscle", "notice", "model", "model_version", "predictions", "errors"]
    assert values["corpuscle"] == __version__
    assert values["notice"] == NOTICE
    assert (values["model"], values["model_version"]) == (toy.name, toy.version)
    assert values["errors"] == [{"file": "b.png", "reason": FAILURE.reason}]
    assert values["predictions"] == [prediction_values(prediction)] * 2
    assert values["predictions"][0] == {
        "file": "slide 1/a,1.png",
        "class": "lymphocyte",
        "confidence": 0.65,
        "refused": True,
        "reason": "too doubtful",
        "set": ["lymphocyte", "eosinophil"],
        "probabilities": {"neutrophil": 0.1, "eosinophil": 0.2, "lymphocyte": 0.65, "platelet": 0.05},
        "distance": 0.1235,
        "framing": {
            "method": "cell",
            "x_min": -1.23,
            "y_min": 2.0,
            "side_px": 30.0,
            "stain": 0.5432,
            "note": "framed",
        },
    }


def test_json_and_csv_hold_equal_numbers(toy, toy_reader, drawn_files, tmp_path):
    answers = toy_reader.read(drawn_files)
    rows = list(csv.DictReader(io.StringIO(written(tmp_path / "a.csv", toy, answers))))
    items = json.loads(written(tmp_path / "a.json", toy, answers))["predictions"]
    assert len(rows) == len(items) == len(drawn_files)
    for row, item in zip(rows, items, strict=True):
        assert (row["file"], row["class"], row["reason"]) == (item["file"], item["class"], item["reason"])
        assert float(row["confidence"]) == item["confidence"]
        assert row["refused"] == str(item["refused"]).lower()
        assert row["set"].split("|") == item["set"]
        assert {key: float(row[f"p_{key}"]) for key in toy.classes} == item["probabilities"]


@pytest.mark.parametrize("as_json", [False, True])
def test_standard_output_gets_what_a_file_would_get(toy, prediction, tmp_path, as_json):
    path = tmp_path / ("out.json" if as_json else "out.csv")
    answers = [prediction, FAILURE]
    assert written(None, toy, answers, as_json=as_json) == written(path, toy, answers)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_without_answers_the_file_is_still_well_formed(toy, tmp_path, suffix):
    text = written(tmp_path / f"out{suffix}", toy, [])
    if suffix == ".json":
        assert json.loads(text)["predictions"] == json.loads(text)["errors"] == []
    else:
        assert text.count("\n") == 1


@pytest.mark.parametrize("name", ["out", "out.txt", "out.csv.gz", ".csv"])
def test_another_suffix_is_refused_and_nothing_is_written(toy, tmp_path, name):
    with (
        pytest.raises(UsageError, match=r"must end in \.csv or \.json"),
        open_writer(tmp_path / name, toy, sys.stdout, as_json=False),
    ):
        pytest.fail("the writer must not open")
    assert list(tmp_path.iterdir()) == []


def test_the_suffix_may_be_in_capitals(toy, prediction, tmp_path):
    assert json.loads(written(tmp_path / "OUT.JSON", toy, [prediction]))["model"] == toy.name


def test_a_folder_is_no_output(toy, tmp_path):
    with pytest.raises(OutputError, match="is a folder"):
        written(tmp_path, toy, [])


def test_an_interrupted_run_leaves_the_old_file_and_no_part(toy, prediction, tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")

    def stop_halfway() -> None:
        with open_writer(path, toy, sys.stdout, as_json=False) as writer:
            writer.add(prediction)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_halfway()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("rows", [0, 1, 5000])
def test_a_full_disk_is_one_sentence_and_no_traceback(toy, prediction, rows):
    with pytest.raises(OutputError, match="No space left on device"):
        written(Path("/dev/full"), toy, [prediction] * rows)


def test_names_that_are_no_text_survive(toy, prediction, tmp_path):
    """On Linux a file name may be any bytes; Python holds them as lone surrogates."""
    name = b"cell\xff.png".decode("utf-8", "surrogateescape")
    odd = dataclasses.replace(prediction, file=name)
    failure = Failure(name, f"{name} is empty")
    path = tmp_path / "out.csv"
    with open_writer(path, toy, sys.stdout, as_json=False) as writer:
        writer.add(odd)
    assert b"cell\xff.png,lymphocyte" in path.read_bytes()
    (row,) = csv.DictReader(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
    assert row["file"] == name
    values = json.loads(written(tmp_path / "out.json", toy, [odd, failure]))
    assert values["predictions"][0]["file"] == values["errors"][0]["file"] == name
    listing = write_failures(path, [failure])
    assert b"cell\xff.png" in listing.read_bytes()


def test_letters_of_any_language_are_written_as_they_are(toy, prediction, tmp_path):
    named = dataclasses.replace(prediction, file="célula_血.png")
    assert "célula_血.png" in written(tmp_path / "out.csv", toy, [named])
    assert "célula_血.png" in written(tmp_path / "out.json", toy, [named])


def test_failures_are_listed_beside_the_output(tmp_path):
    output = tmp_path / "out.csv"
    path = write_failures(output, [FAILURE, Failure("c\nd.png", "x")])
    assert path == errors_path(output) == tmp_path / "out.errors.csv"
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["file", "reason"], ["b.png", FAILURE.reason], ["c\nd.png", "x"]]
    assert errors_path(Path("a/b.JSON")) == Path("a/b.errors.csv")


def test_a_list_of_failures_from_an_earlier_run_is_taken_away(tmp_path):
    output = tmp_path / "out.csv"
    write_failures(output, [FAILURE])
    assert write_failures(output, []) is None
    assert not errors_path(output).exists()
    assert write_failures(output, []) is None
