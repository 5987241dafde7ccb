"""The application: routes, guard, and the life of what they share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from fastapi import Depends, FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

from corpuscle import __version__
from corpuscle.interfaces.api import routes_about, routes_export, routes_programs, routes_review, routes_sessions
from corpuscle.interfaces.api.cell_pictures import CellPictures
from corpuscle.interfaces.api.guard import Guard
from corpuscle.interfaces.api.jobs import JobRunner
from corpuscle.interfaces.api.problems import add_handlers, log_error
from corpuscle.interfaces.api.readers import Readers
from corpuscle.interfaces.api.settings import ServerSettings
from corpuscle.interfaces.api.store import Store
from corpuscle.interfaces.api.workbench import Workbench, known_options

__all__ = ["create_app", "open_workbench"]

_HOUR_S: Final = 3600
_LOG = logging.getLogger("corpuscle.server")


def open_workbench(settings: ServerSettings) -> Workbench:
    """Open the store and load the models.

    Raises:
        BundleError: A model cannot be used.
        InputError: The store cannot be used.
        OutputError: The store cannot be written.
    """
    readers = Readers(settings.model, settings.detector, jobs=settings.max_jobs)
    store = Store(settings.store)
    jobs = JobRunner(at_once=settings.max_jobs, queue=settings.queue, seconds=settings.job_seconds)
    return Workbench(settings, store, readers, jobs, CellPictures(store, readers))


class _Static(StaticFiles):
    """Files of the page; a browser asks each time whether its copy is still good."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file."""
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def create_app(workbench: Workbench) -> FastAPI:
    """Build the application around an open workbench, which it closes at its end."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001
        sweeper = asyncio.create_task(_sweep(workbench))
        yield
        sweeper.cancel()
        with suppress(asyncio.CancelledError):
            await sweeper
        await asyncio.to_thread(workbench.jobs.close)
        workbench.store.close()

    app = FastAPI(
        title="Corpuscle",
        version=__version__,
        description="Reads pictures of stained blood. Preliminary, not a medical device. Requests that are not GET "
        "need the header `X-Corpuscle: 1` where a browser sends them.",
        docs_url=None,
        redoc_url=None,
        lifespan=life,
    )
    app.state.workbench = workbench
    add_handlers(app)
    for module in (routes_about, routes_programs, routes_sessions, routes_review, routes_export):
        app.include_router(module.router, dependencies=[Depends(known_options)])
    if routes_about.PAGE_FOLDER.is_dir():
        app.mount("/static", _Static(directory=routes_about.PAGE_FOLDER), name="static")
    app.include_router(routes_about.pages)
    app.add_middleware(Guard, settings=workbench.settings)
    return app


async def _sweep(workbench: Workbench) -> None:
    """Delete old sessions, now and then every hour."""
    while True:
        if workbench.settings.keep_days:
            try:
                gone = await asyncio.to_thread(workbench.store.sweep, workbench.settings.keep_days)
            except Exception as error:  # noqa: BLE001  the next hour may go better
                log_error(error)
            else:
                if gone:
                    _LOG.warning("%d sessions were deleted, as nobody changed them for days.", gone)
        await asyncio.sleep(_HOUR_S)
