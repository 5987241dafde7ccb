"""Attributes and known cells from data sets to a bundle, through the command."""

from __future__ import annotations

import json

import numpy as np
import pytest

from corpuscle.errors import UsageError
from corpuscle.evaluation.attributes import evaluate_attributes
from corpuscle.models.attribute_probe import AttributeProbe, read_probe
from corpuscle.models.bundle import load_bundle
from corpuscle.models.known_cells import read_known_cells
from corpuscle.prediction.classification import CellReader
from corpuscle.prediction.probing import Annotated
from corpuscle.reporting.enriching import enrich


@pytest.fixture(scope="module")
def enriched(toy_bundle, attributed_root, tmp_path_factory):
    """The toy bundle with attributes and known cells of the drawn twins, and what was measured."""
    import shutil

    folder = shutil.copytree(toy_bundle, tmp_path_factory.mktemp("enriched") / "bundle")
    return enrich(load_bundle(folder), known=["pbc"], root=attributed_root)


def test_attributes_are_fitted_on_the_classes_that_have_them(enriched):
    probe = read_probe(enriched.bundle)
    assert probe is not None
    assert probe.classes == ("eosinophil", "lymphocyte", "neutrophil")
    granules = probe.columns()["granule_color"]
    usual = dict(zip(probe.attributes["granule_color"], probe.usual[0, granules].tolist(), strict=True))
    assert usual == {"none": 0, "pink": 0, "purple": 0, "red": 1}


def test_what_is_measured_is_the_test_list_and_its_unseen_part(enriched):
    whole, unseen = enriched.attributes
    assert (whole.where, whole.n) == ("wbcatt test", 9)
    assert (unseen.where, unseen.n) == ("wbcatt test, pbc test", 3)
    by_key = {item.attribute: item for item in whole.results}
    # Every cell has the same size, and the class gives the granules away.
    assert by_key["cell_size"].accuracy == by_key["cell_size"].majority == 1
    assert by_key["granule_color"].by_class == 1
    assert by_key["granule_color"].accuracy > 0.6 > by_key["granule_color"].majority


def test_known_cells_are_the_train_split(enriched, attributed_root, drawn_cells):
    known = read_known_cells(enriched.bundle)
    assert known is not None
    assert len(known.files) == 24
    assert all(file.startswith("pbc/") for file in known.files)
    assert enriched.known.size_bytes == (enriched.bundle.folder / "known_cells.safetensors").stat().st_size
    path = attributed_root / "pbc" / "eosinophil" / "EO_1.jpg"
    [answer] = CellReader(enriched.bundle, describe=True).read([path])
    assert answer.description.nearest[0].class_name == "eosinophil"
    assert answer.description.nearest[0].distance < 1


def test_the_card_has_the_figures_once_and_names_whose_the_data_are(enriched, attributed_root):
    again = enrich(enriched.bundle, known=["pbc"], root=attributed_root)
    card = (again.bundle.folder / "README.md").read_text()
    assert card.count("| accuracy of granule_color | test, pbc test |") == 1
    assert "agreement confirms nothing" in card
    assert card.count("Attributes fitted on wbcatt (MIT)") == 1


def test_a_bundle_of_unknown_training_data_needs_known(toy, attributed_root):
    with pytest.raises(UsageError, match="--known"):
        enrich(toy, root=attributed_root)


def test_the_command_makes_a_copy_and_enters_its_figures(cli, toy_bundle, attributed_root, tmp_path):
    page, copy = tmp_path / "figures.md", tmp_path / "copy"
    arguments = ("enrich", toy_bundle, "-o", copy, "--known", "pbc", "--data-root", attributed_root)
    done = cli(*arguments, "--json", "--record", page)
    assert done.status == 0
    assert json.loads(done.out)["known_cells"]["n"] == 24
    text = page.read_text()
    assert "granule color, accuracy" in text
    assert "nearest known cell has the label" in text
    assert str(copy) not in text
    assert load_bundle(copy).files.keys() >= {"attributes.safetensors", "known_cells.safetensors"}
    assert not (toy_bundle / "attributes.safetensors").exists()
    again = cli(*arguments)
    assert again.status == 2
    assert "exists already" in again.err


def test_figures_of_planted_answers():
    """Of six cells four have the value that is said; the value of one class is unusual."""
    weights = np.asarray([[-9.0, 9.0]], np.float32)
    probe = AttributeProbe({"shape": ("a", "b")}, ("neutrophil", "eosinophil"), weights, np.zeros(2, np.float32),
                           np.asarray([[1, 0], [0.5, 0.5]], np.float32), 0.8, 0.05)  # fmt: skip
    signs = np.asarray([-1, -1, -1, 1, 1, 1], np.float32)[:, None]
    values = np.asarray([0, 0, 1, 1, 1, 0])[:, None]
    result = evaluate_attributes(
        probe, Annotated(signs, values), np.asarray([0, 0, 0, 0, 1, 1]), ([0], np.asarray([[0], [1]])),
        model="toy 1", where="here",
    )  # fmt: skip
    [row] = result.results
    assert row.accuracy == row.macro_f1 == pytest.approx(4 / 6)
    assert (row.majority, row.by_class) == (0.5, 0.5)
    assert result.unusual == pytest.approx(1 / 6)
    assert row.interval.low < row.accuracy < row.interval.high
    assert "shape" in result.text()
