"""What is counted twice, has odd names, or was changed in between."""

from __future__ import annotations

import csv
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
