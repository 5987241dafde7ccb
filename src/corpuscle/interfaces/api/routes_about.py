"""Routes about the server itself: health, version, models, classes, login, and the files of the page."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse

from corpuscle import __version__, taxonomy
from corpuscle.explanation.palette import CLASS_COLORS, MUTED
from corpuscle.interfaces.api.guard import COOKIE, cookie_value, token_fits
from corpuscle.interfaces.api.problems import ProblemError
from corpuscle.interfaces.api.schemas import Health, Login, Models, Taxonomy, Version
from corpuscle.interfaces.api.settings import MOST_FILES
from corpuscle.interfaces.api.workbench import Bench, errors, json_answer

__all__ = ["PAGE_FOLDER", "pages", "router"]

PAGE_FOLDER = Path(__file__).parent.parent / "web"
_PAGES = ("cell", "field", "review", "map", "models", "about", "us")
_WRONG_TOKEN_S = 0.5

router = APIRouter(prefix="/v1", tags=["server"])
pages = APIRouter(include_in_schema=False)


@router.get("/health", response_model=Health, responses=errors())
def health(bench: Bench) -> Response:
    """Say that the server is up, and with which models."""
    return json_answer({"status": "ok", "model": bench.readers.model, "detector": bench.readers.detector})


@router.get("/version", response_model=Version, responses=errors())
def version(bench: Bench) -> Response:
    """Return the versions of program and models, and the limits of this server."""
    bundle, settings = bench.readers.cells().bundle, bench.settings
    limits = {
        "upload_mb": settings.max_upload_mb, "megapixels": settings.max_megapixels, "files": MOST_FILES,
        "job_seconds": settings.job_seconds, "keep_days": settings.keep_days,
    }  # fmt: skip
    return json_answer(
        {
            "version": __version__,
            "model": f"{bundle.name} {bundle.version}",
            "detector": bench.readers.detector_version(),
            "limits": limits,
        }
    )


@router.get("/models", response_model=Models, responses=errors(503))
def models(bench: Bench) -> Response:
    """List the models that can be named, with their figures and cards."""
    readers = bench.readers
    return json_answer({"default": readers.model, "detector": readers.detector, "models": readers.describe()})


@router.get("/taxonomy", response_model=Taxonomy, responses=errors())
def classes() -> Response:
    """List the classes of cells with their names, lineage and colors."""
    rows = [
        {
            "key": row.key,
            "name": {"en": row.name_en, "es": row.name_es},
            "lineage": row.kind,
            "parent": row.parent,
            "in_differential": row.in_differential,
            "color": "#{:02x}{:02x}{:02x}".format(*CLASS_COLORS.get(row.key, MUTED)),
        }
        for row in taxonomy.CLASSES
    ]
    return json_answer({"classes": rows})


@router.post("/login", status_code=204, responses=errors(413))
async def login(request: Request, body: Login, bench: Bench) -> Response:
    """Trade the token for a cookie that scripts cannot read."""
    token = bench.settings.token
    if token and not token_fits(body.token, token):
        await asyncio.sleep(_WRONG_TOKEN_S)
        raise ProblemError(401, "This is not the token of this server. Ask whoever runs it.", code="wrong_token")
    answer = Response(status_code=204)
    if token:
        secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", ""))
        answer.set_cookie(COOKIE, cookie_value(token), httponly=True, samesite="strict", path="/", secure=secure)
    return answer


@router.post("/logout", status_code=204, responses=errors())
def logout() -> Response:
    """Take the cookie back."""
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


@pages.get("/")
@pages.get("/{page}")
def page(page: str = "cell") -> Response:
    """Return the workbench, which is one page for all its addresses."""
    if page not in _PAGES:
        raise ProblemError(404, "There is no such page.")
    index = PAGE_FOLDER / "index.html"
    if not index.is_file():
        return PlainTextResponse("The page is not part of this installation; the routes below /v1 answer all the same.")
    return FileResponse(index, headers={"Cache-Control": "no-cache"})
