"""What docs/api.md tells a programmer to type works, and the container is what docs/laboratory.md says it is."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from corpuscle.interfaces.api.exports import EXPORTS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def saved(folder: Path, crop_files: dict[str, bytes]) -> list[Path]:
    paths = []
    for name, data in {**crop_files, "words.png": b"no picture"}.items():
        paths.append(folder / name)
        paths[-1].write_bytes(data)
    return paths


def test_the_client_of_the_documentation_names_cells(live, tmp_path, crop_files):
    (tmp_path / "client.py").write_text(re.search(r"^```python client\n(.*?)^```$", PAGE, re.M | re.S)[1])
    paths = saved(tmp_path, crop_files)
    command = [sys.executable, "-W", "error", "client.py", live, *(path.name for path in paths)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [path.name for path in paths]
    assert lines[-1].startswith("words.png words.png is no")
    alone = subprocess.run([*command[:5], "words.png"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert alone.returncode == 1
    assert "words.png is no" in alone.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_lines_of_the_documentation_work(live, tmp_path, crop_files, field_file):
    lines = re.findall(r"^curl .*$", PAGE, re.M)
    assert len(lines) == 2
    (tmp_path / "cell.png").write_bytes(crop_files["neutrophil.png"])
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(field_file)
    said = []
    for line in lines:
        command = shlex.split(line.replace("http://127.0.0.1:8000", live))
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
        said.append(
            [json.loads(item) for item in done.stdout.splitlines()] if "-sN" in line else json.loads(done.stdout)
        )
    assert said[0]["predictions"][0]["file"] == "cell.png"
    assert [line.get("done") for line in said[1]] == [1, 2, None]


def test_every_export_is_explained():
    table = PAGE[PAGE.index("| export | what |") :]
    assert set(re.findall(r"`(\w+\.(?:csv|json|zip|html|pdf))`", table)) >= set(EXPORTS)


def test_options_named_in_the_documents_exist():
    from corpuscle.interfaces.manual import commands_page

    known = set(re.findall(r"--[a-z-]+", commands_page()))
    for name in ("api.md", "laboratory.md"):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        lines = re.findall(r"^(?:corpuscle|docker run)? ?.*corpuscle serve.*$|`(--[a-z-]+)[^`]*`", text, re.M)
        named = {item for item in lines if item}
        assert named, name
        assert named <= known, name


def test_the_container_runs_without_root_and_copies_only_what_it_needs():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    last = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER corpuscle$", last, re.M)
    assert last.index("USER corpuscle") < last.index("ENTRYPOINT")
    assert "pip install" not in last
    assert "http://" not in last.replace("http://127.0.0.1", "")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.M) for word in line.split()}
    assert {f"!{name}" for name in copied} <= set(ignored)
    assert all((ROOT / name).exists() for name in copied)
