"""Jobs: a few at once, a queue behind them, a time limit for each, and a way to stop one."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from corpuscle.errors import CorpuscleError
from corpuscle.interfaces.api.problems import ProblemError, log_error, problem_of

__all__ = ["Job", "JobRunner", "JobStoppedError", "State"]

State = Literal["waiting", "running", "done", "failed", "cancelled"]
_Answer = TypeVar("_Answer")
_KEPT: Final = 1000
_RETRY_S: Final = 5


class JobStoppedError(Exception):
    """A job was cancelled, or ran longer than it may."""


@dataclass
class Job:
    """One piece of work and how far it is; safe to read while it runs.

    Attributes:
        id: Random name.
        kind: What it does: `crops`, `fields`, or the route that waits for it.
        total: Pictures to read.
        done: Pictures read, well or not.
        state: Where it stands.
        message: Why it failed; empty otherwise.
        failures: Pictures that could not be read.
        image_ids: Pictures that it added.
        seconds: How long it may run.
    """

    kind: str
    total: int = 0
    seconds: float = 600
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    done: int = 0
    state: State = "waiting"
    message: str = ""
    failures: list[dict[str, str]] = field(default_factory=list)
    image_ids: list[str] = field(default_factory=list)
    session: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)
    _deadline: float = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ("done", "failed", "cancelled")

    def start(self) -> None:
        """Begin to count the time."""
        self._deadline = time.monotonic() + self.seconds
        self.state = "running"

    def cancel(self) -> None:
        """Ask it to stop after the picture, or the part of one, that it is at."""
        self._stop.set()

    def check(self) -> None:
        """Go on, or stop.

        Raises:
            JobStoppedError: It was cancelled, or its time is over.
        """
        if self._stop.is_set():
            raise JobStoppedError("cancelled")
        if time.monotonic() > self._deadline:
            raise JobStoppedError("time")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "id": self.id, "kind": self.kind, "state": self.state, "done": self.done, "total": self.total,
            "message": self.message, "failures": list(self.failures), "image_ids": list(self.image_ids),
        }  # fmt: skip


class JobRunner:
    """Runs jobs in a few threads and refuses what would wait too long."""

    def __init__(self, *, at_once: int, queue: int, seconds: float) -> None:
        """Name how many run at once, how many may wait, and how many seconds each may take."""
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="corpuscle-job")
        self._room, self._seconds = at_once + queue, seconds
        self._lock = threading.Lock()
        self._open = 0
        self._jobs: dict[str, Job] = {}

    def check_room(self) -> None:
        """Refuse before anything is uploaded.

        Raises:
            ProblemError: Too many jobs wait already (429).
        """
        with self._lock:
            self._check_room()

    def _check_room(self) -> None:
        if self._open >= self._room:
            raise ProblemError(
                429, f"The server is busy with {self._room} jobs. Try again in {_RETRY_S} seconds.",
                headers={"Retry-After": str(_RETRY_S)},
            )  # fmt: skip

    def submit(
        self, kind: str, work: Callable[[Job], _Answer], *, total: int = 0, session: str = ""
    ) -> tuple[Job, Future[_Answer]]:
        """Queue a job.

        Args:
            kind: What it does.
            work: Is given the job; must call its `check` often.
            total: Pictures to read.
            session: Session that it adds to.

        Returns:
            The job, and its answer to come: a `ProblemError` where it fails.

        Raises:
            ProblemError: Too many jobs wait already (429).
        """
        job = Job(kind, total, self._seconds, session=session)
        with self._lock:
            self._check_room()
            self._open += 1
            self._jobs[job.id] = job
            for old in [key for key, item in self._jobs.items() if item.over][: max(0, len(self._jobs) - _KEPT)]:
                del self._jobs[old]
        future = self._pool.submit(self._run, job, work)
        future.add_done_callback(lambda _: self._finished(job))
        return job, future

    def _finished(self, job: Job) -> None:
        with self._lock:
            self._open -= 1
        if not job.over:  # it never began
            job.state = "cancelled"

    def _run(self, job: Job, work: Callable[[Job], _Answer]) -> _Answer:
        try:
            job.start()
            job.check()
            answer = work(job)
        except (JobStoppedError, CancelledError) as stop:
            if str(stop) == "time":
                job.state, job.message = "failed", self._too_long()
                raise ProblemError(503, job.message, code="too_long") from stop
            job.state = "cancelled"
            raise ProblemError(503, "The job was cancelled.", code="cancelled") from stop
        except CorpuscleError as error:
            problem = problem_of(error)
            job.message, job.state = problem.message, "failed"
            raise problem from error
        except ProblemError as problem:
            job.message, job.state = problem.message, "failed"
            raise
        except Exception as error:
            log_error(error)
            job.message, job.state = "The server failed at this; its log says where.", "failed"
            raise
        job.state = "done"
        return answer

    def _too_long(self) -> str:
        return f"This took longer than the {self._seconds:g} seconds that a job may take. Send fewer pictures at once."

    def job(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            ProblemError: There is none (404).
        """
        with self._lock:
            found = self._jobs.get(job_id)
        if found is None:
            raise ProblemError(404, "There is no such job; those of an earlier start of the server are forgotten.")
        return found

    def cancel_session(self, session: str) -> None:
        """Stop the jobs of a session that goes away."""
        with self._lock:
            found = [job for job in self._jobs.values() if job.session == session]
        for job in found:
            job.cancel()

    def close(self) -> None:
        """Stop all jobs; returns when the running ones have noticed."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)
