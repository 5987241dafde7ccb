"""Archives that are downloaded or put there by hand: unpacked, hostile, damaged, of something else, in the way."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest
from toy_server import Served, add_row, held_by

from corpuscle.data import fetch as fetch_module
from corpuscle.data.catalog import DatasetRow, RemoteFile
from corpuscle.data.fetch import fetch
from corpuscle.errors import FetchError, OutputError


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
