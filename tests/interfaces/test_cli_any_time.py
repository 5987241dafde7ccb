"""The command line beside naming cells: doctor, demo, help, and what can happen at any time."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time

import pytest

from corpuscle import __version__
from corpuscle.data.examples import CLASSES
from corpuscle.files import written_whole
from corpuscle.interfaces import cli as cli_module
from corpuscle.prediction.writing import NOTICE


def test_doctor_says_what_is_installed(cli, tmp_path):
    values = json.loads(cli("doctor", "--json", "--data-root", tmp_path).out)
    assert values["versions"]["corpuscle"] == __version__
    done = cli("doctor", "--data-root", tmp_path)
    assert done.status == 0
    for section, entries in values.items():
        assert section.replace("_", " ") in done.out
        assert all(key in done.out and text in done.out for key, text in entries.items())


def test_demo_draws_names_and_shows(cli, tmp_path):
    output = tmp_path / "demo"
    done = cli("demo", "--output", output)
    assert done.status == 0
    assert done.only_sentences()
    written = {path.name for path in output.iterdir() if path.is_file()}
    assert written == {*(f"{key}_1.png" for key in CLASSES), "result.png", "field.png", "field.json"}
    assert re.search(r"\d of 8 drawn cells were named right", done.out)
    assert NOTICE in done.out
    values = json.loads(cli("demo", "--output", output, "--json").out)
    assert len(values["predictions"]) == len(CLASSES)
    assert values["picture"] == str(output / "result.png")
    assert values["notice"] == NOTICE


def test_demo_where_nothing_can_be_written_ends_with_status_3(cli, tmp_path):
    (tmp_path / "file").write_text("x")
    done = cli("demo", "--output", tmp_path / "file" / "demo")
    assert done.status == 3
    assert done.only_sentences()


def test_the_version_and_the_help(cli):
    assert (cli("--version").status, cli("--version").out) == (0, f"corpuscle {__version__}\n")
    for arguments in (["--help"], ["-h"], ["classify", "-h"]):
        done = cli(*arguments)
        assert done.status == 0
        assert "Usage: " in done.out
    done = cli("--help")
    for command in (
        "classify",
        "count",
        "report",
        "demo",
        "evaluate",
        "train",
        "benchmark",
        "audit",
        "fetch",
        "doctor",
    ):
        assert command in done.out
    assert "Not a medical device" in done.out.replace("\n", " ")


def test_without_a_command_the_help_is_shown(cli):
    done = cli()
    assert "Usage: " in done.out + done.err
    assert done.status in (0, 2)


def test_training_without_its_packages_says_how_to_install_them(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    done = cli("train", "recipes/toy.toml")
    assert done.status == 2
    assert done.only_sentences()
    assert "pip install 'corpuscle[train]'" in done.err


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "corpuscle: stopped."),
        (SystemExit(143), 143, "corpuscle: stopped."),
        (SystemExit(130), 130, ""),
        (PermissionError(13, "Permission denied", "/locked/x"), 3, "/locked/x may not be read or written"),
        (MemoryError(), 3, "not enough memory"),
        (BrokenPipeError(), 0, ""),
    ],
    ids=repr,
)
def test_what_can_happen_any_time_ends_without_a_traceback(cli, monkeypatch, error, status, words):
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli_module, "app", fail)
    done = cli("doctor")
    assert done.status == status
    assert done.only_sentences()
    assert words in done.err


def test_a_request_to_end_leaves_no_half_written_file(cli, monkeypatch, tmp_path):
    def work() -> None:
        with written_whole(tmp_path / "x.csv") as part:
            part.write_text("half")
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    monkeypatch.setattr(cli_module, "app", work)
    done = cli("doctor")
    assert done.status == 143
    assert "corpuscle: stopped." in done.err
    assert not list(tmp_path.iterdir())


def test_a_mistake_of_ours_is_not_hidden(cli, monkeypatch):
    def fail() -> None:
        raise FileNotFoundError(2, "No such file or directory", "x")

    monkeypatch.setattr(cli_module, "app", fail)
    with pytest.raises(FileNotFoundError):
        cli("doctor")
