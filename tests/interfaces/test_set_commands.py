"""Commands on labeled sets, run as a user runs them: evaluate, benchmark, audit and fetch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from corpuscle.data.catalog import DATASETS
from corpuscle.data.examples import CLASSES
from corpuscle.evaluation.model import evaluate

BOMB_SIDE = 13_000


def test_evaluate_prints_a_report_that_says_what_leaks(cli, toy_bundle, toy_folder):
    done = cli("evaluate", "--dataset", toy_folder, "--model", toy_bundle)
    assert done.status == 0
    assert "balanced accuracy" in done.out
    assert "leaks: training pictures included" in done.out.splitlines()[-1]


def test_evaluate_on_the_drawn_set_prints_the_librarys_numbers(cli, toy, toy_bundle, drawn_twice):
    done = cli("evaluate", "--dataset", "drawn", "--split", "test", "--model", toy_bundle, "--json")
    assert done.status == 0
    assert json.loads(done.out) == json.loads(json.dumps(evaluate("drawn", model=toy, split="test").to_dict()))
    for key in set(CLASSES) - set(toy.classes):
        assert f"1 cells labeled {key} were left out" in done.err


def test_evaluate_writes_a_folder(cli, toy_bundle, toy_folder, tmp_path):
    output = tmp_path / "report"
    done = cli("evaluate", "--dataset", toy_folder, "--split", "test", "--model", toy_bundle, "--output", output)
    assert done.status == 0
    assert f"Written to {output}." in done.err
    assert {path.name for path in output.iterdir()} == {
        "report.txt", "evaluation.json", "confusion.csv", "confusion.png", "mistakes.csv", "predictions.csv",
        "reliability.png", "samples.png",
    }  # fmt: skip


def test_evaluate_does_not_write_into_the_folder_it_judges(cli, toy_bundle, toy_folder, tmp_path):
    folder = Path(shutil.copytree(toy_folder / "test", tmp_path / "set"))
    for output in (folder, folder / "report", folder / ".." / "set" / "a" / "b"):
        done = cli("evaluate", "--dataset", folder, "--model", toy_bundle, "--output", output)
        assert done.status == 2
        assert "are read as classes" in done.err
    assert cli("evaluate", "--dataset", folder, "--model", toy_bundle, "-o", tmp_path / "set-report").status == 0


def test_enrich_that_fails_leaves_no_copy(cli, toy_bundle, tmp_path):
    for _ in range(2):
        done = cli("enrich", toy_bundle, "--output", tmp_path / "new", "--data-root", tmp_path / "nothing")
        assert done.status == 2
        assert "Name a labeled set with --known" in done.err
        assert not (tmp_path / "new").exists()


def test_evaluate_with_unreadable_pictures_ends_with_status_3_and_judges_the_rest(
    cli, toy_bundle, toy_folder, tmp_path
):
    folder = Path(shutil.copytree(toy_folder / "test", tmp_path / "set"))
    (folder / "platelet" / "empty.png").write_bytes(b"")
    done = cli("evaluate", "--dataset", folder, "--model", toy_bundle, "--json")
    assert done.status == 3
    assert json.loads(done.out)["n"] == 8
    assert "1 pictures could not be read, the first: " in done.err


def test_evaluate_on_a_set_that_is_not_there_says_how_to_get_it(cli, toy_bundle, tmp_path):
    done = cli("evaluate", "--dataset", "pbc", "--model", toy_bundle, "--data-root", tmp_path)
    assert done.status == 3
    assert done.only_sentences()
    assert "corpuscle fetch pbc" in done.err


def test_a_measurement_is_entered_into_a_page_under_its_own_command(cli, toy_bundle, toy_folder, tmp_path):
    page = tmp_path / "figures.md"
    done = cli("evaluate", "--dataset", toy_folder, "--model", toy_bundle, "--split", "test", "--record", page)
    assert done.status == 0
    text = page.read_text(encoding="utf-8")
    assert f"## `corpuscle evaluate --dataset {toy_folder} --model {toy_bundle} --split test`" in text
    assert "toy 1: accuracy" in text


def test_benchmark_prints_a_table_or_json(cli, toy_bundle, drawn_files, monkeypatch):
    from corpuscle.evaluation import benchmark

    monkeypatch.setattr(benchmark, "_REPEATS", 1)
    monkeypatch.setattr(benchmark, "_torch_version", lambda: "not installed")
    arguments = ("benchmark", "classify", "--files", 16, "--folder", drawn_files[0].parent, "--model", toy_bundle)
    done = cli(*arguments)
    assert done.status == 0
    assert "decode alone, 1 thread" in done.out
    assert json.loads(cli(*arguments, "--json").out)["n_files"] == 16


# Data and installation


@pytest.fixture
def labeled_folder(drawn_cells, tmp_path) -> Path:
    """Two classes in two splits, four different cells."""
    folder = tmp_path / "set"
    for key in ("monocyte", "platelet"):
        for split, image in zip(("train", "test"), drawn_cells[key], strict=True):
            (folder / split / key).mkdir(parents=True)
            Image.fromarray(image).save(folder / split / key / f"{split}.png")
    return folder


def test_audit_of_a_sound_set_ends_with_status_0(cli, labeled_folder):
    done = cli("audit", labeled_folder)
    assert done.status == 0
    assert done.only_sentences()
    assert "4 pictures in" in done.out.replace("\n", " ")


def test_audit_of_a_leaking_set_ends_with_status_3(cli, labeled_folder, tmp_path):
    shutil.copy(labeled_folder / "train" / "platelet" / "train.png", labeled_folder / "test" / "platelet" / "copy.png")
    output = tmp_path / "findings.json"
    done = cli("audit", labeled_folder, "--json", "--output", output)
    assert done.status == 3
    assert done.only_sentences()
    values = json.loads(done.out)
    assert values == json.loads(output.read_text(encoding="utf-8"))
    assert values["has_leak"]
    leaks = [set(item["files"]) for item in values["findings"] if item["severity"] == "leak"]
    assert {"train/platelet/train.png", "test/platelet/copy.png"} in leaks
    assert "There is a leak" in done.err
    table = cli("audit", labeled_folder)
    assert table.status == 3
    assert "leak" in table.out


def test_fetch_lists_the_known_names_and_what_to_do_by_hand(cli, tmp_path):
    done = cli("fetch", "imagenet")
    assert all(name in done.err for name in DATASETS)
    done = cli("fetch", "kaggle-wbc", "--data-root", tmp_path)
    assert done.status == 3
    assert done.only_sentences()
    assert "https://www.kaggle.com/datasets/paultimothymooney/blood-cells" in done.err
