from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from corpuscle.data.attributes import ATTRIBUTES
from corpuscle.errors import UsageError
from corpuscle.models.attribute_probe import AttributeProbe, write_probe
from corpuscle.models.bundle import load_bundle, write_manifest
from corpuscle.models.known_cells import make_known_cells, write_known_cells
from corpuscle.prediction.classification import CellReader
from corpuscle.prediction.describing import Describer, description_columns, description_row, sentence
from corpuscle.prediction.writing import open_writer, prediction_row
from corpuscle.records import Framing, Prediction

EOSINOPHIL = ("big", "round", "segmented-bilobed", "low", "dense", "no", "clear", "light blue", "round", "red", "yes")
LYMPHOCYTE = ("small", "round", "unsegmented-round", "high", "dense", "no", "clear", "blue", "none", "none", "no")


@pytest.fixture
def described(copied_bundle):
    """The toy bundle with probes that say `EOSINOPHIL` of every cell, and three known cells."""
    bundle = load_bundle(copied_bundle)
    width = bundle.reference().means.shape[1]
    attributes = {item.key: tuple(dict.fromkeys(item.values.values())) for item in ATTRIBUTES}
    looks = [[values[item] for item in (EOSINOPHIL, LYMPHOCYTE)] for values in _places(attributes)]
    bias = np.concatenate([[4.0 if place == said[0] else 0.0 for place in range(size)]
                           for said, size in zip(looks, map(len, attributes.values()), strict=True)])  # fmt: skip
    usual = np.stack([np.concatenate([np.eye(len(values))[said[row]]
                                      for said, values in zip(looks, attributes.values(), strict=True)])
                      for row in (0, 1)])  # fmt: skip
    probe = AttributeProbe(attributes, ("eosinophil", "lymphocyte"), np.zeros((width, len(bias)), np.float32),
                           bias.astype(np.float32), usual.astype(np.float32), 0.8, 0.05)  # fmt: skip
    write_probe(bundle, probe)
    points = np.eye(3, width, dtype=np.float32) * 4
    known = make_known_cells(points, ["set/a.png", "set/b.png", "set/c.png"], np.arange(3), bundle.classes, unit=1.0)
    write_known_cells(bundle, known)
    return write_manifest(bundle)


def _places(attributes):
    return [
        {EOSINOPHIL: values.index(EOSINOPHIL[n]), LYMPHOCYTE: values.index(LYMPHOCYTE[n])}
        for n, values in enumerate(attributes.values())
    ]


def answer(class_name: str, bundle, *, refused: bool = False) -> Prediction:
    shares = dict.fromkeys(bundle.classes, 0.1) | {class_name: 0.7}
    return Prediction("a.png", class_name, 0.7, shares, refused, "too doubtful" if refused else "", (class_name,), 0.1,
                      Framing("cell", 0, 0, 10))  # fmt: skip


def embedding(bundle, n: int = 1) -> np.ndarray:
    return np.eye(n, bundle.reference().means.shape[1], dtype=np.float32) * 4


def test_a_cell_is_described_as_a_hematologist_would(described):
    [said] = Describer(described).describe([answer("eosinophil", described)], embedding(described))
    description = said.description
    assert description.words == "segmented-bilobed nucleus, red round granules"
    assert sentence(description) == (
        "segmented-bilobed nucleus, red round granules; big cell, round outline, low nuclear-cytoplasmic ratio, "
        "dense chromatin, clear light blue cytoplasm, no vacuoles"
    )
    assert description.remarks == ()
    assert len(description.traits) == 11
    assert replace(said, description=None) == answer("eosinophil", described)


def test_what_does_not_fit_the_class_is_remarked_on(described):
    [said] = Describer(described).describe([answer("lymphocyte", described)], embedding(described))
    remarks = said.description.remarks
    assert "segmented-bilobed nucleus, as none of the annotated lymphocytes has" in remarks
    assert not any("outline" in remark for remark in remarks)  # both are round
    assert {trait.attribute for trait in said.description.traits if trait.unusual} == {
        "cell_size", "nucleus_shape", "nuclear_cytoplasmic_ratio", "cytoplasm_color", "granule_type", "granule_color",
        "granularity",
    }  # fmt: skip


def test_nothing_is_said_in_words_of_refused_cells_and_of_classes_without_annotated_cells(described):
    asked = [answer("eosinophil", described, refused=True), answer("platelet", described)]
    for said in Describer(described).describe(asked, embedding(described, 2)):
        assert said.description.words == ""
        assert said.description.traits == ()
        assert len(said.description.nearest) == 3


def test_the_nearest_known_cell_comes_first(described):
    asked = [answer("platelet", described)] * 3
    found = Describer(described).describe(asked, embedding(described, 3))
    assert [said.description.nearest[0].file for said in found] == ["set/a.png", "set/b.png", "set/c.png"]
    assert found[0].description.nearest[0].class_name == described.classes[0]
    assert found[0].description.nearest[0].distance == pytest.approx(0, abs=0.1)


def test_a_bundle_without_either_file_says_what_to_do(toy_bundle):
    with pytest.raises(UsageError, match="corpuscle enrich"):
        CellReader(toy_bundle, describe=True)


def test_the_reader_describes_and_the_rest_of_the_answer_stays(described, drawn_files):
    plain = CellReader(described).read(drawn_files)
    told = CellReader(described, describe=True).read(drawn_files)
    assert [item.description for item in plain] == [None] * len(plain)
    assert [replace(item, description=None) for item in told] == plain
    assert all(item.description.nearest for item in told)


def test_tables_have_the_columns_of_a_description_only_where_it_was_asked_for(described):
    [said] = Describer(described).describe([answer("eosinophil", described)], embedding(described))
    texts = []
    for describe in (False, True):
        stdout = io.StringIO()
        with open_writer(None, described, stdout, as_json=False, describe=describe) as writer:
            writer.add(said)
        texts.append(stdout.getvalue())
    plain, told = (next(csv.DictReader(text.splitlines())) for text in texts)
    assert plain == prediction_row(said)
    assert list(told) == [*plain, *description_columns()]
    assert told["nucleus_shape"] == "segmented-bilobed"
    assert told["nearest"] == "set/a.png"
    assert set(description_row(None).values()) == {""}


def test_the_commands_say_it(cli, described, drawn_files, tmp_path):
    folder = described.folder
    done = cli("classify", drawn_files[0].parent, "--model", folder, "--attributes", "--json")
    assert done.status == 0
    values = json.loads(done.out)["predictions"]
    assert all(item["description"]["nearest"] for item in values)
    in_words = [item for item in values if item["class"] == "eosinophil" and not item["refused"]]
    assert in_words
    assert in_words[0]["description"]["words"] == "segmented-bilobed nucleus, red round granules"
    assert in_words[0]["description"]["attributes"]["granule_color"]["value"] == "red"
    plain = cli("classify", drawn_files[0].parent, "--model", folder, "--json")
    assert "description" not in plain.out
    why = cli("explain", in_words[0]["file"], "--model", folder, "-o", tmp_path / "why")
    assert "eosinophil" in why.out
    assert "segmented-bilobed nucleus, red round granules; big cell" in why.out
    assert "near: set/" in why.out


def test_the_table_on_a_terminal_has_the_words(cli, described, drawn_files, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    done = cli("classify", drawn_files[0].parent, "--model", described.folder, "--attributes", terminal=True)
    assert "in words" in done.out
    assert "red round granules" in done.out
