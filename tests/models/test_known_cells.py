from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from corpuscle.errors import BundleError, UsageError
from corpuscle.models.bundle import load_bundle, write_manifest
from corpuscle.models.known_cells import (
    KNOWN_CELLS_FILE,
    make_known_cells,
    read_known_cells,
    write_known_cells,
)


def cloud(n: int, width: int, seed: int = 0) -> np.ndarray:
    """Points that spread less and less from axis to axis, as embeddings do."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, width)) * 0.9 ** np.arange(width) + 3).astype(np.float32)


def index_of(points: np.ndarray, **changes):
    files = changes.pop("files", [f"set/cell {n}.png" for n in range(len(points))])
    return make_known_cells(points, files, np.arange(len(points)) % 2, ("neutrophil", "platelet"), unit=2.0)


def test_a_known_cell_finds_itself_and_the_exact_nearest_is_nearly_always_found():
    points, queries = cloud(500, 24), cloud(200, 24, seed=1)
    index = index_of(points)
    assert [near[0].file for near in index.nearest(points[:50], 1)] == [f"set/cell {n}.png" for n in range(50)]
    away = np.linalg.norm(points[None] - queries[:, None], axis=2)
    found = index.nearest(queries, 3)
    places = [[int(cell.file.split()[1][:-4]) for cell in near] for near in found]
    assert np.mean([row[0] for row in places] == away.argmin(1)) > 0.9
    for near, row, exact in zip(found, places, away, strict=True):
        distances = [cell.distance for cell in near]
        assert distances == sorted(distances)
        assert np.allclose(distances, exact[row] / 2, atol=0.15)
        assert near[0].class_name == ("neutrophil", "platelet")[row[0] % 2]


def test_the_index_stays_under_a_megabyte_with_as_many_cells_as_pbc_has(copied_bundle):
    bundle = load_bundle(copied_bundle)
    path = write_known_cells(bundle, index_of(cloud(12_000, 192)))
    assert path.stat().st_size < 1_100_000


def test_the_index_comes_back_from_the_bundle_as_it_was(copied_bundle):
    bundle = load_bundle(copied_bundle)
    assert read_known_cells(bundle) is None
    width = bundle.reference().means.shape[1]
    points = cloud(40, width)
    index = index_of(points, files=["a\nb", *(f"\udcff{n}" for n in range(39))])
    write_known_cells(bundle, index)
    found = read_known_cells(write_manifest(bundle))
    assert found is not None
    assert found.files == index.files
    assert found.files[0] == "a b"
    assert (found.points == index.points).all()
    assert found.nearest(points[:3]) == index.nearest(points[:3])


def test_an_index_of_another_network_or_damaged_is_refused(copied_bundle):
    bundle = load_bundle(copied_bundle)
    write_known_cells(bundle, index_of(cloud(40, bundle.reference().means.shape[1] + 1)))
    with pytest.raises(BundleError, match="another network"):
        read_known_cells(write_manifest(bundle))
    (copied_bundle / KNOWN_CELLS_FILE).write_bytes(b"nothing")
    with pytest.raises(BundleError, match="cannot be read"):
        read_known_cells(write_manifest(bundle))


def test_no_cells_make_no_index():
    with pytest.raises(UsageError, match="make no index"):
        index_of(np.zeros((0, 4), np.float32))
    with pytest.raises(UsageError, match="does not fit"):
        dataclasses.replace(index_of(cloud(4, 4)), unit=0.0)
