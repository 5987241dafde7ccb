from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from corpuscle.errors import OutputError
from corpuscle.prediction.field_formats import CATEGORIES, category_of, geojson, yolo_lines
from corpuscle.prediction.field_writing import (
    CELL_COLUMNS,
    RunWriter,
    cell_row,
    stems_for,
    summary_values,
    write_crops,
    write_yolo,
)
from corpuscle.prediction.tiling import ArraySource
from corpuscle.records import Failure, FieldCell, FieldReading, Ruler

MODELS = {"classifier": {"name": "toy", "version": "1", "sha256": "0" * 64}}


def cell(number, kind="leukocyte", class_name="lymphocyte", box=(10.0, 20.0, 40.0, 60.0), **options):
    values = {"score": 0.9, "confidence": 0.97, **options}
    return FieldCell(number, kind, box, class_name=class_name, **values)


def reading(file="a.png", cells=None, **options):
    default = (
        cell(1),
        cell(2, "erythrocyte", "erythrocyte", (50.5, 20, 90, 60), confidence=None),
        cell(3, refused=True, reason="too doubtful"),
        cell(4, "platelet", "platelet", (100, 100, 112, 113)),
        cell(5, on_border=True),
    )
    return FieldReading(
        file, 200, 150, default if cells is None else cells, Ruler(0.1, 1.0, "erythrocytes", 9), **options
    )


def written(folder, answers):
    with RunWriter(folder, MODELS) as writer:
        for answer in answers:
            writer.add(answer)
        return writer.finish()


def test_the_tables_hold_every_cell_and_agree(tmp_path):
    answers = [reading("a.png"), reading("b.png", cells=()), reading("c.png")]
    values = written(tmp_path, answers)
    cells = list(csv.DictReader((tmp_path / "cells.csv").read_text().splitlines()))
    counts = list(csv.DictReader((tmp_path / "counts.csv").read_text().splitlines()))
    head = ["file", "number", "kind", "class", "x_min", "y_min", "x_max", "y_max", "score", "confidence", "refused"]
    assert list(cells[0])[:11] == head == list(CELL_COLUMNS[:11])
    assert list(counts[0]) == ["file", "erythrocytes", "leukocytes", "platelets"]
    assert [row["file"] for row in counts] == ["a.png", "b.png", "c.png"]
    for row in counts:
        own = [c for c in cells if c["file"] == row["file"]]
        assert [int(c["number"]) for c in own] == list(range(1, len(own) + 1))
        for kind in ("erythrocyte", "leukocyte", "platelet"):
            assert int(row[f"{kind}s"]) == sum(c["kind"] == kind for c in own)
    assert values["totals"] == {"erythrocytes": 2, "leukocytes": 6, "platelets": 2}
    assert cells[1]["confidence"] == ""
    assert cells[2]["refused"] == "true"


def test_the_summary_says_what_was_left_out(tmp_path):
    values = json.loads(json.dumps(written(tmp_path, [reading(), Failure("bad.png", "bad.png is empty.")])))
    assert json.loads((tmp_path / "differential.json").read_text()) == values
    differential = values["differential"]
    assert (differential["n"], differential["refused"], differential["on_border"]) == (1, 1, 1)
    assert values["errors"] == [{"file": "bad.png", "reason": "bad.png is empty."}]
    assert "Not a medical device" in values["notice"]
    assert values["models"] == MODELS
    assert (tmp_path / "cells.errors.csv").read_text().splitlines()[1] == "bad.png,bad.png is empty."


def test_coco_is_read_back_by_its_own_program(tmp_path, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    written(tmp_path, [reading("a.png"), reading("b.png", cells=()), reading("c.png")])
    read = coco.COCO(str(tmp_path / "coco.json"))
    capsys.readouterr()
    assert [image["file_name"] for image in read.loadImgs(read.getImgIds())] == ["a.png", "b.png", "c.png"]
    assert len(read.getAnnIds()) == 10
    first = read.loadAnns(read.getAnnIds(imgIds=[1]))[1]
    assert first["bbox"] == [50.5, 20, 39.5, 40]
    assert read.loadCats(first["category_id"])[0]["name"] == "erythrocyte"
    refused = read.loadAnns(read.getAnnIds(imgIds=[3]))[2]
    assert read.loadCats(refused["category_id"])[0]["name"] == "leukocyte"


def test_an_empty_run_is_valid(tmp_path):
    written(tmp_path, [])
    assert json.loads((tmp_path / "coco.json").read_text())["annotations"] == []
    assert json.loads((tmp_path / "differential.json").read_text())["differential"]["n"] == 0


def test_geojson_has_closed_rings_in_pixels_of_the_slide():
    values = geojson(reading(origin_px=(1000.0, 500.0), downsample=4.0), lambda name: (1, 2, 3))
    feature = values["features"][0]
    ring = feature["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1] == [1040, 580]
    assert ring[2] == [1160, 740]
    assert feature["properties"]["objectType"] == "annotation"
    assert feature["properties"]["classification"] == {"name": "lymphocyte", "color": [1, 2, 3]}
    assert values["features"][2]["properties"]["classification"]["name"] == "leukocyte (refused)"
    assert len({item["id"] for item in values["features"]}) == 5


def test_yolo_lines_are_shares_of_the_field(tmp_path):
    number, *shares = yolo_lines(reading()).splitlines()[0].split()
    assert CATEGORIES[int(number)] == "lymphocyte"
    assert [float(share) for share in shares] == pytest.approx([25 / 200, 40 / 150, 30 / 200, 40 / 150], abs=1e-6)
    write_yolo(reading(), tmp_path, "a")
    assert len((tmp_path / "a.txt").read_text().splitlines()) == 5


def test_crops_lie_in_the_folder_of_their_class(tmp_path):
    write_crops(reading(), ArraySource(np.zeros((150, 200, 3), np.uint8)), tmp_path, "a")
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert names == ["lymphocyte/a_1.png", "lymphocyte/a_5.png", "platelet/a_4.png", "refused/a_3.png"]


def test_a_refused_cell_is_exported_without_its_class():
    assert category_of(cell(1, refused=True, reason="x")) == "leukocyte"
    assert category_of(cell(1, class_name="")) == "leukocyte"


def test_files_of_one_stem_do_not_meet():
    stems = stems_for(["x/a.png", "y/a.jpg", "a_2.png", "A.tif", "x/a.png"])
    assert list(stems.values()) == ["a", "a_2", "a_2_2", "A_3"]
    assert len({stem.casefold() for stem in stems.values()}) == 4


def test_a_run_that_fails_leaves_the_tables_of_an_earlier_one(tmp_path):
    written(tmp_path, [reading()])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def stopped():
        with RunWriter(tmp_path, MODELS) as writer:
            writer.add(reading("z.png"))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        stopped()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        RunWriter(tmp_path / "file" / "run", MODELS)


def test_odd_names_survive(tmp_path):
    name = 'caf\udce9,"1".png'
    written(tmp_path, [reading(name)])
    with (tmp_path / "cells.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert next(csv.DictReader(file))["file"] == name
    assert json.loads((tmp_path / "coco.json").read_text())["images"][0]["file_name"] == name


def test_a_row_has_every_column():
    assert tuple(cell_row("a", cell(1))) == CELL_COLUMNS


def test_the_summary_can_be_made_without_writing():
    assert summary_values([reading()], MODELS, interval="exact")["differential"]["interval_method"].startswith("exact")
