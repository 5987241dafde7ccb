"""Commands about models: `train` and `evaluate`."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corpuscle.errors import MissingExtraError, UsageError
from corpuscle.interfaces.console import DEFAULT_MODEL, note, print_json, progress_bar
from corpuscle.interfaces.recording import record_result

if TYPE_CHECKING:
    from corpuscle.training.checkpoint import Progress

__all__ = ["EpochPrinter", "Stopper", "evaluate", "train"]

_DataRoot = Annotated[
    Path | None, typer.Option(help="Folder that holds the data sets; else $CORPUSCLE_DATA, else the user's cache.")
]
_Record = Annotated[Path | None, typer.Option(help="Page of figures (.md) to enter the result into.")]


def evaluate(
    *,
    dataset: Annotated[str, typer.Option(help="A labeled set of the catalog, or a folder with a folder per class.")],
    model: Annotated[str, typer.Option(help="A shipped model's name or a bundle's folder.")] = DEFAULT_MODEL,
    split: Annotated[str, typer.Option(help="train, val or test; all cells if not given.")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for report, tables, pictures.")] = None,
    record: _Record = None,
    data_root: _DataRoot = None,
    framing: Annotated[str, typer.Option(help="What is judged: auto, cell, field, center or whole.")] = "auto",
    in_common: Annotated[bool, typer.Option("--in-common", help="Seek answers among the set's classes only.")] = False,
    corruptions: Annotated[bool, typer.Option(help="Judge spoilt pictures instead: a table by severity.")] = False,
    refusal: Annotated[bool, typer.Option(help="Judge pictures that show no known cell, beside the split.")] = False,
    explanations: Annotated[bool, typer.Option("--explanations", help="Measure its heat maps instead.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="With these three: about this many cells; 0 for all.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a report.")] = False,
) -> None:
    """Measure a model on a labeled data set, with intervals; a detector on labeled fields."""
    from corpuscle.interfaces.commands.detectors import evaluate_fields, finds_cells

    _refuse_inside(dataset, output)
    if finds_cells(model):
        evaluate_fields(dataset, model, split=split, output=output, record_page=record, data_root=data_root, json=json)
        return
    if explanations:
        from corpuscle.interfaces.commands.explaining import evaluate_maps

        maps = evaluate_maps(dataset, model=model, split=split, root=data_root, limit=limit, json=json, output=output)
        record_result(record, maps)
        return
    if corruptions or refusal:
        from corpuscle.interfaces.commands.trust import TrustRequest, measure_trust

        request = TrustRequest(dataset, model, split, data_root, output, json)
        for figures in measure_trust(request, corruptions=corruptions, refusal=refusal, limit=limit):
            record_result(record, figures)
        return
    from corpuscle.evaluation.model import evaluate as run
    from corpuscle.reporting.evaluations import write_evaluation

    with progress_bar("evaluating") as show:
        result = run(
            dataset, model=model, split=split, root=data_root, framing=framing, in_common=in_common, progress=show
        )
    if json:
        print_json(result.to_dict())
    else:
        typer.echo(result.evaluation.report_text())
        if result.accepted_accuracy is not None and result.accepted_interval is not None:
            ends = result.accepted_interval
            typer.echo(
                f"Accepted {result.accepted:.1%}; of these {result.accepted_accuracy:.4f} right "
                f"(95 % {ends.low:.4f}-{ends.high:.4f}). Prediction sets hold the label for "
                f"{result.set_coverage:.1%}, mean size {result.set_size:.3f}."
            )
            typer.echo(f"Share of the sets that hold their class: {result.coverage_text()}.")
        typer.echo(result.summary())
    for name, count in result.dropped.items():
        note(f"{count} cells labeled {name} were left out: the model does not know that class.")
    if output is not None:
        write_evaluation(result, output)
        note(f"Written to {output}.")
    record_result(record, result)
    if result.failures:
        note(f"{len(result.failures)} pictures could not be read, the first: {result.failures[0].reason}")
        raise typer.Exit(3)


def _refuse_inside(dataset: str, output: Path | None) -> None:
    """Refuse to write into the folder that is judged, whose folders are its classes."""
    if output is None or not os.path.isdir(dataset):  # noqa: PTH112  it takes any text
        return
    if output.resolve().is_relative_to(Path(dataset).resolve()):
        raise UsageError(
            f"The output {output} lies in {dataset}, whose folders are read as classes. Name a folder outside of it."
        )


def train(
    *,
    recipe: Annotated[Path, typer.Argument(help="A recipe in TOML; shipped ones are in recipes/.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run; runs/NAME by default.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Change a key: run.epochs=5.")] = None,
    pretrained: Annotated[
        str, typer.Option(help="Weights to start the backbone from: `timm`, a safetensors file, or a bundle.")
    ] = "",
    data_root: _DataRoot = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Train a model from a recipe; the same command goes on where a stopped run left off."""
    try:
        import torch  # noqa: F401

        from corpuscle.training.detection_recipe import is_detection
        from corpuscle.training.recipe import read_recipe
        from corpuscle.training.train import train as run
    except ModuleNotFoundError as error:
        raise MissingExtraError("Training", "train") from error
    if is_detection(recipe):
        from corpuscle.interfaces.commands.detectors import train_on_fields

        if pretrained:
            raise UsageError("A detector takes no --pretrained; name a classifier in model.backbone of the recipe.")
        train_on_fields(recipe, output, tuple(settings or ()), Stopper().asked, data_root=data_root, json=json)
        return
    plan = read_recipe(recipe, tuple(settings or ()))
    if pretrained:
        plan = replace(plan, model=replace(plan.model, pretrained=pretrained))
    folder = output or Path("runs") / plan.name
    stopper = Stopper()
    with progress_bar("cutting crops") as show:
        result = run(plan, output=folder, root=data_root, watcher=EpochPrinter(), on_crops=show, stop=stopper.asked)
    if not result.finished:
        note(f"Stopped after epoch {result.progress.epochs_done}. The same command goes on from here.")
        raise typer.Exit(130)
    if result.bundle is None:
        return
    from corpuscle.reporting.cards import measure_bundle

    with progress_bar("measuring") as show:
        _, figures = measure_bundle(result.bundle, plan.data.dataset, root=data_root, folder=folder, progress=show)
    outcome: dict[str, Any] = {
        "bundle": str(result.bundle.folder),
        "best_epoch": result.progress.best_epoch,
        "val_accuracy": result.bundle.metrics[0]["value"],
        "epochs": result.progress.epochs_done,
        "figures": figures,
    }
    if json:
        print_json(outcome)
    else:
        typer.echo(
            f"Best of {outcome['epochs']} epochs: {outcome['best_epoch']}, "
            f"accuracy on val {outcome['val_accuracy']:.4f}.\n"
            + "".join(f"{line}\n" for line in figures)
            + f"The bundle: {outcome['bundle']}"
        )


class Stopper:
    """Turns the first interrupt into a stop after the epoch; the second one ends at once.

    Under `torchrun` the first one ends at once: it comes from the launcher, which gives a process 30 seconds, and which
    would start one again that ended by itself.
    """

    def __init__(self) -> None:
        self._asked = False
        self._at_once = "TORCHELASTIC_RUN_ID" in os.environ
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: object) -> None:  # noqa: ARG002
        if self._asked or self._at_once:
            raise KeyboardInterrupt
        self._asked = True
        note("Stopping after this epoch; interrupt once more to stop at once (the last epoch is kept).")

    def asked(self) -> bool:
        """Whether an interrupt came."""
        return self._asked


class EpochPrinter:
    """Prints a line an epoch, and on a terminal the steps and the time left in between."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._first_step = 0
        self._live = sys.stderr.isatty()

    def __call__(self, progress: Progress, step: int, steps: int) -> None:
        """Show a step or, where it is the last, the epoch."""
        if step < steps:
            if self._began is None:
                self._began, self._first_step = time.monotonic(), progress.epochs_done * steps + step
            if self._live and step % 5 == 0:
                left = self._left(progress.epochs_done * steps + step, steps, progress)
                print(f"\repoch {progress.epochs_done + 1}: step {step} of {steps}{left}   ", end="", file=sys.stderr)
            return
        record = progress.history[-1]
        star = " *" if progress.best_epoch == record.epoch else ""
        note(
            ("\r" if self._live else "")
            + f"epoch {record.epoch}: train loss {record.train_loss:.4f}, accuracy {record.train_accuracy:.4f}; "
            f"val loss {record.val_loss:.4f}, accuracy {record.val_accuracy:.4f}; {record.seconds:.0f} s{star}"
        )

    def _left(self, done: int, steps: int, progress: Progress) -> str:
        """Estimate the time left in this epoch from the steps so far."""
        if self._began is None or done <= self._first_step:
            return ""
        each = (time.monotonic() - self._began) / (done - self._first_step)
        left = each * ((progress.epochs_done + 1) * steps - done)
        return f", {left:.0f} s left in this epoch"
