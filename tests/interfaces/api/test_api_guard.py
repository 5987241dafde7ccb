"""Who may ask, from where, and what stands on every answer."""

from __future__ import annotations

import pytest

from corpuscle.errors import UsageError
from corpuscle.interfaces.api.guard import COOKIE, cookie_value
from corpuscle.interfaces.api.settings import ServerSettings, is_loopback

TOKEN = "a token of the tests"


@pytest.mark.parametrize(
    "path", ["/", "/review", "/v1/health", "/v1/nothing", "/openapi.json", "/static/none.js", "/x.y"]
)
def test_every_answer_has_the_headers(client, path):
    answer = client.get(path)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "cache-control" in answer.headers
    assert "access-control-allow-origin" not in answer.headers


def test_what_is_of_somebody_is_never_cached(client):
    assert client.get("/v1/sessions").headers["cache-control"] == "no-store"


def test_failures_inside_show_one_sentence_and_no_picture_in_the_log(client, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise RuntimeError("secret.png lies at /srv/store")

    monkeypatch.setattr(type(client.app.state.workbench.store), "sessions", fail)
    answer = client.get("/v1/sessions")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "server_error"
    assert "content-security-policy" in answer.headers
    assert "RuntimeError at" in caplog.text
    assert "secret" not in caplog.text + answer.text


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_this_machine_has_several_names(client, host):
    assert client.get("/v1/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_a_server_is_not_reached_under_a_strangers_name(client, host):
    answer = client.get("/v1/health", headers={"Host": host})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "host"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Corpuscle": "1"}, 201),
        ({"X-Corpuscle": "1", "Origin": "http://127.0.0.1:8000"}, 201),
        ({"X-Corpuscle": "1", "Origin": "https://evil.example"}, 403),
        ({"X-Corpuscle": "1", "Origin": "null"}, 403),
        ({"X-Corpuscle": "1", "Origin": "http://127.0.0.1:9000"}, 403),
        ({"X-Corpuscle": ""}, 201),  # a program: no browser sends a form without naming the page
        ({"X-Corpuscle": "", "Origin": "http://127.0.0.1:8000"}, 403),
        ({"X-Corpuscle": "", "Origin": "null"}, 403),
        ({"X-Corpuscle": "", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"X-Corpuscle": "", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"X-Corpuscle": "", "Referer": "https://evil.example/form"}, 403),
        ({"X-Corpuscle": "", "Authorization": "Bearer whatever"}, 201),
        ({"X-Corpuscle": "", "Sec-Fetch-Site": "cross-site", "Authorization": "Basic whatever"}, 403),
    ],
)
def test_other_pages_cannot_make_a_browser_write(client, headers, status):
    assert client.post("/v1/sessions", json={"name": "a"}, headers=headers).status_code == status


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_no_other_method_slips_by(client, method):
    headers = {"X-Corpuscle": "", "Sec-Fetch-Site": "cross-site"}
    assert client.request(method, "/v1/sessions", headers=headers).status_code == 403


def test_a_token_opens_as_a_header_or_as_a_cookie(make_client):
    client = make_client(token=TOKEN)
    assert client.get("/v1/health").status_code == 200
    assert client.get("/review").status_code in (200, 404)
    for path in ("/v1/sessions", "/v1/models", "/openapi.json", "/v1/sessions/x/export/log.csv"):
        closed = client.get(path)
        assert (closed.status_code, closed.headers["www-authenticate"]) == (401, "Bearer")
    for given in (f"Bearer {TOKEN}x", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}"):
        assert client.get("/v1/sessions", headers={"Authorization": given}).status_code == 401
    assert client.get("/v1/sessions", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/v1/sessions", headers={"Cookie": f"{COOKIE}={TOKEN}"}).status_code == 401


def test_login_gives_a_cookie_that_does_not_hold_the_token(make_client):
    client = make_client(token=TOKEN)
    assert client.post("/v1/login", json={"token": "wrong"}).status_code == 401
    elsewhere = {"X-Corpuscle": "", "Sec-Fetch-Site": "cross-site"}
    assert client.post("/v1/login", json={"token": TOKEN}, headers=elsewhere).status_code == 403
    opened = client.post("/v1/login", json={"token": TOKEN})
    assert opened.status_code == 204
    cookie = opened.headers["set-cookie"]
    assert TOKEN not in cookie
    for part in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert part in cookie
    assert "Secure" not in cookie
    assert client.cookies[COOKIE] == cookie_value(TOKEN)
    assert client.get("/v1/sessions").status_code == 200
    assert client.post("/v1/sessions", json={}, headers={"X-Corpuscle": ""}).status_code == 403
    proxied = client.post("/v1/login", json={"token": TOKEN}, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in proxied.headers["set-cookie"]
    client.post("/v1/logout")
    client.cookies.clear()
    assert client.get("/v1/sessions").status_code == 401


def test_a_proxy_names_the_server(make_client):
    client = make_client(token=TOKEN, names=("lab.example.org",))
    assert client.get("/v1/health", headers={"Host": "lab.example.org"}).status_code == 200
    assert client.get("/v1/health", headers={"Host": "other.example.org"}).status_code == 403


def test_a_wildcard_address_has_any_name_but_never_no_token(make_client, tmp_path):
    with pytest.raises(UsageError, match="token is needed"):
        ServerSettings(store=tmp_path, host="0.0.0.0")
    client = make_client(host="0.0.0.0", token=TOKEN)
    assert client.get("/v1/health", headers={"Host": "192.168.1.7:8000"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "inside"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("localhost", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False),
     ("::", False), ("192.168.1.2", False), ("lab.example.org", False), ("127.0.0.1.example.org", False)],
)  # fmt: skip
def test_loopback_is_told_from_the_rest(host, inside):
    assert is_loopback(host) is inside


@pytest.mark.parametrize(
    "limits",
    [{"keep_days": float("inf")}, {"keep_days": float("nan")}, {"keep_days": -1}, {"job_seconds": float("inf")},
     {"max_upload_mb": float("nan")}, {"max_jobs": 0}],
)  # fmt: skip
def test_limits_are_numbers_that_can_be_kept(tmp_path, limits):
    with pytest.raises(UsageError, match=r"\.$"):
        ServerSettings(store=tmp_path, **limits)


@pytest.mark.parametrize("token", ["short", "with ñ and more", "tab\tin the middle"])
def test_a_token_must_be_worth_its_name(tmp_path, token):
    with pytest.raises(UsageError, match="12 or more"):
        ServerSettings(store=tmp_path, token=token)
