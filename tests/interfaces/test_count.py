from __future__ import annotations

import csv
import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from corpuscle.interfaces.console import DEFAULT_DETECTOR
from corpuscle.models import detection_bundle


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_command_has_the_librarys_defaults():
    assert DEFAULT_DETECTOR == detection_bundle.DEFAULT_DETECTOR


def test_count_writes_every_file(cli, counting, tmp_path, disc_field):
    done = cli("count", counting, "--output", tmp_path / "run", "--yolo", "--crops")
    assert done.status == 0
    names = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    per_field = {f"field_{n}{end}" for n in (1, 2) for end in (".overlay.png", ".geojson")}
    assert {"cells.csv", "counts.csv", "differential.json", "coco.json", *per_field} <= names
    assert {"yolo/field_1.txt", "yolo/field_2.txt", "yolo/classes.txt"} <= names
    assert any(name.startswith("crops/") for name in names)
    for number, row in enumerate(rows(tmp_path / "run" / "counts.csv"), start=1):
        truth = Counter(kind for kind, _, _ in disc_field(640, 480, seed=number)[1])
        assert {kind: int(row[f"{kind}s"]) for kind in truth} == truth
    assert "erythrocytes" in done.out
    assert "Not a medical device" in done.err


def test_the_numbers_of_all_files_agree(cli, counting, tmp_path):
    cli("count", counting, "--output", tmp_path)
    cells = [row for row in rows(tmp_path / "cells.csv") if row["file"].endswith("field_1.png")]
    shapes = json.loads((tmp_path / "field_1.geojson").read_text())["features"]
    marks = json.loads((tmp_path / "coco.json").read_text())["annotations"]
    assert [row["number"] for row in cells] == [shape["properties"]["name"] for shape in shapes]
    assert [int(row["number"]) for row in cells] == [m["number"] for m in marks if m["image_id"] == 1]
    with Image.open(tmp_path / "field_1.overlay.png") as overlay, Image.open(counting / "field_1.png") as field:
        assert overlay.size == field.size


def test_bad_files_are_listed_and_others_are_unharmed(cli, counting, tmp_path):
    alone = cli("count", counting, "--output", tmp_path / "good", "--json")
    (counting / "bad.png").write_bytes(b"")
    done = cli("count", counting, tmp_path / "nowhere", "--output", tmp_path / "run", "--json")
    assert done.status == 3
    assert (tmp_path / "run" / "cells.csv").read_text() == (tmp_path / "good" / "cells.csv").read_text()
    listed = rows(tmp_path / "run" / "cells.errors.csv")
    assert [re.search(r"(nowhere|bad\.png)", row["file"])[1] for row in listed] == ["nowhere", "bad.png"]
    assert json.loads(done.out)["differential"] == json.loads(alone.out)["differential"]
    again = cli("count", counting / "field_1.png", "--output", tmp_path / "run")
    assert again.status == 0
    assert not (tmp_path / "run" / "cells.errors.csv").exists()


def test_attributes_are_columns_of_the_cells(cli, counting, tmp_path):
    assert cli("count", counting, "--output", tmp_path / "run", "--attributes").status == 0
    said = rows(tmp_path / "run" / "cells.csv")
    assert {"words", "unusual", "nucleus_shape", "nearest_class"} <= said[0].keys()
    assert all(bool(row["nearest_class"]) == (row["kind"] != "erythrocyte") for row in said)
    assert not any(row["words"] for row in said if row["refused"] == "true")
    assert cli("count", counting, "--output", tmp_path / "plain").status == 0
    plain = rows(tmp_path / "plain" / "cells.csv")
    assert [{key: row[key] for key in plain[0]} for row in said] == plain


def test_without_a_readable_field_no_table_is_printed(cli, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    done = cli("count", tmp_path / "bad.png", "--output", tmp_path / "run")
    assert (done.status, done.out) == (3, "")
    assert "1 could not be read" in done.err


def test_one_stem_in_two_folders_gives_two_overlays(cli, counting, tmp_path):
    (counting / "b").mkdir()
    (counting / "field_1.png").rename(counting / "b" / "field_2.png")
    assert cli("count", counting, "--output", tmp_path / "run").status == 0
    assert {path.name for path in (tmp_path / "run").glob("*.overlay.png")} == {
        "field_2.overlay.png", "field_2_2.overlay.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--interval", "wald"], "wilson, exact, simultaneous"),
        (["--um-per-px", "99"], "shows no blood cell"),
        (["--region", "1,2,3"], "x,y,width,height"),
    ],
)
def test_wrong_usage_is_one_sentence(cli, counting, tmp_path, options, said):
    done = cli("count", counting, "--output", tmp_path / "run", *options)
    assert done.status == 2
    assert said in done.err
    assert not (tmp_path / "run" / "cells.csv").exists()


def test_a_differential_is_corrected_by_a_measured_confusion(cli, counting, tmp_path):
    from corpuscle.models.bundle import load_bundle

    classes = load_bundle().classes
    matrix = (np.eye(len(classes), dtype=int) * 95 + 1).tolist()
    path = tmp_path / "evaluation.json"
    path.write_text(
        json.dumps({"classes": list(classes), "confusion": matrix, "dataset": "drawn", "split": "test", "n": 800})
    )
    done = cli("count", counting, "--output", tmp_path / "run", "--confusion", path, "--json")
    assert done.status == 0
    assert "drawn, split test" in json.loads(done.out)["differential"]["correction_source"]
    path.write_text("{}")
    assert cli("count", counting, "--output", tmp_path / "run", "--confusion", path).status == 3


def test_a_region_of_a_slide_is_counted_at_a_level(cli, counting, tmp_path, disc_field):
    tifffile = pytest.importorskip("tifffile")
    image, truth = disc_field(1600, 1200, erythrocyte_px=80, seed=4)
    with tifffile.TiffWriter(tmp_path / "slide.tif") as writer:
        writer.write(image, photometric="rgb", tile=(128, 128), subifds=1)
        writer.write(image[::2, ::2], photometric="rgb", tile=(128, 128), subfiletype=1)
    done = cli("count", tmp_path / "slide.tif", "--output", tmp_path / "run", "--region", "0,0,1600,1200", "--level", 1)
    assert done.status == 0, done.err
    assert len(rows(tmp_path / "run" / "cells.csv")) == len(truth)
    shapes = json.loads((tmp_path / "run" / "slide.geojson").read_text())["features"]
    middles = np.array([np.mean(shape["geometry"]["coordinates"][0][:4], axis=0) for shape in shapes])
    for _, middle, _ in truth:
        assert np.hypot(*(middles - middle).T).min() < 4


def test_a_report_holds_all_it_shows(cli, counting, tmp_path):
    cli("count", counting, "--output", tmp_path / "run")
    done = cli("report", tmp_path / "run")
    assert done.status == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "not a medical device" in page.lower()
    assert "data:image/jpeg;base64," in page
    assert re.findall(r"(?:src|href)=\"(?!data:)", page) == []
    assert "http" not in re.sub(r"data:[^\"]*", "", page)
    for text in ("Differential", "Refused cells", "Gallery", "SHA-256", "neutrophil", "field_2.png"):
        assert text in page


def test_a_report_says_when_a_picture_has_changed(cli, counting, tmp_path):
    cli("count", counting, "--output", tmp_path / "run")
    Image.fromarray(np.zeros((480, 640, 3), np.uint8)).save(counting / "field_1.png")
    (counting / "field_2.png").unlink()
    assert cli("report", tmp_path / "run", "--output", tmp_path / "page.html").status == 0
    assert (tmp_path / "page.html").read_text().count("is gone or has changed since") == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_report_as_pdf(cli, counting, tmp_path):
    try:
        import weasyprint  # noqa: F401
    except (ImportError, OSError):
        pytest.skip("WeasyPrint cannot run here")
    cli("count", counting / "field_1.png", "--output", tmp_path / "run")
    done = cli("report", tmp_path / "run", "--pdf")
    assert done.status == 0
    assert (tmp_path / "run" / "report.pdf").read_bytes().startswith(b"%PDF")


def test_what_is_no_run_has_no_report(cli, tmp_path):
    done = cli("report", tmp_path)
    assert done.status == 2
    assert "is no run" in done.err
    (tmp_path / "differential.json").write_text("[]")
    (tmp_path / "cells.csv").write_text("")
    assert cli("report", tmp_path).status == 3


def test_the_demo_counts_a_drawn_field(cli, counting, tmp_path):
    done = cli("demo", "--output", tmp_path / "demo", "--json")
    assert done.status == 0
    values = json.loads(done.out)["field"]
    assert set(values["counted"]) == set(values["drawn"]) == {"erythrocytes", "leukocytes", "platelets"}
    assert (tmp_path / "demo" / "count" / "field.overlay.png").exists()
    assert json.loads((tmp_path / "demo" / "field.json").read_text())["cells"]
