"""The `corpuscle` command. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, NoReturn

import typer

from corpuscle import __version__
from corpuscle.errors import CorpuscleError, OutputError
from corpuscle.interfaces.commands import (
    adapting,
    benchmarking,
    data,
    enriching,
    explaining,
    fields,
    models,
    projecting,
    reading,
    runs,
    serving,
    studies,
)

__all__ = ["app", "main"]

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_INTERRUPTED, _ENDED = 128 + signal.SIGINT, 128 + signal.SIGTERM

app = typer.Typer(
    name="corpuscle",
    help="Reads pictures of stained blood: names single cells, says how sure it is, refuses what it should not judge. "
    "Not a medical device: every answer is preliminary.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:  # noqa: FBT001
    if value:
        typer.echo(f"corpuscle {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *, version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False
) -> None:
    """Hold the options before any command."""


app.command("classify")(reading.classify)
app.command("explain")(explaining.explain)
app.command("enrich")(enriching.enrich)
app.command("project")(projecting.project)
app.command("demo")(reading.demo)
app.command("count")(fields.count)
app.command("report")(fields.report)
app.command("serve")(serving.serve)
app.command("evaluate")(models.evaluate)
app.command("train")(models.train)
app.command("adapt")(adapting.adapt)
app.command("compare")(runs.compare)
app.command("models")(studies.models)
app.command("study")(studies.study)
app.command("benchmark")(benchmarking.benchmark)
app.command("audit")(data.audit)
app.command("fetch")(data.fetch)
app.command("doctor")(data.doctor)


def main() -> None:
    """Run the command line; every foreseen failure becomes one sentence and an exit status."""
    # A name that the terminal cannot show is shown with escapes; it must not end the command.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    # Threads of numpy that wait for each other cost far more than they bring on small arrays and a busy machine;
    # work is shared by giving whole batches to worker threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        with _cleared_up_when_ended():
            try:
                app()
            finally:
                sys.stdout.flush()
    except CorpuscleError as error:
        _end(str(error), error.exit_status)
    except SystemExit as stop:
        # typer ends with 1 where the reader of our output went away, as `head` does: nothing is wrong.
        if isinstance(stop.__context__, BrokenPipeError):
            _abandon_output()
            sys.exit(0)
        if stop.code == _ENDED or (stop.code == _INTERRUPTED and _comes_from(stop, KeyboardInterrupt)):
            _end("stopped.", int(stop.code))
        raise  # a command that ends with this status by itself has said why
    except BrokenPipeError:
        _abandon_output()
        sys.exit(0)
    except OSError as error:
        if isinstance(error, PermissionError) and error.filename:
            _end(f"{error.filename} may not be read or written by this user; change its permissions.", 3)
        if error.errno not in _NO_SPACE:
            raise
        _abandon_output()
        reason = f"Standard output cannot be written: {error.strerror}. Free some space or choose another place."
        _end(reason, OutputError.exit_status)
    except KeyboardInterrupt:
        _end("stopped.", _INTERRUPTED)
    except MemoryError:
        _end("not enough memory. Give fewer or smaller pictures at once.", 3)


def _comes_from(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether an exception was raised while one of some kind was handled."""
    before = error.__context__
    while before is not None and not isinstance(before, kind):
        before = before.__context__
    return before is not None


def _end(sentence: str, status: int) -> NoReturn:
    typer.echo(f"corpuscle: {sentence}", err=True)
    sys.exit(status)


@contextmanager
def _cleared_up_when_ended() -> Iterator[None]:
    """Let a request to end (SIGTERM) unwind as an interrupt does, so that no half-written file is left."""

    def end(number: int, frame: object) -> None:  # noqa: ARG001
        sys.exit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # another thread than the first one cannot
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _abandon_output() -> None:
    """Point standard output at nothing, so that the interpreter's last flush cannot fail as well."""
    with suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
