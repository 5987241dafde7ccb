"""A server on this machine that can misbehave, and rows of the catalog that name it, for the tests of downloads."""

from __future__ import annotations

import hashlib
import http.server
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from corpuscle.data import catalog
from corpuscle.data.catalog import DatasetRow, RemoteFile

BODY = bytes(range(251)) * 800
HALF = 150_000


@dataclass
class Served:
    """What the server of a test offers, how it behaves, and what it was asked."""

    url: str = ""
    body: bytes = BODY
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    ranges: bool = True
    shift: int = 0
    stop_after: int | None = None
    status: int = 200
    asked: list[dict[str, str]] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    served: Served

    def do_GET(self) -> None:
        served = self.served
        served.asked.append(dict(self.headers.items()))
        wanted = self.headers.get("Range", "")
        same = self.headers.get("If-Range") in (served.headers.get("ETag"), served.headers.get("Last-Modified"))
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and served.ranges and same else 0
        size = len(served.body)
        if begin >= size > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if begin else served.status)
        for name, value in served.headers.items():
            self.send_header(name, value)
        if begin:
            self.send_header("Content-Range", f"bytes {begin + served.shift}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - begin))
        self.end_headers()
        self.wfile.write(served.body[begin : served.stop_after])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def add_row(monkeypatch: pytest.MonkeyPatch, *files: RemoteFile, must_have: tuple[str, ...] = ()) -> DatasetRow:
    """Put a row called `tiny` into the catalog for the length of a test."""
    archive = files[0].name.endswith(".zip")
    row = DatasetRow(
        name="tiny",
        title="Tiny",
        page="https://example.org/tiny",
        files=files,
        licence="CC0",
        citation="nobody",
        doi="",
        classes=("monocyte",),
        layout="folders" if archive else "csv",
        folder="tiny-folder",
        must_have=must_have or tuple(file.name for file in files),
        manual="Put it into {root}/tiny-folder.",
    )
    monkeypatch.setitem(catalog.DATASETS, "tiny", row)
    return row


def add_table(monkeypatch: pytest.MonkeyPatch, served: Served, *, sha256: str | None = None) -> DatasetRow:
    digest = hashlib.sha256(BODY).hexdigest() if sha256 is None else sha256
    return add_row(monkeypatch, RemoteFile("table.csv", url=f"{served.url}/table.csv", sha256=digest))


def held_by(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
