"""`corpuscle evaluate` asked for more than accuracy."""

from __future__ import annotations

import json


def test_evaluate_on_spoilt_pictures(cli, toy_bundle, toy_folder, tmp_path):
    page = tmp_path / "page.md"
    words = ("evaluate", "--dataset", toy_folder, "--model", toy_bundle, "--split", "test", "--corruptions")
    done = cli(*words, "--limit", 4, "--json", "--record", page, "--output", tmp_path / "out")
    assert done.status == 0, done.err
    values = json.loads(done.out)
    assert (values["n"], len(values["results"])) == (4, 55)
    assert (tmp_path / "out" / "corruptions.csv").is_file()
    assert f"| {values['mean_balanced_error']:.4f} |" in page.read_text()
    assert "--corruptions --limit 4" in page.read_text()


def test_evaluate_on_pictures_that_show_no_known_cell(cli, toy_bundle, toy_folder, tmp_path, monkeypatch):
    from corpuscle.evaluation import refusal

    monkeypatch.setattr(refusal, "STRANGERS", ("blank", "text"))
    page = tmp_path / "page.md"
    words = ("evaluate", "--dataset", toy_folder, "--model", toy_bundle, "--split", "test", "--refusal")
    done = cli(*words, "--json", "--record", page, "--output", tmp_path / "out")
    assert done.status == 0, done.err
    values = json.loads(done.out)
    assert [row["kind"] for row in values["kinds"]] == ["blank", "text"]
    assert (tmp_path / "out" / "refusal.txt").is_file()
    assert f"AUROC of refusing, blank | {values['kinds'][0]['auc']['shipped rule']:.4f} |" in page.read_text()


def test_what_was_measured_is_kept_when_the_rest_fails(cli, toy_bundle, toy_folder, tmp_path, monkeypatch):
    from corpuscle.errors import DataError
    from corpuscle.evaluation import refusal

    def fail(*arguments, **options):
        raise DataError("No strangers. Draw some.")

    monkeypatch.setattr(refusal, "refusal_study", fail)
    page = tmp_path / "page.md"
    words = (
        "evaluate",
        "--dataset",
        toy_folder,
        "--model",
        toy_bundle,
        "--split",
        "test",
        "--corruptions",
        "--refusal",
    )
    done = cli(*words, "--limit", 4, "--json", "--record", page)
    assert done.status == 3
    assert f"| {json.loads(done.out)['mean_balanced_error']:.4f} |" in page.read_text()
