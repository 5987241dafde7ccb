from __future__ import annotations

import base64
import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpuscle.errors import InputError, UnknownNameError, UsageError
from corpuscle.explanation.map_colors import colorings
from corpuscle.explanation.projection import CellMap, load_map, make_map, place_on_map, save_map
from corpuscle.explanation.projection_files import map_page, write_projector
from corpuscle.explanation.scatter import draw_map
from corpuscle.prediction.classification import CellReader
from corpuscle.prediction.embedding import EmbeddedCells, embed_cells, find_specimens


def clusters(per: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """Points of four clusters in 30 dimensions and the cluster of each."""
    rng = np.random.default_rng(0)
    which = np.repeat(np.arange(4), per)
    centers = 6 * rng.normal(size=(4, 30))
    return (centers[which] + rng.normal(size=(len(which), 30))).astype(np.float32), which


@pytest.fixture(scope="session")
def cells(toy, drawn_files) -> EmbeddedCells:
    return embed_cells(find_specimens([drawn_files[0].parent]), model=toy, workers=1)


@pytest.fixture(scope="session")
def cell_map(cells) -> CellMap:
    return make_map(cells.embeddings, method="pca", dimensions=3, model="toy 1")


@pytest.mark.filterwarnings("ignore")  # numba and scikit-learn inside the two packages
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("method", ["pca", "tsne", pytest.param("umap", marks=pytest.mark.slow)])
def test_clusters_stay_apart_and_new_points_join_theirs(method, dimensions):
    if method != "pca":
        pytest.importorskip({"tsne": "openTSNE", "umap": "umap"}[method])
    points, which = clusters()
    old = np.arange(len(points)) % 7 != 0
    found = make_map(points[old], method=method, dimensions=dimensions)
    assert found.coordinates.shape == (old.sum(), dimensions)
    assert found.coordinates.dtype == np.float32
    before = found.coordinates.copy()
    centers = np.stack([found.coordinates[which[old] == k].mean(0) for k in range(4)])
    placed = place_on_map(found, points[~old])
    nearest = np.linalg.norm(placed[:, None] - centers[None], axis=2).argmin(1)
    assert (nearest == which[~old]).all()
    assert np.array_equal(found.coordinates, before)


def test_pca_is_that_of_scikit_learn():
    from sklearn.decomposition import PCA

    points, _ = clusters()
    found = make_map(points, method="pca", dimensions=3).coordinates
    assert np.allclose(np.abs(found), np.abs(PCA(3).fit_transform(points)), atol=1e-3)
    assert np.allclose(place_on_map(make_map(points, method="pca"), points), found[:, :2], atol=1e-3)


def test_a_map_is_kept_without_pickle(tmp_path):
    points, _ = clusters()
    made = make_map(points, method="pca", model="toy 1")
    save_map(made, tmp_path)
    loaded = load_map(tmp_path)
    assert (loaded.method, loaded.model) == ("pca", "toy 1")
    assert np.array_equal(loaded.coordinates, made.coordinates)
    (tmp_path / "map.npz").write_bytes(b"no map")
    with pytest.raises(InputError, match="no map of cells"):
        load_map(tmp_path)


def test_impossible_maps_are_refused():
    points, _ = clusters()
    with pytest.raises(UnknownNameError, match="'isomap'"):
        make_map(points, method="isomap")
    with pytest.raises(UsageError, match="2 or 3 dimensions"):
        make_map(points, dimensions=4)
    with pytest.raises(UsageError, match="at least 4 cells"):
        make_map(points[:3])
    with pytest.raises(UsageError, match="30 numbers"):
        place_on_map(make_map(points, method="pca"), points[:, :20])


def test_embeddings_are_those_of_the_reader_whatever_the_number_of_workers(toy, cells, drawn_files):
    reader = CellReader(toy)
    assert [item.file for item in cells.predictions] == [str(path) for path in drawn_files]
    assert list(cells.predictions) == reader.read(drawn_files[:16]) + reader.read(drawn_files[16:])
    again = embed_cells(find_specimens([drawn_files[0].parent]), model=toy, workers=3)
    assert np.array_equal(again.embeddings, cells.embeddings)
    assert cells.thumbnails.shape == (len(cells), 40, 40, 3)


def test_labels_come_from_folder_names(toy_folder):
    found = find_specimens([toy_folder / "test"])
    assert {item.label for item in found} == {"neutrophil", "eosinophil", "lymphocyte", "platelet"}
    assert {item.source for item in found} == {"test"}


def page_data(page: str) -> dict:
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S).group(1))


def test_the_page_holds_every_point_and_loads_nothing(cells, cell_map):
    page = map_page(cells, cell_map, about="<b>a & b</b>")
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:|url\(|@import|import\(|fetch\(|XMLHttp", page)
    assert "http" not in page
    values = page_data(page)
    assert values["files"] == [item.file for item in cells.specimens]
    coordinates = np.frombuffer(base64.b64decode(values["coordinates"]), "<f4").reshape(-1, 3)
    assert np.array_equal(coordinates, cell_map.coordinates)
    assert {"prediction", "confidence", "source"} <= set(values["colorings"])
    for item in values["colorings"].values():
        codes = np.frombuffer(base64.b64decode(item["codes"]), np.uint8)
        assert len(codes) == len(cells)
        assert codes.max() < len(item["colors"]) == len(item["names"])
    assert len(values["sheets"]) == 1


def test_a_file_name_cannot_break_out_of_the_page(cells, cell_map):
    from dataclasses import replace

    odd = replace(cells.specimens[0], file="</script><script>alert(1)</script>")
    page = map_page(replace(cells, specimens=(odd, *cells.specimens[1:])), cell_map, about="")
    assert "<script>alert" not in page
    assert page_data(page)["files"][0] == odd.file


STUB = Path(__file__).with_name("page_stub.js")


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_script_of_the_page_draws_chooses_and_finds(cells, cell_map, tmp_path):
    (tmp_path / "map.html").write_text(map_page(cells, cell_map, about="about"))
    done = subprocess.run(
        ["node", str(STUB), str(tmp_path / "map.html")], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["first"] >= len(cells)
    rows = list(csv.DictReader(seen["csv"].splitlines()))
    assert [row["file"] for row in rows] == [item.file for item in cells.specimens]
    assert [row["confidence"] for row in rows] == [f"{item.confidence:.4f}" for item in cells.predictions]
    assert seen["found"] == "2 found"
    assert seen["chosen"] == f"{len(cells)} chosen."


def test_tensorboard_files_fit_each_other(cells, tmp_path):
    write_projector(cells, tmp_path)
    vectors = np.loadtxt(tmp_path / "vectors.tsv", delimiter="\t")
    assert np.allclose(vectors, cells.embeddings, atol=1e-4)
    lines = (tmp_path / "metadata.tsv").read_text().splitlines()
    assert len(lines) == len(cells) + 1
    assert all(line.count("\t") == lines[0].count("\t") for line in lines)
    config = (tmp_path / "projector_config.pbtxt").read_text()
    side = int(re.search(r"single_image_dim: (\d+)", config).group(1))
    with Image.open(tmp_path / "sprite.png") as sprite:
        assert sprite.width == sprite.height == side * int(np.ceil(np.sqrt(len(cells))))
        second = np.asarray(sprite)[:side, side : 2 * side]
    assert np.array_equal(second, cells.thumbnails[1])


def test_the_picture_shows_every_class_of_the_legend(cells, cell_map):
    for coloring in colorings(cells):
        drawn = draw_map(cell_map.coordinates, coloring, title="a map")
        assert drawn.dtype == np.uint8
        for code in np.unique(coloring.codes):
            if not coloring.ramp:
                assert (drawn == coloring.colors[code]).all(axis=2).sum() > 20
    with pytest.raises(UsageError, match="Give one each"):
        draw_map(cell_map.coordinates[:-1], colorings(cells)[0], title="")


def test_the_command_makes_a_map_and_places_new_cells_on_it(cli, toy_bundle, toy_folder, drawn_files, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    first = cli("project", toy_folder / "val", "--model", toy_bundle, "-o", tmp_path / "m", "--report", "--json")
    assert first.status == 0
    names = {path.name for path in (tmp_path / "m").iterdir()}
    wanted = {
        "map.html",
        "map.npz",
        "coordinates.csv",
        "map.label.png",
        "projector",
        "report.txt",
        "doubtful_labels.csv",
    }
    assert wanted <= names
    report = json.loads(first.out)["report"]
    assert report["suspects"][0]["file"].endswith("eosinophil_wrong.png")
    again = cli("project", drawn_files[0], bad, "--model", toy_bundle, "-o", tmp_path / "n", "--onto", tmp_path / "m")
    assert again.status == 3
    with (tmp_path / "n" / "coordinates.csv").open() as file:
        assert [row["file"] for row in csv.DictReader(file)] == [str(drawn_files[0])]
    other = cli("project", drawn_files[0], "-o", tmp_path / "n", "--onto", tmp_path / "m")
    assert other.status == 2
    assert "Name that model with --model" in other.err


def test_one_missing_path_loses_nothing_and_a_map_inside_the_folder_is_not_mapped(
    cli, toy_bundle, toy_folder, tmp_path
):
    folder = shutil.copytree(toy_folder / "test", tmp_path / "cells")
    for _ in range(2):
        done = cli("project", folder, tmp_path / "gone", "--model", toy_bundle, "-o", folder / "map", "--json")
        assert done.status == 3
        assert json.loads(done.out)["cells"] == 8
        with (folder / "map" / "coordinates.errors.csv").open() as file:
            assert [row["file"] for row in csv.DictReader(file)] == [str(tmp_path / "gone")]
    assert cli("project", folder, "--model", toy_bundle, "-o", folder).status == 2
    nothing = cli("project", tmp_path / "gone", "--model", toy_bundle, "-o", tmp_path / "m")
    assert nothing.status == 2
    assert "does not exist" in nothing.err


def test_a_map_to_place_cells_on_has_its_own_method(cli, toy_bundle, drawn_files, tmp_path):
    for option in (("--method", "pca"), ("--dimensions", "2")):
        done = cli("project", drawn_files[0], "--model", toy_bundle, "-o", tmp_path / "n", "--onto", tmp_path, *option)
        assert done.status == 2
        assert "has its own method" in done.err
    assert cli("project", drawn_files[0], "-o", tmp_path / "n", "--dimensions", "0").status == 2


def test_too_few_cells_are_one_sentence(cli, toy_bundle, drawn_files, tmp_path):
    done = cli("project", drawn_files[0], "--model", toy_bundle, "-o", tmp_path / "m")
    assert done.status == 2
    assert "at least 4 cells" in done.err
