"""Routes for programs: the very answers of the library and of the command line, and nothing kept."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from corpuscle.explanation.explaining import Explainer
from corpuscle.interfaces.api.readers import Readers
from corpuscle.models.bundle import load_bundle


def test_classify_says_what_the_command_line_prints(cli, client, form, crop_files, tmp_path):
    files = {"empty.png": b"", **crop_files, "words.jpg": b"these are no pixels"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with contextlib.chdir(tmp_path):
        printed = cli("classify", *files, "--json")
    answer = client.post("/v1/classify", files=form(files))
    assert answer.status_code == 200
    assert answer.json() == json.loads(printed.out)
    assert [row["file"] for row in answer.json()["errors"]] == ["empty.png", "words.jpg"]


def test_count_says_what_the_command_line_prints(cli, client, form, counting, tmp_path):
    files = {path.name: path.read_bytes() for path in sorted(counting.iterdir())}
    files["bad.png"] = b""
    (counting / "bad.png").write_bytes(b"")
    with contextlib.chdir(counting):
        printed = json.loads(cli("count", *files, "--output", tmp_path / "run", "--interval", "exact", "--json").out)
    answer = client.post("/v1/count?interval=exact", files=form(files)).json()
    cells = [field.pop("cells") for field in answer["fields"]]
    assert answer == printed
    assert [len(found) for found in cells] == [
        sum(row[kind] for kind in ("erythrocytes", "leukocytes", "platelets")) for row in printed["fields"]
    ]
    named = next(cell for cell in cells[0] if cell["kind"] == "leukocyte")
    assert sum(named["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert named["probabilities"][named["class"]] == named["confidence"]


def test_explain_gives_the_maps_of_the_library(client, form, crop_files):
    data = crop_files["lymphocyte.png"]
    answer = client.post("/v1/explain?class=platelet", files=form({"a b.png": data}, "file")).json()
    with Image.open(io.BytesIO(data)) as image:
        picture = np.asarray(image)
    expected = Explainer().explain(picture, ["platelet"])
    assert answer["prediction"]["file"] == "a b.png"
    assert [item["class"] for item in answer["maps"]] == [item.class_name for item in expected.maps]
    for row, item in zip(answer["maps"], expected.maps, strict=True):
        gray = np.asarray(Image.open(io.BytesIO(base64.b64decode(row["map_png"].partition(",")[2]))))
        assert gray.shape == picture.shape[:2]
        assert np.abs(gray - 255 * item.cam).max() <= 0.5 + 1e-3
        laid = Image.open(io.BytesIO(base64.b64decode(row["overlay_png"].partition(",")[2])))
        assert laid.mode == "RGB"
        assert laid.size == picture.shape[1::-1]


def test_project_gives_a_place_to_each_picture(client, form, crop_files):
    files = {f"{turn}{name}": data for turn in "ab" for name, data in crop_files.items()}
    answer = client.post("/v1/project?dimensions=3", files=form(files)).json()
    assert [point["file"] for point in answer["points"]] == list(files)
    assert {"x", "y", "z", "class", "confidence"} <= answer["points"][0].keys()
    places = np.array([[point[axis] for axis in "xyz"] for point in answer["points"]])
    np.testing.assert_allclose(places[:3], places[3:], atol=1e-3)
    few = client.post("/v1/project", files=form(crop_files))
    assert few.status_code == 422
    assert "at least 4 cells" in few.json()["error"]["message"]


@pytest.mark.parametrize("route", ["classify", "count"])
def test_lines_come_one_a_picture(client, form, crop_files, field_file, route):
    files = {"bad.png": b"nothing", **(crop_files if route == "classify" else {"a.png": field_file})}
    what = {"classify": "prediction", "count": "field"}[route]
    whole = client.post(f"/v1/{route}", files=form(files)).json()
    answer = client.post(f"/v1/{route}", files=form(files), headers={"Accept": "application/x-ndjson"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["done"] for line in lines[:-1]] == list(range(1, len(files) + 1))
    assert {line["total"] for line in lines[:-1]} == {len(files)}
    assert [line["failure"]["file"] for line in lines if "failure" in line] == ["bad.png"]
    assert [line[what] for line in lines if what in line] == whole["predictions" if what == "prediction" else "fields"]
    assert lines[-1]["summary"]["errors"] == whole["errors"]


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ("classify?model=../../etc", "There is no model named"),
        ("classify?framing=round", "There is no framing named"),
        ("count?um_per_px=-1", "um_per_px"),
        ("count?um_per_px=nan", "um_per_px"),
        ("count?interval=wald", "There is no interval named"),
        ("count?detector=nothing", "There is no model named"),
        ("explain?method=magic", "There is no explanation method named"),
        ("explain?class=robot", "robot"),
        ("project?method=magic", "There is no projection method named"),
        ("project?dimensions=4", "dimensions"),
    ],
)
def test_a_wrong_option_is_one_sentence(client, form, crop_files, route, said):
    answer = client.post(f"/v1/{route}", files=form(crop_files, "file"))
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert said in error["message"]
    assert error["code"]


def one_of(files):
    return dict(list(files.items())[:1])


def test_one_picture_is_explained_at_a_time(client, form, crop_files):
    answer = client.post("/v1/explain", files=form(crop_files))
    assert answer.status_code == 422
    assert "one is explained at a time" in answer.json()["error"]["message"]


@pytest.mark.parametrize("route", ["classify", "count", "explain", "project"])
def test_an_option_in_the_form_or_an_unknown_one_is_refused(client, form, crop_files, route):
    files = form(one_of(crop_files))
    answer = client.post(f"/v1/{route}", files=files, data={"model": "corpuscle_s"})
    assert answer.status_code == 422
    assert "?model=" in answer.json()["error"]["message"]
    for name in ("modle", "\u8840", "a\0b"):
        answer = client.post(f"/v1/{route}", files=files, params={name: "1"})
        assert answer.status_code == 422
        assert "has no option" in answer.json()["error"]["message"]
        assert "model" in answer.json()["error"]["message"]
    other = client.post(f"/v1/{route}", files=[*files, ("image", ("b.png", b"x", "image/png"))])
    assert other.status_code == 422
    assert "no form field image" in other.json()["error"]["message"]
    assert client.get("/v1/health?verbose=1").json()["error"]["code"] == "wrong_value"
    assert list(client.app.state.workbench.store.incoming.iterdir()) == []


def test_damaged_json_is_told_from_a_wrong_value(client):
    head = {"Content-Type": "application/json"}
    damaged = client.post("/v1/sessions", content=b'{"name": ', headers=head)
    assert (damaged.status_code, damaged.json()["error"]["code"]) == (400, "bad_request")
    wrong = client.post("/v1/sessions", content=b'{"name": 1}', headers=head)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "wrong_value")


def test_nothing_is_kept(client, form, crop_files, field_file):
    store = client.app.state.workbench.store
    for route, files in (("classify", crop_files), ("count", {"a.png": field_file}), ("explain", one_of(crop_files))):
        assert client.post(f"/v1/{route}", files=form(files)).status_code == 200
    assert list(store.incoming.iterdir()) == []


def test_pictures_of_one_name_are_told_apart(client, crop_files):
    data = list(crop_files.values())
    answer = client.post("/v1/classify", files=[("files", ("a.png", item, "image/png")) for item in data])
    assert [row["file"] for row in answer.json()["predictions"]] == ["a.png", "a (2).png", "a (3).png"]


def test_models_are_loaded_once(client, form, crop_files, monkeypatch):
    client.post("/v1/classify?framing=whole", files=form(crop_files))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded again")

    monkeypatch.setattr("corpuscle.interfaces.api.readers.CellReader", refuse)
    monkeypatch.setattr("corpuscle.interfaces.api.readers.load_bundle", refuse)
    for framing in ("auto", "whole"):
        assert client.post(f"/v1/classify?framing={framing}", files=form(crop_files)).status_code == 200
    assert client.post("/v1/explain", files=form(one_of(crop_files), "file")).status_code == 200


def test_every_model_is_described(client):
    values = client.get("/v1/models").json()
    rows = {row["name"]: row for row in values["models"]}
    first = rows[values["default"]]
    assert first["task"] == "classification"
    assert first["parameters"] > 1_000_000
    assert first["size_bytes"] > 1_000_000
    assert "# " in first["card"]
    assert {row["figure"] for row in first["metrics"]} >= {"accuracy"}
    assert all("/" not in row["name"] for row in values["models"])
    assert client.get("/v1/health").json() == {"status": "ok", "model": values["default"], "detector": "discs"}


def test_a_folder_given_at_the_start_is_known_by_its_name(tmp_path, monkeypatch, disc_detector):
    monkeypatch.setattr("corpuscle.interfaces.api.readers.open_detector", lambda name=None: disc_detector)
    folder = shutil.copytree(load_bundle().folder, tmp_path / "mine")
    readers = Readers(str(folder), "discs", jobs=1)
    assert readers.names("classification")[0] == readers.model
    assert "/" not in readers.model
    assert readers.cells(readers.model) is readers.cells()


def test_classes_have_names_and_the_colors_of_every_picture(client):
    from corpuscle.explanation.palette import CLASS_COLORS

    rows = {row["key"]: row for row in client.get("/v1/taxonomy").json()["classes"]}
    assert set(rows) == set(CLASS_COLORS)
    assert rows["neutrophil"]["name"] == {"en": "neutrophil", "es": "neutrófilo"}
    assert rows["neutrophil"]["color"] == "#{:02x}{:02x}{:02x}".format(*CLASS_COLORS["neutrophil"])
