"""Commands that say why: `explain`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corpuscle.interfaces.console import DEFAULT_MODEL, note, print_json, progress_bar

if TYPE_CHECKING:
    from corpuscle.evaluation.benchmark import ClassifyBenchmark, VisitorMaker
    from corpuscle.models.bundle import Bundle
    from corpuscle.prediction.classification import Visitor
    from corpuscle.prediction.engine import Outputs
    from corpuscle.preprocessing.framing import Picture
    from corpuscle.records import Prediction
    from corpuscle.reporting.ledger import Figure

__all__ = ["evaluate_maps", "explain", "map_visitors", "time_classify"]


def explain(
    *,
    paths: Annotated[list[str], typer.Argument(help="Pictures, folders (searched through) or glob patterns.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the drawings.")],
    class_name: Annotated[
        list[str] | None, typer.Option("--class", help="A class to explain besides the first two; may be repeated.")
    ] = None,
    method: Annotated[str, typer.Option(help="cam, gradcam, gradcam++, integrated_gradients or occlusion.")] = "cam",
    model: Annotated[str, typer.Option(help="A shipped model's name, a bundle's or a run's folder.")] = DEFAULT_MODEL,
    framing: Annotated[str, typer.Option(help="What is judged: auto, cell, field, center or whole.")] = "auto",
    arrays: Annotated[bool, typer.Option("--arrays", help="Write each map as .npy, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Show where in each picture the evidence lies, for its class, the runner-up and any class asked for.

    Exit status 0: all done; 2: wrong usage; 3: some pictures could not be read, every other one was still written.
    """
    from corpuscle.errors import CorpuscleError, OutputError
    from corpuscle.explanation.explaining import Explainer
    from corpuscle.explanation.map_files import OutputNames, write_explanation
    from corpuscle.files import make_folder
    from corpuscle.interfaces.pictures import find_pictures, report_failures
    from corpuscle.prediction.writing import NOTICE, prediction_values, write_failures
    from corpuscle.records import Failure

    found, failures = find_pictures(paths, output=output)
    explainer = Explainer(model, method=method, framing=framing)
    wanted = [explainer.known_class(name) for name in class_name or ()]
    make_folder(output)
    names, values = OutputNames(found), []
    with progress_bar("explaining") as show:
        for done, path in enumerate(found, start=1):
            try:
                answer = explainer.explain(path, wanted)
                files = write_explanation(answer, output, names(path), arrays=arrays)
                if not json:
                    typer.echo(_line(answer.prediction))
                values.append({**prediction_values(answer.prediction), "files": [str(item) for item in files]})
            except OutputError:
                raise
            except CorpuscleError as error:
                failures.append(Failure(str(path), str(error)))
            show(done, len(found))
    if json:
        errors = [{"file": failure.file, "reason": failure.reason} for failure in failures]
        print_json({"notice": NOTICE, "method": method, "explanations": values, "errors": errors})
    note(f"{len(values)} of {len(found)} pictures explained by {method}; written to {output}. {NOTICE}")
    listing = write_failures(output / "explanations.csv", failures)
    if failures:
        report_failures(failures, listing)
        raise typer.Exit(3)


def _line(prediction: Prediction) -> str:
    """Return what is said of one picture, for people."""
    from corpuscle import taxonomy
    from corpuscle.prediction.describing import sentence

    text = f"{prediction.file}: {taxonomy.cell_class(prediction.class_name).name_en}, {prediction.confidence:.1%}"
    text += f", refused ({prediction.reason})" if prediction.refused else ""
    said = prediction.description
    if said is None:
        return text
    if words := sentence(said):
        text += f": {words}"
    lines = [text, *(f"  unusual: {remark}" for remark in said.remarks)]
    lines += [
        f"  near: {cell.file}, {taxonomy.cell_class(cell.class_name).name_en}, distance {cell.distance:.2f}"
        for cell in said.nearest
    ]
    return "\n".join(lines)


def map_visitors() -> dict[str, VisitorMaker]:
    """Return what `corpuscle benchmark classify --cam` does with each picture: maps alone, and maps as files."""
    import numpy as np

    from corpuscle.explanation.cam import CamMaker, place_map
    from corpuscle.explanation.map_files import CamWriter
    from corpuscle.preprocessing.framing import shape_of

    def alone(bundle: Bundle, folder: Path, files: Sequence[Path]) -> Visitor:  # noqa: ARG001
        maker = CamMaker(bundle)

        def visit(picture: Picture, prediction: Prediction, outputs: Outputs) -> None:
            if outputs.features is not None:
                target = np.asarray([bundle.classes.index(prediction.class_name)])
                place_map(maker.from_features(outputs.features, target)[0], prediction.framing, shape_of(picture))

        return visit

    return {"with heat maps": alone, "with heat maps drawn and written": CamWriter}


def time_classify(
    model: str, files: int, folder: Path | None, show: Callable[[int, int], None], *, memory_files: int, cam: bool
) -> ClassifyBenchmark:
    """Time `corpuscle classify` beside its parts, with heat maps if asked: `corpuscle benchmark classify`."""
    from corpuscle.evaluation.benchmark import benchmark_classify

    extras = map_visitors() if cam else {}
    return benchmark_classify(
        model, files=files, folder=folder, memory_files=memory_files, extras=extras, progress=show
    )


def evaluate_maps(
    dataset: str, *, model: str, split: str, root: Path | None, limit: int, json: bool, output: Path | None
) -> list[Figure]:
    """Measure how true the heat maps of a model are (`corpuscle evaluate --explanations`), and return the figures."""
    from json import dumps

    from corpuscle.evaluation.explanations import evaluate_explanations
    from corpuscle.explanation.explaining import METHODS, all_makers, open_model
    from corpuscle.files import written_whole
    from corpuscle.reporting.explanations import explanation_figures

    bundle = open_model(model)
    makers, randomized = all_makers(bundle)
    if len(makers) < len(METHODS):
        missing = ", ".join(name for name in METHODS if name not in makers)
        note(f"Left out, as the network or the installation does not allow them: {missing}.")
    with progress_bar("explaining") as show:
        result = evaluate_explanations(
            dataset, makers=makers, randomized=randomized, model=bundle, split=split, root=root, limit=limit,
            progress=show,
        )  # fmt: skip
    if json:
        print_json(result.to_dict())
    else:
        typer.echo(result.text())
    if output is not None:
        with written_whole(output / "explanations.json") as part:
            part.write_text(dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")
        note(f"Written to {output}.")
    return explanation_figures(result)
