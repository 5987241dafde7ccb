"""A study as data: which runs make it up, and what was published before; read from TOML."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from corpuscle.errors import UsageError

__all__ = ["Part", "Published", "Row", "Study", "read_study"]


@dataclass(frozen=True, slots=True)
class Published:
    """What somebody else reported.

    Attributes:
        work: Who, and with what.
        protocol: How their pictures were split, as far as it is known.
        accuracy: In [0, 1].
        precision: Averaged over the classes; None where it was not told.
        recall: Likewise.
        f1: Likewise.
    """

    work: str
    protocol: str
    accuracy: float
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One training of a row: a fold, or all of it.

    Attributes:
        name: Of its run folder, before the seed.
        settings: Keys of the recipe to change, as `data.dataset=kaggle-wbc-fold-1`.
    """

    name: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the study's table: a recipe, in one part or several whose answers are put together.

    Attributes:
        label: What the table calls it.
        protocol: How the pictures are split, in words.
        recipe: Path of the recipe.
        parts: At least one.
        seeds: A training each, for every part.
        published: Accuracy that was published for the same thing; None if there is none.
        abroad: Another laboratory's labeled set to judge each run on as well, as `bccd-leukocytes` or `pbc:val`.
        unseen: Whether to ask what each run says to the classes of its set that it never learned.
    """

    label: str
    protocol: str
    recipe: Path
    parts: tuple[Part, ...]
    seeds: tuple[int, ...] = (0,)
    published: float | None = None
    abroad: str = ""
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Study:
    """All of it.

    Attributes:
        name: Of its folder and page.
        title: Of its page.
        about: Paragraphs at the top of the page.
        reading: Paragraphs below the tables: what they teach.
        rows: The runs.
        published: Other people's figures.
    """

    name: str
    title: str
    about: str
    reading: str
    rows: tuple[Row, ...]
    published: tuple[Published, ...]


def read_study(path: str | Path) -> Study:
    """Read a study; recipes are named from the study's own folder.

    Raises:
        UsageError: The file cannot be read, or a key is missing, unknown or of another type.
    """
    file = Path(path)
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The study {file} cannot be read: {error.strerror}. Shipped ones are in studies/.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The study {file} is no valid TOML: {error}.") from error
    try:
        rows = tuple(_row(item, file.parent) for item in values.pop("rows"))
        published = tuple(_made(Published, item) for item in values.pop("published", []))
        study: Study = _made(Study, {"reading": "", **values, "rows": rows, "published": published})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"The study {file} is wrong at {error}. Compare it with those in studies/.") from error
    names = [part.name for row in study.rows for part in row.parts]
    if not names or len(set(names)) != len(names):
        raise UsageError(f"The study {file} needs at least one row, and no two parts of one name.")
    return study


def _made(kind: type[Any], values: dict[str, Any]) -> Any:
    """Make a record, naming keys that it does not have."""
    unknown = sorted(set(values) - {item.name for item in fields(kind)})
    if unknown:
        raise ValueError(f"the unknown key {unknown[0]}")
    return kind(**values)


def _row(values: dict[str, Any], folder: Path) -> Row:
    """Read one row; `name` is short for a single part."""
    plain = dict(values)
    common = tuple(plain.pop("set", ()))
    listed = plain.pop("parts", None) or [{"name": plain["name"]}]
    plain.pop("name", None)
    parts = tuple(Part(str(item["name"]), (*common, *item.get("set", ()))) for item in listed)
    seeds = tuple(int(seed) for seed in plain.pop("seeds", (0,)))
    if not seeds:
        raise ValueError("a row without seeds")
    row: Row = _made(Row, {**plain, "recipe": folder / plain["recipe"], "parts": parts, "seeds": seeds})
    return row
