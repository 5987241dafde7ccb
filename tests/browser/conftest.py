"""A real server and a real browser. Needs the extra `browser` and a Chromium; without one the tests are skipped.

The browser is looked for as CORPUSCLE_CHROMIUM, then as `chromium` or `google-chrome` on the path, then where
`playwright install chromium` puts it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

START_S = 60


class Server:
    """`corpuscle serve` as a process of its own, which can be stopped and started again on the same store."""

    def __init__(self, store: Path, token: str = "") -> None:
        self.store, self.token = store, token
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = store.parent / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-c", "from corpuscle.interfaces.cli import main; main()", "serve",
                   "--port", str(self.port), "--store", str(self.store)]  # fmt: skip
        with self.log.open("ab") as log:
            environment = os.environ | {"CORPUSCLE_TOKEN": self.token}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/v1/health", timeout=5) as answer:
                answer.read()
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        pytest.fail(f"The server did not start: {self.log.read_text(encoding='utf-8')[-2000:]}")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(20)
        self.process = None


@pytest.fixture(scope="session")
def serve() -> type[Server]:
    """The class of servers, for tests that start one of their own."""
    return Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("fastapi", reason="needs the extra `web`")
    pytest.importorskip("uvicorn", reason="needs the extra `web`")
    running = Server(tmp_path_factory.mktemp("workbench") / "store")
    running.start()
    yield running
    running.stop()


def chromium_path(playwright: Any) -> str:
    """Return where a Chromium is; empty where none is."""
    named = os.environ.get("CORPUSCLE_CHROMIUM", "")
    found = [named, *(shutil.which(name) or "" for name in ("chromium", "chromium-browser", "google-chrome"))]
    found.append(playwright.chromium.executable_path)
    return next((path for path in found if path and Path(path).exists()), "")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
    with api.sync_playwright() as playwright:
        path = chromium_path(playwright)
        if not path:
            pytest.skip("no Chromium: install one, name it in CORPUSCLE_CHROMIUM, or run `playwright install chromium`")
        # Chromium's sandbox does not start for root, as in a container.
        flags = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=path, args=flags)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Any, server: Server) -> Iterator[Callable[..., Any]]:
    """Open pages in contexts of their own. No script may fail, and nothing may leave the machine."""
    contexts, wrong = [], []

    def make(
        locale: str = "en",
        theme: str = "light",
        *,
        session: str = "",
        size: tuple[int, int] = (1366, 850),
        calm: bool = True,
        url: str = server.url,
    ) -> Any:
        context = browser.new_context(
            base_url=url, locale=locale, color_scheme=theme, reduced_motion="reduce",
            viewport={"width": size[0], "height": size[1]},
        )  # fmt: skip
        contexts.append(context)
        if session:
            context.add_init_script(
                f"localStorage.getItem('corpuscle.session') || localStorage.setItem('corpuscle.session', '{session}')"
            )
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
        page.on(
            "console", lambda said: wrong.append(f"console: {said.text}") if calm and said.type == "error" else None
        )
        own = (url, "data:", "blob:")
        page.on(
            "request",
            lambda asked: None if asked.url.startswith(own) else wrong.append(f"left the machine: {asked.url}"),
        )
        page.on("websocket", lambda socket_: wrong.append(f"left the machine: {socket_.url}"))
        return page

    yield make
    for context in contexts:
        context.close()
    assert wrong == []


def post(server: Server, path: str, body: str) -> Any:
    import json

    request = urllib.request.Request(
        server.url + path, body.encode(), {"X-Corpuscle": "1", "Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def finished(server: Server, job: dict[str, Any]) -> dict[str, Any]:
    import json

    for _ in range(1200):
        with urllib.request.urlopen(f"{server.url}/v1/jobs/{job['id']}", timeout=30) as answer:
            state = json.load(answer)
        if state["state"] in ("done", "failed", "cancelled"):
            assert state["state"] == "done", state
            return state
        time.sleep(0.1)
    pytest.fail("The job did not end.")


@pytest.fixture(scope="session")
def filled(server: Server) -> str:
    """A session with drawn crops and a drawn field in it; returns its name for routes."""
    session = post(server, "/v1/sessions", '{"name": "Drawn smear"}')["id"]
    for kind in ("crops", "field"):
        finished(server, post(server, f"/v1/sessions/{session}/examples", f'{{"kind": "{kind}"}}')["job"])
    return str(session)
