"""Cell classes: their names, lineage, synonyms, Cell Ontology ids, and the label lists of published data sets.

The table `CLASSES` is the only place where a class is defined: adding a class means adding a row. For the nomenclature
see the recommendations of the International Council for Standardization in Haematology (Palmer et al. 2015,
International Journal of Laboratory Hematology 37, doi 10.1111/ijlh.12327); the identifiers are those of the Cell
Ontology (http://purl.obolibrary.org/obo/cl.owl).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from corpuscle.errors import UnknownNameError

__all__ = [
    "CLASSES",
    "KEYS",
    "KINDS",
    "LABEL_MAPS",
    "CellClass",
    "Kind",
    "ancestor_in",
    "cell_class",
    "common_classes",
    "differential_classes",
    "kind_of_box_name",
    "resolve",
]

Kind = Literal["leukocyte", "erythroid_precursor", "platelet", "erythrocyte"]

KINDS: Final[tuple[Kind, ...]] = ("leukocyte", "erythroid_precursor", "platelet", "erythrocyte")


@dataclass(frozen=True, slots=True)
class CellClass:
    """One row of the table of cell classes.

    Attributes:
        key: The name used in Python, files and bundles: lower case, words joined by underscores.
        name_en: English name for a person to read.
        name_es: Spanish name for a person to read.
        kind: The broad kind of cell that a detector can tell.
        parent: Key of the class that this one is a part of; empty when it is a part of none.
        in_differential: Whether the cell belongs to the denominator of a leukocyte differential.
        cell_ontology: Identifier in the Cell Ontology, such as `CL:0000775`; empty where it has no exact term.
        synonyms: Other spellings that `resolve` accepts; case, accents, spaces and punctuation do not matter.
    """

    key: str
    name_en: str
    name_es: str
    kind: Kind
    parent: str
    in_differential: bool
    cell_ontology: str
    synonyms: tuple[str, ...]


CLASSES: Final[tuple[CellClass, ...]] = (
    CellClass(
        key="basophil",
        name_en="basophil",
        name_es="basófilo",
        kind="leukocyte",
        parent="",
        in_differential=True,
        cell_ontology="CL:0000767",
        synonyms=("BA", "BAS", "BASO", "basophils", "basófilos"),
    ),
    CellClass(
        key="eosinophil",
        name_en="eosinophil",
        name_es="eosinófilo",
        kind="leukocyte",
        parent="",
        in_differential=True,
        cell_ontology="CL:0000771",
        synonyms=("EO", "EOS", "eosinophils", "eosinófilos"),
    ),
    CellClass(
        key="erythroblast",
        name_en="erythroblast",
        name_es="eritroblasto",
        kind="erythroid_precursor",
        parent="",
        in_differential=False,
        cell_ontology="CL:0000765",
        synonyms=(
            "ERB",
            "NRBC",
            "erythroblasts",
            "normoblast",
            "nucleated red blood cell",
            "eritroblastos",
        ),
    ),
    CellClass(
        key="immature_granulocyte",
        name_en="immature granulocyte",
        name_es="granulocito inmaduro",
        kind="leukocyte",
        parent="",
        in_differential=True,
        cell_ontology="",
        synonyms=(
            "IG",
            "immature granulocytes",
            "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
            "granulocitos inmaduros",
        ),
    ),
    CellClass(
        key="lymphocyte",
        name_en="lymphocyte",
        name_es="linfocito",
        kind="leukocyte",
        parent="",
        in_differential=True,
        cell_ontology="CL:0000542",
        synonyms=("LY", "LYM", "LYMPH", "lymphocytes", "linfocitos"),
    ),
    CellClass(
        key="monocyte",
        name_en="monocyte",
        name_es="monocito",
        kind="leukocyte",
        parent="",
        in_differential=True,
        cell_ontology="CL:0000576",
        synonyms=("MO", "MON", "MONO", "monocytes", "monocitos"),
    ),
    CellClass(
        key="neutrophil",
        name_en="neutrophil",
        name_es="neutrófilo",
        kind="leukocyte",
        parent="",
        in_differential=True,
        cell_ontology="CL:0000775",
        synonyms=("NE", "NEU", "NEUT", "neutrophils", "neutrófilos"),
    ),
    CellClass(
        key="platelet",
        name_en="platelet",
        name_es="plaqueta",
        kind="platelet",
        parent="",
        in_differential=False,
        cell_ontology="CL:0000233",
        synonyms=("PLT", "platelets", "thrombocyte", "thrombocytes", "plaquetas", "trombocito"),
    ),
    CellClass(
        key="erythrocyte",
        name_en="erythrocyte",
        name_es="eritrocito",
        kind="erythrocyte",
        parent="",
        in_differential=False,
        cell_ontology="CL:0000232",
        synonyms=("RBC", "RBCs", "erythrocytes", "red blood cell", "red blood cells", "red cell", "eritrocitos"),
    ),
    CellClass(
        key="segmented_neutrophil",
        name_en="segmented neutrophil",
        name_es="neutrófilo segmentado",
        kind="leukocyte",
        parent="neutrophil",
        in_differential=True,
        cell_ontology="",
        synonyms=("SNE", "SEG", "segmented neutrophils", "neutrophil segmented", "neutrófilos segmentados"),
    ),
    CellClass(
        key="band_neutrophil",
        name_en="band neutrophil",
        name_es="neutrófilo en banda",
        kind="leukocyte",
        parent="neutrophil",
        in_differential=True,
        cell_ontology="CL:0000560",
        synonyms=(
            "BNE",
            "band",
            "band neutrophils",
            "band form neutrophil",
            "neutrophil band",
            "stab cell",
            "cayado",
            "cayados",
            "neutrófilo cayado",
            "neutrófilos en banda",
        ),
    ),
    CellClass(
        key="promyelocyte",
        name_en="promyelocyte",
        name_es="promielocito",
        kind="leukocyte",
        parent="immature_granulocyte",
        in_differential=True,
        cell_ontology="CL:0000836",
        synonyms=("PMY", "promyelocytes", "promielocitos"),
    ),
    CellClass(
        key="myelocyte",
        name_en="myelocyte",
        name_es="mielocito",
        kind="leukocyte",
        parent="immature_granulocyte",
        in_differential=True,
        cell_ontology="CL:0002193",
        synonyms=("MY", "myelocytes", "mielocitos"),
    ),
    CellClass(
        key="metamyelocyte",
        name_en="metamyelocyte",
        name_es="metamielocito",
        kind="leukocyte",
        parent="immature_granulocyte",
        in_differential=True,
        cell_ontology="CL:0002192",
        synonyms=("MMY", "metamyelocytes", "metamielocitos"),
    ),
)

KEYS: Final[tuple[str, ...]] = tuple(row.key for row in CLASSES)

_PBC_KEYS: Final = KEYS[:8]
_FIVE_PART: Final = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")

# Ordered keys of each published label list; where the data set stores numbers, the position is the number.
LABEL_MAPS: Final[dict[str, tuple[str, ...]]] = {
    "bloodmnist": (
        "basophil",
        "eosinophil",
        "erythroblast",
        "immature_granulocyte",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    ),
    "kaggle": ("eosinophil", "lymphocyte", "monocyte", "neutrophil"),
    "pbc": _PBC_KEYS,
    "txl-pbc": _FIVE_PART,
    "wbcatt": _FIVE_PART,
}

# Names that detection data sets give to boxes around a leukocyte of no stated class.
_LEUKOCYTE_BOX_NAMES: Final = frozenset(
    {"wbc", "wbcs", "leukocyte", "leukocytes", "leucocyte", "leucocito", "whitebloodcell", "whitebloodcells"}
)


def _folded(name: str) -> str:
    """Return `name` without case, accents, spaces and punctuation, so that spellings can be compared."""
    decomposed = unicodedata.normalize("NFKD", name).casefold()
    return "".join(letter for letter in decomposed if letter.isalnum())


_BY_KEY: Final[dict[str, CellClass]] = {row.key: row for row in CLASSES}
_BY_SPELLING: Final[dict[str, str]] = {
    _folded(spelling): row.key for row in CLASSES for spelling in (row.key, row.name_en, row.name_es, *row.synonyms)
}


def cell_class(key: str) -> CellClass:
    """Return the row of the table whose key is exactly `key`.

    Raises:
        UnknownNameError: No class has that key; `resolve` turns other spellings into keys.
    """
    try:
        return _BY_KEY[key]
    except KeyError:
        raise UnknownNameError("cell class", key, KEYS) from None


def resolve(name: str, *, known: Sequence[str] | None = None) -> str:
    """Turn any accepted spelling of a class into its key.

    Args:
        name: A key, an English or Spanish name, or a synonym such as a folder name or a code; case, accents,
            spaces, underscores, hyphens and other punctuation do not matter.
        known: Keys of which one must be returned. A class outside them counts as its nearest ancestor among them:
            `SNE` becomes `neutrophil` where segmented neutrophils are no class of their own.

    Raises:
        UnknownNameError: The name is no spelling of a class, or of none that `known` allows.
    """
    key = _BY_SPELLING.get(_folded(name), "")
    if known is None:
        if not key:
            raise UnknownNameError("cell class", name, KEYS)
        return key
    allowed = ancestor_in(key, known) if key else ""
    if not allowed:
        raise UnknownNameError("cell class", name, tuple(known))
    return allowed


def ancestor_in(key: str, classes: Sequence[str]) -> str:
    """Return `key` itself or its nearest ancestor that is among `classes`, and an empty string if there is none.

    Raises:
        UnknownNameError: `key` is not a class.
    """
    row = cell_class(key)
    while row.key not in classes:
        if not row.parent:
            return ""
        row = cell_class(row.parent)
    return row.key


def common_classes(a: str | Sequence[str], b: str | Sequence[str]) -> tuple[str, ...]:
    """List the classes on which two label lists can be compared, in the order of the table.

    A class of one list counts as its nearest ancestor in the other: `segmented_neutrophil` and `neutrophil` have
    `neutrophil` in common.

    Args:
        a: Keys, or the name of a list in `LABEL_MAPS`.
        b: Likewise.

    Raises:
        UnknownNameError: A key is not a class, or a name is not in `LABEL_MAPS`.
    """
    first, second = _label_list(a), _label_list(b)
    shared = {ancestor_in(key, second) for key in first} | {ancestor_in(key, first) for key in second}
    return tuple(key for key in KEYS if key in shared)


def _label_list(labels: str | Sequence[str]) -> tuple[str, ...]:
    """Return the keys that `labels` names or holds."""
    if not isinstance(labels, str):
        return tuple(labels)
    if labels not in LABEL_MAPS:
        raise UnknownNameError("label list", labels, tuple(LABEL_MAPS))
    return LABEL_MAPS[labels]


def differential_classes() -> tuple[str, ...]:
    """List the keys that count in a leukocyte differential, in the order of the table."""
    return tuple(row.key for row in CLASSES if row.in_differential)


def kind_of_box_name(name: str) -> Kind:
    """Return the kind of cell that a detection data set means by the name of a box.

    Boxes are often labeled by kind and not by class: `WBC` is a leukocyte of no stated class, so it has a kind
    but no key.

    Args:
        name: A box name such as `RBC`, `WBC` or `Platelets`, or any spelling of a class.

    Raises:
        UnknownNameError: The name is neither a kind of cell nor a spelling of a class.
    """
    if _folded(name) in _LEUKOCYTE_BOX_NAMES:
        return "leukocyte"
    if _folded(name) not in _BY_SPELLING:
        raise UnknownNameError("kind of cell", name, ("WBC", "RBC", "platelet", *KEYS))
    return cell_class(resolve(name)).kind
