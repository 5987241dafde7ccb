"""What the routes of one server share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from corpuscle.interfaces.api.cell_pictures import CellPictures
from corpuscle.interfaces.api.jobs import JobRunner
from corpuscle.interfaces.api.problems import ProblemError
from corpuscle.interfaces.api.readers import Readers
from corpuscle.interfaces.api.schemas import Problem
from corpuscle.interfaces.api.settings import ServerSettings
from corpuscle.interfaces.api.store import Store

__all__ = ["FILES_BODY", "Bench", "Id", "Workbench", "errors", "files_body", "json_answer", "known_options"]


@dataclass(frozen=True, slots=True)
class Workbench:
    """Settings, store, models, jobs and pictures of one server."""

    settings: ServerSettings
    store: Store
    readers: Readers
    jobs: JobRunner
    pictures: CellPictures


def _of_request(request: Request) -> Workbench:
    found = request.app.state.workbench
    if not isinstance(found, Workbench):
        raise TypeError("The application was built without a workbench.")
    return found


Bench = Annotated[Workbench, Depends(_of_request)]
Id = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,64}$", description="A random name.")]


def known_options(request: Request) -> None:
    """Refuse an option that a route does not have: its sender would believe that it had an effect.

    Raises:
        ProblemError: There is one (422).
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known = sorted(field.alias for field in route.dependant.query_params)
    for name in request.query_params:
        if name not in known:
            shown = name.encode("utf-8", "replace").decode()[:40]
            choices = f"It has {', '.join(known)}." if known else "It has none."
            raise ProblemError(422, f"This address has no option {shown!r}. {choices}", code="wrong_value")


def json_answer(values: Any, status: int = 200) -> JSONResponse:
    """Answer with plain values as they are."""
    return JSONResponse(values, status)


_ABOUT = {
    400: "The request cannot be understood.",
    401: "A token is needed.",
    403: "The server's name, the page that asks, or the header `X-Corpuscle: 1` is wrong.",
    404: "There is no such thing.",
    413: "Too many bytes, or too many pixels.",
    415: "No form, or no picture in it.",
    422: "A value is wrong, or cannot be done.",
    429: "Too many jobs wait; `Retry-After` says when to come again.",
    503: "The job took too long, or a model cannot be used.",
    507: "The store is full.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route for OpenAPI; 400, 401, 403 and 422 can come from every one."""
    return {
        status: {"model": Problem, "description": _ABOUT[status]} for status in sorted({400, 401, 403, 422, *statuses})
    }


def files_body(field: str = "files", *, many: bool = True) -> dict[str, Any]:
    """Describe a form with pictures for OpenAPI."""
    one = {"type": "string", "format": "binary", "contentMediaType": "image/png"}
    shape = {"type": "array", "items": one, "minItems": 1} if many else one
    schema = {"type": "object", "required": [field], "properties": {field: shape}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


FILES_BODY = files_body()
