"""The documents say what the code does."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from corpuscle import __version__
from corpuscle.interfaces.manual import commands_page, fill_readme, recipes_page

ROOT = Path(__file__).parent.parent


def blocks(name: str) -> list[str]:
    return re.findall(rf"^```sh {name}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)


def test_the_readme_has_exactly_two_set_up_commands_and_they_come_first() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(blocks("first")) == len(blocks("second")) == 1
    fences = re.findall(r"^```\w*.*$", text, re.M)
    assert fences[0] == "```sh first"
    assert fences[2] == "```sh second"
    assert len(blocks("first")[0].strip().splitlines()) == len(blocks("second")[0].strip().splitlines()) == 1


def test_the_first_command_runs_the_demo_and_the_second_the_tests() -> None:
    assert blocks("first")[0].strip().endswith("corpuscle demo")
    assert blocks("second")[0].strip().endswith("pytest")
    assert "'.[dev]'" in blocks("second")[0]


def test_every_corpuscle_line_of_the_documents_is_a_command() -> None:
    known = set(re.findall(r"^## `corpuscle (\w+)`", commands_page(), re.M))
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for name in re.findall(r"^corpuscle (\w+)", path.read_text(), re.M):
            assert name in known, f"{path.name}: corpuscle {name}"


@pytest.mark.parametrize(("name", "page"), [("commands", commands_page), ("recipes", recipes_page)])
def test_made_pages_are_up_to_date(name: str, page) -> None:
    assert (ROOT / "docs" / f"{name}.md").read_text() == page().rstrip() + "\n", "run ./dev docs"


def test_the_figures_of_the_readme_are_those_that_commands_wrote() -> None:
    readme = ROOT / "README.md"
    assert fill_readme(readme, ROOT / "docs" / "benchmarks.json") == readme.read_text(), "run ./dev docs"


def test_the_page_of_figures_is_what_its_store_holds() -> None:
    entries = json.loads((ROOT / "docs" / "benchmarks.json").read_text())
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    for command, entry in entries.items():
        assert f"## `{command}`" in text
        for row in entry["figures"]:
            assert f"| {row['what']} | {row['value']} |" in text


def test_every_recipe_key_has_a_meaning() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \| `.*` \|$", recipes_page(), re.M)
    assert len(rows) > 20
    assert [key for key, meaning in rows if not meaning.strip()] == []


def test_every_option_has_a_meaning() -> None:
    rows = re.findall(r"^\| (`.+?`) \| (.*?) \| (?:`.*`|needed|) ?\|$", commands_page(), re.M)
    assert len(rows) > 30
    assert [option for option, meaning in rows if not meaning.strip()] == []


def test_links_between_documents_lead_somewhere() -> None:
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_version_stands_in_the_change_log_and_the_citation() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {__version__}" in (ROOT / "CITATION.cff").read_text()


def test_the_constraints_hold_every_direct_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[\[<>=]", item)[0] for group in groups for item in group} - {"corpuscle"}
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert names <= pinned


def test_every_dependency_has_a_floor_and_a_ceiling() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [item for group in project["optional-dependencies"].values() for item in group]
    for item in [*project["dependencies"], *extras]:
        assert item.startswith("corpuscle[") or (">=" in item and "<" in item), item


def test_the_command_prints_its_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "corpuscle", "--version"],
        capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, f"corpuscle {__version__}")
