"""Sessions: pictures in, a person's labels, and numbers that follow them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from corpuscle.interfaces.api.readers import Readers
from corpuscle.interfaces.api.store import NewImage, Store
from corpuscle.records import Description, Trait


@pytest.fixture
def smear(client, begin):
    return begin(client, "fields")


def cells(client, session: str, **query: str) -> list[dict]:
    return client.get(f"/v1/sessions/{session}/cells", params=query).json()["cells"]


def test_a_session_counts_what_count_counts(client, form, field_file, smear):
    alone = client.post("/v1/count", files=form({"field.png": field_file})).json()
    image = client.get(f"/v1/sessions/{smear}/images").json()["images"][0]
    assert {f"{kind}s": n for kind, n in image["counts"].items()} == alone["totals"]
    assert (image["width"], image["height"], image["shown_scale"]) == (640, 480, 1.0)
    summary = client.get(f"/v1/sessions/{smear}/summary").json()
    assert summary["differential"] == alone["differential"]
    assert summary["findings"] == alone["findings"]
    kept = cells(client, smear)
    for cell, row in zip(kept, alone["fields"][0]["cells"], strict=True):
        assert {key: cell[key] for key in ("number", "kind", "class", "box", "confidence", "refused", "set")} == {
            key: row[key] for key in ("number", "kind", "class", "box", "confidence", "refused", "set")
        }
        assert cell["probabilities"] == (row["probabilities"] or None)


def test_crops_are_named_as_classify_names_them(client, begin, form, crop_files):
    session = begin(client, "crops")
    said = client.post("/v1/classify", files=form(crop_files)).json()["predictions"]
    kept = cells(client, session)
    for cell, row in zip(kept, said, strict=True):
        for key in ("class", "confidence", "probabilities", "set", "refused", "reason", "framing"):
            assert cell[key] == row[key]
    assert [cell["number"] for cell in kept] == [1, 2, 3]
    assert client.get(f"/v1/sessions/{session}/summary").json()["counts"]["platelet"] == 1


def test_the_differential_follows_a_label_at_once(client, smear):
    white = cells(client, smear, kind="leukocyte")
    before = client.get(f"/v1/sessions/{smear}/summary").json()
    cell = next(item for item in white if not item["on_border"])
    changed = client.post(f"/v1/cells/{cell['id']}/label", json={"class": "Eosinophils", "who": " Ana "}).json()
    assert changed["class_now"] == "eosinophil"
    assert changed["class"] == cell["class"]
    assert changed["label"]["who"] == "Ana"
    after = client.get(f"/v1/sessions/{smear}/summary").json()
    shares = [{row["class"]: row["n"] for row in item["differential"]["classes"]} for item in (before, after)]
    assert shares[1]["eosinophil"] == shares[0]["eosinophil"] + 1
    assert after["n_reviewed"] == 1
    assert after["refused"] == before["refused"] - cell["refused"]
    session = client.get(f"/v1/sessions/{smear}").json()
    assert session["n_reviewed"] == 1


def test_no_cell_counts_nowhere_and_leaves_numbers_as_they_are(client, smear):
    first, *others = cells(client, smear)
    before = client.get(f"/v1/sessions/{smear}/summary").json()["counts"]
    client.post(f"/v1/cells/{first['id']}/label", json={"class": "not_a_cell", "who": "Ana"})
    after = client.get(f"/v1/sessions/{smear}/summary").json()["counts"]
    assert after[first["kind"]] == before[first["kind"]] - 1
    table = client.get(f"/v1/sessions/{smear}/export/cells.csv").text.splitlines()
    assert [int(line.split(",")[1]) for line in table[1:]] == [cell["number"] for cell in others]


def test_a_label_of_another_kind_moves_the_cell(client, smear):
    white = cells(client, smear, kind="leukocyte")[0]
    before = client.get(f"/v1/sessions/{smear}/summary").json()["counts"]
    client.post(f"/v1/cells/{white['id']}/label", json={"class": "platelet", "who": "Ana"})
    after = client.get(f"/v1/sessions/{smear}/summary").json()["counts"]
    assert after["platelet"] == before["platelet"] + 1
    assert after["leukocyte"] == before["leukocyte"] - 1


def test_undo_takes_back_ones_own_last_step_and_the_log_keeps_all(client, smear):
    one, two, three = cells(client, smear, kind="leukocyte")[:3]
    client.post(f"/v1/cells/{one['id']}/label", json={"class": "monocyte", "who": "Ana"})
    client.post(f"/v1/cells/{one['id']}/label", json={"class": "basophil", "who": "Ana"})
    many = {"cells": [two["id"], three["id"]], "class": "lymphocyte", "who": "Ana"}
    assert len(client.post(f"/v1/sessions/{smear}/labels", json=many).json()["cells"]) == 2
    client.post(f"/v1/cells/{three['id']}/confirm", json={"who": "Bo"})

    def undo(who: str) -> dict:
        return client.post(f"/v1/sessions/{smear}/undo", json={"who": who}).json()

    back = undo("Bo")
    assert back["undone"]["what"] == "confirm"
    assert back["cell"]["label"]["who"] == "Ana"
    back = undo("Ana")
    assert {cell["id"] for cell in back["cells"]} == {two["id"], three["id"]}
    assert all(cell["label"] is None for cell in back["cells"])
    assert undo("Ana")["cell"]["class_now"] == "monocyte"
    assert undo("Ana")["cell"]["label"] is None
    assert undo("Ana") == {"undone": None, "cell": None, "cells": []}
    entries = client.get(f"/v1/sessions/{smear}/log").json()["entries"]
    assert [entry["what"] for entry in entries].count("undo") == 5
    assert len(entries) == 10
    assert entries[0]["to"] == "monocyte"
    assert [entry["n"] for entry in entries] == sorted(entry["n"] for entry in entries)


def test_confirming_keeps_the_class_and_lifts_the_refusal(client, begin):
    session = begin(client, "crops")
    cell = cells(client, session)[0]
    confirmed = client.post(f"/v1/cells/{cell['id']}/confirm", json={"who": "Ana"}).json()
    assert confirmed["class_now"] == cell["class"]
    assert confirmed["reviewed"] is True


def test_the_most_doubtful_come_first_and_reviewed_ones_last(client, smear):
    rows = cells(client, smear, order="doubt", kind="leukocyte")
    refused = [row["refused"] for row in rows]
    assert refused == sorted(refused, reverse=True)
    for wanted in (True, False):
        sure = [row["confidence"] for row in rows if row["refused"] is wanted]
        assert sure == sorted(sure)
    client.post(f"/v1/cells/{rows[0]['id']}/confirm", json={"who": "Ana"})
    assert cells(client, smear, order="doubt", kind="leukocyte")[-1]["id"] == rows[0]["id"]


def test_wrong_labels_are_refused(client, smear, begin):
    cell, stranger = cells(client, smear)[0], cells(client, begin(client, "crops"))[0]
    wrong = client.post(f"/v1/cells/{cell['id']}/label", json={"class": "robot"})
    assert wrong.status_code == 422
    assert "robot" in wrong.json()["error"]["message"]
    body = {"cells": [cell["id"], stranger["id"]], "class": "monocyte"}
    assert client.post(f"/v1/sessions/{smear}/labels", json=body).status_code == 404
    assert client.get(f"/v1/sessions/{smear}/log").json()["entries"] == []
    for path in ("cells/none/label", "sessions/none/undo", "sessions/none/labels"):
        assert client.post(f"/v1/{path}", json={**body, "cells": ["x"]} if "labels" in path else {}).status_code in (
            404,
            422,
        )


def opened(answer) -> np.ndarray:
    assert answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.content)))


@pytest.mark.parametrize("kind", ["crops", "fields"])
def test_a_cell_shows_its_square_and_its_evidence(client, begin, kind):
    session = begin(client, kind)
    cell = cells(client, session, kind="leukocyte")[0]
    square = opened(client.get(f"/v1/cells/{cell['id']}/crop.png?px=96"))
    assert square.shape == (96, 96, 3)
    evidence = opened(client.get(f"/v1/cells/{cell['id']}/map.png?px=96"))
    assert evidence.shape == (96, 96)
    assert evidence.max() > 200
    other = next(key for key in cell["probabilities"] if key != cell["class"])
    assert not np.array_equal(evidence, opened(client.get(f"/v1/cells/{cell['id']}/map.png?px=96&class={other}")))
    laid = opened(client.get(f"/v1/cells/{cell['id']}/overlay.png?px=96")).astype(int)
    strong, none = evidence > 200, evidence == 0
    assert np.abs(laid - square)[strong].mean() > 20
    assert not none.any() or np.abs(laid - square)[none].mean() < 1
    assert client.get(f"/v1/cells/{cell['id']}/map.png?class=robot").status_code == 422
    assert client.get(f"/v1/cells/{cell['id']}/crop.png?px=5000").status_code == 422


def test_an_erythrocyte_has_a_crop_too(client, smear):
    red = cells(client, smear, kind="erythrocyte")[0]
    assert opened(client.get(f"/v1/cells/{red['id']}/crop.png?px=64")).shape == (64, 64, 3)


def test_pictures_are_shown_as_they_came_or_as_png(client, done, form, field_file):
    deep = io.BytesIO()
    Image.fromarray(np.full((40, 60), 40_000, np.uint16)).save(deep, "TIFF")
    session = client.post("/v1/sessions", json={}).json()["id"]
    files = {"field.png": field_file, "deep.tif": deep.getvalue()}
    images = done(client, client.post(f"/v1/sessions/{session}/crops", files=form(files)))["image_ids"]
    shown = [client.get(f"/v1/images/{image}/picture") for image in images]
    assert shown[0].content == field_file
    assert opened(shown[1]).shape == (40, 60, 3)
    assert {answer.headers["content-type"] for answer in shown} == {"image/png"}


def test_sessions_are_named_reviewed_and_deleted(client, begin):
    session = begin(client, "crops", name="  smear 7 ")
    assert client.get(f"/v1/sessions/{session}").json()["name"] == "smear 7"
    changed = client.patch(f"/v1/sessions/{session}", json={"name": "smear 8", "reviewed": True, "who": "Ana"}).json()
    assert (changed["name"], changed["reviewed"], changed["n_crops"]) == ("smear 8", True, 3)
    entry = client.get(f"/v1/sessions/{session}/log").json()["entries"][-1]
    assert (entry["what"], entry["who"], entry["from"], entry["to"]) == ("reviewed", "Ana", "open", "reviewed")
    assert session in [row["id"] for row in client.get("/v1/sessions").json()["sessions"]]
    images = [row["id"] for row in client.get(f"/v1/sessions/{session}/images").json()["images"]]
    store = client.app.state.workbench.store
    assert client.delete(f"/v1/images/{images[0]}").status_code == 204
    assert not store.picture(images[0]).exists()
    assert len(client.get(f"/v1/sessions/{session}/images").json()["images"]) == 2
    assert client.delete(f"/v1/sessions/{session}").status_code == 204
    assert not any(store.picture(image).exists() for image in images)
    for path in (
        f"sessions/{session}",
        f"sessions/{session}/cells",
        f"sessions/{session}/log",
        f"images/{images[1]}/picture",
    ):
        assert client.get(f"/v1/{path}").status_code == 404
    assert store.rows("SELECT * FROM log WHERE session = ?", session) == []


def test_examples_can_be_tried_at_once(client, done):
    session = client.post("/v1/sessions", json={}).json()["id"]
    job = done(client, client.post(f"/v1/sessions/{session}/examples", json={"kind": "crops"}))
    assert (job["state"], len(job["image_ids"])) == ("done", 8)
    named = [(cell["class"], cell["number"]) for cell in cells(client, session)]
    assert len(named) == 8
    assert client.post(f"/v1/sessions/{session}/examples", json={"kind": "patient"}).status_code == 422


def test_a_session_survives_a_restart(make_client, begin, tmp_path):
    first = make_client()
    session = begin(first, "crops")
    cell = cells(first, session)[0]
    first.post(f"/v1/cells/{cell['id']}/label", json={"class": "monocyte", "who": "Ana"})
    again = make_client()
    kept = cells(again, session)
    assert kept[0]["class_now"] == "monocyte"
    assert again.get(f"/v1/images/{kept[0]['image']}/picture").status_code == 200
    assert again.post(f"/v1/sessions/{session}/undo", json={"who": "Ana"}).json()["cell"]["label"] is None


def test_pictures_of_a_session_that_is_gone_are_not_kept(tmp_path):
    store = Store(tmp_path / "store")
    session = store.add_session("a")["id"]
    store.delete_session(session)
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(Exception, match="was deleted"):
        store.add_image(NewImage(session, "a", "crop", (1, 1), {}, []), tmp_path / "a")
    assert list((tmp_path / "store" / "pictures").iterdir()) == []
    store.close()


def test_a_cell_is_described_where_the_model_can(client, begin, monkeypatch):
    told = Description("bilobed nucleus", (), (Trait("nucleus_shape", "bilobed", 0.9, 0.4),), ())

    class Words:
        def describe(self, predictions, embedding):
            assert embedding.shape[0] == len(predictions) == 1
            return [replace(item, description=told) for item in predictions]

    monkeypatch.setattr(Readers, "describer", lambda self, model="": Words())
    cell = cells(client, begin(client, "crops"))[0]
    assert cell["attributes"] == [{"name": "nucleus_shape", "value": "bilobed", "confidence": 0.9, "unusual": False}]
    assert "bilobed" in cell["words"]["sentence"]


def test_a_field_s_leukocytes_are_described_too(client, begin):
    found = cells(client, begin(client, "fields"))
    assert {cell["kind"] for cell in found} >= {"leukocyte", "erythrocyte"}
    for cell in found:
        assert (cell["words"] is None) == (cell["kind"] == "erythrocyte")
        assert not (cell["refused"] and cell["attributes"])
