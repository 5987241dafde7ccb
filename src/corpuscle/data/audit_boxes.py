"""Faults of the boxes in a VOC or YOLO tree."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from corpuscle import taxonomy
from corpuscle.data.annotations import LabeledBox, read_class_names, read_voc, read_yolo
from corpuscle.data.audit_findings import Finding, listed
from corpuscle.data.audit_pictures import Scanned
from corpuscle.data.audit_tree import Tree
from corpuscle.errors import DataError, UnknownNameError

__all__ = ["box_findings"]

_TOLERANCE_PX: Final = 1.0
"""A box may leave the picture by this much: authors count the first pixel as 0 or as 1."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One picture with its boxes; `file` is that of the annotation."""

    file: str
    picture: Scanned
    boxes: tuple[LabeledBox, ...]


def box_findings(tree: Tree, pictures: Sequence[Scanned]) -> list[Finding]:
    """List boxes that cannot be right, fields without erythrocytes, and annotations and pictures without each other."""
    if tree.layout == "folders":
        return []
    findings: list[Finding] = []
    fields = _voc_fields(tree, pictures, findings) if tree.layout == "voc" else _yolo_fields(tree, pictures, findings)
    checks: tuple[tuple[str, str, Callable[[LabeledBox, Scanned], bool]], ...] = (
        ("box_without_area", "without area (its right or lower edge lies before the other)", _has_no_area),
        ("box_of_one_pixel", "only one pixel wide or high", _is_one_pixel),
        ("box_outside", "that leave the picture", _is_outside),
    )
    for kind, words, is_wrong in checks:
        findings += _boxes_that(fields, kind, words, is_wrong)
    return findings + _without_erythrocytes(fields) + _twice(fields)


def _has_no_area(box: LabeledBox, _: Scanned) -> bool:
    return box.x_max < box.x_min or box.y_max < box.y_min


def _is_one_pixel(box: LabeledBox, picture: Scanned) -> bool:
    """VOC names the first and last pixel of a box, so equal edges are one pixel; nothing real is so small."""
    return not _has_no_area(box, picture) and min(box.x_max - box.x_min, box.y_max - box.y_min) <= 1


def _is_outside(box: LabeledBox, picture: Scanned) -> bool:
    header = picture.header
    low = min(box.x_min, box.y_min)
    return (
        low < -_TOLERANCE_PX
        or box.x_max > header.width_px + _TOLERANCE_PX
        or box.y_max > header.height_px + _TOLERANCE_PX
    )


def _boxes_that(
    fields: Sequence[_Field], kind: str, words: str, is_wrong: Callable[[LabeledBox, Scanned], bool]
) -> list[Finding]:
    """Gather the boxes with one fault in one finding."""
    wrong = [(field, box) for field in fields for box in field.boxes if is_wrong(box, field.picture)]
    if not wrong:
        return []
    examples = listed(
        f"{field.file} ({box.name} at {box.x_min:g}, {box.y_min:g} to {box.x_max:g}, {box.y_max:g})"
        for field, box in wrong
    )
    files = tuple(dict.fromkeys(field.file for field, _ in wrong))
    boxes = "box" if len(wrong) == 1 else "boxes"
    message = f"{len(wrong)} {boxes} {words}: {examples}. Draw them anew or strike them."
    return [Finding(kind, "fault", files, message)]


def _without_erythrocytes(fields: Sequence[_Field]) -> list[Finding]:
    """List fields without any box of an erythrocyte, if most fields have some."""
    counts = [
        sum(_is_erythrocyte(box.name) and not _is_one_pixel(box, field.picture) for box in field.boxes)
        for field in fields
    ]
    bare = tuple(field.file for field, count in zip(fields, counts, strict=True) if count == 0)
    if not bare or 2 * len(bare) > len(fields):
        return []
    usual = statistics.median(count for count in counts if count)
    message = (
        f"{len(bare)} of {len(fields)} fields have no erythrocyte box, the others {usual:g} in the median: "
        f"{listed(bare)}. Look at them: if erythrocytes are there, leave these fields out of training and counting."
    )
    return [Finding("field_without_erythrocytes", "fault", bare, message)]


def _twice(fields: Sequence[_Field]) -> list[Finding]:
    """List pictures in which the same box stands twice, under one name or two."""
    twice = []
    for field in fields:
        edges = [(box.x_min, box.y_min, box.x_max, box.y_max) for box in field.boxes]
        if len(set(edges)) < len(edges):
            twice.append(field.file)
    if not twice:
        return []
    message = f"The same box stands twice in {listed(twice)}. Strike one of each two."
    return [Finding("box_twice", "fault", tuple(twice), message)]


def _is_erythrocyte(name: str) -> bool:
    try:
        return taxonomy.kind_of_box_name(name) == "erythrocyte"
    except UnknownNameError:
        return False


def _voc_fields(tree: Tree, pictures: Sequence[Scanned], findings: list[Finding]) -> list[_Field]:
    """Read the annotations of a VOC tree; a picture and its annotation share their stem."""
    by_stem = {PurePosixPath(one.entry.file).stem: one for one in pictures}
    fields = []
    wrong_size = []
    paths = {path.stem: path for path in sorted((tree.folder / "Annotations").glob("*.xml"))}
    _report_unpaired(tree, (entry.file for entry in tree.entries), paths, findings)
    for stem, path in paths.items():
        picture = by_stem.get(stem)
        if picture is None:
            continue
        file = path.relative_to(tree.folder).as_posix()
        try:
            voc = read_voc(path)
        except DataError as error:
            findings.append(Finding("annotation_unreadable", "fault", (file,), str(error)))
            continue
        stated = (voc.width_px or picture.header.width_px, voc.height_px or picture.header.height_px)
        if stated != (picture.header.width_px, picture.header.height_px):
            wrong_size.append(file)
        fields.append(_Field(file, picture, voc.boxes))
    if wrong_size:
        message = f"The stated size differs from that of the picture in {listed(wrong_size)}. Boxes may be off."
        findings.append(Finding("stated_size_differs", "fault", tuple(wrong_size), message))
    return fields


def _yolo_fields(tree: Tree, pictures: Sequence[Scanned], findings: list[Finding]) -> list[_Field]:
    """Read the label files of a YOLO tree; they lie under `labels` as the pictures do under `images`."""
    names: tuple[str, ...] = ()
    for path in (tree.folder / "classes.txt", tree.folder / "labels" / "classes.txt"):
        if path.is_file():
            try:
                names = read_class_names(path)
            except DataError as error:
                findings.append(Finding("annotation_unreadable", "fault", (path.name,), str(error)))
    root = tree.folder / "labels"
    paths = {
        path.relative_to(root).with_suffix("").as_posix(): path
        for path in sorted(root.rglob("*.txt"))
        if path.name != "classes.txt"
    }
    _report_unpaired(tree, (entry.file for entry in tree.entries), paths, findings)
    fields = []
    for picture in pictures:
        label_path = paths.get(_stem_below_images(picture.entry.file))
        if label_path is None:
            continue
        file = label_path.relative_to(tree.folder).as_posix()
        header = picture.header
        try:
            boxes = read_yolo(label_path, names=names, width_px=header.width_px, height_px=header.height_px)
        except DataError as error:
            findings.append(Finding("annotation_unreadable", "fault", (file,), str(error)))
        else:
            fields.append(_Field(file, picture, boxes))
    return sorted(fields, key=lambda field: field.file)


def _stem_below_images(file: str) -> str:
    return PurePosixPath(file.removeprefix("images/")).with_suffix("").as_posix()


def _report_unpaired(tree: Tree, files: Iterable[str], paths: dict[str, Path], findings: list[Finding]) -> None:
    """Note pictures without a file of boxes, and files of boxes without a picture."""
    if tree.layout == "voc":
        pictures = {PurePosixPath(file).stem: file for file in files}
    else:
        pictures = {_stem_below_images(file): file for file in files}
    bare = tuple(file for stem, file in pictures.items() if stem not in paths)
    alone = tuple(path.relative_to(tree.folder).as_posix() for stem, path in paths.items() if stem not in pictures)
    if bare:
        message = f"{len(bare)} pictures have no file of boxes: {listed(bare)}. Annotate or remove them."
        findings.append(Finding("picture_without_boxes", "fault", bare, message))
    if alone:
        message = (
            f"{len(alone)} files of boxes have no picture: {listed(alone)}. Copy the pictures or remove the files."
        )
        findings.append(Finding("boxes_without_picture", "fault", alone, message))
