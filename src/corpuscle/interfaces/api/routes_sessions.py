"""Routes of sessions, their pictures, and the jobs that read pictures into them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from PIL import Image

from corpuscle.data.drawn_scenes import write_example_field
from corpuscle.data.examples import CLASSES, draw_cell
from corpuscle.interfaces.api.cell_pictures import shown_picture
from corpuscle.interfaces.api.cell_rows import image_values
from corpuscle.interfaces.api.jobs import Job
from corpuscle.interfaces.api.labels import note_reviewed
from corpuscle.interfaces.api.reading_jobs import read_crops, read_fields
from corpuscle.interfaces.api.routes_programs import ModelName
from corpuscle.interfaces.api.schemas import (
    Examples,
    ImageList,
    JobBody,
    Named,
    NewSession,
    SessionBody,
    SessionChange,
    SessionList,
)
from corpuscle.interfaces.api.store import Row
from corpuscle.interfaces.api.uploads import Uploads, receive_pictures
from corpuscle.interfaces.api.workbench import FILES_BODY, Bench, Id, Workbench, errors, json_answer

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["workbench"])

_UPLOAD_ERRORS = errors(400, 404, 413, 415, 429, 503, 507)
_TICK_S = 0.15
_KEEP_ALIVE_TICKS = 100
_MicrometersAPixel = Annotated[float, Query(ge=0, le=100, allow_inf_nan=False, description="0: measured.")]


@router.post("/sessions", status_code=201, response_model=SessionBody, responses=errors(413, 507))
def add_session(body: NewSession, bench: Bench) -> Response:
    """Begin a session: the work on one smear, or on one set of crops."""
    return json_answer(bench.store.session_values(bench.store.add_session(body.name.strip())), 201)


@router.get("/sessions", response_model=SessionList, responses=errors())
def list_sessions(bench: Bench) -> Response:
    """List the sessions, the last changed first."""
    return json_answer({"sessions": [bench.store.session_values(row) for row in bench.store.sessions()]})


@router.get("/sessions/{sid}", response_model=SessionBody, responses=errors(404))
def one_session(sid: Id, bench: Bench) -> Response:
    """Return a session."""
    return json_answer(bench.store.session_values(bench.store.session(sid)))


@router.patch("/sessions/{sid}", response_model=SessionBody, responses=errors(404, 413))
def change_session(sid: Id, body: SessionChange, bench: Bench) -> Response:
    """Rename a session, or say that a person has reviewed it."""
    bench.store.session(sid)
    with bench.store.change() as db:
        if body.name is not None:
            db.execute("UPDATE sessions SET name = ? WHERE id = ?", (body.name.strip(), sid))
        if body.reviewed is not None:
            note_reviewed(db, sid, body.who, reviewed=body.reviewed)
        bench.store.touch(db, sid)
    return json_answer(bench.store.session_values(bench.store.session(sid)))


@router.delete("/sessions/{sid}", status_code=204, responses=errors(404))
def delete_session(sid: Id, bench: Bench) -> Response:
    """Delete a session with its pictures, its cells and its log."""
    bench.store.session(sid)
    bench.jobs.cancel_session(sid)
    bench.store.delete_session(sid)
    bench.pictures.forget()
    return Response(status_code=204)


@router.post(
    "/sessions/{sid}/crops", status_code=202, response_model=Named, responses=_UPLOAD_ERRORS, openapi_extra=FILES_BODY
)
async def add_crops(sid: Id, request: Request, bench: Bench, model: ModelName = "") -> Response:
    """Read pictures of single cells into a session; the job says how far it is."""
    return await _received(sid, request, bench, "crops", lambda uploads: read_crops(
        bench.store, bench.readers, sid, uploads, model))  # fmt: skip


@router.post(
    "/sessions/{sid}/fields", status_code=202, response_model=Named, responses=_UPLOAD_ERRORS, openapi_extra=FILES_BODY
)
async def add_fields(
    sid: Id, request: Request, bench: Bench, *, um_per_px: _MicrometersAPixel = 0.0, model: ModelName = "",
    detector: ModelName = "",
) -> Response:  # fmt: skip
    """Count fields into a session; the job says how far it is."""
    return await _received(sid, request, bench, "fields", lambda uploads: read_fields(
        bench.store, bench.readers, sid, uploads, um_per_px=um_per_px, model=model, detector=detector))  # fmt: skip


async def _received(
    sid: str, request: Request, bench: Workbench, kind: str, work_on: Callable[[Uploads], Callable[[Job], None]]
) -> Response:
    await asyncio.to_thread(bench.store.session, sid)
    bench.jobs.check_room()
    uploads = await receive_pictures(request, bench.store.incoming, bench.settings, names=("files", "file"))
    return await asyncio.to_thread(_queued, sid, bench, kind, uploads, work_on)


def _queued(
    sid: str, bench: Workbench, kind: str, uploads: Uploads, work_on: Callable[[Uploads], Callable[[Job], None]]
) -> Response:
    """Queue the job of some pictures, which go away with it."""
    try:
        job, future = bench.jobs.submit(kind, work_on(uploads), total=len(uploads), session=sid)
    except BaseException:
        uploads.close()
        raise
    future.add_done_callback(lambda _: uploads.close())
    return json_answer({"job": job.to_dict()}, 202)


@router.post(
    "/sessions/{sid}/examples", status_code=202, response_model=Named, responses=errors(404, 413, 429, 503, 507)
)
def add_examples(sid: Id, body: Examples, bench: Bench, model: ModelName = "") -> Response:
    """Read pictures into a session that the program draws itself: a cell of each class, or a field."""
    bench.store.session(sid)
    bench.readers.cells(model)
    bench.jobs.check_room()
    uploads = Uploads(bench.store.incoming)
    if body.kind == "field":
        path = write_example_field(uploads.folder)
        with path.open("rb") as file:
            uploads.add("example field.png", file, bench.settings)
        return _queued(sid, bench, "fields", uploads, lambda found: read_fields(
            bench.store, bench.readers, sid, found, model=model))  # fmt: skip
    for key in CLASSES:
        path = uploads.folder / "drawn.png"
        Image.fromarray(draw_cell(key, 0)).save(path, compress_level=1)
        with path.open("rb") as file:
            uploads.add(f"example {key}.png", file, bench.settings)
    return _queued(sid, bench, "crops", uploads, lambda found: read_crops(
        bench.store, bench.readers, sid, found, model))  # fmt: skip


@router.get("/jobs/{jid}", response_model=JobBody, responses=errors(404))
def one_job(jid: Id, bench: Bench) -> Response:
    """Say how far a job is."""
    return json_answer(bench.jobs.job(jid).to_dict())


@router.delete("/jobs/{jid}", response_model=JobBody, responses=errors(404))
def cancel_job(jid: Id, bench: Bench) -> Response:
    """Stop a job after the picture that it is at; what it has read already stays."""
    job = bench.jobs.job(jid)
    job.cancel()
    return json_answer(job.to_dict())


_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "A job at a time."}
}


@router.get("/jobs/{jid}/events", response_class=StreamingResponse, responses={**errors(404), **_EVENTS})
async def job_events(jid: Id, bench: Bench) -> Response:
    """Tell each change of a job, as server-sent events; the last one is its end."""
    job = bench.jobs.job(jid)

    async def events() -> AsyncIterator[str]:
        last, ticks = "", 0
        while True:
            over, text = job.over, json.dumps(job.to_dict(), ensure_ascii=False)
            if text != last:
                last, ticks = text, 0
                yield f"data: {text}\n\n"
            elif ticks >= _KEEP_ALIVE_TICKS:
                ticks = 0
                yield ": still here\n\n"
            if over:
                return
            ticks += 1
            await asyncio.sleep(_TICK_S)

    return StreamingResponse(events(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.get("/sessions/{sid}/images", response_model=ImageList, responses=errors(404))
def list_images(sid: Id, bench: Bench) -> Response:
    """List the pictures of a session."""
    bench.store.session(sid)
    with bench.store.steady():
        rows, found = bench.store.images(sid), bench.store.cells(sid)
    cells: dict[str, list[Row]] = {}
    for cell in found:
        cells.setdefault(cell["image"], []).append(cell)
    return json_answer({"images": [image_values(row, cells.get(row["id"], [])) for row in rows]})


@router.delete("/images/{iid}", status_code=204, responses=errors(404))
def delete_image(iid: Id, bench: Bench) -> Response:
    """Delete a picture with its cells."""
    bench.store.delete_image(iid)
    bench.pictures.forget()
    return Response(status_code=204)


_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}, "image/jpeg": {}}, "description": "The picture."}
}


@router.get("/images/{iid}/picture", response_class=Response, responses={**errors(404), **_PICTURE})
def picture(iid: Id, bench: Bench) -> Response:
    """Return a picture for a browser, at most 4096 pixels a side; `shown_scale` of the picture says the factor."""
    data, kind = shown_picture(bench.store, bench.store.image(iid))
    return Response(data, media_type=kind)
