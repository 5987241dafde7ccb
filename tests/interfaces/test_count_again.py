"""What is counted twice, has odd names, or was changed in between."""

from __future__ import annotations

import csv
import os
import shutil

import pytest


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_inside_the_counted_folder_is_not_counted(cli, counting):
    run = counting / "run"
    first = cli("count", counting, "--output", run, "--crops", "--json")
    again = cli("count", counting, "--output", run, "--crops", "--json")
    assert first.status == again.status == 0
    assert first.out == again.out
    by_pattern = cli("count", counting / "**" / "*.png", "--output", run, "--crops", "--json")
    assert by_pattern.out == first.out


def test_a_folder_that_is_written_to_is_not_counted(cli, counting):
    done = cli("count", counting, "--output", counting)
    assert done.status == 2
    assert "also written to" in done.err
    assert not list(counting.rglob("*.overlay.png"))


def test_a_folder_inside_the_output_is_counted_all_the_same(cli, counting):
    for path in (counting, counting / "*.png"):
        for _ in range(2):
            assert cli("count", path, "--output", counting.parent).status == 0
            assert len(rows(counting.parent / "counts.csv")) == 2


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_counting_again_leaves_nothing_out_of_date(cli, counting, tmp_path):
    run, alone = tmp_path / "run", tmp_path / "alone"
    assert cli("count", counting, "--output", run, "--crops", "--yolo").status == 0
    assert cli("report", run).status == 0
    for folder in (run, alone):
        assert cli("count", counting / "field_2.png", "--output", folder).status == 0
    assert names(run) == names(alone)


def test_counting_again_keeps_what_a_person_changed(cli, counting, tmp_path):
    run = tmp_path / "run"
    assert cli("count", counting, "--output", run, "--crops", "--yolo").status == 0
    crops = sorted((run / "crops").rglob("*.png"))
    moved, changed = run / "crops" / "mine" / crops[0].name, crops[1]
    moved.parent.mkdir()
    crops[0].rename(moved)
    changed.write_bytes(b"painted over")
    (run / "notes.txt").write_text("seen")
    assert cli("count", counting / "field_2.png", "--output", run).status == 0
    assert not (run / "yolo").exists()
    assert set((run / "crops").rglob("*.png")) == {moved, changed}
    assert (run / "notes.txt").is_file()


def test_a_report_from_another_folder_finds_the_pictures(cli, counting, tmp_path, monkeypatch):
    monkeypatch.chdir(counting)
    assert cli("count", "field_1.png", "--output", "../run").status == 0
    here = cli("report", "../run", "--output", tmp_path / "here.html")
    monkeypatch.chdir(tmp_path)
    there = cli("report", counting.parent / "run", "--output", tmp_path / "there.html")
    assert here.status == there.status == 0
    page = (tmp_path / "there.html").read_text("utf-8")
    assert page == (tmp_path / "here.html").read_text("utf-8")
    assert "data:image/" in page


def test_a_folder_that_cannot_be_listed_costs_only_itself(cli, counting, tmp_path, monkeypatch):
    locked = counting / "locked"
    locked.mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path) == str(locked):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    done = cli("count", counting, "--output", tmp_path / "run")
    assert done.status == 3
    assert "cannot be listed" in done.err
    assert len(rows(tmp_path / "run" / "counts.csv")) == 2
    assert [row["file"] for row in rows(tmp_path / "run" / "cells.errors.csv")] == [str(locked)]
    assert cli("count", locked, "--output", tmp_path / "other").status == 2


def test_a_slide_in_a_folder_is_not_passed_over(cli, counting, tmp_path):
    (counting / "slide.svs").write_bytes(b"no slide")
    done = cli("count", counting, "--output", tmp_path / "run")
    assert done.status == 3
    assert [row["file"] for row in rows(tmp_path / "run" / "cells.errors.csv")] == [str(counting / "slide.svs")]
    assert len(rows(tmp_path / "run" / "counts.csv")) == 2


@pytest.mark.parametrize("name", ["classes", "x" * 245, "血" * 80, "f[a]", "g[/b]"])
def test_odd_names(cli, counting, tmp_path, name, monkeypatch):
    (counting / "field_2.png").unlink()
    (counting / f"{name}.png").parent.mkdir(exist_ok=True)
    (counting / "field_1.png").rename(counting / f"{name}.png")
    monkeypatch.chdir(counting)
    done = cli("count", f"{name}.png", "--output", tmp_path / "run", "--yolo", "--crops")
    assert done.status == 0, done.err
    assert rows(tmp_path / "run" / "counts.csv")[0]["file"] == f"{name}.png"
    assert "platelet" in (tmp_path / "run" / "yolo" / "classes.txt").read_text().split()
    assert len(list((tmp_path / "run" / "yolo").iterdir())) == 2
    assert f"{name}.png" in done.out or len(name) > 60


def damaged(text, how):
    if how == "semicolons":
        return text.replace(",", ";")
    if how == "short":
        return "\n".join(text.splitlines()[:4])
    return text[: len(text) // 2]


@pytest.mark.parametrize("how", ["semicolons", "short", "cut"])
def test_a_damaged_table_has_no_report(cli, counting, tmp_path, how):
    cli("count", counting, "--output", tmp_path / "run")
    table = tmp_path / "run" / "cells.csv"
    table.write_text(damaged(table.read_text(), how))
    done = cli("report", tmp_path / "run")
    assert done.status == 3
    assert "Count again" in done.err
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_table_saved_with_a_byte_order_mark_has_a_report(cli, counting, tmp_path):
    cli("count", counting, "--output", tmp_path / "run")
    table = tmp_path / "run" / "cells.csv"
    table.write_text(table.read_text(), encoding="utf-8-sig")
    assert cli("report", tmp_path / "run").status == 0


def test_maps_inside_the_folder_of_pictures_are_not_named(cli, toy_bundle, drawn_files, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for file in drawn_files[:2]:
        shutil.copy(file, pictures)
    for _ in range(2):
        done = cli("classify", pictures, "--model", toy_bundle, "--cam", pictures / "maps", "-o", tmp_path / "out.csv")
        assert done.status == 0, done.err
        assert len(rows(tmp_path / "out.csv")) == 2
