"""Fits reference, temperature and thresholds of a bundle anew; its weights and graphs stay as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from corpuscle import taxonomy
from corpuscle.data.labeled import LabeledCell, labeled_cells
from corpuscle.errors import DataError
from corpuscle.files import written_whole
from corpuscle.models.bundle import Bundle, write_manifest
from corpuscle.models.card import model_card
from corpuscle.prediction.calibration import energy, fit_reference, fit_refusal, fit_temperature, softmax
from corpuscle.prediction.classification import BATCH, default_workers
from corpuscle.prediction.engine import Engine
from corpuscle.preprocessing.transforms import prepare, to_batch
from corpuscle.records import Framing

__all__ = ["Embedded", "embed", "refit"]

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Embedded:
    """What the network gives for labeled cells.

    Attributes:
        logits: NxK float32.
        embedding: NxD float32.
        labels: N int64, places in the bundle's classes.
        framings: What of each picture was judged.
    """

    logits: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    framings: tuple[Framing, ...]


def embed(bundle: Bundle, cells: Sequence[LabeledCell], *, progress: Progress | None = None) -> Embedded:
    """Run the graph that predicts over labeled cells, in batches that threads share.

    Raises:
        DataError: There is no cell whose label the bundle knows.
        ImageError: A picture cannot be read.
    """
    engine, classes = Engine(bundle), bundle.classes
    known = [cell for cell in cells if taxonomy.ancestor_in(cell.class_name, classes)]
    if not known:
        raise DataError(f"No cell has a label that {bundle.name} knows: {', '.join(classes)}.")

    def batch(start: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], list[Framing]]:
        prepared = [prepare(cell.read(), bundle.preprocessing) for cell in known[start : start + BATCH]]
        outputs = engine.run(to_batch(np.stack([crop for crop, _ in prepared]), bundle.preprocessing))
        return outputs.logits, outputs.embedding, [framing for _, framing in prepared]

    logits, embeddings, framings = [], [], list[Framing]()
    with ThreadPoolExecutor(default_workers()) as pool:
        for some_logits, some_embeddings, some_framings in pool.map(batch, range(0, len(known), BATCH)):
            logits.append(some_logits)
            embeddings.append(some_embeddings)
            framings += some_framings
            if progress:
                progress(len(framings), len(known))
    labels = [classes.index(taxonomy.ancestor_in(cell.class_name, classes)) for cell in known]
    return Embedded(np.concatenate(logits), np.concatenate(embeddings), np.asarray(labels, np.int64), tuple(framings))


def refit(
    bundle: Bundle,
    dataset: str | Path,
    *,
    root: str | Path | None = None,
    keep_reference: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Fit where the known cells lie on `train`, and temperature and thresholds on `val`; write card and manifest.

    Args:
        bundle: A bundle whose folder can be written.
        dataset: The labeled set that it was trained on.
        root: Folder that holds the data sets.
        keep_reference: Whether to leave `reference.safetensors` as it is, which spares the run over `train`.
        progress: Called with (done, all), once for each split.

    Returns:
        The bundle as written; its weights and graphs have the hashes that they had.

    Raises:
        DataError: A class has no cell in one of the splits.
        DatasetNotFoundError: The data set is not there.
        OutputError: The folder cannot be written.
    """
    if keep_reference:
        reference = bundle.reference()
    else:
        train = embed(bundle, labeled_cells(dataset, split="train", root=root), progress=progress)
        reference = fit_reference(train.embedding, train.labels, len(bundle.classes))
        with written_whole(bundle.folder / "reference.safetensors") as part:
            save_file({"means": reference.means, "whitening": np.ascontiguousarray(reference.whitening)}, part)
    val = embed(bundle, labeled_cells(dataset, split="val", root=root), progress=progress)
    temperature = fit_temperature(val.logits, val.labels)
    rule = fit_refusal(
        softmax(val.logits, temperature),
        val.labels,
        reference.distance(val.embedding),
        bundle.classes,
        energies=energy(val.logits, temperature),
        stains=np.asarray([framing.stain for framing in val.framings]) if bundle.refusal.minimum_stain > 0 else None,
    )
    changed = dataclasses.replace(bundle, temperature=temperature, refusal=rule)
    with written_whole(bundle.folder / "README.md") as part:
        part.write_text(model_card(changed), encoding="utf-8")
    return write_manifest(changed)
