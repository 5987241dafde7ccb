"""Maps of embeddings: PCA, t-SNE or UMAP to two or three dimensions, and new cells placed on a map that exists.

PCA needs nothing beyond the base installation. t-SNE is that of openTSNE (Policar, Strazar, Zupan 2019) and UMAP that
of umap-learn (McInnes, Healy, Melville 2018), both from the extra `project`. A map is kept as plain arrays: nothing is
pickled, and what a method needs to place new cells is built again from them.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from corpuscle.errors import InputError, MissingExtraError, UnknownNameError, UsageError
from corpuscle.files import written_whole

__all__ = ["METHODS", "CellMap", "check_method", "load_map", "make_map", "place_on_map", "save_map"]

Floats = npt.NDArray[np.float32]
METHODS: Final = ("pca", "tsne", "umap")
_KEPT: Final = 50
"""Principal components that t-SNE and UMAP are given: what is beyond is noise and costs time."""
_NEIGHBORS: Final = 15
_SEED: Final = 0
_LEAST: Final = 4


@dataclass(frozen=True, slots=True)
class CellMap:
    """A map with what it takes to place new cells on it.

    Attributes:
        method: One of `METHODS`.
        model: Name and version of the bundle that made the embeddings.
        coordinates: Nxd float32, d is 2 or 3.
        reduced: Nxp float32, the embeddings in principal components.
        mean: D float32, of the embeddings.
        components: pxD float32, orthonormal rows.
    """

    method: str
    model: str
    coordinates: Floats
    reduced: Floats
    mean: Floats
    components: Floats


def check_method(method: str, dimensions: int) -> None:
    """Refuse a method or a number of dimensions that no map has.

    Raises:
        UnknownNameError: There is no such method.
        UsageError: Another number of dimensions.
    """
    if method not in METHODS:
        raise UnknownNameError("projection method", method, METHODS)
    if dimensions not in (2, 3):
        raise UsageError(f"A map has 2 or 3 dimensions, not {dimensions}.")


def make_map(embeddings: Floats, *, method: str = "tsne", dimensions: int = 2, model: str = "") -> CellMap:
    """Lay embeddings out so that like lies near like.

    Args:
        embeddings: NxD float32, N at least 4.
        method: One of `METHODS`.
        dimensions: 2 or 3.
        model: Which bundle made them.

    Raises:
        UnknownNameError: There is no such method.
        UsageError: Too few cells, or another number of dimensions.
        MissingExtraError: The method's package is not installed.
    """
    check_method(method, dimensions)
    if embeddings.ndim != 2 or len(embeddings) < _LEAST:
        raise UsageError(f"A map needs at least {_LEAST} cells, not {len(embeddings)}. Give more pictures.")
    mean = embeddings.mean(axis=0, dtype=np.float64).astype(np.float32)
    centered = embeddings - mean
    components = _components(centered, min(_KEPT, embeddings.shape[1]))
    reduced = centered @ components.T
    begin = _padded(reduced, dimensions)
    if method == "tsne":
        coordinates = np.asarray(_tsne(reduced, begin), np.float32)
    elif method == "umap":
        coordinates = np.asarray(_umap(len(reduced), dimensions).fit_transform(reduced), np.float32)
    else:
        coordinates = begin
    return CellMap(method, model, coordinates, reduced, mean, components)


def _padded(reduced: Floats, dimensions: int) -> Floats:
    """Return the first components, with zeros where there are too few."""
    first = reduced[:, :dimensions]
    return np.pad(first, ((0, 0), (0, dimensions - first.shape[1])))


def _components(centered: Floats, count: int) -> Floats:
    """Return the principal directions, most spread first, the sign such that the largest entry is positive."""
    spread = centered.T.astype(np.float64) @ centered
    _, vectors = np.linalg.eigh(spread)
    rows = vectors.T[::-1][:count]
    signs = np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)])
    return np.asarray(rows * signs[:, None], np.float32)


def _perplexity(n: int) -> float:
    return max(1.0, min(30.0, (n - 1) / 3))


def _tsne_options(n: int, dimensions: int) -> dict[str, Any]:
    # The interpolation of openTSNE knows no third dimension; Barnes-Hut does, and is as quick where cells are few.
    plain = "bh" if dimensions == 3 or n < 10_000 else "fft"
    return {"negative_gradient_method": plain, "n_jobs": 1, "random_state": _SEED}


def _affinities(reduced: Floats) -> Any:
    """Say which cells are neighbors, as t-SNE counts it."""
    try:
        from openTSNE.affinity import PerplexityBasedNN
    except ModuleNotFoundError as error:
        raise MissingExtraError("The method tsne", "project") from error
    return PerplexityBasedNN(
        reduced, perplexity=_perplexity(len(reduced)), method="exact" if len(reduced) < 2000 else "annoy",
        n_jobs=1, random_state=_SEED,
    )  # fmt: skip


def _tsne(reduced: Floats, begin: Floats) -> Any:
    """Run t-SNE from the principal components, which keeps the large picture (Kobak and Berens 2019)."""
    affinities = _affinities(reduced)
    from openTSNE import TSNE

    start = begin / max(float(begin[:, 0].std()), 1e-9) * 1e-4
    tool = TSNE(n_components=begin.shape[1], **_tsne_options(*begin.shape))
    return tool.fit(affinities=affinities, initialization=np.ascontiguousarray(start, np.float64))


def _umap(n: int, dimensions: int, **options: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from umap import UMAP
    except ModuleNotFoundError as error:
        raise MissingExtraError("The method umap", "project") from error
    init = "random" if n < 20 else "pca"
    values = {"init": init, "n_neighbors": min(_NEIGHBORS, n - 1), "random_state": _SEED, "n_jobs": 1} | options
    return UMAP(n_components=dimensions, **values)


def place_on_map(cell_map: CellMap, embeddings: Floats) -> Floats:
    """Place new cells on a map without moving what lies on it.

    Args:
        cell_map: The map.
        embeddings: MxD float32 of the same model.

    Returns:
        Mxd float32.

    Raises:
        UsageError: The embeddings have another width than those of the map.
        MissingExtraError: The method's package is not installed.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != len(cell_map.mean):
        raise UsageError(
            f"The map was made of embeddings of {len(cell_map.mean)} numbers, these have the shape {embeddings.shape}. "
            "Use the model that made the map."
        )
    reduced = np.asarray((embeddings - cell_map.mean) @ cell_map.components.T, np.float32)
    dimensions = cell_map.coordinates.shape[1]
    if cell_map.method == "pca":
        return _padded(reduced, dimensions)
    if cell_map.method == "tsne":
        affinities = _affinities(cell_map.reduced)
        from openTSNE import TSNEEmbedding

        options = _tsne_options(*cell_map.coordinates.shape)
        fitted = TSNEEmbedding(cell_map.coordinates.astype(np.float64), affinities, **options)
        nearest = max(1, min(_NEIGHBORS, (len(cell_map.reduced) - 1) // 3))
        return np.asarray(fitted.transform(reduced, perplexity=min(5, nearest)), np.float32)
    tool = _umap(len(cell_map.reduced), dimensions, init=cell_map.coordinates, n_epochs=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tool.fit(cell_map.reduced)
    tool.embedding_, tool.n_epochs = cell_map.coordinates.copy(), None
    return np.asarray(tool.transform(reduced), np.float32)


def save_map(cell_map: CellMap, folder: Path) -> Path:
    """Write a map as `map.npz`, plain arrays without objects.

    Raises:
        OutputError: It cannot be written.
    """
    path = Path(folder) / "map.npz"
    about = json.dumps({"method": cell_map.method, "model": cell_map.model})
    arrays = {name: getattr(cell_map, name) for name in ("coordinates", "reduced", "mean", "components")}
    with written_whole(path) as part, part.open("wb") as file:
        np.savez_compressed(file, about=np.frombuffer(about.encode(), np.uint8), **arrays)
    return path


def load_map(path: Path) -> CellMap:
    """Read what `save_map` wrote.

    Args:
        path: The file, or its folder.

    Raises:
        InputError: There is no map, or it is damaged.
    """
    file = path / "map.npz" if path.is_dir() else path
    try:
        with np.load(file, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes().decode())
            names = ("coordinates", "reduced", "mean", "components")
            values = [np.asarray(arrays[name], np.float32) for name in names]
        found = CellMap(str(about["method"]), str(about["model"]), *values)
    except (OSError, EOFError, LookupError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} is no map of cells ({error}). Make one with `corpuscle project`.") from error
    n = len(found.coordinates)
    fits = found.coordinates.shape[1:] in ((2,), (3,)) and found.reduced.shape == (n, len(found.components))
    if not fits or found.method not in METHODS or found.components.shape[1:] != found.mean.shape:
        raise InputError(f"{file} holds arrays that do not fit each other. Make the map again.")
    return found
