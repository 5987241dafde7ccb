"""Whatever a client sends, it gets one sentence with a fitting status, and never a path of the server."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from corpuscle.data.examples import draw_cell
from corpuscle.interfaces.api.uploads import plain_name, unlike

CELL = draw_cell("monocyte", 1)


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def huge_png(side: int) -> bytes:
    """A PNG of one bit a pixel: 170 megapixels in some 20 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((1 + -(-side // 8)) * side), 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(CELL[:120]), "JPEG", exif=exif)


PICTURE = Image.fromarray(CELL)
GOOD = {
    "one.png": saved(Image.new("RGB", (1, 1), (200, 180, 220))),
    "line.png": saved(Image.new("RGB", (5000, 1), (200, 180, 220))),
    "sixteen.png": saved(Image.fromarray(np.asarray(PICTURE.convert("L")).astype(np.uint16) * 257)),
    "cmyk.jpg": saved(PICTURE.convert("CMYK"), "JPEG"),
    "alpha.png": saved(PICTURE.convert("RGBA")),
    "palette.png": saved(PICTURE.quantize(16)),
    "turned.jpg": turned(),
    "named.txt": saved(PICTURE),
    "pages.tif": saved(PICTURE, "TIFF", save_all=True, append_images=[PICTURE]),
    "moving.webp": saved(PICTURE, "WEBP"),
}
WHOLE = saved(PICTURE)
BAD = {
    "empty.png": (b"", 415),
    "text.jpg": (b"this is a text and no picture\n" * 20, 415),
    "page.html": (b"<script>alert(1)</script>", 415),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
    "cut.png": (WHOLE[: len(WHOLE) // 2], 415),
    "head.png": (WHOLE[:20], 415),
    "cut.jpg": (saved(PICTURE, "JPEG")[:900], 415),
    "zeros.png": (bytes(5000), 415),
    "broken.png": (WHOLE[:60] + bytes(200) + WHOLE[260:], 415),
    "float.tif": (saved(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"), 415),
    "bomb.png": (huge_png(13_000), 413),
    "larger.png": (huge_png(20_000), 413),
}
ROUTES = ("classify", "count", "explain", "project")


@pytest.mark.parametrize("name", GOOD)
def test_every_kind_of_picture_is_read(client, form, name):
    assert client.post("/v1/classify", files=form({name: GOOD[name]})).json()["predictions"][0]["file"] == name
    assert client.post("/v1/explain", files=form({name: GOOD[name]}, "file")).status_code == 200
    assert client.post("/v1/count", files=form({name: GOOD[name]})).status_code in (200, 415)


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_one_sentence(client, form, name, caplog):
    data, status = BAD[name]
    store = str(client.app.state.workbench.store.folder)
    for route in ROUTES:
        answer = client.post(f"/v1/{route}", files=form({name: data}, "file"))
        assert answer.status_code in (status, 422 if route == "project" else status), answer.text
        message = answer.json()["error"]["message"]
        assert name in message or route == "project"
        assert store not in answer.text
        assert "\n" not in message
    assert name not in caplog.text


def test_a_bad_picture_among_good_ones_fails_alone(client, done, form, crop_files):
    files = {"bad.png": b"", "bomb.png": BAD["bomb.png"][0], "cut.png": BAD["cut.png"][0], **crop_files}
    session = client.post("/v1/sessions", json={}).json()["id"]
    job = done(client, client.post(f"/v1/sessions/{session}/crops", files=form(files)))
    assert job["state"] == "done"
    assert sorted(item["file"] for item in job["failures"]) == ["bad.png", "bomb.png", "cut.png"]
    assert all(item["file"] in item["reason"] for item in job["failures"])
    assert job["done"] == job["total"] == 6
    assert len(job["image_ids"]) == 3
    store = client.app.state.workbench.store
    assert str(store.folder) not in str(job)
    assert list(store.incoming.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc/passwd.png", "passwd.png"),
        ("C:\\Users\\x\\cell.png", "cell.png"),
        ("/", "picture"),
        ("..", "picture"),
        ("a\nb\t.png", "a b .png"),
        ("Frotis ñ 血.png", "Frotis ñ 血.png"),
        ("n\u0303.png", "ñ.png"),
        ("a\u202egnp.exe", "a gnp.exe"),
        ("=cmd|' A0.png", "cmd|' A0.png"),
        ("\ud800.png", "?.png"),
        ("", "picture"),
        (None, "picture"),
    ],
)
def test_names_are_made_plain(given, name):
    assert plain_name(given) == name


def test_long_names_keep_their_ends():
    name = plain_name("x" * 5000 + ".png")
    assert len(name) < 160
    assert name.endswith(".png")
    assert unlike("a.png", ["A.PNG", "a (2).png"]) == "a (3).png"


def test_names_that_are_paths_stay_names(client):
    files = [("files", ("../../../x.png", GOOD["alpha.png"])), ("files", ("血 ñ.png", GOOD["alpha.png"]))]
    answer = client.post("/v1/classify", files=files)
    assert [row["file"] for row in answer.json()["predictions"]] == ["x.png", "血 ñ.png"]


BOUNDARY = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("text/plain", b"hello"),
        ("multipart/form-data", b"--x\r\n"),
        (BOUNDARY, b""),
        (BOUNDARY, b"nothing like a form"),
        (BOUNDARY, PART + b"never ended"),
        (BOUNDARY, b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--\r\n"),
        (BOUNDARY, b"--x\r\n" + b"A" * 70_000 + b": b\r\n\r\n--x--\r\n"),
        (BOUNDARY, b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\nvalue\r\n--x--\r\n'),
        (BOUNDARY, (PART + b"a\r\n") * 1200 + b"--x--\r\n"),
        (BOUNDARY + "; charset=hex", PART + b"a\r\n--x--\r\n"),
        (BOUNDARY + "; charset=idna", PART.replace(b"a.png", b"\xff\xfe..") + b"a\r\n--x--\r\n"),
        (BOUNDARY + "; charset=unicode_escape", PART.replace(b"a.png", b"\\ud800.png") + b"a\r\n--x--\r\n"),
        ("multipart/form-data; boundary=" + "y" * 5000, b"--y\r\n"),
        ("", b"bytes"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a form that never ends is left open
def test_a_wrong_form_is_one_sentence(client, kind, body):
    answer = client.post("/v1/classify", content=body, headers={"Content-Type": kind})
    assert answer.status_code in (400, 415, 422), answer.text
    assert answer.json()["error"]["message"]


def test_a_body_over_the_limit_is_refused_before_and_while_it_comes(make_client, form, crop_files):
    client = make_client(max_upload_mb=0.1)
    assert client.post("/v1/classify", files=form(crop_files)).status_code == 413
    read = 0

    def body():
        nonlocal read
        yield PART
        for _ in range(1000):
            read += 1
            yield bytes(10_000)

    answer = client.post("/v1/classify", content=body(), headers={"Content-Type": BOUNDARY})
    assert answer.status_code == 413
    assert "0.1 megabytes" in answer.json()["error"]["message"]
    assert client.post("/v1/sessions", content=b'"' + bytes(200_000)).status_code == 413
    assert client.post("/v1/classify", headers={"Content-Length": "9" * 40}, content=b"").status_code in (400, 413)


def test_a_picture_over_the_limit_in_pixels_is_refused(make_client, form):
    client = make_client(max_megapixels=0.01)
    answer = client.post("/v1/classify", files=form({"a.png": WHOLE}))
    assert answer.status_code == 413
    assert "208 x 208 pixels, over the limit of 10,000" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"name": 3}', b'{"name": "\\ud800"}', b'{"more": 1}',
             b'{"name": "' + b"x" * 300 + b'"}', b"\xff\xfe", b"[" * 100_000]
)  # fmt: skip
def test_wrong_json_is_one_sentence(client, body):
    answer = client.post("/v1/sessions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"]["message"]
