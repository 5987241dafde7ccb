"""Downloads from a server on this machine: whole, resumed, wrong, broken off, hostile."""

from __future__ import annotations

import errno
import hashlib
import http.server
import io
import logging
import socket
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pooch
import pytest

from corpuscle.data import catalog
from corpuscle.data import fetch as fetch_module
from corpuscle.data.catalog import DatasetRow, RemoteFile
from corpuscle.data.fetch import fetch
from corpuscle.errors import DatasetNotFoundError, FetchError, OutputError, UnknownNameError

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


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
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


def make_zip(members: dict[str, bytes], *, link: str = "") -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
    return held.getvalue()


TREE = {
    "repo-main/README.md": b"read me",
    "repo-main/inner/monocyte/a.jpg": b"a",
    "repo-main/inner/platelet/b.jpg": b"b",
    "repo-main/inner/list.csv": b"c",
    "repo-main/inner/monocyte/.DS_Store": b"x",
    "repo-main/inner/zoom/monocyte/deeper.jpg": b"d",
    "repo-main/inner/zoom/platelet/deeper.jpg": b"e",
    "__MACOSX/monocyte/shadow.jpg": b"x",
    "__MACOSX/platelet/._b.jpg": b"x",
}


def add_archive(monkeypatch: pytest.MonkeyPatch, served: Served, body: bytes) -> DatasetRow:
    served.body = body
    return add_row(monkeypatch, RemoteFile("tiny.zip", url=f"{served.url}/x"), must_have=("monocyte", "platelet"))


def held_by(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


# ---- download -------------------------------------------------------------------------------------------------------


def test_whole_download(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_table(monkeypatch, served)
    root = tmp_path / "new" / "root"
    assert fetch("tiny", root=root) == root / "tiny-folder"
    assert (root / "tiny-folder" / "table.csv").read_bytes() == BODY
    assert held_by(root) == ["tiny-folder/table.csv"]
    assert served.asked[0]["Accept-Encoding"] == "identity"


def test_what_is_there_is_not_fetched_again(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_table(monkeypatch, served)
    fetch("tiny", root=tmp_path)
    fetch("tiny", root=tmp_path)
    assert len(served.asked) == 1


def test_the_data_root_of_the_environment_counts(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_table(monkeypatch, served)
    monkeypatch.setenv(catalog.ROOT_VARIABLE, str(tmp_path))
    assert fetch("tiny") == tmp_path / "tiny-folder"


def test_npz_gives_the_file(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = catalog.dataset("bloodmnist_28")
    local = RemoteFile(real.files[0].name, url=f"{served.url}/b", md5=hashlib.md5(BODY).hexdigest())
    monkeypatch.setitem(
        catalog.DATASETS, real.name, DatasetRow(**{n: getattr(real, n) for n in real.__slots__} | {"files": (local,)})
    )
    assert fetch(real.name, root=tmp_path) == tmp_path / "bloodmnist" / "bloodmnist.npz"


def test_broken_download_is_resumed(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_table(monkeypatch, served)
    served.stop_after = HALF
    with pytest.raises(FetchError, match=r"broke off\)\. Run `corpuscle fetch tiny` again to go on where it stopped"):
        fetch("tiny", root=tmp_path)
    kept = (tmp_path / "tiny-folder" / "table.csv.part").read_bytes()
    assert HALF // 2 < len(kept) <= HALF
    assert BODY.startswith(kept)
    with pytest.raises(DatasetNotFoundError):
        catalog.locate("tiny", tmp_path)
    served.stop_after = None
    fetch("tiny", root=tmp_path)
    assert served.asked[1]["Range"] == f"bytes={len(kept)}-"
    assert served.asked[1]["If-Range"] == '"one"'
    assert (tmp_path / "tiny-folder" / "table.csv").read_bytes() == BODY
    assert held_by(tmp_path) == ["tiny-folder/table.csv"]


def break_off(served: Served, root: Path) -> None:
    served.stop_after = HALF
    with pytest.raises(FetchError):
        fetch("tiny", root=root)
    served.stop_after = None


def test_resume_by_date_where_there_is_no_strong_mark(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_table(monkeypatch, served)
    served.headers = {"ETag": 'W/"weak"', "Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT"}
    break_off(served, tmp_path)
    fetch("tiny", root=tmp_path)
    assert served.asked[1]["If-Range"] == "Wed, 01 Jan 2025 00:00:00 GMT"
    assert (tmp_path / "tiny-folder" / "table.csv").read_bytes() == BODY


def test_no_resume_without_a_mark_of_the_version(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_table(monkeypatch, served)
    served.headers = {}
    served.stop_after = HALF
    with pytest.raises(FetchError, match="Run `corpuscle fetch tiny` again, or without a network"):
        fetch("tiny", root=tmp_path)
    served.stop_after = None
    fetch("tiny", root=tmp_path)
    assert "Range" not in served.asked[1]
    assert (tmp_path / "tiny-folder" / "table.csv").read_bytes() == BODY


def test_another_version_is_not_glued_to_the_first(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_table(monkeypatch, served, sha256="")
    break_off(served, tmp_path)
    served.headers, served.body = {"ETag": '"two"'}, BODY[::-1]
    fetch("tiny", root=tmp_path)
    assert (tmp_path / "tiny-folder" / "table.csv").read_bytes() == BODY[::-1]


def test_a_server_without_ranges_sends_all_again(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_table(monkeypatch, served)
    break_off(served, tmp_path)
    served.ranges = False
    fetch("tiny", root=tmp_path)
    assert "Range" in served.asked[1]
    assert (tmp_path / "tiny-folder" / "table.csv").read_bytes() == BODY


def test_a_part_longer_than_the_file_is_begun_anew(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_table(monkeypatch, served)
    break_off(served, tmp_path)
    (tmp_path / "tiny-folder" / "table.csv.part").write_bytes(BODY * 2)
    fetch("tiny", root=tmp_path)
    assert len(served.asked) == 3
    assert (tmp_path / "tiny-folder" / "table.csv").read_bytes() == BODY


def test_an_answer_from_another_place_is_not_used(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_table(monkeypatch, served)
    break_off(served, tmp_path)
    served.shift = 7
    fetch("tiny", root=tmp_path)
    assert ["Range" in headers for headers in served.asked] == [False, True, False]
    assert (tmp_path / "tiny-folder" / "table.csv").read_bytes() == BODY


def test_wrong_hash_is_deleted(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_table(monkeypatch, served, sha256="0" * 64)
    with pytest.raises(
        FetchError, match=r"127\.0\.0\.1 sent as table\.csv does not have the published hash .* was deleted"
    ):
        fetch("tiny", root=tmp_path)
    assert held_by(tmp_path) == []


def test_a_damaged_part_does_not_survive(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_table(monkeypatch, served)
    break_off(served, tmp_path)
    (tmp_path / "tiny-folder" / "table.csv.part").write_bytes(b"damaged")
    with pytest.raises(FetchError, match="published hash"):
        fetch("tiny", root=tmp_path)
    fetch("tiny", root=tmp_path)
    assert (tmp_path / "tiny-folder" / "table.csv").read_bytes() == BODY


def test_a_wrong_file_of_the_user_is_reported_and_kept(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_table(monkeypatch, served)
    (tmp_path / "tiny-folder").mkdir()
    (tmp_path / "tiny-folder" / "table.csv").write_bytes(b"mine")
    with pytest.raises(FetchError, match="Move it away and run `corpuscle fetch tiny` again"):
        fetch("tiny", root=tmp_path)
    assert (tmp_path / "tiny-folder" / "table.csv").read_bytes() == b"mine"
    assert served.asked == []


def test_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        add_row(monkeypatch, RemoteFile("table.csv", url=f"http://127.0.0.1:{port}/t"))
        with pytest.raises(FetchError) as caught:
            fetch("tiny", root=tmp_path)
    assert str(caught.value) == (
        "table.csv could not be downloaded (no connection to 127.0.0.1, or it broke off). Run `corpuscle fetch tiny` "
        f"again, or without a network: Put it into {tmp_path}/tiny-folder."
    )


def test_an_answer_that_refuses(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_table(monkeypatch, served)
    served.status = 404
    with pytest.raises(FetchError, match=r"127\.0\.0\.1 answered 404 Not Found"):
        fetch("tiny", root=tmp_path)
    assert held_by(tmp_path) == []


def test_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="data set"):
        fetch("nothing", root=tmp_path)


def test_quiet_off_a_terminal(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    add_table(monkeypatch, served, sha256="")
    told: list[logging.LogRecord] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", told.append)
    level = pooch.get_logger().level
    pooch.get_logger().addHandler(handler)
    fetch("tiny", root=tmp_path)
    pooch.get_logger().removeHandler(handler)
    assert told == []
    assert pooch.get_logger().level == level
    assert capfd.readouterr() == ("", "")


def test_progress_bar_on_a_terminal(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    add_table(monkeypatch, served)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    fetch("tiny", root=tmp_path / "quiet", progress=False)
    assert capfd.readouterr().err == ""
    fetch("tiny", root=tmp_path / "shown")
    assert "table.csv" in capfd.readouterr().err


# ---- disk -----------------------------------------------------------------------------------------------------------


def test_too_little_space_is_said_before_anything_is_written(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_table(monkeypatch, served)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(OutputError, match=r"has 0 MB free and 0 MB are needed; free some space, or name another"):
        fetch("tiny", root=tmp_path)
    assert held_by(tmp_path) == []


def test_disk_that_fills_up_on_the_way(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    add_table(monkeypatch, served)
    monkeypatch.setattr(fetch_module._ResumingDownloader, "_receive", full)
    with pytest.raises(OutputError, match="is full; free some space, or name another folder with --data-root"):
        fetch("tiny", root=tmp_path)


def test_root_that_is_a_file(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_table(monkeypatch, served)
    (tmp_path / "root").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be read or written"):
        fetch("tiny", root=tmp_path / "root")
    assert (tmp_path / "root").read_text() == "in the way"


# ---- archives -------------------------------------------------------------------------------------------------------


def test_archive_is_unpacked_from_its_inner_folder(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_archive(monkeypatch, served, make_zip(TREE))
    assert fetch("tiny", root=tmp_path) == tmp_path / "tiny-folder"
    assert held_by(tmp_path) == [
        "tiny-folder/list.csv",
        "tiny-folder/monocyte/a.jpg",
        "tiny-folder/platelet/b.jpg",
        "tiny-folder/zoom/monocyte/deeper.jpg",
        "tiny-folder/zoom/platelet/deeper.jpg",
    ]


def test_archive_put_there_by_hand_needs_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_row(monkeypatch, RemoteFile("tiny.zip"), must_have=("monocyte", "platelet"))
    with pytest.raises(FetchError, match=f"cannot be downloaded by plain address. Put it into {tmp_path}/tiny-folder"):
        fetch("tiny", root=tmp_path)
    (tmp_path / "tiny.zip").write_bytes(make_zip(TREE))
    assert fetch("tiny", root=tmp_path) == tmp_path / "tiny-folder"
    assert (tmp_path / "tiny.zip").exists()


@pytest.mark.parametrize(
    "name", ["../evil.txt", "monocyte/../../evil.txt", "/tmp/evil.txt", "..\\evil.txt", "C:\\evil.txt", "C:evil.txt"]
)
def test_archive_that_would_leave_its_folder(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    add_archive(monkeypatch, served, make_zip(TREE | {name: b"evil"}))
    with pytest.raises(FetchError, match="written outside its folder or is a link; nothing was unpacked"):
        fetch("tiny", root=tmp_path / "root")
    assert held_by(tmp_path) == []


def test_archive_with_a_link(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_archive(monkeypatch, served, make_zip(TREE, link="repo-main/inner/monocyte/link.jpg"))
    with pytest.raises(FetchError, match="is a link"):
        fetch("tiny", root=tmp_path)
    assert held_by(tmp_path) == []


def test_archive_that_is_none(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_archive(monkeypatch, served, b"<html>please log in</html>")
    with pytest.raises(FetchError, match=r"is no whole zip archive .* Put it into"):
        fetch("tiny", root=tmp_path)
    assert held_by(tmp_path) == []


def test_archive_with_a_damaged_member(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    body = make_zip({"monocyte/a.jpg": b"0123456789", "platelet/b.jpg": b"b"})
    add_archive(monkeypatch, served, body.replace(b"0123456789", b"012345678X"))
    with pytest.raises(FetchError, match="is no whole zip archive"):
        fetch("tiny", root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_archive_of_something_else(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_archive(monkeypatch, served, make_zip({"monocyte/a.jpg": b"a", "other/b.jpg": b"b"}))
    with pytest.raises(FetchError, match="holds no folder with monocyte, platelet, so it is not tiny"):
        fetch("tiny", root=tmp_path)


def test_archive_that_unpacks_to_too_much(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_archive(monkeypatch, served, make_zip(TREE))
    monkeypatch.setattr(fetch_module, "_MAX_UNPACKED_BYTES", 2)
    with pytest.raises(FetchError, match="would unpack to more than"):
        fetch("tiny", root=tmp_path)


def test_folder_in_the_way(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_archive(monkeypatch, served, make_zip(TREE))
    (tmp_path / "tiny-folder").mkdir()
    (tmp_path / "tiny-folder" / "mine.txt").write_text("keep me")
    with pytest.raises(OutputError, match="is there but is not a complete tiny; move it away"):
        fetch("tiny", root=tmp_path)
    assert (tmp_path / "tiny-folder" / "mine.txt").read_text() == "keep me"


def test_an_empty_folder_is_no_obstacle(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_archive(monkeypatch, served, make_zip(TREE))
    (tmp_path / "tiny-folder").mkdir()
    assert fetch("tiny", root=tmp_path) == tmp_path / "tiny-folder"
