"""`corpuscle serve`: what it refuses, and that it starts, answers, ends cleanly and finds its sessions again."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from corpuscle.interfaces.server_load import LoadRun, ServerBenchmark, benchmark_server, load_figures

pytest.importorskip("fastapi")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "a token is needed"),
        (["--host", "192.168.0.1", "--token", "short"], "12 or more"),
        (["--model", "nothing"], "There is no model 'nothing'"),
        (["--detector", "nothing"], "There is no model 'nothing'"),
        (["--host", "no.such.host.invalid", "--token", "long enough to be one"], "cannot be used"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(cli, tmp_path, options, said):
    done = cli("serve", "--store", tmp_path / "store", "--port", 0, *options)
    assert done.status == 2
    assert said in done.err
    assert done.err.count("\n") <= 2


def test_a_port_in_use_is_one_sentence(cli, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = cli("serve", "--store", tmp_path / "store", "--port", taken.getsockname()[1])
    assert done.status == 2
    assert "Name another --port" in done.err


def test_without_its_packages_the_command_says_what_to_install(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = cli("serve", "--store", tmp_path / "store")
    assert done.status == 2
    assert "corpuscle[web]" in done.err
    assert "corpuscle[web]" in cli("benchmark", "server").err


def started(tmp_path) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "corpuscle", "serve", "--port", "0", "--store", tmp_path / "store"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "CORPUSCLE_TOKEN": ""})
    line = process.stderr.readline()
    address = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert address, line
    return process, address[0]


def asked(address: str, path: str, data: bytes | None = None) -> dict:
    headers = {"X-Corpuscle": "1", "Content-Type": "application/json"}
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(address + path, data, headers), timeout=30) as answer:
                return json.load(answer)
        except ConnectionError:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_the_server_starts_ends_and_finds_its_sessions_again(tmp_path):
    process, address = started(tmp_path)
    session = asked(address, "/v1/sessions", b'{"name": "smear 1"}')["id"]
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=30)[1]
    assert "Traceback" not in rest
    assert process.returncode == 0
    process, address = started(tmp_path)
    assert [row["id"] for row in asked(address, "/v1/sessions")["sessions"]] == [session]
    process.terminate()
    assert "Traceback" not in process.communicate(timeout=30)[1]


ONE = LoadRun(1, 62, 0, 20.0, 0.05, 0.08, 200.0)
MANY = LoadRun(8, 500, 0, 30.0, 0.2, 0.4, 220.0)


def test_a_benchmark_says_ratios():
    result = ServerBenchmark("corpuscle_s", ONE, MANY)
    assert result.to_dict()["ratios"] == {"p95": 5.0, "uploads_a_second": 1.5, "memory": 1.1}
    assert "8 users beside one: p95 5.00 times, uploads a second 1.50 times, memory 1.10 times." in result.text()
    assert [figure.value for figure in load_figures(result)] == ["5.00", "1.50", "0", "1.10"]
    unknown = ServerBenchmark("corpuscle_s", ONE, LoadRun(8, 500, 2, 30.0, 0.2, 0.4, None))
    assert "memory not measured." in unknown.text()
    assert len(load_figures(unknown)) == 3


def test_a_server_is_measured_that_was_started_for_it():
    steps = []

    def progress(done: int, total: int) -> None:
        steps.append((done, total))

    result = benchmark_server("corpuscle_s", users=3, uploads=10, progress=progress)
    assert (result.one.uploads, result.many.uploads, result.many.users) == (3, 10, 3)
    assert result.one.errors == result.many.errors == 0
    assert result.p95_ratio > 0
    assert steps[-1] == (13, 13)
    assert result.memory_ratio is None or result.memory_ratio >= 1
