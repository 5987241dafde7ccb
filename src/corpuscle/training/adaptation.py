"""Fits a bundle to a laboratory that it does not know, with that laboratory's own pictures and without any label.

What another stain and camera change most is how strong and how varied the features of each layer are. The norms of the
network carry these numbers from the training pictures; measured anew on the pictures that are to be judged they take
much of the difference away (Li et al. 2018, "Adaptive batch normalization", doi 10.1016/j.patcog.2018.03.005). Weights
stay as they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from corpuscle import __version__
from corpuscle.errors import CorpuscleError, NoInputError, UsageError
from corpuscle.files import make_folder, written_whole
from corpuscle.models.bundle import Bundle, write_manifest
from corpuscle.models.card import model_card
from corpuscle.models.export import export_graph, quantize_graph, round_to_half
from corpuscle.models.pretrained import reestimate_norms
from corpuscle.models.restored import restore_network
from corpuscle.models.zoo import CellNetwork
from corpuscle.prediction.embedding import Specimen
from corpuscle.preprocessing.transforms import prepare, to_batch
from corpuscle.records import Failure
from corpuscle.training.checkpoint import save_weights

__all__ = ["FEWEST_CELLS", "Adaptation", "adapt", "can_adapt"]

FEWEST_CELLS = 32
"""With fewer cells the norms would follow single cells instead of the stain."""
_MOST_CELLS = 2048
_BATCH = 64
_CALIBRATION_CROPS = 256

Image8 = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, slots=True)
class Adaptation:
    """What came of it.

    Attributes:
        bundle: The new bundle.
        n_cells: How many pictures its norms were measured on.
        failures: Pictures that could not be read.
    """

    bundle: Bundle
    n_cells: int
    failures: tuple[Failure, ...]


def can_adapt(bundle: Bundle) -> bool:
    """Say whether the network of a bundle has norms that `adapt` could measure anew.

    Raises:
        BundleError: The bundle does not say which network it is.
    """
    return bool(reestimate_norms(restore_network(bundle), ()))


def adapt(
    bundle: Bundle,
    specimens: Sequence[Specimen],
    folder: str | Path,
    *,
    strength: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Adaptation:
    """Write a copy of a bundle whose norms are measured on other pictures.

    Classes, weights, temperature, thresholds and reference stay; figures measured with the old norms are not taken
    over, as they no longer hold. Labels of the pictures are not looked at.

    Args:
        bundle: What to begin with; not changed.
        specimens: Pictures of the other laboratory, of all sorts of cells that are to be judged, in about the numbers
            in which they come.
        folder: Folder of the new bundle; its name is that of the model.
        strength: How far the norms go from home (0) to the new pictures (1).
        progress: Called with (done, all) while pictures are read.

    Raises:
        NoInputError: Fewer than `FEWEST_CELLS` pictures can be read.
        UsageError: `strength` is not in (0, 1], the network has no norms to measure, or `folder` is the bundle's own.
        BundleError: The bundle does not say which network it is.
        OutputError: The folder cannot be written.
    """
    target = Path(folder)
    if not 0 < strength <= 1:
        raise UsageError(f"The strength of adapting must lie above 0 and at most at 1, not {strength}.")
    if target.resolve() == bundle.folder.resolve():
        raise UsageError("The adapted model needs a folder of its own. Name another with --output.")
    network = restore_network(bundle)
    crops, failures = _crops(bundle, specimens, progress)
    if len(crops) < FEWEST_CELLS:
        first = f" The first that cannot be read: {failures[0].reason}" if failures else ""
        raise NoInputError(f"{len(crops)} pictures are too few to adapt to; give {FEWEST_CELLS} or more.{first}")
    _measure(network, bundle, crops, strength)
    make_folder(target)
    listing = hashlib.sha256("\n".join(sorted(item.file for item in specimens)).encode(errors="replace")).hexdigest()
    source = ", ".join(dict.fromkeys(item.source for item in specimens))
    row = {
        "dataset": source, "split": "adaptation", "n": len(crops), "sha256": listing, "licence": "not stated",
        "citation": f"pictures without labels; norms measured on them, strength {strength:g}",
    }  # fmt: skip
    changed = dataclasses.replace(
        bundle, folder=target, name=target.resolve().name, version=f"{bundle.version}-adapted", metrics=(),
        training_data=(*bundle.training_data, row), code_version=__version__,
        attribution=(*bundle.attribution, f"Adapted to {len(crops)} pictures without labels of {source}."),
    )  # fmt: skip
    return Adaptation(_written(changed, bundle, network, crops), len(crops), failures)


def _crops(
    bundle: Bundle, specimens: Sequence[Specimen], progress: Callable[[int, int], None] | None
) -> tuple[Image8, tuple[Failure, ...]]:
    """Read and frame the pictures, at most some thousands drawn at random: NxSxSx3 uint8."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(specimens))[:_MOST_CELLS])
    crops, failures = [], []
    for done, place in enumerate(chosen.tolist(), start=1):
        item = specimens[place]
        try:
            crops.append(prepare(item.cell.read(), bundle.preprocessing)[0])
        except CorpuscleError as error:
            failures.append(Failure(item.file, str(error)))
        if progress:
            progress(done, len(chosen))
    side = bundle.preprocessing.input_px
    return (np.stack(crops) if crops else np.zeros((0, side, side, 3), np.uint8)), tuple(failures)


def _measure(network: CellNetwork, bundle: Bundle, crops: Image8, strength: float) -> None:
    """Measure the norms of a network on crops, in place, and go as far towards them as asked."""
    home = {key: value.clone() for key, value in network.state_dict().items()}

    def batches() -> Iterator[torch.Tensor]:
        order = np.random.default_rng(0).permutation(len(crops))
        for part in np.array_split(order, max(1, round(len(crops) / _BATCH))):
            yield torch.from_numpy(to_batch(np.ascontiguousarray(crops[np.sort(part)]), bundle.preprocessing))

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            if not reestimate_norms(_without_chance(network), batches()):
                raise UsageError(f"The network of {bundle.name} has no norms that could be adapted.")
            for key, value in network.state_dict().items():
                if key.endswith(("running_mean", "running_var")):
                    value.lerp_(home[key], 1 - strength)
    finally:
        torch.set_num_threads(threads)


def _without_chance(network: CellNetwork) -> CellNetwork:
    """Switch dropout off for good: it has no say in prediction either."""
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return network


def _written(changed: Bundle, home: Bundle, network: CellNetwork, crops: Image8) -> Bundle:
    """Write weights, graphs, reference, card and manifest of the new bundle."""
    folder, spec = changed.folder, changed.preprocessing
    round_to_half(network).eval()
    halves = {
        key: value.half() if value.dtype == torch.float32 else value for key, value in network.state_dict().items()
    }
    save_weights(folder / "weights.safetensors", halves)
    export_graph(network, folder / "model.onnx", input_px=spec.input_px)
    if home.graph != "model.onnx":
        parts = np.array_split(np.random.default_rng(0).permutation(len(crops))[:_CALIBRATION_CROPS], 16)
        batches = [to_batch(np.ascontiguousarray(crops[np.sort(part)]), spec) for part in parts if len(part)]
        quantize_graph(folder / "model.onnx", folder / home.graph, batches)
    with written_whole(folder / "reference.safetensors") as part:
        part.write_bytes((home.folder / "reference.safetensors").read_bytes())
    with written_whole(folder / "README.md") as part:
        part.write_text(model_card(changed), encoding="utf-8")
    return write_manifest(changed)
