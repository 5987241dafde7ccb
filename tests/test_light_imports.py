"""Looking at the help and naming cells load no deep-learning framework and open no connection."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import corpuscle

FRAMEWORKS = {"torch", "torchvision", "timm", "onnx", "onnxscript", "matplotlib", "sklearn", "scipy"}

WRAPPER = """
import json, sys
talk = []
watched = ("socket.connect", "socket.getaddrinfo")
sys.addaudithook(lambda event, values: talk.append(event) if event in watched else None)
report, sys.argv = sys.argv[1], ["corpuscle", *sys.argv[2:]]
from corpuscle.interfaces.cli import main
status = 0
try:
    main()
except SystemExit as stop:
    status = stop.code or 0
loaded = sorted({name.partition(".")[0] for name in sys.modules})
with open(report, "w") as file:
    json.dump({"status": status, "loaded": loaded, "talk": talk}, file)
"""


def run(tmp_path, *arguments: object) -> tuple[dict, str]:
    report = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WRAPPER, str(report), *map(str, arguments)],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return json.loads(report.read_text()), done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["classify", "--help"],
        ["train", "--help"],
        ["compare", "--help"],
        ["count", "--help"],
    ],
)
def test_help_loads_nothing_heavy(tmp_path, arguments):
    report, out = run(tmp_path, *arguments)
    assert report["status"] == 0
    assert "corpuscle" in out
    assert set(report["loaded"]) & (FRAMEWORKS | {"numpy", "PIL", "onnxruntime", "requests", "pooch"}) == set()
    assert report["talk"] == []


def test_classify_loads_no_framework_and_opens_no_connection(tmp_path, toy_bundle, drawn_files):
    report, out = run(tmp_path, "classify", drawn_files[0], "--model", toy_bundle)
    assert report["status"] == 0
    assert len(out.splitlines()) == 2
    assert "onnxruntime" in report["loaded"]
    assert set(report["loaded"]) & (FRAMEWORKS | {"requests", "pooch"}) == set()
    assert report["talk"] == []


def test_importing_the_reader_loads_no_framework():
    code = "import sys; from corpuscle import CellReader, classify; print(*{n.partition('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert set(done.stdout.split()) & FRAMEWORKS == set()


def test_count_loads_no_framework_and_opens_no_connection(tmp_path):
    """No detector need be there: everything that the command imports is imported before one is opened."""
    from corpuscle.data.examples import draw_cell

    Image.fromarray(draw_cell("neutrophil", 1)).save(tmp_path / "a.png")
    report, _ = run(tmp_path, "count", tmp_path / "a.png", "--output", tmp_path / "run")
    assert "onnxruntime" in report["loaded"]
    assert set(report["loaded"]) & (FRAMEWORKS | {"requests", "pooch", "tifffile", "weasyprint"}) == set()
    assert report["talk"] == []


def test_nothing_is_reported_to_the_makers_of_a_library(tmp_path, drawn_files):
    """The official onnxruntime keeps a number of the machine and reports to its maker unless it is told not to."""
    kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "SYSTEMROOT") if key in os.environ}
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "corpuscle", "classify", str(drawn_files[0]), "--json"]
    done = subprocess.run(command, env=kept | home, capture_output=True, text=True, timeout=120, check=True)
    assert "predictions" in done.stdout
    assert "telemetry" not in done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == []


def test_onnxruntime_is_imported_in_one_place():
    """Only there is it told to report nothing."""
    files = Path(corpuscle.__file__).parent.rglob("*.py")
    found = {path.name for path in files if re.search(r"^\s*import onnxruntime\b", path.read_text(), re.M)}
    assert found == {"silent_runtime.py"}
