"""Routes that hand a session out as files, and its map."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from corpuscle.files import make_folder
from corpuscle.interfaces.api.exports import ExportRequest, write_export
from corpuscle.interfaces.api.jobs import Job
from corpuscle.interfaces.api.schemas import SessionMap
from corpuscle.interfaces.api.session_map import MapRequest, map_points
from corpuscle.interfaces.api.workbench import Bench, Id, errors, json_answer

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["workbench"])

_What = Literal[
    "cells.csv", "cells.json", "counts.csv", "differential.json", "coco.json", "geojson.zip", "report.html",
    "report.pdf", "dataset.zip", "log.csv", "map.csv",
]  # fmt: skip
_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".zip": "application/zip",
    ".html": "text/html; charset=utf-8",
    ".pdf": "application/pdf",
}
_Method = Annotated[Literal["pca", "tsne", "umap"], Query(description="How the map is laid out.")]
_FILES: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind.partition(";")[0]: {} for kind in _TYPES.values()}, "description": "The file."}
}


@router.get("/sessions/{sid}/map", response_model=SessionMap, responses=errors(404, 429, 503))
async def session_map(
    sid: Id, bench: Bench, method: _Method = "pca", dimensions: Annotated[int, Query(ge=2, le=3)] = 2
) -> Response:
    """Lay the leukocytes and platelets of a session out so that like lie near like."""
    await asyncio.to_thread(bench.store.session, sid)
    wanted = MapRequest(sid, method, dimensions)
    _, future = bench.jobs.submit("map", lambda job: map_points(bench, job, wanted), session=sid)
    return json_answer({"method": method, "points": await asyncio.wrap_future(future)})


@router.get(
    "/sessions/{sid}/export/{what}", response_class=FileResponse, responses={**errors(404, 429, 503, 507), **_FILES}
)
async def export(
    sid: Id,
    what: _What,
    bench: Bench,
    only: Annotated[Literal["reviewed", "all"], Query(description="dataset.zip: which cells.")] = "reviewed",
    method: _Method = "pca",
) -> Response:
    """Hand a session out as a file, people's labels included."""
    session = await asyncio.to_thread(bench.store.session, sid)
    folder = bench.store.incoming / f"export-{secrets.token_hex(8)}"

    def work(job: Job) -> Path:
        make_folder(folder)
        return write_export(bench, job, ExportRequest(sid, what, only, method), folder)

    try:
        _, future = bench.jobs.submit("export", work, session=sid)
        path = await asyncio.wrap_future(future)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        raise
    headers = {"Content-Disposition": _attachment(session["name"], what)}
    gone = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    return FileResponse(path, headers=headers, media_type=_TYPES[path.suffix], background=gone)


def _attachment(session: str, what: str) -> str:
    """Return a header that makes a browser keep the file instead of showing it."""
    stem = re.sub(r"[^\w. -]", "_", session).strip(" .")[:60]
    name = f"{stem} {what}" if stem else what
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"
