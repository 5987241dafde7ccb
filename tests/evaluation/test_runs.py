"""A run folder is read whole or refused in one sentence."""

from __future__ import annotations

import json
import shutil

import pytest

from corpuscle.errors import BundleTamperedError, DataError, NoInputError
from corpuscle.evaluation.intervals import wilson_interval
from corpuscle.evaluation.runs import read_run


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_run_is_read(make_run):
    folder = make_run("a", "1110", tested={"balanced_accuracy": 0.7, "group_count": 3})
    run = read_run(folder)
    assert (run.facts.name, run.facts.multiply_adds, run.facts.training_seconds) == ("a", 310_000_000, 3725.5)
    assert (run.result.n, run.result.accuracy, run.result.balanced_accuracy) == (4, 0.75, 0.7)
    assert run.result.accuracy_interval == wilson_interval(3, 4)
    assert [answer.right for answer in run.result.answers.values()] == [True, True, True, False]
    assert (run.result.where, run.result.group_count, run.leak) == ("pbc test", 3, "")
    assert run.graph_bytes == (folder / "bundle" / "model.int8.onnx").stat().st_size
    assert run.bundle_bytes == sum(path.stat().st_size for path in (folder / "bundle").iterdir())


@pytest.mark.parametrize(
    ("trained", "tested", "leak"),
    [
        ("", "", ""),
        ("duplicates across splits", "", "leaks: duplicates across splits"),
        ("", "leaks: seen before", "leaks: seen before"),
        ("leaks: seen before", "leaks: seen before", "leaks: seen before"),
        ("mixed", "leaks: seen before", "leaks: mixed; leaks: seen before"),
    ],
)
def test_a_leak_known_to_either_is_a_leak(make_run, trained, tested, leak):
    assert read_run(make_run("a", "11", leak=trained, tested={"leak": tested})).leak == leak


def test_a_finer_label_is_right_when_the_class_above_it_was_said(make_run):
    folder = make_run("a", "1" * 8)
    table = folder / "evaluation" / "test" / "predictions.csv"
    table.write_text(table.read_text().replace("3.png,immature_granulocyte", "3.png,myelocyte"))
    run = read_run(folder)
    assert run.result.accuracy == 1.0
    assert run.result.answers["3.png"].label == "myelocyte"


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(NoInputError, match=r"is no run: it has no run\.json\. Give"):
        read_run(tmp_path)
    with pytest.raises(NoInputError, match="is no run"):
        read_run(tmp_path / "missing")


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff", "[" * 100_000])
def test_a_broken_run_json(make_run, text):
    folder = make_run("a", "11")
    (folder / "run.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"run\.json (cannot be read|holds no table).*\. Train again"):
        read_run(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", " "), ("name", 3), ("model", None), ("machine", ""), ("leak", None), ("parameters", 0),
        ("parameters", 1.5), ("multiply_adds", True), ("multiply_adds", "310M"), ("seed", -1), ("epochs", 0),
        ("training_seconds", float("nan")), ("training_seconds", -1.0),
    ],
)  # fmt: skip
def test_a_wrong_value_of_run_json_is_named(make_run, key, value):
    with pytest.raises(DataError, match=rf"run\.json has .* as {key}\. Train again"):
        read_run(make_run("a", "11", **{key: value}))


def test_a_missing_value_and_another_format(make_run):
    folder = make_run("a", "11")
    values = json.loads((folder / "run.json").read_text())
    del values["seed"]
    (folder / "run.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match="has nothing as seed"):
        read_run(folder)
    change(folder / "run.json", format=2)
    with pytest.raises(DataError, match="not of format 1"):
        read_run(folder)


def test_no_bundle_and_a_changed_one(make_run):
    folder = make_run("a", "11")
    (folder / "bundle" / "README.md").write_text("changed")
    with pytest.raises(BundleTamperedError):
        read_run(folder)
    shutil.rmtree(folder / "bundle")
    with pytest.raises(NoInputError, match=r"has no bundle: .* Finish its training"):
        read_run(folder)


@pytest.mark.parametrize("name", ["predictions.csv", "evaluation.json"])
def test_a_split_that_was_not_evaluated(make_run, name):
    folder = make_run("a", "11")
    with pytest.raises(NoInputError, match=r"has no predictions\.csv for the split 'val' .* --split val"):
        read_run(folder, split="val")
    (folder / "evaluation" / "test" / name).unlink()
    with pytest.raises(NoInputError, match=rf"has no {name} for the split 'test' .*corpuscle evaluate"):
        read_run(folder)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("file,label", "name,label", "lacks one of the columns"),
        ("p_platelet", "p_thrombocyte", "other classes than the bundle"),
        ("1.png", "0.png", "names the file '0.png' twice"),
        ("0.png,basophil", "0.png,unicorn", "cannot be read .*unicorn"),
        ("0.png,basophil", "0.png,", "that the model does not know"),
        ("0.png,basophil", "0.png,erythrocyte", "that the model does not know"),
        ("0.png,basophil,basophil", "0.png,basophil,unicorn", "that the model does not know"),
        ("0.png,basophil,basophil", "0.png,basophil,platelet", "speaks of accuracy 1.0 for n = 2"),
        ("0.png", '"0.png', "cannot be read"),
    ],
)
def test_a_broken_table(make_run, old, new, reason):
    folder = make_run("a", "11")
    table = folder / "evaluation" / "test" / "predictions.csv"
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=rf"{reason}.* Evaluate it: "):
        read_run(folder)


def test_tables_without_rows_or_with_short_ones(make_run):
    folder = make_run("a", "11")
    table = folder / "evaluation" / "test" / "predictions.csv"
    head = table.read_text().splitlines()[0]
    for text, reason in (
        (head + "\n", "holds no prediction"),
        ("", "lacks one of the columns"),
        (f"{head}\n0.png\n", ""),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=reason or "does not know"):
            read_run(folder)


@pytest.mark.parametrize(
    "values",
    [{"accuracy": None}, {"accuracy": 1.5}, {"balanced_accuracy": "high"}, {"leak": None}, {"group_count": 0}],
)
def test_a_broken_evaluation(make_run, values):
    with pytest.raises(DataError, match="lacks a figure of an evaluation"):
        read_run(make_run("a", "11", tested=values))


def test_an_evaluation_of_other_predictions(make_run):
    with pytest.raises(DataError, match=r"n = 3, but predictions\.csv beside it has 2 of 2 right"):
        read_run(make_run("a", "11", tested={"n": 3}))


def test_names_that_are_no_text_are_read(make_run):
    folder = make_run("a", "11")
    table = folder / "evaluation" / "test" / "predictions.csv"
    table.write_bytes(table.read_bytes().replace(b"0.png", b"a\xff.png"))
    assert b"a\xff.png".decode("utf-8", "surrogateescape") in read_run(folder).result.answers
