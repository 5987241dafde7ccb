"""Jobs: a few at once, a queue, a time limit, and a way to stop."""

from __future__ import annotations

import threading
import time

import pytest

from corpuscle.errors import OutputError, UnreadableImageError
from corpuscle.interfaces.api.jobs import JobRunner
from corpuscle.interfaces.api.problems import ProblemError


@pytest.fixture
def runner():
    found = JobRunner(at_once=1, queue=1, seconds=30)
    yield found
    found.close()


def test_what_would_wait_too_long_is_refused(runner):
    gate = threading.Event()
    first, _ = runner.submit("a", lambda job: gate.wait(10))
    second, answer = runner.submit("b", lambda job: job.id)
    with pytest.raises(ProblemError) as refused:
        runner.submit("c", lambda job: None)
    assert refused.value.status_code == 429
    assert int(refused.value.headers["Retry-After"]) > 0
    assert second.state == "waiting"
    gate.set()
    assert answer.result(10) == second.id
    assert (first.state, second.state) == ("done", "done")
    runner.submit("d", lambda job: None)[1].result(10)


def test_a_job_over_its_time_fails_and_says_so():
    runner = JobRunner(at_once=1, queue=1, seconds=0.05)

    def work(job):
        while True:
            job.check()
            time.sleep(0.01)

    job, answer = runner.submit("slow", work)
    with pytest.raises(ProblemError) as refused:
        answer.result(10)
    assert refused.value.status_code == 503
    assert job.state == "failed"
    assert "longer than the 0.05 seconds" in job.message
    runner.close()


def test_a_job_is_stopped_while_it_runs_and_while_it_waits(runner):
    began = threading.Event()

    def work(job):
        began.set()
        while True:
            job.check()
            time.sleep(0.01)

    first, running = runner.submit("a", work)
    second, waiting = runner.submit("b", work)
    assert began.wait(10)
    second.cancel()
    first.cancel()
    for answer in (running, waiting):
        with pytest.raises(ProblemError):
            answer.result(10)
    assert (first.state, second.state) == ("cancelled", "cancelled")
    assert runner.job(first.id) is first
    with pytest.raises(ProblemError, match="no such job"):
        runner.job("nothing")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UnreadableImageError("a.png is empty."), 415, "a.png is empty."),
        (OutputError("/srv/store/x cannot be written"), 507, "cannot write to its store"),
    ],
)
def test_a_foreseen_failure_is_a_sentence_without_a_path(runner, error, status, said):
    def work(job):
        raise error

    job, answer = runner.submit("a", work)
    with pytest.raises(ProblemError) as refused:
        answer.result(10)
    assert refused.value.status_code == status
    assert said in job.message
    assert "/srv" not in job.message
    assert job.to_dict()["state"] == "failed"


def test_an_unforeseen_failure_keeps_its_text_to_itself(runner, caplog):
    def work(job):
        raise KeyError("patient.png")

    job, answer = runner.submit("a", work)
    with pytest.raises(KeyError):
        answer.result(10)
    assert "its log says where" in job.message
    assert "patient" not in caplog.text
    assert "KeyError" in caplog.text


def test_a_full_server_says_when_to_come_again(make_client, form, crop_files):
    client = make_client(max_jobs=1, queue=0)
    gate = threading.Event()
    client.app.state.workbench.jobs.submit("held", lambda job: gate.wait(20))
    answer = client.post("/v1/classify", files=form(crop_files))
    gate.set()
    assert answer.status_code == 429
    assert answer.headers["retry-after"]
    assert answer.json()["error"]["code"] == "busy"


def test_reading_stops_between_tiles_when_the_time_is_over(make_client, form, field_file, done):
    client = make_client(job_seconds=0.0001)
    session = client.post("/v1/sessions", json={}).json()["id"]
    job = done(client, client.post(f"/v1/sessions/{session}/fields", files=form({"a.png": field_file})))
    assert job["state"] == "failed"
    assert "longer than" in job["message"]
    assert client.get(f"/v1/sessions/{session}/images").json()["images"] == []
    lines = client.post(
        "/v1/classify", files=form({"a.png": field_file}), headers={"Accept": "application/x-ndjson"}
    ).text.splitlines()
    assert '"too_long"' in lines[-1]


def test_a_job_is_cancelled_by_its_route(client, monkeypatch, form, crop_files):
    session = client.post("/v1/sessions", json={}).json()["id"]
    gate = threading.Event()
    held = [client.app.state.workbench.jobs.submit("held", lambda job: gate.wait(20)) for _ in range(2)]
    begun = client.post(f"/v1/sessions/{session}/crops", files=form(crop_files)).json()["job"]
    assert begun["state"] == "waiting"
    client.delete(f"/v1/jobs/{begun['id']}")
    gate.set()
    for _, answer in held:
        answer.result(10)
    with client.stream("GET", f"/v1/jobs/{begun['id']}/events") as events:
        last = [line for line in events.iter_lines() if line][-1]
    assert '"state": "cancelled"' in last
    assert client.get("/v1/jobs/nothing").status_code == 404
    assert list(client.app.state.workbench.store.incoming.iterdir()) == []
