"""Routes for programs: pictures in, answers out, nothing kept."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import replace
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from PIL import Image

from corpuscle.data.labeled import LabeledCell
from corpuscle.errors import UnknownNameError, UnreadableImageError
from corpuscle.explanation.heat_map import overlay
from corpuscle.explanation.projection import check_method, make_map
from corpuscle.interfaces.api.cell_pictures import png_bytes
from corpuscle.interfaces.api.jobs import Job
from corpuscle.interfaces.api.problems import ProblemError, log_error
from corpuscle.interfaces.api.schemas import Counted, Explained, Predictions, Projected
from corpuscle.interfaces.api.uploads import Uploads, receive_pictures
from corpuscle.interfaces.api.workbench import FILES_BODY, Bench, Workbench, errors, files_body, json_answer
from corpuscle.prediction.embedding import Specimen, embed_cells
from corpuscle.prediction.field_writing import cell_values, field_values, summary_values
from corpuscle.prediction.proportions import INTERVALS
from corpuscle.prediction.writing import NOTICE, PredictionWriter, prediction_values
from corpuscle.records import Failure, FieldReading, Prediction

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["programs"])

_LINES = "application/x-ndjson"
_LONGEST_MAP_PX = 2048
_UPLOAD_ERRORS = errors(400, 413, 415, 429, 503, 507)
_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {_LINES: {"schema": {"type": "string"}}}, "description": "The answer, or a line a picture."}
}
Told = Callable[[dict[str, Any]], None]
_Answer = TypeVar("_Answer")
ModelName = Annotated[str, Query(max_length=100, description="A name of /v1/models; the server's own if empty.")]
FramingName = Annotated[str, Query(max_length=20, description="auto, cell, field, center or whole.")]


def _untold(line: dict[str, Any]) -> None:
    """Tell nobody."""


@router.post(
    "/classify", response_model=Predictions, responses={**_UPLOAD_ERRORS, **_STREAMED}, openapi_extra=FILES_BODY
)
async def classify(
    request: Request,
    bench: Bench,
    *,
    model: ModelName = "",
    framing: FramingName = "auto",
    attributes: Annotated[bool, Query(description="Describe each cell in words, too.")] = False,
) -> Response:
    """Name the cell in each picture; the answer is what `corpuscle classify --json` prints.

    With `Accept: application/x-ndjson` a line comes for each picture, and a summary at last.
    """
    reader = await asyncio.to_thread(bench.readers.cells, model, framing, describe=attributes)

    def work(job: Job, uploads: Uploads, tell: Told) -> str:
        text = io.StringIO()
        writer = PredictionWriter(text, reader.bundle, as_json=True)
        lost = list(uploads.failures)
        for failure in lost:
            _told(job, tell, "failure", {"file": failure.file, "reason": failure.reason})
        with closing(reader.stream(uploads.paths, workers=bench.readers.workers)) as answers:
            for answer in answers:
                job.check()
                if isinstance(answer, Failure):
                    lost.append(uploads.failure(answer))
                    _told(job, tell, "failure", {"file": lost[-1].file, "reason": lost[-1].reason})
                else:
                    judged: Prediction = replace(answer, file=uploads.name_of(answer.file))
                    _told(job, tell, "prediction", prediction_values(judged))
                    writer.add(judged)
        for failure in uploads.in_order(lost):
            writer.add(failure)
        _check_some(uploads, lost)
        writer.close()
        whole = text.getvalue()
        values = json.loads(whole)
        tell({"summary": {**values, "predictions": len(values["predictions"])}})
        return whole

    return await _answered(request, bench, "classify", work)


@router.post("/count", response_model=Counted, responses={**_UPLOAD_ERRORS, **_STREAMED}, openapi_extra=FILES_BODY)
async def count(
    request: Request,
    bench: Bench,
    *,
    um_per_px: Annotated[float, Query(ge=0, le=100, allow_inf_nan=False)] = 0.0,
    interval: Annotated[str, Query(max_length=20)] = "wilson",
    model: ModelName = "",
    detector: ModelName = "",
) -> Response:
    """Count the cells of fields of one smear; the answer is what `corpuscle count --json` prints, with the cells.

    With `Accept: application/x-ndjson` a line comes for each field, and a summary at last.
    """
    if interval not in INTERVALS:
        raise UnknownNameError("interval", interval, INTERVALS)

    def work(job: Job, uploads: Uploads, tell: Told) -> str:
        reader = bench.readers.fields(job, model=model, detector=detector, um_per_px=um_per_px)
        readings: list[FieldReading] = []
        failures = list(uploads.failures)
        for failure in failures:
            _told(job, tell, "failure", {"file": failure.file, "reason": failure.reason})
        with closing(reader.stream(uploads.paths, workers=bench.readers.workers)) as answers:
            for answer in answers:
                job.check()
                if isinstance(answer, Failure):
                    failures.append(uploads.failure(answer))
                    _told(job, tell, "failure", {"file": failures[-1].file, "reason": failures[-1].reason})
                else:
                    readings.append(replace(answer, file=uploads.name_of(answer.file)))
                    _told(job, tell, "field", _with_cells(field_values(readings[-1]), readings[-1]))
        lost = uploads.in_order(failures)
        _check_some(uploads, lost)
        values = summary_values(readings, reader.describe(), failures=lost, interval=interval)
        tell({"summary": values})
        whole = [_with_cells(row, reading) for row, reading in zip(values["fields"], readings, strict=True)]
        return json.dumps({**values, "fields": whole}, ensure_ascii=False)

    return await _answered(request, bench, "count", work)


def _check_some(uploads: Uploads, lost: list[Failure]) -> None:
    """Refuse an answer in which no picture was read."""
    if len(lost) == len(uploads):
        raise UnreadableImageError(lost[0].reason)


def _with_cells(values: dict[str, Any], reading: FieldReading) -> dict[str, Any]:
    return {**values, "cells": [cell_values(cell) for cell in reading.cells]}


def _told(job: Job, tell: Told, what: str, values: dict[str, Any]) -> None:
    """Count one picture, and tell whoever listens."""
    job.done += 1
    tell({"done": job.done, "total": job.total, what: values})


@router.post(
    "/explain", response_model=Explained, responses=_UPLOAD_ERRORS, openapi_extra=files_body("file", many=False)
)
async def explain(
    request: Request,
    bench: Bench,
    *,
    class_name: Annotated[list[str], Query(alias="class", max_length=20, description="More classes to explain.")] = [],  # noqa: B006
    method: Annotated[str, Query(max_length=40)] = "cam",
    model: ModelName = "",
    framing: FramingName = "auto",
) -> Response:
    """Show where in a picture the evidence lies, for its class, the runner-up and any class asked for."""
    explainer = await asyncio.to_thread(bench.readers.explainer, model, method, framing)
    wanted = [explainer.known_class(name) for name in class_name]

    def work(job: Job, uploads: Uploads, tell: Told) -> dict[str, Any]:  # noqa: ARG001
        if len(uploads) > 1:
            raise ProblemError(422, f"{len(uploads)} pictures came, and one is explained at a time. Send one.")
        upload = uploads.good[0]
        found = explainer.explain(upload.path, wanted)
        maps = [
            {
                "class": item.class_name, "probability": round(item.probability, 6),
                "strength": round(item.strength, 4),
                **_drawn(found.picture, item.cam),
            }
            for item in found.maps
        ]  # fmt: skip
        said = prediction_values(replace(found.prediction, file=upload.name))
        return {"notice": NOTICE, "method": method, "prediction": said, "maps": maps}

    return await _answered(request, bench, "explain", work, names=("file", "files"))


def _drawn(picture: npt.NDArray[np.uint8], cam: npt.NDArray[np.float32]) -> dict[str, str]:
    """Return a map and the map over its picture as PNG in data URLs, shrunk where they are very large."""
    height, width = cam.shape
    factor = min(1.0, _LONGEST_MAP_PX / max(height, width))
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
        cam = np.clip(np.asarray(Image.fromarray(cam).resize(size, Image.Resampling.BILINEAR), np.float32), 0, 1)
    gray = np.round(255 * cam).astype(np.uint8)
    return {"map_png": _data_url(gray), "overlay_png": _data_url(overlay(picture, cam))}


def _data_url(image: npt.NDArray[np.uint8]) -> str:
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode("ascii")


@router.post("/project", response_model=Projected, responses=_UPLOAD_ERRORS, openapi_extra=FILES_BODY)
async def project(
    request: Request,
    bench: Bench,
    *,
    method: Annotated[str, Query(max_length=20)] = "pca",
    dimensions: Annotated[int, Query(ge=2, le=3)] = 2,
    model: ModelName = "",
    framing: FramingName = "auto",
) -> Response:
    """Lay pictures of cells out so that like lie near like."""
    check_method(method, dimensions)
    reader = await asyncio.to_thread(bench.readers.cells, model, framing)

    def work(job: Job, uploads: Uploads, tell: Told) -> dict[str, Any]:  # noqa: ARG001
        specimens = [Specimen(item.name, "", "", LabeledCell(item.name, item.path, "", "")) for item in uploads.good]

        def progress(done: int, total: int) -> None:  # noqa: ARG001
            job.done = done
            job.check()

        cells = embed_cells(specimens, model=reader, workers=bench.readers.workers, progress=progress)
        cell_map = make_map(cells.embeddings, method=method, dimensions=dimensions)
        points = [
            {
                "file": specimen.file, **dict(zip("xyz", (float(f"{value:.6g}") for value in place), strict=False)),
                "class": said.class_name, "confidence": round(said.confidence, 6), "refused": said.refused,
            }
            for specimen, said, place in zip(cells.specimens, cells.predictions, cell_map.coordinates, strict=True)
        ]  # fmt: skip
        lost = [*uploads.failures, *(_of_specimen(uploads, failure) for failure in cells.failures)]
        errors_found = [{"file": item.file, "reason": item.reason} for item in lost]
        return {"notice": NOTICE, "method": method, "points": points, "errors": errors_found}

    return await _answered(request, bench, "project", work)


def _of_specimen(uploads: Uploads, failure: Failure) -> Failure:
    place = next((str(item.path) for item in uploads.good if item.name == failure.file), failure.file)
    return uploads.failure(Failure(place, failure.reason))


async def _answered(
    request: Request, bench: Workbench, kind: str, work: Callable[[Job, Uploads, Told], Any],
    *, names: tuple[str, ...] = ("files", "file"),
) -> Response:  # fmt: skip
    """Receive the pictures, do the work in the queue of jobs, and answer at once or line by line."""
    bench.jobs.check_room()
    uploads = await receive_pictures(request, bench.store.incoming, bench.settings, names=names)
    lines = _LINES in request.headers.get("accept", "") and kind in ("classify", "count")
    loop, told = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None]()

    def tell(line: dict[str, Any] | None) -> None:
        with suppress(RuntimeError):  # the server ends, and nobody listens any more
            loop.call_soon_threadsafe(told.put_nowait, line)

    def run(job: Job) -> Any:
        with uploads.named_in_errors():
            return work(job, uploads, tell if lines else _untold)

    try:
        job, future = bench.jobs.submit(kind, run, total=len(uploads))
    except BaseException:
        uploads.close()
        raise
    future.add_done_callback(lambda _: uploads.close())
    if lines:
        future.add_done_callback(lambda _: tell(None))
        return StreamingResponse(_lines(job, future, told), media_type=_LINES, headers={"X-Accel-Buffering": "no"})
    answer = await asyncio.wrap_future(future)
    return Response(answer, media_type="application/json") if isinstance(answer, str) else json_answer(answer)


async def _lines(job: Job, future: Future[Any], told: asyncio.Queue[dict[str, Any] | None]) -> AsyncIterator[str]:
    """Yield what a job tells, a line each; a job whose listener went away is stopped."""
    try:
        while (line := await told.get()) is not None:
            yield json.dumps(line, ensure_ascii=False) + "\n"
        error = None if future.cancelled() else future.exception()
        if isinstance(error, ProblemError):
            yield json.dumps({"error": {"code": error.code, "message": error.message}}, ensure_ascii=False) + "\n"
        elif error is not None:
            log_error(error)
            yield json.dumps({"error": {"code": "server_error", "message": "The server failed at this."}}) + "\n"
    finally:
        job.cancel()
