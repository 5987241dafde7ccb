"""Pages of the manual that are made from the code, so that they cannot say something else: `python -m` writes them."""

from __future__ import annotations

import inspect
import json
import re
import sys
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import click
import typer

from corpuscle.errors import UsageError
from corpuscle.files import written_whole
from corpuscle.interfaces.cli import app

__all__ = ["commands_page", "fill_readme", "readme_table", "recipes_page", "write_pages"]

_MADE = "<!-- Made by `./dev docs` from the code; change it there. -->"

_START, _END = "<!-- figures, made by `./dev docs` -->", "<!-- end of figures -->"
_README_FIGURES = (
    (": accuracy", "pbc test", "accuracy, eight classes"),
    (": balanced accuracy", "pbc test", "balanced accuracy"),
    (": calibration error (15 bins)", "pbc test", "calibration error"),
    (": share accepted", "pbc test", "share not refused"),
    (": accuracy among the accepted", "pbc test", "accuracy among these"),
    (
        "corpuscle_s 2: balanced accuracy",
        "bccd-leukocytes test",
        "balanced accuracy, second laboratory, other photographs of it learned",
    ),
    ("corpuscle_s 2: share accepted", "bccd-leukocytes test", "share not refused there"),
    (
        "corpuscle_s_home 1: balanced accuracy",
        "bccd-leukocytes",
        "balanced accuracy there of the same recipe without any picture of it",
    ),
    ("adapted 1-adapted: balanced accuracy", "bccd-leukocytes", "that one fitted to those pictures without labels"),
    ("same class when padded to 360x363 with its own background", "pbc test", ""),
    ("same class when scaled by 0.5", "pbc test", ""),
    ("same class when scaled by 2", "pbc test", ""),
    ("time of corpuscle / time of decoding", "", "time from file to CSV / time of decoding alone, one thread"),
    ("corpuscle is faster than torch eager, times", "", "times faster than the same net in torch eager, one thread"),
)
"""Figures of the README: end of the name, beginning of the place, and what to call it."""


def commands_page() -> str:
    """Return every command with its arguments and options, as Markdown."""
    group = typer.main.get_command(app)
    status = (
        "Every command takes `--help`. Exit status: 0 all good; 2 wrong usage; 3 some inputs failed, or a leak was "
        "found, and everything else was still done."
    )
    lines = ["# Commands", "", _MADE, "", status, ""]
    for name, command in sorted(getattr(group, "commands", {}).items()):
        lines += [f"## `corpuscle {name}`", "", inspect.cleandoc(command.help or ""), ""]
        lines += ["| option | meaning | default |", "|---|---|---|"]
        lines += [_parameter(item) for item in command.params if item.name != "help"]
        lines.append("")
    return "\n".join(lines)


def _parameter(item: click.Parameter) -> str:
    """Return one argument or option as a row."""
    names = ", ".join(f"`{option}`" for option in item.opts) if item.param_type_name == "option" else f"`{item.name}`"
    default = "" if item.default in (None, "", False) or callable(item.default) else f"`{item.default}`"
    if item.required:
        default = "needed"
    return f"| {names} | {getattr(item, 'help', '') or ''} | {default} |"


def recipes_page() -> str:
    """Return every key of a recipe with its meaning and default, as Markdown."""
    from corpuscle.preprocessing.augmentation import PRESETS, AugmentationSpec
    from corpuscle.training.detection_recipe import DetectionRecipe
    from corpuscle.training.recipe import Recipe

    lines = ["# Recipes", "", _MADE, "", "A recipe is a TOML file; `corpuscle train RECIPE.toml` follows it, and",
             "`--set table.key=value` changes a key. Shipped recipes are in `recipes/`.", ""]  # fmt: skip
    lines += _tables(Recipe(), "")
    lines += ["## Ranges of an augmentation preset, for `augmentation.overrides`", ""]
    lines += [f"- `{name}`: {about}" for name, about in _meanings(AugmentationSpec).items()]
    lines += ["", f"Presets: {', '.join(f'`{name}`' for name in PRESETS)}.", ""]
    lines += ["# Recipes of detectors", "", 'A recipe with `task = "detection"` trains a detector of whole fields.', ""]
    lines += _tables(DetectionRecipe(), "")
    return "\n".join(lines)


def _tables(section: Any, prefix: str) -> list[str]:
    """Describe a dataclass and those inside it, a table each."""
    meanings, rows, inner = _meanings(type(section)), list[str](), list[str]()
    for item in fields(section):
        value = getattr(section, item.name)
        if is_dataclass(value):
            inner += _tables(value, f"{prefix}{item.name}.")
        else:
            rows.append(f"| `{prefix}{item.name}` | {meanings.get(item.name, '')} | `{_default(item, value)}` |")
    title = f"## `[{prefix.rstrip('.')}]`" if prefix else "## At the top"
    return [title, "", "| key | meaning | default |", "|---|---|---|", *rows, "", *inner]


def _default(item: Field[Any], value: Any) -> str:
    """Return a default as TOML would have it, more or less."""
    return repr(value if item.default is MISSING else item.default).replace("'", '"').replace("False", "false")


def _meanings(kind: type) -> dict[str, str]:
    """Read the `Attributes:` section of a dataclass's docstring."""
    text = inspect.getdoc(kind) or ""
    _, _, section = text.partition("Attributes:\n")
    found, name = dict[str, str](), ""
    for line in section.splitlines():
        match = re.match(r"    (\w+): (.*)", line)
        if match:
            name, found[match.group(1)] = match.group(1), match.group(2)
        elif name and line.startswith("        "):
            found[name] += " " + line.strip()
    return found


def readme_table(store: Path) -> str:
    """Return the figures that the README shows, as Markdown, out of the file that commands wrote.

    Raises:
        UsageError: The file lacks one of them.
    """
    entries = json.loads(store.read_text(encoding="utf-8")).values()
    rows = [row for entry in entries for row in entry["figures"]]
    lines = ["| what | where | value | 95 % interval | n |", "|---|---|---|---|---|"]
    for name, where, label in _README_FIGURES:
        found = [row for row in rows if row["what"].endswith(name) and row["where"].startswith(where)]
        if not found:
            raise UsageError(f"{store} lacks the figure {name!r} of {where}. Measure it with --record.")
        row = found[0]
        lines.append(f"| {label or row['what']} | {row['where']} | {row['value']} | {row['interval']} | {row['n']} |")
    return "\n".join(lines)


def fill_readme(readme: Path, store: Path) -> str:
    """Return the README with its table of figures made anew."""
    head, start, rest = readme.read_text(encoding="utf-8").partition(_START)
    _, end, tail = rest.partition(_END)
    return f"{head}{start}\n{readme_table(store)}\n{end}{tail}"


def write_pages(root: Path) -> None:
    """Write `docs/commands.md` and `docs/recipes.md` below a folder, and the figures of its README.

    Raises:
        OutputError: They cannot be written.
        UsageError: A figure of the README was not measured yet.
    """
    pages = {"docs/commands.md": commands_page().rstrip() + "\n", "docs/recipes.md": recipes_page().rstrip() + "\n"}
    pages["README.md"] = fill_readme(root / "README.md", root / "docs" / "benchmarks.json")
    for name, text in pages.items():
        with written_whole(root / name) as part:
            part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
