"""A session as files: the same numbers as on the page, for other programs and for training."""

from __future__ import annotations

import csv
import io
import json
import zipfile

import pytest

from corpuscle.data.labeled import labeled_cells
from corpuscle.interfaces.api.exports import EXPORTS

SIMPLE = [what for what in EXPORTS if what != "report.pdf"]


@pytest.fixture(scope="module")
def reviewed(client, crop_files, field_file):
    """A session with a field, in which a person named one cell otherwise and called another none."""
    session = client.post("/v1/sessions", json={"name": 'Smear "ñ" / 12'}).json()["id"]
    begun = client.post(f"/v1/sessions/{session}/fields", files=[("files", ("=1+1.png", field_file))]).json()["job"][
        "id"
    ]
    with client.stream("GET", f"/v1/jobs/{begun}/events") as events:
        list(events.iter_lines())
    rows = client.get(f"/v1/sessions/{session}/cells").json()["cells"]
    white = [row for row in rows if row["kind"] == "leukocyte" and not row["on_border"]]
    client.post(f"/v1/cells/{white[0]['id']}/label", json={"class": "basophil", "who": "=HYPERLINK(1)"})
    client.post(f"/v1/cells/{white[1]['id']}/label", json={"class": "not_a_cell", "who": "Ana"})
    return session, client.get(f"/v1/sessions/{session}/cells").json()["cells"]


@pytest.fixture
def export(client, reviewed):
    def get(what: str, **query: str):
        answer = client.get(f"/v1/sessions/{reviewed[0]}/export/{what}", params=query)
        assert answer.status_code == 200, answer.text
        return answer

    return get


@pytest.mark.parametrize("what", SIMPLE)
def test_every_export_is_a_file_to_keep_without_a_path_of_the_server(client, export, what):
    answer = export(what)
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert "/" not in answer.headers["content-disposition"].replace("UTF-8''", "")
    assert str(client.app.state.workbench.store.folder).encode() not in answer.content
    assert [path.name for path in client.app.state.workbench.store.incoming.iterdir()] == []


def test_tables_say_what_the_page_says(client, export, reviewed):
    rows = {row["number"]: row for row in csv.DictReader(io.StringIO(export("cells.csv").text))}
    standing = {str(cell["number"]): cell for cell in reviewed[1] if cell["class_now"] != "not_a_cell"}
    assert set(rows) == set(standing)
    assert all(rows[number]["class"] == cell["class_now"] for number, cell in standing.items())
    named = next(row for row in rows.values() if row["class"] == "basophil" and row["labeled_by"])
    assert named["labeled_by"] == "'=HYPERLINK(1)"
    assert (named["confidence"], named["refused"]) == ("", "false")
    summary = client.get(f"/v1/sessions/{reviewed[0]}/summary").json()
    assert json.loads(export("differential.json").text)["differential"] == summary["differential"]
    count = next(csv.DictReader(io.StringIO(export("counts.csv").text)))
    assert {f"{kind}s": str(n) for kind, n in summary["counts"].items()} == {
        k: v for k, v in count.items() if k != "file"
    }
    marks = json.loads(export("coco.json").text)
    assert sorted(str(mark["number"]) for mark in marks["annotations"]) == sorted(standing)
    cells = json.loads(export("cells.json").text)["cells"]
    assert [cell["id"] for cell in cells] == [cell["id"] for cell in reviewed[1]]
    with zipfile.ZipFile(io.BytesIO(export("geojson.zip").content)) as pack:
        assert len(json.loads(pack.read(pack.namelist()[0]))["features"]) == len(standing)


def test_corrections_are_a_data_set_to_train_on(export, tmp_path):
    with zipfile.ZipFile(io.BytesIO(export("dataset.zip").content)) as pack:
        pack.extractall(tmp_path / "set")
    cells = labeled_cells(tmp_path / "set")
    assert [cell.class_name for cell in cells] == ["basophil"]
    assert cells[0].read().shape[2] == 3
    with zipfile.ZipFile(io.BytesIO(export("dataset.zip", only="all").content)) as pack:
        names = [name for name in pack.namelist() if name.endswith(".png")]
        table = list(csv.DictReader(io.StringIO(pack.read("labels.csv").decode())))
    assert len(names) == len(table) >= 1
    assert not any(name.startswith(("erythrocyte", "not_a_cell")) for name in names)


def test_an_unreviewed_session_has_no_data_set(client, begin):
    session = begin(client, "crops")
    answer = client.get(f"/v1/sessions/{session}/export/dataset.zip")
    assert answer.status_code == 422
    assert "reviewed" in answer.json()["error"]["message"]
    empty = client.post("/v1/sessions", json={}).json()["id"]
    for what in ("coco.json", "report.html", "map.csv"):
        assert client.get(f"/v1/sessions/{empty}/export/{what}").status_code == 422
    assert client.get(f"/v1/sessions/{empty}/export/passwords.txt").status_code == 422
    assert client.get(f"/v1/sessions/{empty}/summary").json()["differential"]["n"] == 0


def test_a_report_holds_its_pictures_and_says_who_looked(export):
    page = export("report.html").text
    assert "Smear report: Smear &quot;ñ&quot; / 12" in page
    assert "is gone" not in page
    assert "2 cells were named otherwise by a person" in page
    assert page.count("data:image/jpeg") >= 2
    assert "Not a medical device" in page


def test_crops_alone_have_exports_too(client, begin):
    session = begin(client, "crops")
    assert client.get(f"/v1/sessions/{session}/export/report.html").text.count("data:image/jpeg") >= 3
    rows = list(csv.DictReader(io.StringIO(client.get(f"/v1/sessions/{session}/export/cells.csv").text)))
    assert [row["file"] for row in rows] == ["neutrophil.png", "lymphocyte.png", "platelet.png"]


def test_the_map_places_leukocytes_and_platelets(client, export, reviewed):
    points = client.get(f"/v1/sessions/{reviewed[0]}/map").json()["points"]
    wanted = {cell["id"] for cell in reviewed[1] if cell["kind"] != "erythrocyte" and cell["class_now"] != "not_a_cell"}
    assert {point["cell"] for point in points} == wanted
    again = client.get(f"/v1/sessions/{reviewed[0]}/map").json()["points"]
    assert points == again
    assert all(point["cell"].isalnum() for point in points)  # a table marks what begins with - as text
    rows = list(csv.DictReader(io.StringIO(export("map.csv").text)))
    assert [(row["cell"], float(row["x"])) for row in rows] == [(point["cell"], point["x"]) for point in points]
    three = client.get(f"/v1/sessions/{reviewed[0]}/map?dimensions=3").json()["points"]
    assert "z" in three[0]


def test_a_map_whose_package_is_missing_is_one_sentence(client, reviewed, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "openTSNE", None)
    monkeypatch.setitem(sys.modules, "openTSNE.affinity", None)
    answer = client.get(f"/v1/sessions/{reviewed[0]}/map?method=tsne")
    assert answer.status_code == 422
    assert "corpuscle[project]" in answer.json()["error"]["message"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_report_as_pdf(client, reviewed):
    pytest.importorskip("weasyprint")
    answer = client.get(f"/v1/sessions/{reviewed[0]}/export/report.pdf")
    assert answer.content.startswith(b"%PDF")
    assert answer.headers["content-type"] == "application/pdf"
