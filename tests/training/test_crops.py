from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpuscle.data.examples import draw_cell
from corpuscle.data.labeled import LabeledCell
from corpuscle.errors import DataError, OutputError, UnreadableImageError
from corpuscle.preprocessing.framing import FramingSpec
from corpuscle.preprocessing.transforms import PreprocessingSpec, prepare
from corpuscle.training.crops import crops_of

CLASSES = ("neutrophil", "lymphocyte")
SPEC = PreprocessingSpec(input_px=32)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [draw_cell(key, seed, size_px=64) for seed in (1, 2) for key in CLASSES]


@pytest.fixture
def cells(pictures, tmp_path) -> list[LabeledCell]:
    found = []
    for number, picture in enumerate(pictures):
        path = tmp_path / "pictures" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
        found.append(LabeledCell(path.name, path, CLASSES[number % 2], "train"))
    return found


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of its own, not there yet."""
    monkeypatch.setenv("CORPUSCLE_CACHE", str(tmp_path / "cache" / "crops"))
    return tmp_path / "cache" / "crops"


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the pictures in the order in which they are decoded."""
    seen: list[str] = []
    true = LabeledCell.read
    monkeypatch.setattr(LabeledCell, "read", lambda cell: seen.append(cell.file) or true(cell))
    return seen


def test_crops_are_framed_as_for_prediction_and_keep_their_order(cells, pictures, cache):
    found = crops_of(cells, CLASSES, SPEC, widen=1.5)
    expected = [prepare(picture, SPEC, widen=1.5, size_px=48)[0] for picture in pictures]
    assert found.crops.dtype == np.uint8
    assert np.array_equal(found.crops, np.stack(expected))
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert found.labels.dtype == np.int64
    assert found.files == ("0.png", "1.png", "2.png", "3.png")
    assert crops_of(cells, CLASSES[::-1], SPEC, widen=1.5).labels.tolist() == [1, 0, 1, 0]


def test_the_second_time_nothing_is_decoded(cells, cache, reads):
    calls = []
    first = crops_of(cells, CLASSES, SPEC, progress=lambda done, total: calls.append((done, total)))
    assert sorted(reads) == ["0.png", "1.png", "2.png", "3.png"]
    assert calls[-1] == (4, 4)
    second = crops_of(cells, CLASSES, SPEC)
    assert len(reads) == 4
    assert np.array_equal(first.crops, second.crops)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    ("spec", "widen"),
    [
        (PreprocessingSpec(input_px=32, framing=FramingSpec(margin=3.0)), 1.0),
        (PreprocessingSpec(input_px=32, framing=FramingSpec(minimum_density=0.3)), 1.0),
        (PreprocessingSpec(input_px=32, white_balance=False), 1.0),
        (PreprocessingSpec(input_px=40), 1.0),
        (SPEC, 1.5),
    ],
)
def test_another_framing_cuts_anew(spec, widen, cells, cache, reads):
    crops_of(cells, CLASSES, SPEC)
    crops_of(cells, CLASSES, spec, widen=widen)
    assert len(reads) == 8
    assert len(list(cache.iterdir())) == 2


def test_changed_files_are_cut_anew(cells, pictures, cache, reads):
    before = crops_of(cells, CLASSES, SPEC).crops
    Image.fromarray(255 - pictures[0]).save(cells[0].path)
    os.utime(cells[0].path, ns=(1, 1))
    after = crops_of(cells, CLASSES, SPEC).crops
    assert len(reads) == 8
    assert not np.array_equal(before[0], after[0])
    assert np.array_equal(before[1:], after[1:])


def test_a_newer_file_of_the_same_size_is_cut_anew(cells, cache, reads):
    crops_of(cells, CLASSES, SPEC)
    os.utime(cells[0].path, ns=(1, 1))
    crops_of(cells, CLASSES, SPEC)
    assert len(reads) == 8


def test_other_boxes_and_other_pixels_are_cut_anew(cells, pictures, cache, reads):
    crops_of(cells, CLASSES, SPEC)
    crops_of([dataclasses.replace(cells[0], box=(8.0, 8.0, 56.0, 56.0)), *cells[1:]], CLASSES, SPEC)
    assert len(reads) == 8
    drawn = [dataclasses.replace(cell, pixels=picture) for cell, picture in zip(cells, pictures, strict=True)]
    first = crops_of(drawn, CLASSES, SPEC)
    changed = [dataclasses.replace(drawn[0], pixels=pictures[1]), *drawn[1:]]
    second = crops_of(changed, CLASSES, SPEC)
    assert not np.array_equal(first.crops[0], second.crops[0])


def test_a_strange_class_is_refused(cells, cache):
    with pytest.raises(DataError, match=r"not learned here: lymphocyte\. "):
        crops_of(cells, ("neutrophil", "monocyte"), SPEC)


def test_a_cache_that_is_no_folder_is_a_sentence(cells, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CORPUSCLE_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="CORPUSCLE_CACHE"):
        crops_of(cells, CLASSES, SPEC)


def test_a_full_disk_is_a_sentence_and_leaves_nothing(cells, cache):
    resource = pytest.importorskip("resource", reason="Windows has no limits of file size")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(OutputError, match=r"cannot be written: .*Free some space"):
            crops_of(cells, CLASSES, SPEC)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(cache.iterdir()) == []


def test_a_damaged_picture_stops_the_cutting_and_leaves_nothing(cells, cache):
    cells[2].path.write_bytes(b"no picture")
    with pytest.raises(UnreadableImageError, match=r"2\.png"):
        crops_of(cells, CLASSES, SPEC)
    assert list(cache.iterdir()) == []


def test_a_lost_picture_is_a_sentence(cells, cache):
    cells[1].path.unlink()
    with pytest.raises(UnreadableImageError, match=r"1\.png cannot be read: No such file"):
        crops_of(cells, CLASSES, SPEC)


def test_the_cache_lies_where_the_user_wants_it(cells, tmp_path, monkeypatch):
    from corpuscle.training import crops

    monkeypatch.delenv("CORPUSCLE_CACHE")
    monkeypatch.setattr(crops.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    crops_of(cells, CLASSES, SPEC)
    assert len(list((tmp_path / "corpuscle" / "crops").glob("*.npy"))) == 1
