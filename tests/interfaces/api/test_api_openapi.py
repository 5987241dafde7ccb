"""What OpenAPI says of the routes is true, and no input that it allows, or forbids, makes the server fail."""

from __future__ import annotations

import re
from pathlib import Path
from unittest import SkipTest

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

schemathesis = pytest.importorskip("schemathesis")
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

ROOT = Path(__file__).parents[3]
CHECKS = (
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def api(live):
    """The description, read through a real socket: the schema's own way would start and end the server each time."""
    return schemathesis.openapi.from_url(f"{live}/openapi.json", wait_for_schema=20)


def attack(api, examples: int) -> set[str]:
    """Send each route what its description allows, and what it forbids; returns the routes."""
    seen = set()
    quiet = settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )  # fmt: skip
    for found in api.get_all_operations():
        operation = found.ok()
        seen.add(f"{operation.method.upper()} {operation.path}")
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            try:
                strategy = operation.as_strategy(generation_mode=mode)
                quiet(given(case=strategy)(checked))()
            except (Unsatisfiable, SkipTest):
                continue  # nothing can be wrong in a route without parameters
    return seen


def checked(case) -> None:
    answer = case.call(headers={"X-Corpuscle": "1"}, timeout=60)
    case.validate_response(answer, checks=CHECKS)
    assert "/store" not in answer.text


@pytest.mark.filterwarnings("ignore")
def test_no_input_makes_the_server_fail(api, client):
    assert attack(api, 2) == {f"{method} {path}" for method, path in routes(client)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_input_of_many_makes_the_server_fail(api):
    attack(api, 25)


def routes(client) -> dict[tuple[str, str], dict]:
    paths = client.get("/openapi.json").json()["paths"]
    return {(method.upper(), path): row for path, rows in paths.items() for method, row in rows.items()}


def test_every_route_says_what_it_does_and_shows_an_example(client):
    whole = client.get("/openapi.json").json()
    for (method, path), row in routes(client).items():
        assert row["description"], path
        assert {"401", "403", "422"} <= row["responses"].keys(), path
        good = next(answer for status, answer in row["responses"].items() if status.startswith("2"))
        shape = good.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref")
        if shape and not shape.endswith(
            ("SessionList", "ImageList", "Cells", "Log", "Taxonomy", "Summary", "Named", "Undone")
        ):
            assert "example" in whole["components"]["schemas"][shape.rpartition("/")[2]], f"{method} {path}"


def test_every_route_stands_in_the_documentation(client):
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(GET|POST|PATCH|DELETE) (/v1/[^` ?]*)", text, re.M))
    assert listed == set(routes(client))
