"""What the tests of data share: a server on this machine."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from toy_server import Handler, Served


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A running server, whose offer and behavior the test may change."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    offer = Served()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"served": offer}))
    offer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield offer
    server.shutdown()
    server.server_close()
    thread.join()
