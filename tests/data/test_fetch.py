"""Downloads from a server on this machine: whole, resumed, wrong, broken off, on a full disk."""

from __future__ import annotations

import errno
import hashlib
import logging
import socket
from pathlib import Path

import pooch
import pytest
from toy_server import BODY, HALF, Served, add_row, add_table, held_by

from corpuscle.data import catalog
from corpuscle.data import fetch as fetch_module
from corpuscle.data.catalog import DatasetRow, RemoteFile
from corpuscle.data.fetch import fetch
from corpuscle.errors import DatasetNotFoundError, FetchError, OutputError, UnknownNameError

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
