from __future__ import annotations

import csv
import json


def test_a_detector_is_evaluated_by_the_same_command(cli, toy_detector, tmp_path):
    page = tmp_path / "figures.md"
    done = cli("evaluate", "--model", toy_detector, "--dataset", "drawn-fields", "--split", "test",
               "--output", tmp_path / "out", "--record", page)  # fmt: skip
    assert done.status == 0, done.err
    assert done.out.startswith("toy_field 1 on drawn-fields test (n = 6 fields): mAP50 ")
    assert (tmp_path / "out" / "report.txt").read_text() == done.out
    with (tmp_path / "out" / "counts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert all(row["leukocytes_drawn"] == "1" for row in rows)
    assert "| toy_field 1: mAP50-95 |" in page.read_text()


def test_json_is_that_of_the_library(cli, toy_detector):
    from corpuscle.evaluation.detector import evaluate_detector

    done = cli("evaluate", "--model", toy_detector, "--dataset", "drawn-fields", "--split", "val", "--json")
    result = evaluate_detector("drawn-fields", model=toy_detector, split="val")
    assert json.loads(done.out) == json.loads(json.dumps(result.to_dict()))


def test_a_recipe_of_a_detector_is_trained_by_the_same_command(cli, tmp_path):
    settings = ("data.limit=4", "run.epochs=1", "run.batch_size=2", "run.threads=1", "run.precision=fp32")
    words = [word for setting in settings for word in ("--set", setting)]
    done = cli("train", "recipes/toy_field.toml", "--output", tmp_path / "run", *words)
    assert done.status == 0, done.err
    assert "epoch 1: loss of scores" in done.err
    assert "Best of 1 epochs" in done.out
    assert (tmp_path / "run" / "bundle" / "bundle.json").exists()
    report = tmp_path / "run" / "evaluation" / "drawn-fields" / "report.txt"
    assert report.exists()
    card = (tmp_path / "run" / "bundle" / "README.md").read_text()
    assert "| drawn-fields | test | mAP50 |" in card


def test_wrong_requests_end_with_2_and_one_sentence(cli, toy_detector, tmp_path):
    done = cli("evaluate", "--model", toy_detector, "--dataset", "pbc")
    assert (done.status, len(done.err.strip().splitlines())) == (2, 1)
    done = cli("train", "recipes/toy_field.toml", "--output", tmp_path, "--pretrained", "timm")
    assert (done.status, len(done.err.strip().splitlines())) == (2, 1)
    done = cli("classify", "x.png", "--model", toy_detector)
    assert done.status in (2, 3)
