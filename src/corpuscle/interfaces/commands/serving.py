"""The command `serve`: the workbench and the HTTP service, and how fast it is under load."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corpuscle.errors import MissingExtraError, UsageError
from corpuscle.interfaces.console import DEFAULT_DETECTOR, DEFAULT_MODEL, note

if TYPE_CHECKING:
    from corpuscle.interfaces.api.settings import ServerSettings
    from corpuscle.interfaces.server_load import ServerBenchmark
    from corpuscle.reporting.ledger import Figure

__all__ = ["serve", "time_server"]


def serve(
    *,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")] = 8000,
    model: Annotated[str, typer.Option(help="The classifier: a shipped model or a bundle's folder.")] = DEFAULT_MODEL,
    detector: Annotated[str, typer.Option(help="A shipped detector's name or its folder.")] = DEFAULT_DETECTOR,
    store: Annotated[Path | None, typer.Option(help="Folder of sessions and pictures; the user's by default.")] = None,
    token: Annotated[
        str,
        typer.Option(envvar="CORPUSCLE_TOKEN", show_envvar=False, help="What clients must know; or CORPUSCLE_TOKEN."),
    ] = "",
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Host name under which a proxy reaches it; may be repeated.")
    ] = None,
    keep_days: Annotated[
        float, typer.Option(min=0, help="Days after its last change on which a session is deleted; 0: never.")
    ] = 30.0,
    max_upload_mb: Annotated[float, typer.Option(min=0.001, help="Most megabytes of one request.")] = 64.0,
    max_pixels: Annotated[float, typer.Option(min=0.0001, max=100, help="Most megapixels of one picture.")] = 100.0,
    max_jobs: Annotated[int, typer.Option(min=1, help="Jobs that run at once.")] = 2,
    queue: Annotated[int, typer.Option(min=0, help="Jobs that may wait; one more is refused.")] = 16,
    job_seconds: Annotated[float, typer.Option(min=0.001, help="Most seconds that a job may run.")] = 600.0,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Start the workbench: a page for people and an HTTP service for programs, on this machine alone by default.

    Interrupt (Ctrl-C) ends it. Other machines reach it only with --host and a token.
    """
    try:
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401

        from corpuscle.interfaces.api.settings import ServerSettings
    except ModuleNotFoundError as error:
        raise MissingExtraError("The workbench", "web") from error
    settings = ServerSettings(
        store=store or default_store(), host=host, port=port, model=model, detector=detector, token=token,
        names=tuple(name or ()), keep_days=keep_days, max_upload_mb=max_upload_mb, max_megapixels=max_pixels,
        max_jobs=max_jobs, queue=queue, job_seconds=job_seconds,
    )  # fmt: skip
    run_server(settings, open_page=open_page)


def time_server(
    model: str, users: int, uploads: int, show: Callable[[int, int], None]
) -> tuple[ServerBenchmark, list[Figure]]:
    """Measure how a server bears many users, for `corpuscle benchmark server`."""
    try:
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("The workbench", "web") from error
    from corpuscle.interfaces.server_load import benchmark_server, load_figures

    result = benchmark_server(model, users=users, uploads=uploads, progress=show)
    return result, load_figures(result)


def default_store() -> Path:
    """Return the folder that keeps sessions where none is named."""
    from platformdirs import user_data_path

    return user_data_path("corpuscle") / "workbench"


def run_server(settings: ServerSettings, *, open_page: bool = False) -> None:
    """Serve until interrupted.

    Raises:
        UsageError: The port is taken, or there is no such interface.
        BundleError: A model cannot be used.
        OutputError: The store cannot be written.
    """
    import uvicorn

    from corpuscle.interfaces.api.app import create_app, open_workbench

    with _listen(settings) as listening:
        address = f"http://{_shown(settings.host)}:{listening.getsockname()[1]}"
        app = create_app(open_workbench(settings))
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=5,
            timeout_keep_alive=30, proxy_headers=False,
        )  # fmt: skip
        note(f"The workbench is at {address}/ (Ctrl-C ends it). Preliminary. Not a medical device.")
        if open_page:
            import webbrowser

            webbrowser.open(address + "/")
        with suppress(KeyboardInterrupt):  # the usual way to end it
            uvicorn.Server(config).run(sockets=[listening])


def _shown(host: str) -> str:
    """Return a host as a browser on this machine names it."""
    plain = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    return f"[{plain}]" if ":" in plain and not plain.startswith("[") else plain


def _listen(settings: ServerSettings) -> socket.socket:
    """Take the port before anything is loaded."""
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix" and sys.platform != "cygwin":
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, settings.port))
        found.listen(128)
    except OSError as error:
        found.close()
        raise UsageError(
            f"Port {settings.port} of {settings.host} cannot be used: {error.strerror or error}. Name another --port."
        ) from error
    found.set_inheritable(True)
    return found
