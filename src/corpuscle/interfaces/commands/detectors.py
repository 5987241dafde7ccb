"""What `train` and `evaluate` do where the recipe or the model is that of a detector."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from corpuscle.interfaces.console import note, print_json, progress_bar

if TYPE_CHECKING:
    from corpuscle.training.detection_loop import DetectionProgress

__all__ = ["FieldEpochPrinter", "evaluate_fields", "finds_cells", "train_on_fields"]

CLASSICAL = "classical"


def finds_cells(model: str) -> bool:
    """Whether a model finds cells in whole fields and does not name single ones; False where there is none."""
    if model == CLASSICAL:
        return True
    from corpuscle.errors import BundleError
    from corpuscle.models.bundle_files import task_of

    try:
        return task_of(model) == "detection"
    except BundleError:
        return False


def evaluate_fields(
    dataset: str,
    model: str,
    *,
    split: str,
    output: Path | None,
    record_page: Path | None,
    data_root: Path | None,
    json: bool,
) -> None:
    """Measure a detector on labeled fields."""
    from corpuscle.evaluation.detector import evaluate_detector
    from corpuscle.interfaces.recording import record_result
    from corpuscle.reporting.detector_evaluations import write_detector_evaluation

    with progress_bar("evaluating") as show:
        result = evaluate_detector(dataset, model=model, split=split, root=data_root, progress=show)
    if json:
        print_json(result.to_dict())
    else:
        typer.echo(result.text())
    if output is not None:
        write_detector_evaluation(result, output)
        note(f"Written to {output}.")
    record_result(record_page, result)
    if result.failures:
        note(f"{len(result.failures)} fields could not be read, the first: {result.failures[0].reason}")
        raise typer.Exit(3)


def train_on_fields(
    recipe: Path,
    output: Path | None,
    settings: tuple[str, ...],
    stop: Callable[[], bool],
    *,
    data_root: Path | None,
    json: bool,
) -> None:
    """Train a detector from a recipe and measure it."""
    from corpuscle.reporting.detector_evaluations import measure_detector
    from corpuscle.training.detection_recipe import read_detection_recipe
    from corpuscle.training.train_detector import train_detector

    plan = read_detection_recipe(recipe, settings)
    folder = output or Path("runs") / plan.name
    with progress_bar("reading fields") as show:
        result = train_detector(
            plan, output=folder, root=data_root, watcher=FieldEpochPrinter(), on_fields=show, stop=stop
        )
    if result.bundle is None:
        note(f"Stopped after epoch {result.progress.epochs_done}. The same command goes on from here.")
        raise typer.Exit(130)
    with progress_bar("measuring") as show:
        _, figures = measure_detector(result.bundle, plan.data.datasets, root=data_root, folder=folder, progress=show)
    outcome: dict[str, Any] = {
        "bundle": str(result.bundle.folder),
        "best_epoch": result.progress.best_epoch,
        "val_map50_95": result.progress.best_map,
        "epochs": result.progress.epochs_done,
        "figures": figures,
    }
    if json:
        print_json(outcome)
    else:
        typer.echo(
            f"Best of {outcome['epochs']} epochs: {outcome['best_epoch']}, "
            f"mAP50-95 on val {outcome['val_map50_95']:.4f}.\n"
            + "".join(f"{line}\n" for line in figures)
            + f"The bundle: {outcome['bundle']}"
        )


class FieldEpochPrinter:
    """Prints a line an epoch, and on a terminal the steps in between."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()

    def __call__(self, progress: DetectionProgress, step: int, steps: int) -> None:
        """Show a step or, where it is the last, the epoch."""
        if step < steps:
            if self._live and step % 5 == 0:
                print(f"\repoch {progress.epochs_done + 1}: step {step} of {steps}   ", end="", file=sys.stderr)
            return
        record = progress.history[-1]
        judged = ""
        if math.isfinite(record.val_map50):
            star = " *" if progress.best_epoch == record.epoch else ""
            judged = f"; val mAP50 {record.val_map50:.4f}, mAP50-95 {record.val_map50_95:.4f}{star}"
        note(
            ("\r" if self._live else "")
            + f"epoch {record.epoch}: loss of scores {record.score_loss:.4f}, of boxes {record.box_loss:.4f}{judged}; "
            f"{record.seconds:.0f} s"
        )
