"""Reading every picture of a set once: its hash, its header, and the reduced picture that duplicates are found with."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from corpuscle.data.audit_findings import Finding
from corpuscle.data.audit_tree import Entry, Tree
from corpuscle.data.images import ImageHeader, decode_image, read_header
from corpuscle.data.near_duplicates import SceneIndex, ScenePair
from corpuscle.errors import ImageError

__all__ = ["Scan", "Scanned", "scan_pictures"]

_SAMPLE = 200
_MOST_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Scanned:
    """One picture that could be read.

    Attributes:
        entry: What the tree says of it.
        digest: SHA-256 of the file.
        header: Format, size and encoding.
        size_bytes: Length of the file.
    """

    entry: Entry
    digest: str
    header: ImageHeader
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Scan:
    """All pictures that could be read, and which of them show the same scene.

    Attributes:
        pictures: The readable pictures.
        by_digest: Those of equal bytes together, in the numbering of `pairs`.
        pairs: Pairs of different files that show the same scene.
        findings: The unreadable ones.
    """

    pictures: tuple[Scanned, ...]
    by_digest: tuple[tuple[Scanned, ...], ...]
    pairs: tuple[ScenePair, ...]
    findings: tuple[Finding, ...]


def scan_pictures(tree: Tree, progress: Callable[[int, int], None] | None = None) -> Scan:
    """Read each picture of the tree once and find those that show the same scene.

    Args:
        tree: The pictures.
        progress: Called with what is done and what there is to do, in pictures; comparing counts as much as reading.
    """
    count = len(tree.entries)
    index = SceneIndex(_typical_side(tree), count)
    together: dict[str, list[Scanned]] = {}
    findings: list[Finding] = []
    for number, entry in enumerate(tree.entries, start=1):
        try:
            scanned, is_new = _scan(entry, together, index)
        except ImageError as error:
            findings.append(Finding("unreadable", "fault", (entry.file,), str(error)))
        else:
            if is_new:
                together[scanned.digest] = [scanned]
            else:
                together[scanned.digest].append(scanned)
        if progress is not None:
            progress(number, 2 * count)
    pairs = index.pairs(None if progress is None else lambda share: progress(count + round(share * count), 2 * count))
    if progress is not None:
        progress(2 * count, 2 * count)
    by_digest = tuple(tuple(group) for group in together.values())
    return Scan(tuple(one for group in by_digest for one in group), by_digest, tuple(pairs), tuple(findings))


def _scan(entry: Entry, known: dict[str, list[Scanned]], index: SceneIndex) -> tuple[Scanned, bool]:
    """Read one picture, and put it into the index unless a file of the same bytes is there already.

    Raises:
        ImageError: It cannot be read.
    """
    data = _bytes_of(entry)
    digest = hashlib.sha256(data).hexdigest()
    scanned = Scanned(entry, digest, read_header(data, name=entry.file), len(data))
    if digest in known:
        return scanned, False
    index.add(decode_image(data, name=entry.file))
    return scanned, True


def _bytes_of(entry: Entry) -> bytes:
    """Return the content of a file.

    Raises:
        ImageError: It cannot be read, or is longer than any single picture.
    """
    try:
        if not entry.path.is_file():
            raise ImageError(f"{entry.file} is no file, or a link that leads nowhere; remove or replace it.")
        if entry.path.stat().st_size > _MOST_BYTES:
            raise ImageError(f"{entry.file} is longer than {_MOST_BYTES:,} bytes; cut it into fields first.")
        return entry.path.read_bytes()
    except OSError as error:
        raise ImageError(f"{entry.file} cannot be read ({error}); check its permissions and the disk.") from error


def _typical_side(tree: Tree) -> int:
    """Return the median long side of a sample of the pictures, in pixels."""
    sides = []
    for entry in tree.entries[:: max(1, len(tree.entries) // _SAMPLE)]:
        try:
            header = read_header(_bytes_of(entry), name=entry.file)
        except ImageError:
            continue
        sides.append(max(header.width_px, header.height_px))
    return round(statistics.median(sides)) if sides else 1
