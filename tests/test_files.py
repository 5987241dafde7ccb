from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from corpuscle.errors import OutputError
from corpuscle.files import make_folder, write_error, written_whole

needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


def test_a_reader_sees_the_old_content_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with written_whole(path) as part:
        part.write_text("ne")
        assert path.read_text() == "old"
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_is_made(tmp_path):
    path = tmp_path / "a" / "b" / "table.csv"
    with written_whole(path) as part:
        part.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_what_stood_there_survives_a_failure_and_no_part_is_left(tmp_path, error):
    path = tmp_path / "table.csv"
    path.write_text("old")
    expected = OutputError if isinstance(error, OSError) else type(error)

    def write_half() -> None:
        with written_whole(path) as part:
            part.write_text("half")
            raise error

    with pytest.raises(expected):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_in_one_sentence(tmp_path):
    path = tmp_path / "table.csv"
    with pytest.raises(OutputError, match="No space left on device") as caught, written_whole(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_was_never_written_is_an_error(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(OutputError), written_whole(path):
        pass
    assert path.read_text() == "old"


def test_a_folder_is_refused_before_anything_is_computed(tmp_path):
    entered = False
    with pytest.raises(OutputError, match="is a folder"), written_whole(tmp_path):
        entered = True
    assert not entered
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_the_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"), written_whole(tmp_path / "file" / "table.csv"):
        pytest.fail("there is nothing to write to")
    with pytest.raises(OutputError, match="cannot be written"):
        make_folder(tmp_path / "file")


def test_a_name_that_is_too_long_is_told(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"), written_whole(tmp_path / ("x" * 5000)):
        pytest.fail("there is nothing to write to")


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        with written_whole(tmp_path / "a") as part:
            part.write_text("x")
            part.chmod(0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="this system has no /dev/null")
def test_a_device_is_written_to_and_stays_a_device():
    device = Path("/dev/null")
    with written_whole(device) as part:
        assert part == device
        part.write_text("gone")
    assert device.is_char_device()


@needs_full_device
def test_a_full_device_is_told():
    with (
        pytest.raises(OutputError, match=r"/dev/full cannot be written: No space left"),
        written_whole(Path("/dev/full")) as part,
    ):
        part.write_text("x" * 10)


def test_make_folder_makes_all_above_and_keeps_what_is_there(tmp_path):
    folder = make_folder(tmp_path / "a" / "b")
    (folder / "file").write_text("x")
    assert make_folder(folder) == folder
    assert (folder / "file").read_text() == "x"


def test_an_error_without_a_reason_still_reads_well():
    assert str(write_error(Path("a.csv"), OSError("odd"))).startswith("a.csv cannot be written: odd. ")
