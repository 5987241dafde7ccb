"""An evaluation judges cells through the path of users' pictures, and says so when its figures flatter."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpuscle.data.labeled import LabeledCell
from corpuscle.errors import BundleNotFoundError, DataError, NoInputError, UnknownNameError
from corpuscle.evaluation import model as evaluation_model
from corpuscle.evaluation.intervals import wilson_interval
from corpuscle.evaluation.model import evaluate
from corpuscle.prediction.classification import classify


@pytest.fixture
def given_cells(monkeypatch):
    """Let the next evaluation find these cells, whatever the data set is called, and others to train on."""

    def give(cells: list[LabeledCell], learned: list[LabeledCell] | None = None) -> None:
        def listed(*names: object, split: str = "", **options: object) -> list[LabeledCell]:
            return learned or [] if split == "train" and learned is not None else cells

        monkeypatch.setattr(evaluation_model, "labeled_cells", listed)

    return give


def cell(key: str, image: np.ndarray | None, *, file: str = "", path: str = "none", **options) -> LabeledCell:
    return LabeledCell(file or key, Path(path), key, "test", pixels=image, **options)


def test_the_figures_are_those_of_the_predictions(toy, toy_folder):
    result = evaluate(toy_folder, model=toy, split="test")
    files = sorted((toy_folder / "test").rglob("*.png"))
    answers = classify(files, model=toy)
    labels = [path.parent.name for path in files]
    right = np.array([answer.class_name == label for answer, label in zip(answers, labels, strict=True)])
    kept = np.array([not answer.refused for answer in answers])
    assert result.evaluation.n == len(files) == 8
    assert result.evaluation.accuracy == right.mean()
    assert result.evaluation.classes == toy.classes
    assert result.accepted == kept.mean()
    assert result.accepted_accuracy == (right[kept].mean() if kept.any() else None)
    held = [label in answer.prediction_set for answer, label in zip(answers, labels, strict=True)]
    assert result.set_coverage == np.mean(held)
    assert result.set_size == np.mean([len(answer.prediction_set) for answer in answers])
    assert [(item.file, label.class_name) for label, item in result.answers] == [
        (str(path), label) for path, label in zip(files, labels, strict=True)
    ]
    assert len(result.mistakes) == (~right).sum()
    assert (result.failures, result.dropped) == ((), {})


def test_the_accepted_cells_have_an_interval_of_their_own(toy, toy_folder):
    result = evaluate(toy_folder, model=toy)
    kept = [item for _, item in result.answers if not item.refused]
    right = sum(item.class_name == label.class_name for label, item in result.answers if not item.refused)
    assert 0 < len(kept) < len(result.answers)
    assert result.accepted_interval == wilson_interval(right, len(kept))


def test_with_all_refused_nothing_is_said_of_the_accepted(toy, toy_folder):
    rule = dataclasses.replace(toy.refusal, typical_distance=0.0, maximum_distance=1e-9)
    result = evaluate(toy_folder, model=dataclasses.replace(toy, refusal=rule), split="test")
    assert (result.accepted, result.accepted_accuracy, result.accepted_interval) == (0.0, None, None)
    assert result.to_dict()["accepted_accuracy_interval"] is None


def test_the_result_can_be_written_as_json_and_read_in_a_line(toy, toy_folder):
    result = evaluate(toy_folder, model=toy, split="test")
    values = json.loads(json.dumps(result.to_dict()))
    assert values["summary"] == result.summary()
    assert values["model"] == f"{toy.name} {toy.version}"
    assert (values["dataset"], values["split"], values["n"]) == (str(toy_folder), "test", 8)
    assert {"accuracy", "accuracy_interval", "per_class", "confusion", "accepted", "set_coverage", "leak"} <= set(
        values
    )
    line = result.summary()
    interval = result.evaluation.accuracy_interval
    assert "\n" not in line
    assert f"accuracy {result.evaluation.accuracy:.4f} (95 % {interval.low:.4f}-{interval.high:.4f}, n = 8)" in line


def test_progress_counts_to_the_end(toy, toy_folder):
    seen = []
    evaluate(toy_folder, model=toy, split="test", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 8) for done in range(1, 9)]


def test_cells_of_unknown_classes_are_left_out_and_counted(toy, drawn_twice):
    result = evaluate("drawn", model=toy)
    assert result.evaluation.n == 2 * len(toy.classes)
    strangers = {item.class_name for item in drawn_twice} - set(toy.classes)
    assert result.dropped == dict.fromkeys(strangers, 2)
    assert result.to_dict()["dropped_labels"] == result.dropped


def test_a_finer_label_counts_as_its_nearest_known_class(toy, drawn_cells, given_cells):
    image = drawn_cells["neutrophil"][0]
    given_cells([cell("band_neutrophil", image), cell("segmented_neutrophil", image), cell("myelocyte", image)])
    result = evaluate("drawn", model=toy)
    assert [entry.support for entry in result.evaluation.per_class if entry.class_name == "neutrophil"] == [2]
    assert result.dropped == {"myelocyte": 1}


def test_groups_reach_the_intervals(toy, drawn_cells, given_cells):
    cells = [cell(key, image, group="a") for key in toy.classes for image in drawn_cells[key]]
    given_cells([*cells[:-2], *(dataclasses.replace(item, group="b") for item in cells[-2:])])
    assert evaluate("drawn", model=toy).evaluation.group_count == 2
    given_cells([dataclasses.replace(item, group="") for item in cells])
    assert evaluate("drawn", model=toy).evaluation.group_count is None


@pytest.fixture
def partly_broken(toy_folder, tmp_path) -> Path:
    folder = Path(shutil.copytree(toy_folder / "test", tmp_path / "partly-broken"))
    (folder / "platelet" / "empty.png").write_bytes(b"")
    return folder


def test_pictures_that_cannot_be_read_are_listed_and_the_rest_is_judged(toy, partly_broken):
    result = evaluate(partly_broken, model=toy)
    assert result.evaluation.n == 8
    assert [failure.file for failure in result.failures] == ["platelet/empty.png"]
    assert "is empty (0 bytes)" in result.failures[0].reason
    assert result.to_dict()["failures"] == [{"file": "platelet/empty.png", "reason": result.failures[0].reason}]


def test_a_boxed_cell_is_cut_out_of_its_field(toy, drawn_cells, given_cells, tmp_path):
    image = drawn_cells["lymphocyte"][0]
    field = np.empty((300, 700, 3), np.uint8)
    field[:] = 235
    field[40:248, 20:228] = drawn_cells["neutrophil"][0]
    field[40:248, 450:658] = image
    Image.fromarray(field).save(tmp_path / "field.png")
    box = (510.0, 100.0, 598.0, 188.0)
    given_cells([cell("lymphocyte", None, path=str(tmp_path / "field.png"), box=box)])
    (found,) = (item for _, item in evaluate("drawn", model=toy).answers)
    assert found.class_name == "lymphocyte"
    assert found.file == ""
    assert found.framing.side_px < 300


def test_a_box_outside_its_field_is_a_failure_and_the_field_is_not_judged_instead(
    toy, drawn_cells, given_cells, tmp_path
):
    Image.fromarray(drawn_cells["lymphocyte"][0]).save(tmp_path / "field.png")
    outside = cell("lymphocyte", None, file="f.png", path=str(tmp_path / "field.png"), box=(500.0, 10.0, 520.0, 30.0))
    missing = cell("lymphocyte", None, file="m.png", path=str(tmp_path / "missing.png"), box=(1.0, 1.0, 9.0, 9.0))
    given_cells([cell("lymphocyte", drawn_cells["lymphocyte"][0]), outside, missing])
    result = evaluate("drawn", model=toy)
    assert result.evaluation.n == 1
    assert [failure.file for failure in result.failures] == ["f.png", "m.png"]
    assert "lies outside" in result.failures[0].reason
    assert "missing.png does not exist" in result.failures[1].reason


def test_a_set_of_strangers_is_refused(toy, drawn_cells, given_cells):
    given_cells([cell("basophil", drawn_cells["basophil"][0])])
    with pytest.raises(DataError, match="has no cell of a class that toy knows: neutrophil, eosinophil"):
        evaluate("drawn", model=toy)


def test_a_set_without_readable_pictures_is_refused(toy, tmp_path):
    (tmp_path / "platelet").mkdir()
    (tmp_path / "platelet" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="None of the 1 pictures"):
        evaluate(tmp_path, model=toy)


def test_wrong_requests_are_refused(toy, toy_folder):
    with pytest.raises(NoInputError, match=r"no cell of the split 'tset'; its splits: test, train, val"):
        evaluate(toy_folder, model=toy, split="tset")
    with pytest.raises(UnknownNameError, match="no data set or folder named 'pcb'"):
        evaluate("pcb", model=toy)
    with pytest.raises(UnknownNameError, match="no framing named"):
        evaluate(toy_folder, model=toy, framing="middle")
    with pytest.raises(BundleNotFoundError):
        evaluate(toy_folder, model="corpuscle_xl")


@pytest.mark.parametrize(("split", "leaks"), [("train", True), ("", True), ("val", False), ("test", False)])
def test_the_folder_that_a_model_was_trained_on_leaks(toy, toy_folder, split, leaks):
    result = evaluate(toy_folder, model=toy, split=split)
    assert bool(result.leak) is leaks
    assert ("leaks" in result.summary()) is leaks
    assert ("leaks" in result.to_dict()["summary"]) is leaks


@pytest.mark.parametrize(
    ("trained", "judged", "split", "leaks"),
    [
        ("pbc", "pbc", "train", True), ("pbc", "pbc", "", True), ("pbc", "pbc", "test", False),
        ("pbc", "pbc-vgg19-study", "test", True), ("pbc-vgg19-study", "pbc", "test", True),
        ("pbc", "bloodmnist_28", "test", True), ("bloodmnist_64", "pbc", "test", True),
        ("bloodmnist_64", "bloodmnist_28", "test", True), ("bloodmnist_64", "bloodmnist_64", "test", False),
        ("pbc", "bccd-leukocytes", "", False), ("pbc", "kaggle-wbc", "test", False),
        ("kaggle-wbc", "bccd-leukocytes", "test", True), ("pbc", "drawn", "", False), ("drawn", "drawn", "", True),
    ],
)  # fmt: skip
def test_sets_made_of_the_same_photographs_leak(toy, drawn_cells, given_cells, trained, judged, split, leaks):  # noqa: PLR0917
    row = {**toy.training_data[0], "dataset": trained, "split": "train"}
    image = drawn_cells["platelet"][0]
    # What was learned is the very picture or another one; where that cannot be compared the names decide.
    given_cells([cell("platelet", image)], [cell("platelet", image, file="platelet" if leaks else "other")])
    result = evaluate(judged, model=dataclasses.replace(toy, training_data=(row,)), split=split)
    assert ("leaks" in result.summary()) is leaks


def test_a_leak_between_sets_is_measured_by_photograph(toy, drawn_cells, given_cells):
    image = drawn_cells["platelet"][0]
    row = {**toy.training_data[0], "dataset": "kaggle-wbc", "split": "train"}
    judged = [cell("platelet", image, file=f"{n}", group=f"photograph {n}") for n in range(4)]
    given_cells(judged, [cell("platelet", image, file="turned", group="photograph 3")])
    result = evaluate("bccd-leukocytes", model=dataclasses.replace(toy, training_data=(row,)))
    assert result.leak == "leaks: 25 % of test photographs are also in training (1 of 4)"
    given_cells(judged, [cell("platelet", image, file="turned", group="photograph 9")])
    result = evaluate("bccd-leukocytes", model=dataclasses.replace(toy, training_data=(row,)))
    assert result.leak == ""


def test_a_folder_is_not_taken_for_a_published_set_of_a_similar_name(toy, drawn_cells, given_cells, tmp_path):
    row = {**toy.training_data[0], "dataset": "pbc", "split": "train"}
    given_cells([cell("platelet", drawn_cells["platelet"][0])])
    result = evaluate(tmp_path / "pbc-of-our-own", model=dataclasses.replace(toy, training_data=(row,)))
    assert result.leak == ""


def test_answers_can_be_sought_among_the_classes_in_common(toy, toy_folder, given_cells):
    """A foreign set with two of the model's classes: the others are then no answer."""
    files = [path for path in sorted((toy_folder / "test").rglob("*.png")) if path.parent.name in toy.classes[:2]]
    cells = [LabeledCell(path.name, path, path.parent.name, "test") for path in files]
    given_cells(cells)
    plain, common = evaluate("bccd-leukocytes", model=toy), evaluate("bccd-leukocytes", model=toy, in_common=True)
    assert (plain.among, common.among) == (0, 2)
    assert "answers among the 2 classes in common" in common.summary()
    matrix = np.asarray(common.evaluation.confusion)
    assert matrix[:, 2:].sum() == 0
    wanted = [max(toy.classes[:2], key=item.probabilities.__getitem__) for _, item in plain.answers]
    labels = [item.class_name for item in cells]
    assert common.evaluation.accuracy == np.mean([a == b for a, b in zip(wanted, labels, strict=True)])
    assert common.accepted == plain.accepted


def test_one_class_in_common_leaves_nothing_to_ask(toy, toy_folder, given_cells):
    path = next((toy_folder / "test" / toy.classes[0]).glob("*.png"))
    given_cells([LabeledCell(path.name, path, toy.classes[0], "test")])
    with pytest.raises(DataError, match="only one class in common"):
        evaluate("bccd-leukocytes", model=toy, in_common=True)
