"""The command line: exit statuses, one sentence for every bad input, and the library's own numbers."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpuscle.prediction.classification import classify
from corpuscle.prediction.writing import NOTICE, prediction_row, prediction_values
from corpuscle.records import Prediction

BOMB_SIDE = 13_000


def bomb() -> bytes:
    """A PNG of 169 megapixels in about 20 kB: one bit a pixel, all of them black."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + -(-BOMB_SIDE // 8)) * BOMB_SIDE), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def save_good(folder: Path, image: np.ndarray) -> list[str]:
    """Save one cell in every kind of picture that is read; returns the names."""
    picture = Image.fromarray(image)
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    kinds = {
        "plain.png": picture,
        "plain.jpg": picture,
        "plain.bmp": picture,
        "gray.png": picture.convert("L"),
        "cmyk.jpg": picture.convert("CMYK"),
        "alpha.png": picture.convert("RGBA"),
        "palette.png": picture.quantize(64),
        "sixteen.png": Image.fromarray(deep),
        "pages.tiff": picture,
        "lossless.webp": picture,
        "UPPER.PNG": picture,
    }
    for name, kind in kinds.items():
        kind.save(folder / name, **({"lossless": True} if name.endswith("webp") else {}))
    return list(kinds)


def save_bad(folder: Path, image: np.ndarray) -> list[str]:
    """Save what looks like a picture and is none; returns the names."""
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("file,class\n")
    Image.fromarray(image).save(folder / "whole.jpg")
    data = (folder / "whole.jpg").read_bytes()
    (folder / "whole.jpg").rename(folder / "truncated.jpg")
    (folder / "truncated.jpg").write_bytes(data[: len(data) // 2])
    (folder / "bomb.png").write_bytes(bomb())
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    return ["empty.png", "text.png", "truncated.jpg", "bomb.png", "dangling.png"]


@pytest.fixture(scope="module")
def mixed(drawn_cells, tmp_path_factory):
    """A folder with good and bad pictures, and the names of each."""
    folder = tmp_path_factory.mktemp("mixed")
    image = drawn_cells["neutrophil"][0]
    (folder / "folder.jpg").mkdir()
    return folder, save_good(folder, image), save_bad(folder, image)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_outside(*arguments: object, **options) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "corpuscle", *(os.fspath(item) for item in arguments)]
    return subprocess.run(command, check=False, timeout=300, **{"stdout": -1, "stderr": -1, **options})


# Reading pictures


def test_all_good_pictures_end_with_status_0(cli, toy_bundle, drawn_files, tmp_path):
    output = tmp_path / "out.csv"
    done = cli("classify", drawn_files[0].parent, "--model", toy_bundle, "--output", output)
    assert done.status == 0
    assert done.out == ""
    assert re.match(rf"{len(drawn_files)} pictures in [\d.]+ s: \d+ a second with \d+ workers\. {NOTICE}\n$", done.err)
    assert [row["file"] for row in rows(output)] == [str(path) for path in drawn_files]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv"]


def test_bad_pictures_among_good_ones_end_with_status_3_and_lose_nothing(cli, toy_bundle, mixed, tmp_path):
    folder, good, bad = mixed
    output, missing = tmp_path / "out.csv", tmp_path / "missing.png"
    done = cli("classify", folder, missing, folder / "folder.jpg", "--model", toy_bundle, "-o", output)
    assert done.status == 3
    assert done.only_sentences()
    assert {Path(row["file"]).name for row in rows(output)} == set(good)
    failures = rows(tmp_path / "out.errors.csv")
    named = {*(str(folder / name) for name in bad), str(missing), str(folder / "folder.jpg")}
    assert {row["file"] for row in failures} == named
    for row in failures:
        assert row["file"] in row["reason"]
        assert row["reason"].endswith(".")
        assert "\n" not in row["reason"]
    assert f"{len(failures)} could not be read; all are listed in {tmp_path / 'out.errors.csv'}:" in done.err
    assert "and 2 more" in done.err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty.png", "is empty (0 bytes)"),
        ("text.png", "is no PNG, JPEG, TIFF, WebP or BMP picture"),
        ("truncated.jpg", "is cut off before its end"),
        ("bomb.png", "13000 x 13000 pixels, over the limit of 100,000,000"),
        ("dangling.png", "does not exist"),
    ],
)
def test_each_bad_picture_is_told_what_is_wrong_with_it(cli, toy_bundle, mixed, name, words):
    folder, _, _ = mixed
    done = cli("classify", folder / name, folder / "plain.png", "--model", toy_bundle)
    assert done.status == 3
    assert done.only_sentences()
    assert words in done.err
    assert len(done.out.splitlines()) == 2


def test_the_bomb_is_small(mixed):
    assert (mixed[0] / "bomb.png").stat().st_size < 25_000


def test_the_same_cell_in_any_kind_of_picture_gets_the_same_class(cli, toy_bundle, mixed):
    folder, good, _ = mixed
    done = cli("classify", *(folder / name for name in good), "--model", toy_bundle)
    assert done.status == 0
    found = {Path(row["file"]).name: row["class"] for row in csv.DictReader(done.out.splitlines())}
    colored = [name for name in good if name not in ("gray.png", "sixteen.png", "cmyk.jpg")]
    assert {found[name] for name in colored} == {"neutrophil"}
    assert found["gray.png"] == found["sixteen.png"]


def test_json_is_printed_beside_a_file(cli, toy_bundle, drawn_files, tmp_path):
    printed = cli("classify", drawn_files[0].parent, "--model", toy_bundle, "--json")
    both = cli("classify", drawn_files[0].parent, "--model", toy_bundle, "--json", "-o", tmp_path / "out.csv")
    assert both.out == printed.out
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(json.loads(both.out)["predictions"])


def test_the_json_of_the_command_is_that_of_the_library(cli, toy, toy_bundle, drawn_files):
    done = cli("classify", drawn_files[0].parent, "--model", toy_bundle, "--json")
    assert done.status == 0
    values = json.loads(done.out)
    answers = classify(drawn_files[0].parent, model=toy)
    assert values["predictions"] == [prediction_values(item) for item in answers if isinstance(item, Prediction)]
    assert values["errors"] == []
    assert values["notice"] == NOTICE


def test_the_csv_on_standard_output_is_that_of_the_library(cli, toy, toy_bundle, drawn_files, tmp_path):
    done = cli("classify", drawn_files[0].parent, "--model", toy_bundle, "--workers", 3)
    answers = [prediction_row(item) for item in classify(drawn_files, model=toy) if isinstance(item, Prediction)]
    assert list(csv.DictReader(done.out.splitlines())) == answers
    cli("classify", drawn_files[0].parent, "--model", toy_bundle, "--output", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == done.out


def test_failures_stand_in_the_json(cli, toy_bundle, mixed, tmp_path):
    folder, good, bad = mixed
    done = cli("classify", folder, tmp_path / "missing.png", "--model", toy_bundle, "--json")
    assert done.status == 3
    values = json.loads(done.out)
    assert len(values["predictions"]) == len(good)
    assert {Path(item["file"]).name for item in values["errors"]} == {*bad, "missing.png"}


def test_nothing_but_bad_pictures_still_writes_a_table(cli, toy_bundle, mixed, tmp_path):
    output = tmp_path / "out.csv"
    done = cli("classify", mixed[0] / "empty.png", "--model", toy_bundle, "-o", output)
    assert done.status == 3
    assert rows(output) == []
    assert len(rows(tmp_path / "out.errors.csv")) == 1


def test_a_list_of_failures_from_an_earlier_run_goes_away(cli, toy_bundle, mixed, tmp_path):
    output = tmp_path / "out.csv"
    cli("classify", mixed[0], "--model", toy_bundle, "-o", output)
    assert (tmp_path / "out.errors.csv").exists()
    assert cli("classify", mixed[0] / "plain.png", "--model", toy_bundle, "-o", output).status == 0
    assert not (tmp_path / "out.errors.csv").exists()


def test_a_picture_named_twice_is_judged_once_and_patterns_are_understood(cli, toy_bundle, drawn_files):
    folder = drawn_files[0].parent
    done = cli("classify", drawn_files[0], drawn_files[0], folder / "baso*.png", "--model", toy_bundle)
    assert done.status == 0
    assert len(done.out.splitlines()) == 3


def test_what_is_judged_can_be_chosen(cli, toy_bundle, drawn_files):
    done = cli("classify", drawn_files[0], "--model", toy_bundle, "--framing", "whole", "--json")
    assert json.loads(done.out)["predictions"][0]["framing"]["method"] == "whole"


@pytest.fixture
def empty_place(drawn_files, tmp_path, monkeypatch) -> Path:
    """Stand in a folder that holds a picture `CELL` and a folder `EMPTY` without any."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "EMPTY").mkdir()
    shutil.copy(drawn_files[0], tmp_path / "CELL")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["classify"], "Missing argument"),
        (["classify", "CELL", "--sharpen"], "No such option"),
        (["classify", "CELL", "--workers", "-1"], "--workers"),
        (["classify", "CELL", "--workers", "many"], "--workers"),
        (["classify", "CELL", "--framing", "middle"], "no framing named 'middle'. Choose one of: auto, cell,"),
        (["classify", "CELL", "--model", "corpuscle_xl"], "There is no model 'corpuscle_xl'"),
        (["classify", "CELL", "--output", "out.txt"], "must end in .csv or .json"),
        (["classify", "missing.png"], "'missing.png' does not exist"),
        (["classify", "EMPTY"], "holds no picture"),
        (["classify", "EMPTY/*.png"], "matches no picture"),
        (["classify", ""], "does not exist"),
        (["diagnose", "CELL"], "No such command"),
        (["evaluate"], "Missing option"),
        (["evaluate", "--dataset", "pcb"], "no data set or folder named 'pcb'"),
        (["evaluate", "--dataset", "EMPTY"], "holds no picture"),
        (["benchmark", "flying"], "no benchmark named 'flying'. Choose one of: classify, framing"),
        (["benchmark", "classify", "--files", "3"], "--files"),
        (["benchmark", "classify", "--folder", "EMPTY"], "holds no picture"),
        (["fetch", "imagenet"], "no data set named 'imagenet'"),
        (["fetch"], "Missing argument"),
        (["audit", "missing"], "missing"),
        (["train", "missing.toml"], "missing.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_requests_end_with_status_2_and_say_why(cli, toy_bundle, empty_place, arguments, words):
    if arguments[:1] == ["classify"] and "--model" not in arguments:
        arguments = [*arguments, "--model", str(toy_bundle)]
    done = cli(*arguments)
    assert done.status == 2
    assert done.only_sentences()
    assert words in done.err
    assert done.out == ""
    assert sorted(path.name for path in empty_place.iterdir()) == ["CELL", "EMPTY"]


def test_a_broken_model_ends_with_status_3(cli, copied_bundle, drawn_files):
    (copied_bundle / "README.md").write_text("changed")
    done = cli("classify", drawn_files[0], "--model", copied_bundle)
    assert (done.status, done.out) == (3, "")
    assert done.err.startswith("corpuscle: ")
    assert "was changed after the bundle was made" in done.err
    assert done.err.count("\n") == 1


# Writing results


def test_an_output_that_is_a_folder_ends_with_status_3(cli, toy_bundle, drawn_files, tmp_path):
    done = cli("classify", drawn_files[0], "--model", toy_bundle, "--output", tmp_path)
    assert done.status == 3
    assert "is a folder; name a file" in done.err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only to root")
def test_an_output_folder_that_may_not_be_written_ends_with_status_3(cli, toy_bundle, drawn_files, tmp_path):
    tmp_path.chmod(0o500)
    try:
        done = cli("classify", drawn_files[0], "--model", toy_bundle, "--output", tmp_path / "out.csv")
    finally:
        tmp_path.chmod(0o700)
    assert done.status == 3
    assert "cannot be written: Permission denied" in done.err


def test_a_file_in_the_place_of_the_output_folder_ends_with_status_3(cli, toy_bundle, drawn_files, tmp_path):
    (tmp_path / "file").write_text("x")
    done = cli("classify", drawn_files[0], "--model", toy_bundle, "--output", tmp_path / "file" / "out.csv")
    assert done.status == 3
    assert done.only_sentences()
    assert "cannot be written" in done.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_ends_with_status_3_and_one_sentence(cli, toy_bundle, drawn_files):
    done = cli("classify", drawn_files[0], "--model", toy_bundle, "--output", "/dev/full")
    assert done.status == 3
    assert done.only_sentences()
    assert "/dev/full cannot be written: No space left on device" in done.err
    with Path("/dev/full").open("wb") as full:
        outside = run_outside("classify", drawn_files[0], "--model", toy_bundle, stdout=full)
    assert outside.returncode == 3
    assert b"Traceback" not in outside.stderr
    assert b"Standard output cannot be written: No space left on device" in outside.stderr


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="this system has no /dev/null")
def test_a_device_gets_no_list_of_failures_beside_it(cli, toy_bundle, mixed):
    assert cli("classify", mixed[0], "--model", toy_bundle, "--output", "/dev/null").status == 3
    assert not Path("/dev/null.errors.csv").exists()


@pytest.mark.skipif(os.name != "posix", reason="pipes are those of POSIX")
def test_a_reader_that_goes_away_is_no_failure(toy_bundle, drawn_files):
    read, write = os.pipe()
    os.close(read)
    try:
        done = run_outside("classify", drawn_files[0].parent, "--model", toy_bundle, stdout=write)
    finally:
        os.close(write)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_a_file_name_that_is_no_text_can_be_judged(toy_bundle, drawn_files, tmp_path):
    odd, broken = tmp_path / os.fsdecode(b"cell\xff.png"), tmp_path / os.fsdecode(b"bad\xfe.png")
    shutil.copy(drawn_files[0], odd)
    broken.write_bytes(b"")
    done = run_outside("classify", tmp_path, "--model", toy_bundle)
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr
    assert os.fsencode(odd) + b"," in done.stdout
    values = json.loads(run_outside("classify", tmp_path, "--model", toy_bundle, "--json").stdout)
    assert [values["predictions"][0]["file"], values["errors"][0]["file"]] == [str(odd), str(broken)]


# On a terminal


def test_a_person_sees_a_table(cli, toy_bundle, mixed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    folder, good, _ = mixed
    done = cli("classify", folder, "--model", toy_bundle, terminal=True)
    assert done.status == 3
    assert done.only_sentences()
    assert "confidence" in done.out
    assert done.out.count("neutrophil") >= len(good) - 3
    assert "p_neutrophil" not in done.out
    assert "could not be read:" in done.err


def test_the_table_says_what_was_refused(cli, toy_bundle, drawn_files, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    Image.new("RGB", (60, 60), (230, 230, 230)).save(tmp_path / "blank.png")
    done = cli("classify", tmp_path / "blank.png", drawn_files[0], "--model", toy_bundle, terminal=True)
    assert re.search(r"refused: .*no stained cell\s+found", done.out.replace("\n", " "))
