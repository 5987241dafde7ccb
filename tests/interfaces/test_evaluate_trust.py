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
