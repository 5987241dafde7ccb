"""The command `study`: what it refuses before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

PLAN = Path(__file__).parents[2] / "studies" / "home.toml"


@pytest.mark.parametrize("option", [(), ("--no-train",)])
def test_a_part_that_the_study_does_not_have_is_refused(cli, tmp_path, option):
    done = cli("study", PLAN, "--output", tmp_path, "--pages", tmp_path, "--only", "nope", *option)
    assert done.status == 2
    assert done.only_sentences()
    assert not list(tmp_path.iterdir())
