"""How a server bears many users: uploads by one user and by several, against a server that is started for it."""

from __future__ import annotations

import http.client
import io
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from corpuscle.errors import InputError
from corpuscle.reporting.ledger import Figure

__all__ = ["LoadRun", "ServerBenchmark", "benchmark_server", "load_figures"]

_START_S: Final = 120.0
_ANSWER_S: Final = 120.0
_WARM: Final = 4
_HEADS: Final = ("users", "uploads", "errors", "a second", "median s", "p95 s", "memory MB")
_BOUNDARY: Final = "corpuscle-benchmark"


@dataclass(frozen=True, slots=True)
class LoadRun:
    """What some users saw who uploaded at the same time.

    Attributes:
        users: How many.
        uploads: How many pictures they sent, each in a request of its own.
        errors: How many answers were none.
        uploads_a_second: All users together.
        median_s: Median seconds from sending to the whole answer.
        p95_s: 95 of 100 answers came at least as quickly.
        memory_mb: Peak memory of the server until the end of the run, in megabytes; None where it cannot be read.
    """

    users: int
    uploads: int
    errors: int
    uploads_a_second: float
    median_s: float
    p95_s: float
    memory_mb: float | None


@dataclass(frozen=True, slots=True)
class ServerBenchmark:
    """One user beside many, on the same server.

    Attributes:
        model: The classifier.
        one: One user.
        many: Several.
    """

    model: str
    one: LoadRun
    many: LoadRun

    @property
    def p95_ratio(self) -> float:
        """How many times longer the slow answers take with many users."""
        return self.many.p95_s / self.one.p95_s

    @property
    def rate_ratio(self) -> float:
        """How many times more uploads a second many users get done together."""
        return self.many.uploads_a_second / self.one.uploads_a_second

    @property
    def memory_ratio(self) -> float | None:
        """How many times more memory many users take."""
        if not self.one.memory_mb or not self.many.memory_mb:
            return None
        return self.many.memory_mb / self.one.memory_mb

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        ratios = {"p95": self.p95_ratio, "uploads_a_second": self.rate_ratio, "memory": self.memory_ratio}
        return {"model": self.model, "one": asdict(self.one), "many": asdict(self.many), "ratios": ratios}

    def text(self) -> str:
        """Return a table for people."""
        lines = ["{:>6}{:>9}{:>8}{:>10}{:>10}{:>8}{:>11}".format(*_HEADS)]
        for run in (self.one, self.many):
            memory = "" if run.memory_mb is None else f"{run.memory_mb:.0f}"
            lines.append(
                f"{run.users:>6}{run.uploads:>9}{run.errors:>8}{run.uploads_a_second:>10.1f}{run.median_s:>10.3f}"
                f"{run.p95_s:>8.3f}{memory:>11}"
            )
        memory = "not measured" if self.memory_ratio is None else f"{self.memory_ratio:.2f}"
        lines.append(
            f"{self.many.users} users beside one: p95 {self.p95_ratio:.2f} times, uploads a second "
            f"{self.rate_ratio:.2f} times, memory {memory}{'' if self.memory_ratio is None else ' times'}."
        )
        return "\n".join(lines)


def load_figures(result: ServerBenchmark) -> list[Figure]:
    """Turn a benchmark into figures for a page."""
    many, where = result.many, f"{result.many.uploads} uploads of drawn cells, {result.model}"
    values = {
        f"server: p95 of {many.users} users / p95 of one": f"{result.p95_ratio:.2f}",
        f"server: uploads a second of {many.users} users / of one": f"{result.rate_ratio:.2f}",
        f"server: errors among the uploads of {many.users} users": str(many.errors),
    }
    if result.memory_ratio is not None:
        values[f"server: peak memory with {many.users} users / with one"] = f"{result.memory_ratio:.2f}"
    return [Figure(what, value, "", where, many.uploads, "") for what, value in values.items()]


def benchmark_server(
    model: str, *, users: int = 8, uploads: int = 500, progress: Callable[[int, int], None] | None = None
) -> ServerBenchmark:
    """Start a server on this machine and upload drawn cells, by one user and then by many at once.

    Args:
        model: The classifier.
        users: How many at once, 2 or more.
        uploads: How many pictures the many users send; one user sends its share of them.
        progress: Called with (done, all).

    Raises:
        InputError: The server does not start.
    """
    share = max(1, uploads // users)
    total, lock, done = share + uploads, threading.Lock(), [0]

    def count() -> None:
        with lock:
            done[0] += 1
            if progress:
                progress(done[0], total)

    bodies = _bodies()
    with tempfile.TemporaryDirectory() as folder, _server(model, users, Path(folder)) as (port, process):
        _user(port, bodies, _WARM, lambda: None)
        one = _run(port, bodies, [share], count)
        one_memory = _peak_mb(process.pid)
        shares = [uploads // users + (place < uploads % users) for place in range(users)]
        many = _run(port, bodies, shares, count)
        many_memory = _peak_mb(process.pid)
    return ServerBenchmark(model, LoadRun(*one, memory_mb=one_memory), LoadRun(*many, memory_mb=many_memory))


def _bodies() -> list[bytes]:
    """Return a form with a drawn cell for each class."""
    from PIL import Image

    from corpuscle.data.examples import CLASSES, draw_cell

    bodies = []
    for key in CLASSES:
        data = io.BytesIO()
        Image.fromarray(draw_cell(key, 1)).save(data, "JPEG", quality=92)
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{key}.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        bodies.append(head.encode() + data.getvalue() + f"\r\n--{_BOUNDARY}--\r\n".encode())
    return bodies


@contextmanager
def _server(model: str, users: int, folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Start a server of its own, and end it."""
    said = folder / "said.txt"
    command = [
        sys.executable, "-m", "corpuscle", "serve", "--port", "0", "--store", str(folder / "store"),
        "--model", model, "--queue", str(max(16, users)),
    ]  # fmt: skip
    with said.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            yield _port(said, process), process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _port(said: Path, process: subprocess.Popen[bytes]) -> int:
    """Wait until the server says where it is, and answers there."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", said.read_text(encoding="utf-8", errors="replace"))
        if found:
            port = int(found[1])
            with suppress(OSError), _connected(port) as connection:
                connection.request("GET", "/v1/health")
                if connection.getresponse().status == 200:
                    return port
        time.sleep(0.1)
    last = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise InputError(f"The server did not start: {last[-1] if last else 'it said nothing'}")


@contextmanager
def _connected(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)
    try:
        yield connection
    finally:
        connection.close()


_Seen = tuple[int, int, int, float, float, float]


def _run(port: int, bodies: list[bytes], shares: list[int], count: Callable[[], None]) -> _Seen:
    """Let users upload at once; returns the first values of a `LoadRun`."""
    found: list[tuple[list[float], int]] = []
    threads = [
        threading.Thread(target=lambda share=share: found.append(_user(port, bodies, share, count))) for share in shares
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    times = np.array([value for user, _ in found for value in user] or [np.nan])
    errors = sum(shares) - int(np.isfinite(times).sum())
    median, slow = (float(value) for value in np.quantile(times, (0.5, 0.95)))
    return len(shares), sum(shares), errors, sum(shares) / seconds, median, slow


def _user(port: int, bodies: list[bytes], uploads: int, count: Callable[[], None]) -> tuple[list[float], int]:
    """Upload pictures one after the other; returns the seconds of each good answer, and how many were none."""
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}", "X-Corpuscle": "1"}
    times: list[float] = []
    with _connected(port) as connection:
        for place in range(uploads):
            began = time.monotonic()
            try:
                connection.request("POST", "/v1/classify", bodies[place % len(bodies)], headers)
                answer = connection.getresponse()
                good = b'"probabilities"' in answer.read() and answer.status == 200
            except (OSError, http.client.HTTPException):
                connection.close()
                good = False
            if good:
                times.append(time.monotonic() - began)
            count()
    return times, uploads - len(times)


def _peak_mb(process: int) -> float | None:
    """Return the most memory that a process has had so far; Linux alone says it."""
    try:
        text = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else None
