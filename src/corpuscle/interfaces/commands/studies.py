"""Commands that go beyond one model: `models` lists the networks, `study` trains and tabulates a whole comparison."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from corpuscle.errors import MissingExtraError, UsageError
from corpuscle.interfaces.commands.models import EpochPrinter, Stopper
from corpuscle.interfaces.console import note, print_json, progress_bar

__all__ = ["models", "study"]


def models(
    *,
    names: Annotated[list[str] | None, typer.Argument(help="Networks to list, `timm:NAME` too; all of ours.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the shipped models and the networks that a recipe can name, with what they cost."""
    from corpuscle.models.bundle import shipped_bundles

    try:
        from corpuscle.models.sizes import list_zoo
    except ModuleNotFoundError as error:
        raise MissingExtraError("Listing the networks", "train") from error
    rows = list_zoo(tuple(names or ()))
    if json:
        print_json({"shipped": sorted(shipped_bundles()), "networks": [asdict(row) for row in rows]})
        return
    typer.echo(f"Shipped models, for --model: {', '.join(sorted(shipped_bundles())) or 'none'}\n")
    wide = max(len(row.name) for row in rows) + 2
    typer.echo(
        f"{'network':<{wide}}{'input':>7}{'parameters':>13}{'multiply-adds':>17}  {'licence of weights':<20}about"
    )
    for row in rows:
        typer.echo(
            f"{row.name:<{wide}}{row.input_px:>4} px{row.parameters:>13,}{row.multiply_adds:>17,}  "
            f"{row.licence or 'own':<20}{row.about}"
        )
    typer.echo("\nCounted with a head for eight classes. Any other network of timm: timm:NAME.")


def study(
    *,
    plan: Annotated[Path, typer.Argument(metavar="STUDY", help="A study in TOML; shipped ones are in studies/.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the runs.")] = Path("runs/studies"),
    pages: Annotated[Path, typer.Option(help="Folder of the page and of the figures beside it.")] = Path(
        "docs/studies"
    ),
    pretrained: Annotated[str, typer.Option(help="A safetensors file in place of timm's own weights.")] = "",
    only: Annotated[list[str] | None, typer.Option(help="Run only this part; may be given again.")] = None,
    train: Annotated[
        bool, typer.Option(help="Train what is missing, or only write the page from what is there.")
    ] = True,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder that holds the data sets; else $CORPUSCLE_DATA, else the user's cache.")
    ] = None,
) -> None:
    """Train and measure all runs of a study, and write its page; the same command goes on where it was stopped."""
    try:
        from corpuscle.reporting.studies import StudyHooks, check_parts, collect_study, follow_study, write_study
        from corpuscle.reporting.study_plan import read_study
    except ModuleNotFoundError as error:
        raise MissingExtraError("A study", "train") from error
    wanted = read_study(plan)
    if only and not train:
        raise UsageError("With --no-train the page is written from all parts that are there. Leave --only out.")
    check_parts(wanted, only or ())
    page = pages / f"{wanted.name}.md"
    finished = True
    if train:
        stopper = Stopper()
        with progress_bar("cutting and judging crops") as show:
            hooks = StudyHooks(note, EpochPrinter(), show, stopper.asked)
            finished = follow_study(
                wanted, output, root=data_root, pretrained=pretrained, only=tuple(only or ()), hooks=hooks
            )
    write_study(wanted, page, collect_study(wanted, output, page.with_suffix(".json"), root=data_root))
    typer.echo(f"The page: {page}")
    if not finished:
        note("Stopped. The same command goes on from here.")
        raise typer.Exit(130)
