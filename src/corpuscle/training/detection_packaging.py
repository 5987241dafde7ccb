"""From the best weights of a detector's run to a checked bundle."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from corpuscle import __version__
from corpuscle.data.catalog import DATASETS
from corpuscle.data.fields import LabeledField
from corpuscle.errors import BundleError, TrainingError
from corpuscle.evaluation.average_precision import AveragePrecision, TrueBoxes, average_precision
from corpuscle.evaluation.completeness import completely_boxed
from corpuscle.evaluation.detector import LEAST_SCORE, count_cells
from corpuscle.files import make_folder, written_whole
from corpuscle.models.bundle import load_bundle
from corpuscle.models.detection_bundle import DetectionBundle, KindRule, write_detection_manifest
from corpuscle.models.detector import STEP_PX, build_detector
from corpuscle.models.detector_card import detector_card
from corpuscle.models.detector_export import ScoredDetector, export_detector, quantize_detector
from corpuscle.models.export import round_to_half
from corpuscle.prediction.detection import FieldDetector
from corpuscle.preprocessing.field_scaling import field_batch, scaled_field
from corpuscle.records import CELL_KINDS
from corpuscle.training.checkpoint import save_weights
from corpuscle.training.counting_rules import MappedField, choose_rules
from corpuscle.training.detection_recipe import DetectionRecipe

__all__ = ["ScaledSet", "field_row", "make_detection_bundle", "renew_rules"]

_TOLERANCE = 1e-4
_CHECKED = 8
_CALIBRATION_FIELDS = 48
_MAX_SIDE_PX = 1280
_MAY_COST = 0.005


@dataclass(frozen=True, slots=True)
class ScaledSet:
    """Fields of one data set and their magnification.

    Attributes:
        dataset: Its name.
        fields: Of one split.
        diameter_px: Median erythrocyte of the training split.
    """

    dataset: str
    fields: Sequence[LabeledField]
    diameter_px: float


def field_row(part: ScaledSet) -> dict[str, object]:
    """Describe training fields for the manifest: name, number, hash of the list of files and boxes, licence."""
    listing = "\n".join(
        sorted(
            f"{item.file},{','.join(map(str, item.kinds))},{np.round(item.boxes, 1).tolist()}" for item in part.fields
        )
    )
    row = DATASETS.get(part.dataset)
    return {
        "dataset": part.dataset,
        "split": "train",
        "n": len(part.fields),
        "sha256": hashlib.sha256(listing.encode()).hexdigest(),
        "licence": row.licence if row else "drawn by the project",
        "citation": row.citation if row else "drawn by the project",
    }


def make_detection_bundle(
    recipe: DetectionRecipe,
    folder: Path,
    best: Path,
    *,
    train: Sequence[ScaledSet],
    val: Sequence[ScaledSet],
) -> DetectionBundle:
    """Export, quantize, choose the rules of counting and write a bundle.

    Args:
        recipe: The run.
        folder: The bundle's folder, made if need be.
        best: The weights to ship.
        train: Training fields, for the ranges of the 8-bit graph and the manifest.
        val: Fields on which rules and graph are chosen.

    Raises:
        BundleError: The export differs from the network.
        TrainingError: The weights cannot be read, or belong to another network.
        OutputError: The folder cannot be written.
    """
    network = build_detector(recipe.model.name)
    try:
        network.load_state_dict(load_file(best))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise TrainingError(f"The weights {best} cannot be used ({error}). Delete the run to start anew.") from error
    round_to_half(network).eval()
    make_folder(folder)
    halves = {
        key: value.half() if value.dtype == torch.float32 else value for key, value in network.state_dict().items()
    }
    save_weights(folder / "weights.safetensors", halves)
    export_detector(network, folder / "model.onnx")
    rows = tuple(field_row(part) for part in train)
    bundle = DetectionBundle(
        folder=folder, name=recipe.name, version=recipe.bundle.version, task="detection", kinds=CELL_KINDS,
        preprocessing=recipe.preprocessing, step_px=STEP_PX, max_side_px=_MAX_SIDE_PX,
        rules={kind: KindRule(0.5, 0.5) for kind in CELL_KINDS}, graph="model.onnx", training_data=rows, metrics=(),
        licence="Apache-2.0", attribution=_attribution(recipe, rows), code_version=__version__,
        recipe=recipe.to_dict(),
    )  # fmt: skip
    check_export(ScoredDetector(network).eval(), FieldDetector(bundle), _batches(val, _CHECKED, recipe))
    bundle = _with_rules(bundle, val)
    (folder / "model.int8.onnx").unlink(missing_ok=True)
    if recipe.bundle.quantize:
        quantize_detector(
            folder / "model.onnx", folder / "model.int8.onnx", _batches(train, _CALIBRATION_FIELDS, recipe)
        )
        small = _with_rules(dataclasses.replace(bundle, graph="model.int8.onnx"), val)
        if _map(small) >= _map(bundle) - _MAY_COST:
            bundle = small
        else:
            (folder / "model.int8.onnx").unlink()
    return _written(bundle)


def renew_rules(bundle: DetectionBundle, val: Sequence[ScaledSet]) -> DetectionBundle:
    """Choose the rules of counting of a bundle anew; its weights and graphs stay as they are.

    Args:
        bundle: A checked bundle; its figures are those of `val` afterwards.
        val: Fields on which the rules are chosen.

    Raises:
        OutputError: The folder cannot be written.
    """
    return _written(_with_rules(bundle, val))


def _written(bundle: DetectionBundle) -> DetectionBundle:
    """Write card and manifest."""
    with written_whole(bundle.folder / "README.md") as part:
        part.write_text(detector_card(bundle), encoding="utf-8")
    return write_detection_manifest(bundle)


def check_export(network: ScoredDetector, detector: FieldDetector, batches: Sequence[npt.NDArray[np.float32]]) -> None:
    """Compare the exported graph with torch: scores within 1e-4, reaches within 1e-4 of the size of an erythrocyte.

    Raises:
        BundleError: They differ.
    """
    worst = 0.0
    for batch in batches:
        with torch.inference_mode():
            expected = [item.numpy() for item in network(torch.from_numpy(batch))]
        found = detector.run(batch)
        worst = max(worst, float(np.abs(expected[0] - found[0]).max()))
        worst = max(worst, float(np.abs(expected[1] - found[1]).max()) / detector.erythrocyte_px)
    if not worst <= _TOLERANCE:
        raise BundleError(f"The exported graph differs from the network by {worst:.1e}.")


def _batches(parts: Sequence[ScaledSet], most: int, recipe: DetectionRecipe) -> list[npt.NDArray[np.float32]]:
    """Prepare some fields of each set as the network gets them."""
    spec, batches = recipe.preprocessing, []
    for part in parts:
        chosen = np.random.default_rng(0).permutation(len(part.fields))[: max(1, most // len(parts))]
        for number in chosen:
            picture = scaled_field(part.fields[number].read(), spec.erythrocyte_px / part.diameter_px, spec)
            batches.append(field_batch(picture, spec))
    return batches


def _with_rules(bundle: DetectionBundle, val: Sequence[ScaledSet]) -> DetectionBundle:
    """Choose the rules on the graph that the bundle names, and measure it there."""
    detector = FieldDetector(bundle)
    mapped = [_mapped(detector, item, part.diameter_px) for part in val for item in part.fields]
    bundle = dataclasses.replace(bundle, rules=choose_rules(detector, mapped))
    chosen = FieldDetector(bundle)
    metrics: list[dict[str, object]] = []
    for part in val:
        mine = [item for item in mapped if item.field.source == part.dataset]
        found = [chosen.decode(item.maps, least_score=LEAST_SCORE) for item in mine]
        precision = average_precision(found, [TrueBoxes(item.field.boxes, item.field.kinds) for item in mine])
        metrics += _metrics(part, precision)
        counted = count_cells(part.fields, [chosen.decode(item.maps) for item in mine])
        for kind, errors in counted.by_kind.items():
            metrics.append(_metric(part, f"{kind}s, mean absolute error a field", errors.absolute))
    return dataclasses.replace(bundle, metrics=tuple(metrics))


def _mapped(detector: FieldDetector, item: LabeledField, diameter_px: float) -> MappedField:
    image = item.read()
    maps = detector.maps(image, scale=detector.erythrocyte_px / diameter_px)
    return MappedField(item, maps, completely_boxed(item, image))


def _metrics(part: ScaledSet, precision: AveragePrecision) -> list[dict[str, object]]:
    return [_metric(part, "mAP50", precision.map50), _metric(part, "mAP50-95", precision.map50_95)]


def _metric(part: ScaledSet, figure: str, value: float) -> dict[str, object]:
    completed = any(item.added.any() for item in part.fields)
    return {
        "dataset": part.dataset, "split": "val", "figure": figure, "value": value, "interval": None,
        "n": len(part.fields), "seeds": 1, "note": "chosen on this split" + ("; boxes completed" if completed else ""),
    }  # fmt: skip


def _map(bundle: DetectionBundle) -> float:
    """Return the mean mAP50-95 over the data sets of `val`."""
    return float(np.mean([float(row["value"]) for row in bundle.metrics if row["figure"] == "mAP50-95"]))


def _attribution(recipe: DetectionRecipe, rows: Sequence[dict[str, object]]) -> tuple[str, ...]:
    """Name the data, and the weights, that the detector was made from, as their licences ask."""
    lines = [f"Trained on {row['dataset']} ({row['licence']}): {row['citation']}." for row in rows]
    if recipe.model.backbone:
        start = load_bundle(recipe.model.backbone)
        lines.append(f"Starts from the backbone of {start.name} {start.version} ({start.licence}).")
        lines += [f"{start.name}: {line}" for line in start.attribution]
    return tuple(lines)
