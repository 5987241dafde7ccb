"""The table of cell classes: every published spelling is found, and the lineage is sound."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpuscle import taxonomy
from corpuscle.errors import UnknownNameError
from corpuscle.taxonomy import CLASSES, KEYS, KINDS, LABEL_MAPS, cell_class, resolve

# What the data sets themselves write, typed by hand from their files and pages.
PUBLISHED = {
    "pbc folders": {
        "basophil": "basophil",
        "eosinophil": "eosinophil",
        "erythroblast": "erythroblast",
        "ig": "immature_granulocyte",
        "lymphocyte": "lymphocyte",
        "monocyte": "monocyte",
        "neutrophil": "neutrophil",
        "platelet": "platelet",
    },
    "pbc file codes": {
        "BA": "basophil",
        "EO": "eosinophil",
        "ERB": "erythroblast",
        "IG": "immature_granulocyte",
        "PMY": "promyelocyte",
        "MY": "myelocyte",
        "MMY": "metamyelocyte",
        "LY": "lymphocyte",
        "MO": "monocyte",
        "NEUTROPHIL": "neutrophil",
        "SNE": "segmented_neutrophil",
        "BNE": "band_neutrophil",
        "PLATELET": "platelet",
    },
    "bloodmnist": {
        "basophil": "basophil",
        "eosinophil": "eosinophil",
        "erythroblast": "erythroblast",
        "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)": "immature_granulocyte",
        "lymphocyte": "lymphocyte",
        "monocyte": "monocyte",
        "neutrophil": "neutrophil",
        "platelet": "platelet",
    },
    "kaggle": {
        "EOSINOPHIL": "eosinophil",
        "LYMPHOCYTE": "lymphocyte",
        "MONOCYTE": "monocyte",
        "NEUTROPHIL": "neutrophil",
    },
    "wbcatt": {
        "Basophil": "basophil",
        "Eosinophil": "eosinophil",
        "Lymphocyte": "lymphocyte",
        "Monocyte": "monocyte",
        "Neutrophil": "neutrophil",
    },
    "bccd": {"RBC": "erythrocyte", "Platelets": "platelet"},
    "spanish": {
        "basófilo": "basophil",
        "Eosinofilo": "eosinophil",
        "eritroblasto": "erythroblast",
        "granulocito inmaduro": "immature_granulocyte",
        "linfocito": "lymphocyte",
        "monocito": "monocyte",
        "neutrófilo": "neutrophil",
        "plaqueta": "platelet",
        "eritrocito": "erythrocyte",
        "neutrófilo segmentado": "segmented_neutrophil",
        "neutrófilo en banda": "band_neutrophil",
        "cayado": "band_neutrophil",
        "promielocito": "promyelocyte",
        "mielocito": "myelocyte",
        "metamielocito": "metamyelocyte",
    },
}


@pytest.mark.parametrize(("name", "key"), [pair for spellings in PUBLISHED.values() for pair in spellings.items()])
def test_resolve_knows_every_published_spelling(name: str, key: str) -> None:
    assert resolve(name) == key


def test_resolve_ignores_case_accents_spaces_and_punctuation() -> None:
    for spelling in ("Immature-Granulocyte", "immature granulocyte", " IMMATURE__GRANULOCYTE ", "immaturegranulocyte"):
        assert resolve(spelling) == "immature_granulocyte"
    assert resolve("NEUTRÓFILO") == resolve("neutro\u0301filo") == "neutrophil"


@pytest.mark.parametrize(
    "name", ["", "  ", "--", "WBC", "leukocyte", "neutro", "myelo", "neutrophil, eosinophil", "细胞"]
)
def test_resolve_refuses_what_is_no_class(name: str) -> None:
    with pytest.raises(UnknownNameError, match="There is no cell class named"):
        resolve(name)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_resolve_returns_a_key_or_refuses(name: str) -> None:
    try:
        key = resolve(name)
    except UnknownNameError:
        return
    assert key in KEYS


def test_resolve_maps_to_the_nearest_known_ancestor() -> None:
    eight = LABEL_MAPS["pbc"]
    assert resolve("SNE", known=eight) == "neutrophil"
    assert resolve("MMY", known=eight) == "immature_granulocyte"
    assert resolve("SNE", known=(*eight, "segmented_neutrophil")) == "segmented_neutrophil"


def test_resolve_lists_only_the_known_classes_when_it_refuses() -> None:
    with pytest.raises(UnknownNameError) as caught:
        resolve("IG", known=LABEL_MAPS["kaggle"])
    assert caught.value.known == LABEL_MAPS["kaggle"]
    with pytest.raises(UnknownNameError, match="'neutrophil'"):
        resolve("neutrophil", known=("segmented_neutrophil",))


def test_no_spelling_belongs_to_two_classes() -> None:
    owners: dict[str, set[str]] = {}
    for row in CLASSES:
        for spelling in (row.key, row.name_en, row.name_es, *row.synonyms):
            folded = re.sub(r"[^a-z0-9]", "", spelling.casefold().replace("ó", "o"))
            owners.setdefault(folded, set()).add(row.key)
    assert {spelling: keys for spelling, keys in owners.items() if len(keys) > 1} == {}


def test_every_row_is_complete_and_consistent() -> None:
    assert len(set(KEYS)) == len(KEYS) == len(CLASSES) == 14
    for row in CLASSES:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", row.key)
        assert row.name_en
        assert row.name_es
        assert row.kind in KINDS
        assert row.in_differential == (row.kind == "leukocyte")
        assert re.fullmatch(r"(CL:\d{7})?", row.cell_ontology)
        if row.parent:
            parent = cell_class(row.parent)
            assert (parent.kind, parent.in_differential) == (row.kind, row.in_differential)
    given_ids = [row.cell_ontology for row in CLASSES if row.cell_ontology]
    assert len(set(given_ids)) == len(given_ids)


def test_rows_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CLASSES[0].key = "other"  # type: ignore[misc]


def test_label_maps_have_the_published_order() -> None:
    assert LABEL_MAPS["bloodmnist"] == tuple(PUBLISHED["bloodmnist"].values())
    assert LABEL_MAPS["pbc"] == tuple(PUBLISHED["pbc folders"].values())
    assert LABEL_MAPS["kaggle"] == tuple(PUBLISHED["kaggle"].values())
    assert LABEL_MAPS["wbcatt"] == tuple(PUBLISHED["wbcatt"].values())
    assert all(key in KEYS for keys in LABEL_MAPS.values() for key in keys)


def test_cell_class_wants_the_exact_key() -> None:
    assert cell_class("monocyte").name_es == "monocito"
    with pytest.raises(UnknownNameError, match="Choose one of: basophil"):
        cell_class("Monocyte")


def test_ancestor_in() -> None:
    assert taxonomy.ancestor_in("myelocyte", ("immature_granulocyte", "neutrophil")) == "immature_granulocyte"
    assert taxonomy.ancestor_in("myelocyte", ("myelocyte", "immature_granulocyte")) == "myelocyte"
    assert taxonomy.ancestor_in("neutrophil", ("segmented_neutrophil",)) == ""
    with pytest.raises(UnknownNameError):
        taxonomy.ancestor_in("SNE", KEYS)


def test_common_classes() -> None:
    assert taxonomy.common_classes("pbc", "kaggle") == LABEL_MAPS["kaggle"]
    assert taxonomy.common_classes(("segmented_neutrophil", "band_neutrophil"), ["neutrophil"]) == ("neutrophil",)
    assert taxonomy.common_classes(("platelet",), ("monocyte",)) == ()
    with pytest.raises(UnknownNameError, match="label list"):
        taxonomy.common_classes("pbc", "nowhere")


@settings(deadline=None)
@given(st.sets(st.sampled_from(KEYS)), st.sets(st.sampled_from(KEYS)))
def test_common_classes_does_not_depend_on_the_order(a: set[str], b: set[str]) -> None:
    shared = taxonomy.common_classes(tuple(a), tuple(b))
    assert shared == taxonomy.common_classes(tuple(b), tuple(a))
    assert set(shared) <= a | b
    assert a & b <= set(shared)


def test_differential_counts_leukocytes_only() -> None:
    counted = taxonomy.differential_classes()
    assert "immature_granulocyte" in counted
    assert {"erythroblast", "platelet", "erythrocyte"}.isdisjoint(counted)
    assert set(KEYS) - set(counted) == {"erythroblast", "platelet", "erythrocyte"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("WBC", "leukocyte"),
        ("RBC", "erythrocyte"),
        ("Platelets", "platelet"),
        ("Platelet", "platelet"),
        ("NEUTROPHIL", "leukocyte"),
        ("erythroblast", "erythroid_precursor"),
    ],
)
def test_kind_of_box_name(name: str, kind: str) -> None:
    assert taxonomy.kind_of_box_name(name) == kind


def test_kind_of_box_name_refuses_the_rest() -> None:
    with pytest.raises(UnknownNameError, match="WBC, RBC, platelet"):
        taxonomy.kind_of_box_name("artifact")


def test_public_names_are_sorted() -> None:
    constants = [name for name in taxonomy.__all__ if name.isupper()]
    others = [name for name in taxonomy.__all__ if name[0].isupper() and not name.isupper()]
    functions = [name for name in taxonomy.__all__ if name[0].islower()]
    assert taxonomy.__all__ == sorted(constants) + sorted(others) + sorted(functions)
    assert all(hasattr(taxonomy, name) for name in taxonomy.__all__)
