"""Rules of the layout that a reader can rely on, because they are checked here."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import corpuscle

PACKAGE = Path(corpuscle.__file__).parent
ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = [path for path in FILES if path.name == "__init__.py" and path.parent != PACKAGE]
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "base", "misc"}
MOST_LINES, MOST_FUNCTION_LINES = 600, 65


def named(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def test_there_are_files_to_check():
    assert len(FILES) > 20


def test_data_flows_one_way():
    pytest.importorskip("importlinter")
    command = "from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--config", str(ROOT / "pyproject.toml"), "--no-cache"],
        cwd=PACKAGE.parent, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("path", FILES, ids=named)
def test_files_and_functions_can_be_read_in_one_go(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in functions(path)
        if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > MOST_FUNCTION_LINES
    }
    assert long == {}


def test_no_file_or_folder_has_a_name_that_says_nothing():
    parts = {part for path in FILES for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert parts & FORBIDDEN_NAMES == set()


@pytest.mark.parametrize("path", ROOMS, ids=named)
def test_rooms_hold_nothing_but_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize("path", FILES, ids=named)
def test_user_input_is_never_checked_by_assert(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)] == []


@pytest.mark.parametrize("path", FILES, ids=named)
def test_nothing_is_pickled(path):
    """Pickled files run code when they are read; ours are JSON, safetensors, ONNX and NPZ without objects."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert imported & {"pickle", "dill", "joblib", "shelve"} == set()
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not {"torch.load", "torch.save"} & set(calls)
