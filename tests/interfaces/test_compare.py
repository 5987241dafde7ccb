"""`corpuscle compare`: the library's own numbers, one sentence for every bad input, nothing heavy loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from corpuscle.evaluation import comparison as comparison_module
from corpuscle.evaluation.comparison import compare


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(comparison_module, "network_rates", lambda bundles, progress: (12.5,) * len(bundles))


def test_tables_go_to_standard_output_and_files_to_the_folder(cli, make_run, quick, tmp_path):
    a, b = make_run("a", "1101"), make_run("b", "0111", leak="duplicates")
    done = cli("compare", a, b, "--output", tmp_path / "out")
    assert done.status == 0
    assert done.out == compare([a, b]).text() + "\n"
    assert done.err == f"Written to {tmp_path / 'out'}.\n"
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".csv", ".json", ".md", ".png"]


def test_json_and_reference(cli, make_run, quick):
    a, b = make_run("a", "1101"), make_run("b", "0111")
    done = cli("compare", a, b, "--reference", b, "--json")
    assert json.loads(done.out) == compare([a, b], reference=b).to_dict()
    assert json.loads(done.out)["reference"] == "b"


def test_one_run_is_allowed(cli, make_run, quick):
    done = cli("compare", make_run("a", "10"))
    assert done.status == 0
    assert "nothing was tested" in done.out


def test_bad_input_is_one_sentence_and_a_status(cli, make_run, quick, tmp_path):
    a = make_run("a", "10")
    (tmp_path / "none").mkdir()
    broken = make_run("broken", "10")
    (broken / "run.json").write_text("{")
    for arguments, status, reason in (
        ([], 2, ""),
        ([tmp_path / "none"], 2, "is no run"),
        ([tmp_path / "missing"], 2, "is no run"),
        ([a, a], 2, "given twice"),
        ([a, "--reference", "b"], 2, "none of the runs"),
        ([a, "--split", "val"], 2, "for the split 'val'"),
        ([a, broken], 3, "cannot be read"),
    ):
        done = cli("compare", *arguments)
        assert done.status == status
        assert done.out == ""
        if reason:
            assert reason in done.err
            assert done.err.startswith("corpuscle: ")
            assert done.err.count("\n") == 1


def test_it_measures_the_networks_and_needs_no_framework(make_run, tmp_path):
    code = (
        "import sys; sys.argv[1:1] = ['compare']\n"
        "from corpuscle.interfaces.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, make_run("a", "10"), "--json", "-o", tmp_path / "out"],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert json.loads(done.stdout)["runs"][0]["cells_per_second"] > 0.1
    assert set(done.stderr.split()) & {"torch", "timm", "onnx", "matplotlib", "scipy", "sklearn"} == set()
    assert "onnxruntime" in done.stderr.split()
