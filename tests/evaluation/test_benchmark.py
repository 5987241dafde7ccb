"""The benchmark runs every row and forms its ratios; how fast it is depends on the machine and is not tested."""

from __future__ import annotations

import json

import pytest

from corpuscle.errors import BundleNotFoundError, NoInputError
from corpuscle.evaluation import benchmark, machine
from corpuscle.evaluation.benchmark import benchmark_classify

OURS = {
    "decode alone, 1 thread",
    "corpuscle, files to CSV, 1 thread",
    "corpuscle, files to CSV, all workers",
}
WITH_TORCH = {
    "torch eager, files to CSV, 1 thread",
    "torch eager, one file at a time, 1 thread",
    "network alone, corpuscle, 1 thread",
    "network alone, torch eager, 1 thread",
}


@pytest.fixture(autouse=True)
def _same_threads():
    """The rows of torch use one thread, which later tests should not inherit."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_every_row_is_timed(toy_bundle, drawn_files, monkeypatch):
    monkeypatch.setattr(benchmark, "_REPEATS", 2)
    turns = []
    result = benchmark_classify(
        toy_bundle, files=20, folder=drawn_files[0].parent, progress=lambda done, total: turns.append((done, total))
    )
    assert set(result.rates) == OURS | WITH_TORCH
    assert all(rate > 0 for rate in result.rates.values())
    assert len(result.ratios) == 5
    assert all(ratio > 0 for ratio in result.ratios.values())
    assert turns == [(1, 2), (2, 2)]
    assert (result.n_files, result.picture) == (20, "208x208 pixels")
    assert result.memory_growth is None
    assert json.loads(json.dumps(result.to_dict()))["model"] == "toy 1 (model.int8.onnx)"
    text = result.text()
    assert result.machine in text
    assert all(name in text for name in (*result.rates, *result.ratios))
    assert "memory after" not in text


def test_without_torch_its_rows_are_left_out_and_memory_can_be_watched(toy_bundle, drawn_files, monkeypatch):
    monkeypatch.setattr(benchmark, "_torch_version", lambda: "not installed")
    monkeypatch.setattr(benchmark, "_REPEATS", 1)
    monkeypatch.setattr(benchmark, "_MEMORY_START", 8)
    result = benchmark_classify(toy_bundle, files=4, folder=drawn_files[0].parent, memory_files=24)
    assert set(result.rates) == OURS
    assert set(result.ratios) == {"time of corpuscle / time of decoding", "all workers are faster than one, times"}
    if machine.memory_bytes():
        assert 0.5 < result.memory_growth < 2
        assert "memory after 24 files / after 8" in result.text()


def test_heat_maps_are_a_row_and_the_memory_is_watched_with_them(toy_bundle, drawn_files, monkeypatch):
    from corpuscle.explanation.map_files import CamWriter
    from corpuscle.interfaces.commands.explaining import map_visitors

    monkeypatch.setattr(benchmark, "_torch_version", lambda: "not installed")
    monkeypatch.setattr(benchmark, "_REPEATS", 1)
    monkeypatch.setattr(benchmark, "_MEMORY_START", 8)
    written = []
    drawn = CamWriter.__call__

    def counted(self, *given):
        written.append(self.folder.name)
        drawn(self, *given)

    monkeypatch.setattr(CamWriter, "__call__", counted)
    result = benchmark_classify(
        toy_bundle, files=4, folder=drawn_files[0].parent, memory_files=24, extras=map_visitors()
    )
    assert set(result.rates) - OURS == {
        "corpuscle with heat maps, 1 thread", "corpuscle with heat maps drawn and written, 1 thread",
    }  # fmt: skip
    assert {"time with heat maps / without", "time with heat maps drawn and written / without"} < set(result.ratios)
    assert written.count("memory") == 24


def test_ratios_are_medians_of_quotients_inside_each_turn():
    seconds = {"decode alone, 1 thread": [1.0, 2.0, 4.0], "corpuscle, files to CSV, 1 thread": [1.5, 4.0, 6.0]}
    assert benchmark._ratios(seconds) == {"time of corpuscle / time of decoding": 1.5}


def test_drawn_files_look_like_the_originals(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "_DRAWN", 2)
    from PIL import Image

    for path in benchmark._draw_files(tmp_path):
        with Image.open(path) as picture:
            assert (picture.size, picture.format) == ((360, 363), "JPEG")


def test_wrong_requests_are_refused(toy_bundle, tmp_path):
    with pytest.raises(NoInputError):
        benchmark_classify(toy_bundle, folder=tmp_path)
    with pytest.raises(BundleNotFoundError):
        benchmark_classify("corpuscle_xl")


def test_the_machine_is_named(monkeypatch):
    line = machine.machine_line()
    assert "processors" in line
    assert "Python" in line
    assert machine.memory_bytes() == 0 or machine.memory_bytes() > 10_000_000
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_, **__: (_ for _ in ()).throw(OSError()))
    assert machine.processor()[1] == ()
    assert "abilities unknown" in machine.machine_line()
    assert machine.memory_bytes() == 0
