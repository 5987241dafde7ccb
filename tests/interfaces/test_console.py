"""What commands share."""

import io
import json
import sys

import pytest

from corpuscle.interfaces import console
from corpuscle.models import bundle


def test_the_default_model_is_that_of_the_library() -> None:
    assert console.DEFAULT_MODEL == bundle.DEFAULT_MODEL


def test_the_default_model_ships() -> None:
    assert bundle.DEFAULT_MODEL in bundle.shipped_bundles()


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_json_is_json_whatever_the_terminal_takes(monkeypatch, encoding) -> None:
    values = {"file": "\u8840\U0001f600\x81\xe9"}
    printed = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", printed)
    console.print_json(values)
    printed.flush()
    assert json.loads(printed.buffer.getvalue().decode(encoding)) == values
