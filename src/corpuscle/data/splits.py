"""Splits of a data set: reading a fixed one, and drawing new ones that keep groups whole.

A `group` is what must not cross splits: a patient, a smear, a source photograph, a set of duplicates. Everywhere in
this module a blank group (`""`) means that the row is a group of its own.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final, Literal, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from corpuscle.data.groups import group_codes, group_table, share_out
from corpuscle.errors import DataError, DatasetNotFoundError, UsageError

__all__ = [
    "VGG19_STUDY",
    "SplitName",
    "SplitRow",
    "SplitSettings",
    "group_folds",
    "random_split",
    "read_split_table",
    "stratified_group_split",
]

SplitName = Literal["train", "val", "test"]

_COLUMNS = ("file", "class", "subtype", "split", "duplicate_group")
_SPLITS = ("train", "val", "test")


class SplitSettings(TypedDict):
    """What `random_split` needs besides the files."""

    fractions: dict[str, float]
    seed: int


VGG19_STUDY: Final[SplitSettings] = {"fractions": {"train": 0.8, "val": 0.1, "test": 0.1}, "seed": 42}
"""Fractions and seed of the VGG19 study: `random_split(files, **VGG19_STUDY)`.

The proportions and the seed number are the study's; the lists of files are not, because the same seed gives another
order in another random generator. A split by picture lets duplicates and pictures of one patient cross, so a figure
measured on it leaks and has to be printed with that word.
"""


@dataclass(frozen=True, slots=True)
class SplitRow:
    """One line of a split table.

    Attributes:
        file: Path of the picture below the folder of the data set, with `/` between its parts.
        class_name: The class as the table spells it; the data set's label map turns it into a key of the taxonomy.
        subtype: A finer label where the data set has one, else empty.
        split: `train`, `val` or `test`.
        duplicate_group: Name of the set of duplicates that the picture belongs to; empty for a picture on its own.
    """

    file: str
    class_name: str
    subtype: str
    split: SplitName
    duplicate_group: str

    def __post_init__(self) -> None:
        """Refuse a row that names no picture inside the data set, no class, or no known split."""
        path = PurePosixPath(self.file)
        outside = path.is_absolute() or ".." in path.parts or "\\" in self.file or PureWindowsPath(self.file).drive
        if not self.file.strip() or outside:
            raise DataError(
                f"The file {self.file!r} is no path below the data set's folder. Write it as folder/picture.jpg."
            )
        if not self.class_name.strip():
            raise DataError(f"The class of {self.file!r} is blank. Name one.")
        if self.split not in _SPLITS:
            raise DataError(f"The split {self.split!r} of {self.file!r} is none of {', '.join(_SPLITS)}. Name one.")


def read_split_table(path: Path) -> list[SplitRow]:
    """Read a split table, a CSV file with the columns `file,class,subtype,split,duplicate_group`.

    Columns may stand in any order, and further columns are allowed and left unread. Blank lines are skipped.

    Raises:
        DatasetNotFoundError: There is no file at `path`.
        DataError: A column is missing, a row is wrong (the message gives its line), a file is listed twice, a
            duplicate group lies in two splits, or the table is empty or no UTF-8 text.
    """
    rows: list[SplitRow] = []
    line_of_file: dict[str, int] = {}
    first_of_group: dict[str, tuple[int, str]] = {}
    for line, values in _table_lines(path):
        try:
            row = SplitRow(values[0], values[1], values[2], cast(SplitName, values[3]), values[4])
        except DataError as error:
            raise DataError(f"{path}, line {line}: {error}") from error
        if row.file in line_of_file:
            first = line_of_file[row.file]
            raise DataError(f"{path}, line {line}: {row.file!r} is listed already in line {first}. Remove one of them.")
        line_of_file[row.file] = line
        if row.duplicate_group:
            first, split = first_of_group.setdefault(row.duplicate_group, (line, row.split))
            if split != row.split:
                raise DataError(
                    f"{path}, line {line}: the duplicate group {row.duplicate_group!r} is in {row.split!r} here and "
                    f"in {split!r} in line {first}. Put the whole group into one split."
                )
        rows.append(row)
    if not rows:
        raise DataError(f"{path} lists no picture. Give a table with at least one row under its header.")
    return rows


def _table_lines(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the line number and the values of `_COLUMNS` of each row that is not blank."""
    if not path.is_file():
        raise DatasetNotFoundError(f"There is no split table at {path}. Fetch the data set or give another path.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, [])
            missing = [name for name in _COLUMNS if header.count(name) != 1]
            if missing:
                raise DataError(
                    f"{path}, line 1: the header must name the column {missing[0]!r} once. "
                    f"A split table has the columns {','.join(_COLUMNS)}."
                )
            places = [header.index(name) for name in _COLUMNS]
            for values in reader:
                if not values:
                    continue
                if len(values) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(values)} values for {len(header)} columns. "
                        f"Correct that line."
                    )
                yield reader.line_num, tuple(values[place] for place in places)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text. Save the table as CSV in UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: the line is no valid CSV ({error}). Correct it.") from error


def random_split(
    files: Sequence[str], *, fractions: Mapping[str, float], seed: int, groups: Sequence[str] | None = None
) -> list[str]:
    """Split files at random, without regard to their class.

    The names are sorted, shuffled with the seed, and the shuffled row is cut at the fractions, so that the split
    depends on the names and not on the order in which a disk lists them. Without `groups` this is a split by picture:
    duplicates and pictures of one patient may land on both sides, and a figure measured on it leaks. With `groups` the
    groups are shuffled instead, and a group goes whole to the split in which its middle lies.

    Args:
        files: Names of the files, no two alike.
        fractions: Share of each split, more than 0 each, 1 in sum; its order is the order of the cuts.
        seed: Start of the random generator, 0 or more.
        groups: Group of each file; a blank one is a group of its own.

    Returns:
        Name of the split of each file, in the order of `files`.

    Raises:
        UsageError: The fractions or the seed are wrong, a file is named twice, `groups` has another length, or a
            split would stay empty.
    """
    names, shares = _checked_fractions(fractions)
    _check_rows(len(files), groups, "files")
    if len(set(files)) != len(files):
        raise UsageError("A file is named twice in the list to split. Give each file once.")
    order = sorted(range(len(files)), key=lambda row: files[row])
    codes = group_codes([groups[row] if groups is not None else "" for row in order])
    sizes = np.bincount(codes)
    shuffled = _generator(seed).permutation(len(sizes))
    # The middle of each group on a line of length 1, along which the splits are laid end to end.
    ends = np.cumsum(sizes[shuffled])
    middles = (ends - sizes[shuffled] / 2) / len(files)
    parts = np.empty(len(sizes), dtype=np.int64)
    parts[shuffled] = np.searchsorted(np.cumsum(shares)[:-1], middles, side="right")
    empty = sorted(set(range(len(names))) - set(parts.tolist()))
    if empty:
        raise UsageError(
            f"The split {names[empty[0]]!r} would stay empty: there are {len(sizes)} groups of files. "
            f"Give more files or a larger fraction."
        )
    splits = [""] * len(files)
    for row, code in zip(order, codes, strict=True):
        splits[row] = names[parts[code]]
    return splits


def stratified_group_split(
    classes: Sequence[str], groups: Sequence[str], *, fractions: Mapping[str, float], seed: int
) -> list[str]:
    """Split rows so that no group crosses splits and each class is shared out by the fractions.

    How groups are placed is told at `corpuscle.data.groups.share_out`. Every class is in every split. Where each row
    is its own group, a class misses its fraction by less than one row (more only where a split would get no row of
    it); else by less than about a large group. The same rows in the same order with the same seed give the same split.

    Args:
        classes: Class of each row.
        groups: Group of each row; a blank one is a group of its own. A group may hold several classes.
        fractions: Share of each split, more than 0 each, 1 in sum.
        seed: Start of the random generator, 0 or more.

    Returns:
        Name of the split of each row.

    Raises:
        UsageError: The fractions or the seed are wrong, the lengths differ, or a class cannot be in every split.
    """
    names, shares = _checked_fractions(fractions)
    _check_rows(len(classes), groups, "classes")
    codes = group_codes(groups)
    class_names, table = group_table(classes, codes)
    holders = (table > 0).sum(axis=0)
    for class_name, held_by in zip(class_names, holders, strict=False):
        if held_by < len(names):
            raise UsageError(
                f"The class {class_name!r} cannot be in each of the {len(names)} splits: "
                f"its rows form only {held_by} groups. Give more pictures of it, or fewer splits."
            )
    needs = np.full(table.shape[1], len(names))
    parts = share_out(table, class_names, shares, needs, _generator(seed), least=needs)
    return [names[parts[code]] for code in codes]


def group_folds(groups: Sequence[str], classes: Sequence[str], *, folds: int, seed: int) -> NDArray[np.int64]:
    """Share rows out to folds for cross-validation, keeping groups whole and classes in proportion.

    The method is that of `stratified_group_split` with equal fractions. A class is in every fold, or in as many as it
    has groups, where the groups allow; it is in two folds at least, so that it is always both learned and judged.

    Args:
        groups: Group of each row; a blank one is a group of its own.
        classes: Class of each row.
        folds: Number of folds, 2 or more.
        seed: Start of the random generator, 0 or more.

    Returns:
        Fold of each row, shape (n,), int64, in [0, folds).

    Raises:
        UsageError: The lengths differ, there are fewer than 2 folds or fewer groups than folds, or a class cannot
            be in two folds, so that the fold with it would be judged by a model that never saw it.
    """
    if folds < 2:
        raise UsageError(f"Cross-validation needs 2 folds or more, not {folds}.")
    _check_rows(len(classes), groups, "classes")
    codes = group_codes(groups)
    class_names, table = group_table(classes, codes)
    if len(table) < folds:
        raise UsageError(f"{len(table)} groups cannot fill {folds} folds. Ask for fewer folds.")
    holders = (table > 0).sum(axis=0)
    for class_name, held_by in zip(class_names, holders, strict=False):
        if held_by < 2:
            raise UsageError(
                f"The class {class_name!r} is in one group only, so it cannot be both learned and judged. "
                f"Give pictures of it from a second group, or leave the class out."
            )
    needs = np.minimum(holders, folds)
    least = np.append(np.full(len(class_names), 2), folds)
    parts = share_out(table, class_names, np.full(folds, 1.0 / folds), needs, _generator(seed), least=least)
    return parts[codes]


def _generator(seed: int) -> np.random.Generator:
    if seed < 0:
        raise UsageError(f"A seed is 0 or more, not {seed}.")
    return np.random.default_rng(seed)


def _checked_fractions(fractions: Mapping[str, float]) -> tuple[list[str], NDArray[np.float64]]:
    """Return the names of the splits and their shares, in the order given."""
    if len(fractions) < 2:
        raise UsageError(f"A split needs fractions for 2 parts or more, not {len(fractions)}.")
    for name, share in fractions.items():
        if not name or not (math.isfinite(share) and share > 0):
            raise UsageError(f"The fraction of the split {name!r} is {share}. Give more than 0, or leave it out.")
    total = math.fsum(fractions.values())
    if abs(total - 1) > 1e-6:
        raise UsageError(f"The fractions of the splits add up to {total:g}. Make them add up to 1.")
    return list(fractions), np.array([share / total for share in fractions.values()])


def _check_rows(rows: int, groups: Sequence[str] | None, what: str) -> None:
    if rows == 0:
        raise UsageError(f"There is nothing to split: the list of {what} is empty.")
    if groups is not None and len(groups) != rows:
        raise UsageError(f"There are {rows} {what} and {len(groups)} groups. Give one group for each row.")
