"""Commands about data and the installation: `audit`, `fetch` and `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corpuscle.interfaces.console import note, print_json, progress_bar

__all__ = ["audit", "doctor", "fetch"]

_DataRoot = Annotated[
    Path | None, typer.Option(help="Folder that holds the data sets; else $CORPUSCLE_DATA, else the user's cache.")
]


def audit(
    *,
    folder: Annotated[Path, typer.Argument(help="A folder of labeled pictures.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the findings as JSON.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Look for leaks, duplicates, contradictory labels, giveaways, bad boxes and unreadable files.

    Exit status 0: no leak; 3: a leak was found.
    """
    import json as json_module

    from corpuscle.data.audit import audit as run
    from corpuscle.files import written_whole

    with progress_bar("auditing") as show:
        report = run(folder, progress=show)
    if output is not None:
        with written_whole(output) as part:
            text = json_module.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n"
            part.write_text(text, encoding="utf-8", errors="backslashreplace")
    if json:
        print_json(report.to_dict())
    else:
        _print_findings(report.findings, report.n_files, folder)
    if report.has_leak:
        note("There is a leak: figures measured across these splits flatter.")
        raise typer.Exit(3)


def _print_findings(findings: tuple[object, ...], n_files: int, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("severity", "finding", "what was found", box=None, pad_edge=False)
    for finding in findings:
        table.add_row(finding.severity, finding.kind.replace("_", " "), finding.message)  # type: ignore[attr-defined]
    console = Console(markup=False)
    if findings:
        console.print(table)
    console.print(f"{n_files} pictures in {folder}: {len(findings)} findings.")


def fetch(
    *,
    name: Annotated[str, typer.Argument(help="Name of a data set of the catalog.")],
    data_root: _DataRoot = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Download a data set. Besides this, only training from `timm` opens a connection."""
    from corpuscle.data.catalog import data_root as root_of
    from corpuscle.data.fetch import fetch as run

    path = run(name, root=root_of(data_root), progress=not json)
    if json:
        print_json({"dataset": name, "path": str(path)})
    else:
        typer.echo(f"{name} is in {path}.")


def doctor(
    *,
    data_root: _DataRoot = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print versions, processor abilities, data sets found and models with their hashes."""
    from corpuscle.reporting.installation import describe_installation

    values = describe_installation(data_root)
    if json:
        print_json(values)
        return
    for section, entries in values.items():
        typer.echo(section.replace("_", " "))
        for key, value in entries.items():
            typer.echo(f"  {key:<22} {value}")
