"""Speed as a ratio inside one run: the whole path beside decoding alone and beside torch with the same net."""

from __future__ import annotations

import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from corpuscle.data.images import find_images, read_image
from corpuscle.errors import UsageError
from corpuscle.evaluation.machine import machine_line, memory_bytes
from corpuscle.models.bundle import Bundle, load_bundle
from corpuscle.prediction.calibration import softmax
from corpuscle.prediction.classification import BATCH, CellReader, Visitor, default_workers
from corpuscle.prediction.writing import PredictionWriter
from corpuscle.preprocessing.transforms import prepare, to_batch

__all__ = ["ClassifyBenchmark", "VisitorMaker", "benchmark_classify"]

VisitorMaker = Callable[[Bundle, Path, Sequence[Path]], Visitor]
"""From a bundle, a folder to write to and the files to something that is done with each picture in passing."""
_REPEATS = 5
_DRAWN = 16
_MEMORY_START = 1000


@dataclass(frozen=True, slots=True)
class ClassifyBenchmark:
    """What `benchmark_classify` measured; every rate is in cells a second, a median over the repeats.

    Attributes:
        machine: On what.
        model: Bundle and graph.
        n_files: Number of files a repeat.
        picture: Size of the first file's picture.
        workers: Threads of the row `all workers`.
        rates: Cells a second of each row.
        ratios: Quotients of interest, medians of the quotients inside each repeat.
        memory_growth: Memory at the end over memory after the first 1,000 files; None if it was not watched.
        memory_files: Number of files that were watched.
        torch: Version of torch, or that it is not installed.
    """

    machine: str
    model: str
    n_files: int
    picture: str
    workers: int
    rates: dict[str, float]
    ratios: dict[str, float]
    memory_growth: float | None
    memory_files: int
    torch: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def text(self) -> str:
        """Return a table for people."""
        lines = [self.machine, f"{self.model}; {self.n_files} files of {self.picture}; torch {self.torch}", ""]
        lines += [f"{name:<46}{rate:>9.0f} cells a second" for name, rate in self.rates.items()]
        lines += ["", *(f"{name:<46}{ratio:>9.2f}" for name, ratio in self.ratios.items())]
        if self.memory_growth is not None:
            name = f"memory after {self.memory_files} files / after {_MEMORY_START}"
            lines.append(f"{name:<46}{self.memory_growth:>9.3f}")
        return "\n".join(lines)


def benchmark_classify(
    model: str | os.PathLike[str],
    *,
    files: int = 512,
    folder: str | os.PathLike[str] | None = None,
    memory_files: int = 0,
    extras: Mapping[str, VisitorMaker] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ClassifyBenchmark:
    """Time `classify` from files to CSV beside decoding alone and beside torch eager, turn by turn.

    All rows but `all workers` use one thread. The rows take turns, so that a machine that slows down slows all of
    them, and ratios are taken inside each turn.

    Args:
        model: A shipped model's name or a bundle's folder.
        files: Number of files a repeat.
        folder: Pictures to use; drawn JPEG files of 360x363 pixels if not given.
        memory_files: Over how many files to watch the memory; 0 for none.
        extras: What is done with each picture in passing, as heat maps are, by name: a row and a ratio each. With any,
            the memory is watched while the last one is done.
        progress: Called with (turns done, all turns).

    Raises:
        UsageError: The folder holds no picture that can be decoded.
    """
    bundle = load_bundle(model)
    with tempfile.TemporaryDirectory() as temporary:
        paths = _draw_files(Path(temporary)) if folder is None else find_images([folder])
        if not paths:
            raise UsageError(f"{folder} holds no picture.")
        chosen = list(islice(_around(paths), files))
        first = read_image(chosen[0])
        rows = _rows(bundle, Path(temporary) / "out.csv")
        makers = extras or {}
        rows |= {
            _extra_row(name): _with_extra(bundle, Path(temporary), make(bundle, Path(temporary) / f"{place}", paths))
            for place, (name, make) in enumerate(makers.items())
        }
        seconds = _turns(rows, chosen, progress)
        last = [make(bundle, Path(temporary) / "memory", paths) for make in list(makers.values())[-1:]]
        growth = _memory_growth(bundle, paths, memory_files, Path(temporary), *last) if memory_files else None
    rates = {name: files / statistics.median(times) for name, times in seconds.items()}
    return ClassifyBenchmark(
        machine=machine_line(),
        model=f"{bundle.name} {bundle.version} ({bundle.graph})",
        n_files=files,
        picture=f"{first.shape[1]}x{first.shape[0]} pixels",
        workers=default_workers(),
        rates=rates,
        ratios=_ratios(seconds) | _extra_ratios(seconds, makers),
        memory_growth=growth,
        memory_files=memory_files,
        torch=_torch_version(),
    )


def _around(paths: Sequence[Path]) -> Iterable[Path]:
    """Yield the paths again and again."""
    while True:
        yield from paths


def _draw_files(folder: Path) -> list[Path]:
    """Draw JPEG files like the originals of PBC: 360x363 pixels."""
    from corpuscle.data.examples import CLASSES, draw_cell

    paths = []
    for seed in range(_DRAWN):
        picture = Image.fromarray(draw_cell(CLASSES[seed % len(CLASSES)], seed, size_px=363)).crop((1, 0, 361, 363))
        paths.append(folder / f"{seed}.jpg")
        picture.save(paths[-1], quality=75, subsampling=0, progressive=True)
    return paths


def _rows(bundle: Bundle, output: Path) -> dict[str, Callable[[Sequence[Path]], None]]:
    """Name what is timed."""
    reader = CellReader(bundle)

    def decode(paths: Sequence[Path]) -> None:
        for path in paths:
            read_image(path)

    def corpuscle(paths: Sequence[Path], workers: int = 1) -> None:
        with output.open("w", newline="", encoding="utf-8") as file:
            writer = PredictionWriter(file, bundle, as_json=False)
            for answer in reader.stream(paths, workers=workers):
                writer.add(answer)

    rows: dict[str, Callable[[Sequence[Path]], None]] = {
        "decode alone, 1 thread": decode,
        "corpuscle, files to CSV, 1 thread": corpuscle,
        "corpuscle, files to CSV, all workers": lambda paths: corpuscle(paths, default_workers()),
    }
    if _torch_version() != "not installed":
        rows["torch eager, files to CSV, 1 thread"] = _torch_row(bundle, output, batch=BATCH)
        rows["torch eager, one file at a time, 1 thread"] = _torch_row(bundle, output, batch=1)
        rows |= _network_rows(bundle, reader)
    return rows


def _extra_row(name: str) -> str:
    return f"corpuscle {name}, 1 thread"


def _with_extra(bundle: Bundle, folder: Path, visit: Visitor) -> Callable[[Sequence[Path]], None]:
    """Return the plain row with something done with each picture in passing."""
    reader = CellReader(bundle)

    def run(paths: Sequence[Path]) -> None:
        with (folder / "extra.csv").open("w", newline="", encoding="utf-8") as file:
            writer = PredictionWriter(file, bundle, as_json=False)
            for answer in reader.stream(paths, workers=1, visit=visit):
                writer.add(answer)

    return run


def _extra_ratios(seconds: dict[str, list[float]], extras: Iterable[str]) -> dict[str, float]:
    """Take the time with each extra over the time without, inside each turn."""
    plain = seconds["corpuscle, files to CSV, 1 thread"]
    return {
        f"time {name} / without": statistics.median(
            a / b for a, b in zip(seconds[_extra_row(name)], plain, strict=True)
        )
        for name in extras
    }


def _torch_version() -> str:
    from importlib import metadata

    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "not installed"


def _torch_network(bundle: Bundle) -> Any:
    """Build the bundle's network in torch with its own weights."""
    import torch

    from corpuscle.models.restored import restore_network

    torch.set_num_threads(1)
    return restore_network(bundle)


def _torch_row(bundle: Bundle, output: Path, *, batch: int) -> Callable[[Sequence[Path]], None]:
    """Return the plain way to do the same in torch: decode, frame, stack, run, write."""
    import torch

    network = _torch_network(bundle)

    def run(paths: Sequence[Path]) -> None:
        with output.open("w", newline="", encoding="utf-8") as file, torch.inference_mode():
            table = csv.writer(file)
            for start in range(0, len(paths), batch):
                part = paths[start : start + batch]
                crops = np.stack([prepare(read_image(path), bundle.preprocessing)[0] for path in part])
                logits = network(torch.from_numpy(to_batch(crops, bundle.preprocessing))).logits.numpy()
                for path, row in zip(part, softmax(logits, bundle.temperature), strict=True):
                    table.writerow([path, bundle.classes[int(row.argmax())], *row])

    return run


def _network_rows(bundle: Bundle, reader: CellReader) -> dict[str, Callable[[Sequence[Path]], None]]:
    """Return rows for the network alone, on one batch over and over."""
    import torch

    network = _torch_network(bundle)
    side = bundle.preprocessing.input_px
    batch = np.random.default_rng(0).normal(size=(BATCH, 3, side, side)).astype(np.float32)
    tensor = torch.from_numpy(batch)

    def ours(paths: Sequence[Path]) -> None:
        for _ in range(0, len(paths), BATCH):
            reader.run_network(batch)

    def eager(paths: Sequence[Path]) -> None:
        with torch.inference_mode():
            for _ in range(0, len(paths), BATCH):
                network(tensor)

    return {"network alone, corpuscle, 1 thread": ours, "network alone, torch eager, 1 thread": eager}


def _turns(
    rows: dict[str, Callable[[Sequence[Path]], None]],
    paths: Sequence[Path],
    progress: Callable[[int, int], None] | None,
) -> dict[str, list[float]]:
    """Time the rows turn by turn, after one short turn that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for run in rows.values():
        run(paths[: 2 * BATCH])
    for turn in range(_REPEATS):
        for name, run in rows.items():
            start = time.perf_counter()
            run(paths)
            seconds[name].append(time.perf_counter() - start)
        if progress:
            progress(turn + 1, _REPEATS)
    return seconds


def _ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Take the quotients that the targets speak of."""
    wanted = {
        "time of corpuscle / time of decoding": ("corpuscle, files to CSV, 1 thread", "decode alone, 1 thread"),
        "corpuscle is faster than torch eager, times": (
            "torch eager, files to CSV, 1 thread",
            "corpuscle, files to CSV, 1 thread",
        ),
        "... than torch eager, one file at a time": (
            "torch eager, one file at a time, 1 thread",
            "corpuscle, files to CSV, 1 thread",
        ),
        "the network alone is faster, times": (
            "network alone, torch eager, 1 thread",
            "network alone, corpuscle, 1 thread",
        ),
        "all workers are faster than one, times": (
            "corpuscle, files to CSV, 1 thread",
            "corpuscle, files to CSV, all workers",
        ),
    }
    return {
        name: statistics.median(a / b for a, b in zip(seconds[over], seconds[under], strict=True))
        for name, (over, under) in wanted.items()
        if over in seconds and under in seconds
    }


def _memory_growth(
    bundle: Bundle, paths: Sequence[Path], files: int, folder: Path, visit: Visitor | None = None
) -> float | None:
    """Classify many files and compare the memory at the end with that after the first thousand."""
    reader, start, now = CellReader(bundle), 0, 0
    workers = 1 if visit else 0  # the files repeat, and two threads must not write one map
    with (folder / "memory.csv").open("w", newline="", encoding="utf-8") as file:
        writer = PredictionWriter(file, bundle, as_json=False)
        for done, answer in enumerate(
            reader.stream(islice(_around(paths), files), workers=workers, visit=visit), start=1
        ):
            writer.add(answer)
            if done == _MEMORY_START:
                start = memory_bytes()
        now = memory_bytes()
    return now / start if start else None
