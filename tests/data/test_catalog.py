"""The table of data sets holds together, and finding one on disk never needs a connection."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from corpuscle.data import catalog
from corpuscle.data.catalog import DATASETS, ROOT_VARIABLE, RemoteFile, data_root, dataset, locate
from corpuscle.errors import DatasetNotFoundError, UnknownNameError, UsageError
from corpuscle.taxonomy import KEYS, LABEL_MAPS

ROWS = tuple(DATASETS.values())


def fill(row: catalog.DatasetRow, root: Path) -> None:
    """Make a stand-in that looks like the data set: empty folders, and files of a few bytes."""
    for part in row.must_have:
        place = root / row.folder / part
        if "." in part:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"stand-in")
        else:
            place.mkdir(parents=True)


def test_names_of_the_table() -> None:
    assert list(DATASETS) == [
        "bloodmnist_28",
        "bloodmnist_64",
        "bloodmnist_128",
        "bloodmnist_224",
        "pbc",
        "kaggle-wbc",
        "bccd",
        "wbcatt",
        "txl-pbc",
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_complete(row: catalog.DatasetRow) -> None:
    assert DATASETS[row.name] is row
    for text in (row.title, row.page, row.licence, row.citation, row.folder, row.manual):
        assert text
    assert row.page.startswith("https://")
    assert row.page in row.manual
    assert "{root}/" in row.manual
    assert row.manual.format(root="ROOT").endswith(".")
    assert re.fullmatch(r"(10\.\d{4,}/\S+)?", row.doi)
    assert row.must_have
    assert set(row.classes) <= set(KEYS)
    assert len(set(row.classes)) == len(row.classes) > 0
    assert row.files
    assert row.file_name == row.files[0].name
    for file in row.files:
        assert file.url == "" or file.url.startswith("https://")
        assert re.fullmatch(r"([0-9a-f]{32})?", file.md5)
        assert re.fullmatch(r"([0-9a-f]{64})?", file.sha256)
        assert Path(file.name).name == file.name


def test_no_two_rows_share_a_file_or_a_hash() -> None:
    files = [file for row in ROWS for file in row.files]
    assert len({file.name for file in files}) == len(files)
    hashes = [file.known_hash for file in files if file.known_hash]
    assert len(set(hashes)) == len(hashes) == 7


def test_licences() -> None:
    said = {row.name: row.licence for row in ROWS}
    assert {said[f"bloodmnist_{size}"] for size in (28, 64, 128, 224)} == {"CC BY 4.0"}
    assert said["pbc"] == "CC BY 4.0"
    assert said["bccd"] == said["wbcatt"] == "MIT"
    assert "MIT" in said["txl-pbc"]
    assert "CC BY 4.0" in said["txl-pbc"]


def test_known_hash_prefers_the_stronger() -> None:
    assert RemoteFile("a").known_hash is None
    assert RemoteFile("a", md5="m").known_hash == "md5:m"
    assert RemoteFile("a", md5="m", sha256="s").known_hash == "sha256:s"


def test_classes_follow_the_label_maps() -> None:
    assert dataset("bloodmnist_64").classes == LABEL_MAPS["bloodmnist"]
    assert dataset("kaggle-wbc").classes == LABEL_MAPS["kaggle"]
    assert dataset("pbc").classes == LABEL_MAPS["pbc"]
    assert set(LABEL_MAPS["txl-pbc"]) < set(dataset("txl-pbc").classes)


def test_dataset_refuses_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="Choose one of: bloodmnist_28, bloodmnist_64"):
        dataset("bloodmnist")


def test_rows_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset("pbc").folder = "elsewhere"  # type: ignore[misc]


def test_data_root_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "variable"))
    assert data_root(tmp_path / "option") == tmp_path / "option"
    assert data_root(str(tmp_path / "option")) == tmp_path / "option"
    assert data_root() == tmp_path / "variable"
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv(ROOT_VARIABLE)
        else:
            monkeypatch.setenv(ROOT_VARIABLE, unset)
        assert data_root().name == "datasets"
        assert "corpuscle" in data_root().parts


def test_data_root_knows_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert data_root("~/blood") == tmp_path / "blood"
    with pytest.raises(UsageError, match="give the data root in full"):
        data_root("~no-such-user-here/blood")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_locate_finds_what_is_there(row: catalog.DatasetRow, tmp_path: Path) -> None:
    fill(row, tmp_path)
    found = locate(row.name, tmp_path)
    assert found == (tmp_path / row.folder / row.files[0].name if row.layout == "npz" else tmp_path / row.folder)


def test_locate_uses_the_data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    fill(dataset("bccd"), tmp_path)
    assert locate("bccd") == tmp_path / "bccd"


def test_locate_takes_an_npz_directly_under_the_root(tmp_path: Path) -> None:
    (tmp_path / "bloodmnist_64.npz").write_bytes(b"stand-in")
    assert locate("bloodmnist_64", tmp_path) == tmp_path / "bloodmnist_64.npz"
    with pytest.raises(DatasetNotFoundError):
        locate("bloodmnist_28", tmp_path)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_locate_says_what_to_do(row: catalog.DatasetRow, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError) as caught:
        locate(row.name, tmp_path)
    text = str(caught.value)
    assert str(tmp_path / row.folder) in text
    assert f"corpuscle fetch {row.name}" in text
    assert "{root}" not in text


def test_locate_tells_where_an_account_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="Kaggle asks for an account"):
        locate("kaggle-wbc", tmp_path)


def test_locate_names_what_is_missing(tmp_path: Path) -> None:
    fill(dataset("pbc"), tmp_path)
    (tmp_path / "pbc" / "ig").rmdir()
    with pytest.raises(DatasetNotFoundError, match=r"pbc lacks ig\. Run `corpuscle fetch pbc`"):
        locate("pbc", tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_locate_without_permission(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o000)
    with pytest.raises(DatasetNotFoundError, match="may not be read"):
        locate("bccd", tmp_path / "closed")


def test_import_is_light() -> None:
    code = (
        "import sys, corpuscle.data.catalog, corpuscle.data.fetch\n"
        "print([name for name in ('pooch', 'requests', 'platformdirs', 'rich', 'numpy', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["pbc", "kaggle-wbc", "bccd", "wbcatt", "txl-pbc"])
def test_real_data_is_recognized(name: str) -> None:
    if not os.environ.get(ROOT_VARIABLE):
        pytest.skip(f"{ROOT_VARIABLE} is not set")
    assert locate(name).is_dir()
