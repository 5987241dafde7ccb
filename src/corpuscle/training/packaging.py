"""From the best weights of a run to a checked bundle."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from corpuscle import __version__
from corpuscle.data.catalog import DATASETS
from corpuscle.data.labeled import DRAWN_SETS, LABELED_SETS, LabeledCell
from corpuscle.errors import BundleError, TrainingError
from corpuscle.evaluation.intervals import wilson_interval
from corpuscle.files import make_folder, written_whole
from corpuscle.models.bundle import OPTIONAL_FILES, Bundle, RefusalRule, load_bundle, write_manifest
from corpuscle.models.card import model_card
from corpuscle.models.export import can_quantize, export_graph, quantize_graph, round_to_half
from corpuscle.models.pretrained import pretrained_about
from corpuscle.models.restored import described_network
from corpuscle.models.zoo import CellNetwork
from corpuscle.prediction.calibration import energy, fit_reference, fit_refusal, fit_temperature, softmax
from corpuscle.prediction.engine import Engine
from corpuscle.preprocessing.transforms import PreprocessingSpec, to_batch
from corpuscle.training.checkpoint import save_weights
from corpuscle.training.crops import CropSet
from corpuscle.training.recipe import Recipe

__all__ = ["make_bundle", "training_row"]

_TOLERANCE, _USUAL = 1e-3, 1e-4
"""How far a probability of the exported graph may lie from the network's: at most, and in all but one of a hundred
pictures. Sums in another order move single pictures that lie between two classes by more than 1e-4."""
_CALIBRATION_CROPS = 256


def training_row(dataset: str, split: str, cells: Sequence[LabeledCell]) -> dict[str, object]:
    """Describe training data for the manifest: name, number, hash of the list of files and labels, licence."""
    listing = "\n".join(sorted(f"{cell.file},{cell.class_name}" for cell in cells))
    # Protocols of a set have its name and more behind it: kaggle-wbc-random, bccd-leukocytes.
    names = [name for name in DATASETS if dataset == name or dataset.startswith(f"{name}-")]
    row = DATASETS[max(names, key=len)] if names and dataset in LABELED_SETS else None
    licence, citation = "not stated", "pictures of the user"
    if row:
        licence, citation = row.licence, row.citation
    elif dataset in DRAWN_SETS:
        licence, citation = "that of Corpuscle", "drawn by Corpuscle"
    return {
        "dataset": dataset if row else Path(dataset).name,
        "split": split,
        "n": len(cells),
        "sha256": hashlib.sha256(listing.encode()).hexdigest(),
        "licence": licence,
        "citation": citation,
    }


def _outputs(
    engine: Engine, crops: npt.NDArray[np.uint8], spec: PreprocessingSpec
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Logits and embeddings of many crops."""
    logits, embeddings = [], []
    for start in range(0, len(crops), 32):
        outputs = engine.run(to_batch(np.ascontiguousarray(crops[start : start + 32]), spec))
        logits.append(outputs.logits)
        embeddings.append(outputs.embedding)
    return np.concatenate(logits), np.concatenate(embeddings)


def _check_export(network: CellNetwork, engine: Engine, crops: npt.NDArray[np.uint8], spec: PreprocessingSpec) -> None:
    """Compare the exported graph with torch: probabilities within 1e-3, 99 of 100 within 1e-4.

    Raises:
        BundleError: They differ.
    """
    with torch.inference_mode():
        expected = np.concatenate(
            [
                network(torch.from_numpy(to_batch(np.ascontiguousarray(crops[i : i + 32]), spec))).logits.numpy()
                for i in range(0, len(crops), 32)
            ]
        )
    found, _ = _outputs(engine, crops, spec)
    difference = np.abs(softmax(expected) - softmax(found)).max(axis=1)
    if difference.max() > _TOLERANCE or np.quantile(difference, 0.99) > _USUAL:
        raise BundleError(f"The exported graph differs from the network by {difference.max():.1e} in probability.")


def make_bundle(
    recipe: Recipe,
    classes: tuple[str, ...],
    folder: Path,
    best: Path,
    *,
    train: CropSet,
    val: CropSet,
    training_data: tuple[dict[str, object], ...],
    stains: npt.NDArray[np.floating] | None = None,
) -> Bundle:
    """Export, quantize, calibrate and write a bundle.

    Args:
        recipe: The run.
        classes: Ordered keys.
        folder: The bundle's folder, made if need be.
        best: The weights to ship.
        train: Unchanged training crops at the network's size, for the reference and the ranges of the 8-bit graph.
        val: The crops on which temperature and thresholds are chosen.
        training_data: Rows of `training_row`.
        stains: `Framing.stain` of the crops of `val`; without them bundles do not refuse for the stain.

    Raises:
        BundleError: The export differs from the network.
        TrainingError: The weights cannot be read, or belong to another network.
        OutputError: The folder cannot be written.
    """
    spec = recipe.preprocessing
    network = described_network(dataclasses.asdict(recipe.model), len(classes), spec)
    try:
        network.load_state_dict(load_file(best))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise TrainingError(f"The weights {best} cannot be used ({error}). Delete the run to start anew.") from error
    round_to_half(network).eval()
    make_folder(folder)
    for name in OPTIONAL_FILES:  # of the network that lay here before
        (folder / name).unlink(missing_ok=True)
    halves = {
        key: value.half() if value.dtype == torch.float32 else value for key, value in network.state_dict().items()
    }
    save_weights(folder / "weights.safetensors", halves)
    export_graph(network, folder / "model.onnx", input_px=spec.input_px)
    rule = RefusalRule(0.0, 1.0, 0.99, dict.fromkeys(classes, 0.0))
    bundle = Bundle(
        folder=folder, name=recipe.name, version=recipe.bundle.version, task="classification", classes=classes,
        preprocessing=spec,
        temperature=1.0, refusal=rule, graph="model.onnx", training_data=training_data, metrics=(),
        licence="Apache-2.0", attribution=_attribution(recipe, training_data), code_version=__version__,
        recipe=recipe.to_dict(),
    )  # fmt: skip
    _check_export(network, Engine(bundle), val.crops, spec)
    if recipe.bundle.quantize and can_quantize(network):
        chosen = np.random.default_rng(0).permutation(len(train.labels))[:_CALIBRATION_CROPS]
        batches = [
            to_batch(np.ascontiguousarray(train.crops[np.sort(part)]), spec) for part in np.array_split(chosen, 16)
        ]
        quantize_graph(folder / "model.onnx", folder / "model.int8.onnx", [batch for batch in batches if len(batch)])
        bundle = dataclasses.replace(bundle, graph="model.int8.onnx")
    return _calibrate(bundle, train, val, stains)


def _attribution(recipe: Recipe, training_data: tuple[dict[str, object], ...]) -> tuple[str, ...]:
    """Name the data, and the weights of others, that the weights were made from, as their licences ask."""
    lines = [f"Trained on {row['dataset']} ({row['licence']}): {row['citation']}." for row in training_data]
    if recipe.model.pretrained:
        lines.append(pretrained_about(recipe.model.name, recipe.model.pretrained))
    if recipe.lessons.teacher:
        teacher = load_bundle(recipe.lessons.teacher)
        lines.append(f"Taught by the bundle {teacher.name} {teacher.version}. " + " ".join(teacher.attribution))
    if recipe.lessons.attributes:
        row = DATASETS["wbcatt"]
        lines.append(f"Attributes learned beside the classes, of {row.name} ({row.licence}): {row.citation}.")
    return tuple(lines)


def _calibrate(bundle: Bundle, train: CropSet, val: CropSet, stains: npt.NDArray[np.floating] | None) -> Bundle:
    """Fit reference, temperature and thresholds on the graph that predicts; write card and manifest."""
    spec, engine = bundle.preprocessing, Engine(bundle)
    _, embeddings = _outputs(engine, train.crops, spec)
    reference = fit_reference(embeddings, train.labels, len(bundle.classes))
    save_weights(
        bundle.folder / "reference.safetensors",
        {"means": torch.from_numpy(reference.means), "whitening": torch.from_numpy(reference.whitening)},
    )
    logits, embeddings = _outputs(engine, val.crops, spec)
    temperature = fit_temperature(logits, val.labels)
    probabilities = softmax(logits, temperature)
    distances = reference.distance(embeddings)
    energies = energy(logits, temperature)
    rule = fit_refusal(probabilities, val.labels, distances, bundle.classes, energies=energies, stains=stains)
    right = int((probabilities.argmax(axis=1) == val.labels).sum())
    interval = wilson_interval(right, len(val.labels))
    metrics = (
        {
            "dataset": bundle.training_data[0]["dataset"], "split": "val", "figure": "accuracy",
            "value": right / len(val.labels), "interval": [interval.low, interval.high], "n": len(val.labels),
            "seeds": 1, "note": "chosen on this split",
        },
    )  # fmt: skip
    bundle = dataclasses.replace(bundle, temperature=temperature, refusal=rule, metrics=metrics)
    with written_whole(bundle.folder / "README.md") as part:
        part.write_text(model_card(bundle), encoding="utf-8")
    return write_manifest(bundle)
