"""Routes of cells: their pictures, what people say of them, and what follows for the smear."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from corpuscle.interfaces.api.cell_pictures import png_bytes
from corpuscle.interfaces.api.cell_rows import cell_values, doubtful_first
from corpuscle.interfaces.api.labels import confirm_cell, label_cells, log_entries, undo
from corpuscle.interfaces.api.problems import ProblemError
from corpuscle.interfaces.api.schemas import CellBody, Cells, Confirm, Label, Log, ManyLabels, Summary, Undone
from corpuscle.interfaces.api.smear_state import summary_of
from corpuscle.interfaces.api.workbench import Bench, Id, errors, json_answer

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["workbench"])

_PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}, "description": "A picture."}}
_Side = Annotated[int, Query(ge=16, le=1024, description="Side of the picture in pixels.")]
_ClassName = Annotated[str, Query(alias="class", max_length=60, description="The predicted class if empty.")]
_Kind = Literal["", "erythrocyte", "leukocyte", "platelet"]


@router.get("/sessions/{sid}/cells", response_model=Cells, responses=errors(404))
def list_cells(
    sid: Id,
    bench: Bench,
    image: Annotated[str, Query(max_length=64, description="Cells of one picture alone.")] = "",
    kind: Annotated[_Kind, Query(description="Cells of one kind alone.")] = "",
    order: Annotated[
        Literal["number", "doubt"], Query(description="By number, or the most doubtful first.")
    ] = "number",
) -> Response:
    """List the cells of a session."""
    bench.store.session(sid)
    rows = [row for row in bench.store.cells(sid, image) if not kind or row["kind"] == kind]
    return json_answer({"cells": [cell_values(row) for row in (doubtful_first(rows) if order == "doubt" else rows)]})


@router.get("/cells/{cid}", response_model=CellBody, responses=errors(404))
def one_cell(cid: Id, bench: Bench) -> Response:
    """Return a cell."""
    return json_answer(cell_values(bench.store.cell(cid)))


@router.get("/cells/{cid}/crop.png", response_class=Response, responses={**errors(404, 503), **_PNG})
def crop(cid: Id, bench: Bench, px: _Side = 160) -> Response:
    """Return the square of the picture that was judged."""
    return Response(png_bytes(bench.pictures.crop(bench.store.cell(cid), px)), media_type="image/png")


@router.get("/cells/{cid}/map.png", response_class=Response, responses={**errors(404, 503), **_PNG})
def evidence(cid: Id, bench: Bench, class_name: _ClassName = "", px: _Side = 256) -> Response:
    """Return where in that square the evidence for a class lies, in gray: 255 where it is strongest."""
    return Response(
        png_bytes(bench.pictures.evidence(bench.store.cell(cid), class_name, px)[0]), media_type="image/png"
    )


@router.get("/cells/{cid}/overlay.png", response_class=Response, responses={**errors(404, 503), **_PNG})
def laid_over(cid: Id, bench: Bench, class_name: _ClassName = "", px: _Side = 256) -> Response:
    """Return that square with the evidence laid over it in color."""
    return Response(
        png_bytes(bench.pictures.evidence(bench.store.cell(cid), class_name, px)[1]), media_type="image/png"
    )


@router.post("/cells/{cid}/label", response_model=CellBody, responses=errors(404, 413))
def label(cid: Id, body: Label, bench: Bench) -> Response:
    """Give a cell a person's label: a class, or `not_a_cell`."""
    cell = bench.store.cell(cid)
    return json_answer(cell_values(label_cells(bench.store, cell["session"], [cell], body.class_name, body.who)[0]))


@router.post("/cells/{cid}/confirm", response_model=CellBody, responses=errors(404, 413))
def confirm(cid: Id, body: Confirm, bench: Bench) -> Response:
    """Say that what stands for a cell is right."""
    return json_answer(cell_values(confirm_cell(bench.store, bench.store.cell(cid), body.who)))


@router.post("/sessions/{sid}/labels", response_model=Cells, responses=errors(404, 413))
def label_many(sid: Id, body: ManyLabels, bench: Bench) -> Response:
    """Give many cells of a session one label, in one step that can be taken back as one."""
    bench.store.session(sid)
    rows = [bench.store.cell(cid) for cid in dict.fromkeys(body.cells)]
    if any(row["session"] != sid for row in rows):
        raise ProblemError(404, "One of the cells is not of this session.")
    changed = label_cells(bench.store, sid, rows, body.class_name, body.who)
    return json_answer({"cells": [cell_values(row) for row in changed]})


@router.post("/sessions/{sid}/undo", response_model=Undone, responses=errors(404, 413))
def undo_last(sid: Id, body: Confirm, bench: Bench) -> Response:
    """Take a person's last step in a session back."""
    bench.store.session(sid)
    return json_answer(undo(bench.store, sid, body.who))


@router.get("/sessions/{sid}/log", response_model=Log, responses=errors(404))
def log(sid: Id, bench: Bench) -> Response:
    """Return who did what to which cell, and when."""
    bench.store.session(sid)
    return json_answer({"entries": log_entries(bench.store, sid)})


@router.get("/sessions/{sid}/summary", response_model=Summary, responses=errors(404))
def summary(sid: Id, bench: Bench, interval: Annotated[str, Query(max_length=20)] = "wilson") -> Response:
    """Return counts, differential and findings of a session as it stands, people's labels included."""
    bench.store.session(sid)
    return json_answer(summary_of(bench.store, sid, interval=interval))
