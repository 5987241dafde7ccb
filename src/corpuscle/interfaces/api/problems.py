"""Errors as answers: a status, a short code and one sentence, without any path of the server."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from corpuscle.errors import (
    CorpuscleError,
    ImageError,
    ImageTooLargeError,
    MissingExtraError,
    NoInputError,
    OutputError,
    UnknownNameError,
    UsageError,
)

__all__ = ["ProblemError", "add_handlers", "log_error", "problem_answer", "problem_of", "without_paths"]

_LOG = logging.getLogger("corpuscle.server")
_CODES = {
    400: "bad_request",
    401: "token_needed",
    403: "forbidden",
    404: "not_found",
    405: "no_such_method",
    413: "too_large",
    415: "not_a_picture",
    422: "cannot_do",
    429: "busy",
    503: "not_now",
    507: "no_space",
}
_SENTENCES = {
    404: "There is nothing at this address. The list of addresses is at /openapi.json.",
    405: "This address does not take that method. The list of addresses is at /openapi.json.",
    400: "The request cannot be understood. Compare it with the examples at /openapi.json.",
}


class ProblemError(HTTPException):
    """An answer that is an error: `code` for programs and `message`, one sentence for people."""

    def __init__(self, status: int, message: str, *, code: str = "", headers: dict[str, str] | None = None) -> None:
        """Name status, sentence, code (that of the status if empty) and more headers."""
        super().__init__(status, message, headers)
        self.code = code or _CODES.get(status, "error")
        self.message = message


def problem_of(error: CorpuscleError) -> ProblemError:
    """Turn a foreseen failure into an answer; sentences that could hold a path of the server are replaced."""
    if isinstance(error, ImageTooLargeError):
        return ProblemError(413, str(error))
    if isinstance(error, ImageError):
        return ProblemError(415, str(error))
    if isinstance(error, UnknownNameError):
        return ProblemError(422, str(error), code="unknown_name")
    if isinstance(error, MissingExtraError):
        return ProblemError(422, str(error), code="missing_extra")
    if isinstance(error, (UsageError, NoInputError)):
        return ProblemError(422, str(error))
    log_error(error)
    if isinstance(error, OutputError):
        return ProblemError(507, "The server cannot write to its store. Ask whoever runs it to free some space.")
    return ProblemError(503, "The server's model or data cannot be used. Ask whoever runs it to look at its log.")


def problem_answer(problem: ProblemError) -> JSONResponse:
    """Return the answer of a problem."""
    values = {"error": {"code": problem.code, "message": problem.message}}
    return JSONResponse(values, problem.status_code, headers=dict(problem.headers or {}))


def without_paths(text: str, names: Iterable[tuple[Path, str]]) -> str:
    """Replace paths of the server in a sentence by the names that the user knows."""
    for path, name in names:
        for spelling in (repr(str(path)), str(path)):
            text = text.replace(spelling, name)
    return text


def log_error(error: BaseException) -> None:
    """Log where an error came from, but not its text, which could name a picture."""
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(
        error.__traceback__)]  # fmt: skip
    _LOG.error("%s at %s", type(error).__name__, " < ".join(reversed(places)) or "?")


def add_handlers(app: FastAPI) -> None:
    """Make an application answer every failure with one sentence."""

    async def on_http(request: Request, error: Exception) -> Response:  # noqa: ARG001
        if isinstance(error, ProblemError):
            return problem_answer(error)
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        sentence = _SENTENCES.get(status) or "The request was refused. Compare it with the examples at /openapi.json."
        return problem_answer(ProblemError(status, sentence, headers=headers))

    async def on_validation(request: Request, error: Exception) -> Response:  # noqa: ARG001
        errors: list[Any] = list(error.errors()) if isinstance(error, RequestValidationError) else []
        if errors and errors[0].get("type") == "json_invalid":
            return problem_answer(ProblemError(400, "The body is no valid JSON. Mend it and send it again."))
        return problem_answer(ProblemError(422, _validation_sentence(errors), code="wrong_value"))

    async def on_foreseen(request: Request, error: Exception) -> Response:  # noqa: ARG001
        return problem_answer(problem_of(error) if isinstance(error, CorpuscleError) else ProblemError(500, ""))

    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(CorpuscleError, on_foreseen)


def _validation_sentence(errors: list[Any]) -> str:
    """Say which value is wrong; what was sent is not repeated."""
    if not errors:
        return "A value of the request is wrong."
    first = errors[0]
    where = [str(part) for part in first.get("loc", ()) if part not in ("body", "query", "path", "header")]
    name = ".".join(where).encode("utf-8", "replace").decode()[:80]
    about = str(first.get("msg", "wrong")).encode("utf-8", "replace").decode()[:200]
    subject = f"The value {name}" if name else "The body of the request"
    return f"{subject} is not accepted: {about}. Compare it with the examples at /openapi.json."
