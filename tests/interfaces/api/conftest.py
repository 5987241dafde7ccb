"""A server with the shipped classifier and a detector of painted discs, and clients that need no network."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpuscle.data.examples import draw_cell

pytest.importorskip("fastapi")
from fastapi import FastAPI
from fastapi.testclient import TestClient

from corpuscle.interfaces.api import readers
from corpuscle.interfaces.api.app import create_app, open_workbench
from corpuscle.interfaces.api.settings import ServerSettings

BASE = "http://127.0.0.1:8000"
MakeClient = Callable[..., TestClient]


@pytest.fixture(scope="session")
def make_app(disc_detector) -> Callable[[ServerSettings], FastAPI]:
    """Make the application of a server whose detector finds painted discs."""

    def make(settings: ServerSettings) -> FastAPI:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(readers, "open_detector", lambda name=None: disc_detector)
            return create_app(open_workbench(settings))

    return make


@pytest.fixture
def make_client(tmp_path: Path, make_app) -> Iterator[MakeClient]:
    """Start a server of its own: `make_client(max_jobs=1)`; the store is `tmp_path / "store"` if not named."""
    with ExitStack() as stack:

        def make(**settings: object) -> TestClient:
            app = make_app(ServerSettings(**{"store": tmp_path / "store", **settings}))
            return stack.enter_context(TestClient(app, base_url=BASE, headers={"X-Corpuscle": "1"}))

        yield make


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory, make_app) -> Iterator[TestClient]:
    """A server that tests share."""
    app = make_app(ServerSettings(store=tmp_path_factory.mktemp("shared") / "store"))
    with TestClient(app, base_url=BASE, headers={"X-Corpuscle": "1"}) as shared:
        yield shared


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory, make_app) -> Iterator[str]:
    """The address of a server behind a real socket."""
    import uvicorn

    app = make_app(ServerSettings(store=tmp_path_factory.mktemp("live") / "store"))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


def png(image: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG", compress_level=1)
    return data.getvalue()


@pytest.fixture(scope="session")
def crop_files() -> dict[str, bytes]:
    """Three drawn cells by file name."""
    return {f"{key}.png": png(draw_cell(key, 1)) for key in ("neutrophil", "lymphocyte", "platelet")}


@pytest.fixture(scope="session")
def field_file(disc_field) -> bytes:
    """A field of painted discs as PNG."""
    return png(disc_field(640, 480, seed=1)[0])


def as_form(files: dict[str, bytes], field: str = "files") -> list[tuple[str, tuple[str, bytes, str]]]:
    return [(field, (name, data, "application/octet-stream")) for name, data in files.items()]


@pytest.fixture
def form() -> Callable[..., list[tuple[str, tuple[str, bytes, str]]]]:
    """Make a form of files: `client.post(..., files=form({"a.png": data}))`."""
    return as_form


def finish(client: TestClient, answer) -> dict[str, object]:
    """Wait for the job that a request began; returns its last state."""
    assert answer.status_code == 202, answer.text
    with client.stream("GET", f"/v1/jobs/{answer.json()['job']['id']}/events") as events:
        last = [line for line in events.iter_lines() if line.startswith("data: ")][-1]
    return json.loads(last.removeprefix("data: "))


@pytest.fixture
def done() -> Callable[..., dict[str, object]]:
    """Wait for a job: `done(client, client.post(...))`."""
    return finish


@pytest.fixture
def begin(crop_files, field_file) -> Callable[..., str]:
    """Begin a session with crops, a field, or both: `begin(client, "crops", "fields")`."""

    def make(client: TestClient, *kinds: str, name: str = "smear") -> str:
        session = client.post("/v1/sessions", json={"name": name}).json()["id"]
        given = {"crops": crop_files, "fields": {"field.png": field_file}}
        for kind in kinds:
            job = finish(client, client.post(f"/v1/sessions/{session}/{kind}", files=as_form(given[kind])))
            assert job["state"] == "done", job
        return session

    return make
