"""The list of what a run wrote."""

from __future__ import annotations

import json

import pytest

from corpuscle.reporting.run_files import LIST_NAME, RunFiles, add_to_run


def write(folder, name, text="x"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def run(folder, *names):
    with RunFiles(folder) as files:
        files.add([write(folder, name) for name in names])


def test_what_the_next_run_does_not_write_goes(tmp_path):
    run(tmp_path, "a.png", "crops/neutrophil/a_1.png", "crops/neutrophil/a_2.png")
    run(tmp_path, "a.png", "crops/neutrophil/a_2.png")
    assert not (tmp_path / "crops/neutrophil/a_1.png").exists()
    assert (tmp_path / "crops/neutrophil/a_2.png").is_file()
    run(tmp_path, "a.png")
    assert not (tmp_path / "crops/neutrophil").exists()
    assert list(json.loads((tmp_path / LIST_NAME).read_text())) == ["a.png"]


def test_what_was_changed_stays_and_is_forgotten(tmp_path):
    run(tmp_path, "a.png", "b.png")
    write(tmp_path, "b.png", "by hand")
    run(tmp_path, "a.png")
    assert (tmp_path / "b.png").read_text() == "by hand"
    assert list(json.loads((tmp_path / LIST_NAME).read_text())) == ["a.png"]


def test_a_run_that_fails_deletes_nothing_and_the_next_still_knows_all(tmp_path):
    def fail() -> None:
        with RunFiles(tmp_path) as files:
            files.add([write(tmp_path, "b.png")])
            raise RuntimeError

    run(tmp_path, "a.png")
    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "a.png").is_file()
    run(tmp_path, "c.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.png", LIST_NAME]


def test_what_is_added_later_goes_with_the_run(tmp_path):
    report = write(tmp_path, "report.html")
    add_to_run(tmp_path, [report])
    assert not (tmp_path / LIST_NAME).exists()
    run(tmp_path, "a.png")
    add_to_run(tmp_path, [report])
    run(tmp_path, "a.png")
    assert not report.exists()


@pytest.mark.parametrize("text", ["", "[]", "[1]", "{", '{"a.png": 1}', "null", "\udcff"])
def test_a_damaged_list_deletes_nothing(tmp_path, text):
    run(tmp_path, "a.png")
    (tmp_path / LIST_NAME).write_bytes(text.encode("utf-8", "surrogatepass"))
    run(tmp_path, "b.png")
    assert (tmp_path / "a.png").is_file()


def test_nothing_outside_the_folder_is_deleted(tmp_path):
    inside, outside = tmp_path / "run", write(tmp_path, "outside.txt")
    run(inside, "a.png")
    sha256 = json.loads((inside / LIST_NAME).read_text())["a.png"]  # the same content
    linked = inside / "link"
    linked.symlink_to(tmp_path, target_is_directory=True)
    (inside / "b.png").symlink_to(outside)
    names = ["../outside.txt", str(outside), "link/outside.txt", "b.png"]
    (inside / LIST_NAME).write_text(json.dumps(dict.fromkeys(names, sha256)))
    run(inside, "a.png")
    assert outside.is_file()
    assert (inside / "b.png").is_symlink()
