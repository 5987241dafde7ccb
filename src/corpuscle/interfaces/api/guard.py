"""What stands before every route: security headers, names of the server, token, cross-site requests, size of the body.

It is plain ASGI, so that it also covers what the application does not answer itself.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from corpuscle.interfaces.api.problems import ProblemError, log_error, problem_answer
from corpuscle.interfaces.api.settings import LOOPBACK_NAMES, ServerSettings, is_loopback

__all__ = ["COOKIE", "CSRF_HEADER", "Guard", "cookie_value", "token_fits"]

COOKIE: Final = "corpuscle"
CSRF_HEADER: Final = "x-corpuscle"
_SAFE: Final = frozenset({"GET", "HEAD"})
_OPEN: Final = frozenset({"/v1/health", "/v1/login"})
_JSON_BYTES: Final = 2_000_000
_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def token_fits(given: str, token: str) -> bool:
    """Compare a token in a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def cookie_value(token: str) -> str:
    """Return what the cookie of a person who knows the token holds; the token cannot be read from it."""
    return hmac.new(token.encode(), b"corpuscle workbench cookie", hashlib.sha256).hexdigest()


def _is_browser(headers: Headers) -> bool:
    """Say whether a browser sends this: it names the page that asks in one header or another, with a form always."""
    return any(name in headers for name in ("origin", "sec-fetch-site", "referer"))


class Guard:
    """Wraps an application; every request passes it first."""

    def __init__(self, app: ASGIApp, *, settings: ServerSettings) -> None:
        self._app, self._settings = app, settings
        self._names = LOOPBACK_NAMES | {name.lower() for name in settings.names}
        # Behind a wildcard address nobody knows the names in advance; there the token keeps strangers out.
        self._any_name = not is_loopback(settings.host) and settings.host in ("0.0.0.0", "::", "[::]")
        self._any_name = self._any_name and not settings.names
        if not self._any_name:
            host = settings.host.lower()
            self._names |= {f"[{host}]" if ":" in host and not host.startswith("[") else host}
        self._cookie = cookie_value(settings.token) if settings.token else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def dressed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._check(scope["method"], scope["path"], headers)
            await self._app(scope, _limited(receive, headers, self._settings), dressed)
        except ProblemError as problem:
            await problem_answer(problem)(scope, receive, dressed)
        except Exception as error:  # noqa: BLE001  nothing that goes wrong may show more than one sentence
            log_error(error)
            if not begun:
                answer = ProblemError(500, "The server failed at this; its log says where.", code="server_error")
                await problem_answer(answer)(scope, receive, dressed)

    def _check(self, method: str, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if not self._any_name and _without_port(host).lower() not in self._names:
            raise ProblemError(
                403, "This server is not reached under that name. Use localhost, or start it with --name.", code="host"
            )
        bearer = self._bearer(headers)
        if self._settings.token and not (path in _OPEN or _is_page(path)) and not (bearer or self._has_cookie(headers)):
            raise ProblemError(
                401, "A token is needed: send it as `Authorization: Bearer TOKEN`, or log in on the page.",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        if method in _SAFE:
            return
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise ProblemError(403, "Requests from other pages are not taken.", code="cross_site")
        if not bearer and headers.get(CSRF_HEADER) != "1" and (_is_browser(headers) or self._has_cookie(headers)):
            raise ProblemError(
                403, "From a browser, requests that change or upload something need the header `X-Corpuscle: 1`.",
                code="cross_site",
            )  # fmt: skip

    def _bearer(self, headers: Headers) -> bool:
        """Return whether the right token came as a header, which no other page can make a browser send."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return False
        return token_fits(given.strip(), self._settings.token) if self._settings.token else True

    def _has_cookie(self, headers: Headers) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return found is not None and token_fits(found.value, self._cookie)


def _is_page(path: str) -> bool:
    """Return whether a path is one of the page's own, which hold nothing of anybody."""
    return not path.startswith("/v1/") and path != "/openapi.json"


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.rpartition(":")[0] if ":" in host else host


def _limited(receive: Receive, headers: Headers, settings: ServerSettings) -> Receive:
    """Count the bytes of a body while they come, and stop at the limit."""
    pictures = headers.get("content-type", "").lower().startswith("multipart/")
    most = settings.max_bytes if pictures else min(settings.max_bytes, _JSON_BYTES)
    problem = ProblemError(413, f"The request is larger than {most / 1e6:g} megabytes. Send fewer pictures at once.")
    stated = headers.get("content-length", "")
    if stated.isascii() and stated.isdigit() and int(stated[:20]) > most:
        raise problem
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > most:
                raise problem
        return message

    return counted
