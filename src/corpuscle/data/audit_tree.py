"""What a folder of pictures says about them: class, subtype, split and group of each, from folders, names and tables.

Understood are a folder per class, split folders (`TRAIN`, `TEST` ...) above those, a table `splits.csv`, the VOC
layout (`JPEGImages`, `Annotations`, `ImageSets/Main`) and the YOLO layout (`images`, `labels`).
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from corpuscle import taxonomy
from corpuscle.data.audit_findings import Finding, listed
from corpuscle.data.images import find_images
from corpuscle.errors import NoInputError, UnknownNameError

__all__ = ["SOURCE_TABLE", "SPLIT_TABLE", "Entry", "Layout", "Tree", "read_table", "read_tree", "role_of"]

Layout = Literal["folders", "voc", "yolo"]

SPLIT_TABLE: Final = "splits.csv"
SOURCE_TABLE: Final = "source_image_map.csv"

_ROLES: Final = (
    ("train", re.compile(r"(train|training)([ _-](?!val).*)?")),
    ("val", re.compile(r"(val|valid|validation|dev)([ _-].*)?")),
    ("test", re.compile(r"(test|testing)([ _-].*)?")),
)
_GROUP_COLUMNS: Final = ("duplicate_group", "group", "patient", "smear", "slide", "source")
_CODE: Final = re.compile(r"([A-Za-z]+)[_-]\d+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture file and what the tree says of it.

    Attributes:
        file: Path relative to the folder of the set, with `/`.
        path: The file itself.
        label: Class as the tree spells it; empty where there is none.
        subtype: A finer label from the table or from a code such as `BNE_` before the number; may be empty.
        split: Name of its split as the tree spells it; empty where there is none.
        groups: What it shares with others and must not cross splits: kind of group and name.
    """

    file: str
    path: Path
    label: str = ""
    subtype: str = ""
    split: str = ""
    groups: tuple[tuple[str, str], ...] = ()

    @property
    def role(self) -> str:
        """The split's part: `train`, `val` or `test`, else its own name in lower case; empty without a split."""
        return role_of(self.split) or self.split.lower()


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder of pictures as it was understood.

    Attributes:
        folder: The folder.
        layout: How it is ordered.
        entries: Its pictures, sorted by path.
        group_kinds: Columns of the tables that name groups.
        findings: What is wrong with its tables and lists.
    """

    folder: Path
    layout: Layout
    entries: tuple[Entry, ...]
    group_kinds: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = field(default=())

    @property
    def has_splits(self) -> bool:
        """Whether the pictures are shared out to more than one split."""
        return len({entry.role for entry in self.entries if entry.role}) > 1


def role_of(name: str) -> str:
    """Return `train`, `val` or `test` if the name of a folder or list means one of them, else an empty string."""
    return next((role for role, pattern in _ROLES if pattern.fullmatch(name.lower())), "")


def read_tree(folder: Path) -> Tree:
    """Find the pictures below a folder and what the tree says of them.

    Raises:
        NoInputError: There is no such folder, or it holds no picture.
    """
    if folder.is_file():
        raise NoInputError(f"{folder} is a file; name the folder of a data set to audit.")
    entries = [Entry(path.relative_to(folder).as_posix(), path) for path in find_images([folder])]
    if any((folder / "Annotations").glob("*.xml")):
        findings: list[Finding] = []
        entries = _with_lists(folder, entries, findings)
        return Tree(folder, "voc", tuple(entries), findings=tuple(findings))
    if any(folder.glob("labels/**/*.txt")):
        return Tree(folder, "yolo", tuple(_from_folders(entries, classes=False)))
    entries = _from_folders(entries, classes=True)
    findings = []
    kinds: set[str] = set()
    for name in (SPLIT_TABLE, SOURCE_TABLE):
        if (folder / name).is_file():
            entries = _with_table(folder / name, entries, kinds, findings)
    return Tree(folder, "folders", tuple(entries), frozenset(kinds), tuple(findings))


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a CSV table with a column `file`; missing cells become empty.

    Raises:
        ValueError: The table cannot be read or has no such column; the text says why.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restval="", strict=True)
            if "file" not in (reader.fieldnames or ()):
                raise ValueError("its first line names no column 'file'")
            return [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error


def _from_folders(entries: list[Entry], *, classes: bool) -> list[Entry]:
    """Take the split from a folder named like one, and the class from the innermost other folder."""
    read = []
    for entry in entries:
        parents = PurePosixPath(entry.file).parts[:-1]
        splits = [part for part in parents if role_of(part)]
        others = [part for part in parents if not role_of(part)]
        label = others[-1] if classes and others else ""
        read.append(
            Entry(entry.file, entry.path, label, _code(entry.file), splits[0] if splits else "")
        )  # fmt: skip
    return read


def _code(file: str) -> str:
    """Return the code before the number in a file name if it is one of a cell class, as in `BNE_191112.jpg`."""
    found = _CODE.match(PurePosixPath(file).name)
    if found is None:
        return ""
    try:
        taxonomy.resolve(found[1])
    except UnknownNameError:
        return ""
    return found[1]


def _with_table(path: Path, entries: list[Entry], kinds: set[str], findings: list[Finding]) -> list[Entry]:
    """Let a table state class, subtype, split and groups, and note where it does not fit the files."""
    try:
        rows = read_table(path)
    except ValueError as error:
        message = f"{path.name} cannot be read ({error}). Mend the table; until then its splits count for nothing."
        findings.append(Finding("table_unreadable", "fault", (path.name,), message))
        return entries
    by_file: dict[str, dict[str, str]] = {}
    splits: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        file = row["file"].replace("\\", "/").removeprefix("./")
        by_file.setdefault(file, row)
        splits[file].add(role_of(row.get("split", "")) or row.get("split", "").lower())
    kinds.update(column for column in _GROUP_COLUMNS if rows and column in rows[0])
    present = {entry.file for entry in entries}
    _compare(path.name, present, set(by_file), findings)
    twice = sorted(file for file, names in splits.items() if len(names) > 1)
    if twice:
        message = f"{path.name} puts {_counted(twice)} into two splits: {listed(twice)}. Keep one line of each."
        findings.append(Finding("two_splits", "leak", tuple(twice), message))
    return [_with_row(entry, by_file.get(entry.file)) for entry in entries]


def _with_row(entry: Entry, row: dict[str, str] | None) -> Entry:
    """Give a picture what its line of a table says; what the line leaves empty stays as it was."""
    if row is None:
        return entry
    groups = tuple((column, row[column]) for column in _GROUP_COLUMNS if row.get(column))
    return Entry(
        file=entry.file,
        path=entry.path,
        label=row.get("class") or entry.label,
        subtype=row.get("subtype") or entry.subtype,
        split=row.get("split") or entry.split,
        groups=entry.groups + groups,
    )


def _compare(table: str, present: set[str], named: set[str], findings: list[Finding]) -> None:
    """Note pictures that a table names in vain, and pictures that it does not name."""
    absent, unnamed = sorted(named - present), sorted(present - named)
    if absent:
        message = f"{table} names {_counted(absent)} that the folder lacks: {listed(absent)}. Copy or strike them."
        findings.append(Finding("listed_but_absent", "fault", tuple(absent), message))
    if unnamed:
        message = f"{table} leaves out {_counted(unnamed)} of the folder: {listed(unnamed)}. List or remove them."
        findings.append(Finding("not_listed", "fault", tuple(unnamed), message))


def _with_lists(folder: Path, entries: list[Entry], findings: list[Finding]) -> list[Entry]:
    """Take the splits of a VOC tree from its lists; lists of one class and unions such as `trainval` are left out."""
    split_of: dict[str, dict[str, str]] = defaultdict(dict)
    for path in sorted((folder / "ImageSets" / "Main").glob("*.txt")):
        if not role_of(path.stem):
            continue
        lines = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        if all(len(words) <= 1 for words in lines):
            for words in filter(None, lines):
                split_of[words[0]].setdefault(role_of(path.stem), path.stem)
    if not split_of:
        return entries
    stems = {PurePosixPath(entry.file).stem for entry in entries}
    _compare("ImageSets/Main", stems, set(split_of), findings)
    twice = sorted(stem for stem, splits in split_of.items() if len(splits) > 1)
    if twice:
        message = f"The lists put {_counted(twice)} into two splits: {listed(twice)}. Strike each from one of them."
        findings.append(Finding("two_splits", "leak", tuple(twice), message))
    first_split = {stem: next(iter(splits.values())) for stem, splits in split_of.items()}
    return [
        Entry(entry.file, entry.path, split=first_split.get(PurePosixPath(entry.file).stem, "")) for entry in entries
    ]


def _counted(files: list[str]) -> str:
    return f"{len(files)} picture" + ("s" if len(files) != 1 else "")
