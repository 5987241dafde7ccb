"""The exported map in the real TensorBoard projector, in a headless browser: opt-in, as both have to be installed.

`pip install tensorboard playwright` and a Chromium (`CORPUSCLE_CHROMIUM`, else one on the path), then
`pytest -m slow tests/explanation/test_tensorboard.py`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from corpuscle.explanation.projection_files import write_projector
from corpuscle.prediction.embedding import embed_cells, find_specimens

CHROMIUM = os.environ.get("CORPUSCLE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
         "--ignore-gpu-blocklist"]  # fmt: skip


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run TensorBoard on a folder and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", str(port),
               "--host", "127.0.0.1", "--load_fast=false"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/data/plugins_listing", timeout=5).close()
                break
            except OSError:
                time.sleep(1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_the_projector_shows_vectors_labels_and_sprite(toy, drawn_files, tmp_path):
    pytest.importorskip("tensorboard")
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("no Chromium")
    cells = embed_cells(find_specimens(drawn_files), model=toy)
    write_projector(cells, tmp_path / "projector")
    with served(tmp_path / "projector") as address, playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        answers: dict[str, int] = {}
        page.on("response", lambda item: answers.update({item.url.split("?")[0].rsplit("/", 1)[-1]: item.status}))
        page.goto(f"{address}/#projector", timeout=120_000)
        page.wait_for_timeout(1000)
        frame = next(item for item in page.frames if "projector_binary" in item.url)
        points = frame.get_by_text(f"Points: {len(cells)}")
        points.wait_for(timeout=120_000)
        page.wait_for_timeout(5000)
        shot = tmp_path / "shot.png"
        page.screenshot(path=shot)
        assert [answers[name] for name in ("tensor", "metadata", "sprite_image")] == [200, 200, 200]
        assert frame.get_by_text(f"Dimension: {cells.embeddings.shape[1]}").is_visible()
        menu = frame.locator("vz-projector-data-panel paper-dropdown-menu:visible").nth(2)
        menu.click()
        page.wait_for_timeout(2000)
        offered = [item.inner_text().split() for item in frame.locator("paper-item").all() if item.is_visible()]
        browser.close()
    assert ["class", str(len({item.class_name for item in cells.predictions})), "colors"] in offered
    from PIL import Image

    with Image.open(shot) as picture:
        middle = np.asarray(picture.convert("RGB"), np.int16)[150:900, 330:1180]
    # The drawn cells are violet; without their pictures the points are gray or blue dots.
    violet = (middle[..., 0] - middle[..., 1] > 30) & (middle[..., 2] - middle[..., 1] > 30)
    assert violet.sum() > 200
