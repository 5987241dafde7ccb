"""The names that people may use, and that looking at them costs nothing."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import corpuscle


def modules() -> list[str]:
    return sorted(item.name for item in pkgutil.walk_packages(corpuscle.__path__, "corpuscle.") if not item.ispkg)


def test_the_list_is_sorted_and_without_repetition():
    assert corpuscle.__all__ == sorted(set(corpuscle.__all__))


@pytest.mark.parametrize("name", corpuscle.__all__)
def test_every_public_name_loads_and_says_what_it_is(name):
    value = getattr(corpuscle, name)
    assert value.__name__ == name
    assert value.__doc__


def test_the_names_are_the_same_at_run_time_and_for_type_checkers():
    tree = ast.parse(Path(corpuscle.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module.removeprefix("corpuscle.")
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert seen == corpuscle._HOMES
    assert sorted(seen) == corpuscle.__all__


def test_the_public_names_can_be_listed_and_others_are_errors():
    assert set(dir(corpuscle)) == {*corpuscle.__all__, "__version__"}
    with pytest.raises(AttributeError, match="corpuscle has no 'diagnose'"):
        corpuscle.diagnose  # noqa: B018


def test_the_version_is_a_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+([a-z]+\d+)?", corpuscle.__version__)


@pytest.mark.parametrize("name", modules())
def test_every_module_lists_its_names_and_holds_them(name):
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    assert [listed for listed in module.__all__ if not hasattr(module, listed)] == []
    private = [listed for listed in module.__all__ if listed.startswith("_")]
    assert private == []


def test_importing_the_package_loads_nothing_heavy():
    code = "import corpuscle, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    loaded = set(done.stdout.split())
    assert "corpuscle" in loaded
    assert loaded & {"numpy", "torch", "PIL", "onnxruntime", "typer", "rich", "matplotlib", "timm"} == set()
