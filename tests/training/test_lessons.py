"""A teacher's answers belong to the right pictures and classes; attributes to the annotated pictures alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import toy_fit

from corpuscle.data.attributes import ATTRIBUTES, attributed_cells, fit_list
from corpuscle.data.labeled import labeled_cells
from corpuscle.errors import BundleError, NoInputError, RecipeError
from corpuscle.models.bundle import load_bundle
from corpuscle.prediction.calibration import softmax
from corpuscle.prediction.classification import CellReader
from corpuscle.training import facts, lessons
from corpuscle.training.crops import crops_of
from corpuscle.training.lessons import ATTRIBUTE_VALUES, attribute_places, open_teacher, teacher_logits, with_lessons
from corpuscle.training.recipe import Recipe
from corpuscle.training.sources import FurtherSource
from corpuscle.training.train import train

TOY_CLASSES = ("neutrophil", "eosinophil", "lymphocyte", "platelet")
"""What the toy bundle knows."""
ORDER = tuple(reversed(TOY_CLASSES))


@pytest.fixture
def cells(toy_folder):
    return labeled_cells(toy_folder, split="test")


def test_a_teacher_answers_as_it_would_any_user(cells, toy_bundle):
    """Its answers are the very probabilities of `classify`, in the order of the pupil's classes."""
    teacher = load_bundle(toy_bundle)
    logits = teacher_logits(teacher, cells, ORDER, teacher.preprocessing)
    assert logits.shape == (len(cells), 4)
    assert logits.dtype == np.float32
    said = CellReader(toy_bundle).read([cell.read() for cell in cells])
    expected = [[answer.probabilities[key] for key in ORDER] for answer in said]
    np.testing.assert_allclose(softmax(logits), expected, atol=2e-3)


def test_a_teacher_may_know_more_classes_and_is_asked_once(cells, toy_bundle, monkeypatch):
    teacher = load_bundle(toy_bundle)
    some = [cell for cell in cells if cell.class_name in ORDER[:2]]
    first = teacher_logits(teacher, some, ORDER[:2], teacher.preprocessing)
    monkeypatch.setattr(lessons, "Engine", lambda *_: pytest.fail("the teacher was asked again"))
    again = teacher_logits(teacher, some, (ORDER[1], ORDER[0]), teacher.preprocessing)
    assert first.shape == (len(some), 2)
    assert np.array_equal(first, again[:, ::-1])


def test_a_teacher_that_lacks_a_class_is_refused_before_anything_is_cut(toy_folder, toy_bundle, tmp_path):
    recipe = recipe_for(toy_folder, teacher=str(toy_bundle))
    assert open_teacher(recipe, ORDER) == load_bundle(toy_bundle)
    assert open_teacher(Recipe(), ORDER) is None
    with pytest.raises(RecipeError, match=r"does not know: monocyte\. Name a teacher that does in lessons\.teacher"):
        open_teacher(recipe, (*ORDER, "monocyte"))
    with pytest.raises(BundleError, match="nowhere"):
        train(recipe_for(toy_folder, teacher="nowhere"), output=tmp_path / "run", on_crops=pytest.fail)
    assert not (tmp_path / "run").exists()


def test_answers_stand_beside_the_crops_of_all_sources(cells, toy_bundle, monkeypatch):
    """A source with a framing of its own is framed so for the teacher; the recipe's own set as the teacher wants."""
    recipe = Recipe.from_dict({"lessons": {"teacher": str(toy_bundle)}, "preprocessing": {"input_px": 32}})
    teacher, spec = load_bundle(toy_bundle), recipe.preprocessing
    special = replace(spec, framing=replace(spec.framing, method="center"))
    asked = []
    true = lessons.teacher_logits
    monkeypatch.setattr(lessons, "teacher_logits", lambda *given, **named: asked.append(given) or true(*given, **named))
    further = [FurtherSource("same", spec, tuple(cells[:3])), FurtherSource("other", special, tuple(cells[:2]))]
    crops = crops_of([*cells, *cells[:3], *cells[:2]], ORDER, spec)
    found = with_lessons(crops, recipe, (cells, further), ORDER)
    assert found.attributes is None
    assert found.answers.shape == (len(crops.labels), 4)
    assert np.array_equal(found.answers[: len(cells)][:3], found.answers[len(cells) : len(cells) + 3])
    home = teacher.preprocessing
    assert [given[3] for given in asked] == [home, home, replace(home, framing=special.framing)]


def test_nothing_is_asked_for_where_a_recipe_wants_nothing(cells, monkeypatch):
    for name in ("load_bundle", "attribute_places"):
        monkeypatch.setattr(lessons, name, lambda *_, **__: pytest.fail("work that nobody wants"))
    crops = toy_fit.toy_crops()[0]
    assert with_lessons(crops, Recipe(), (cells, ()), ORDER) is crops
    idle = Recipe.from_dict({"lessons": {"teacher": "corpuscle_s", "teacher_share": 0}})
    assert with_lessons(crops, idle, (cells, ()), ORDER) is crops


def test_attributes_are_those_of_the_list_to_fit_on(attributed_root):
    cells = labeled_cells("pbc", root=attributed_root)
    places = attribute_places(cells, root=attributed_root)
    wanted = {item.cell.file: item.values for item in fit_list(attributed_cells(root=attributed_root))}
    assert places.shape == (len(cells), len(ATTRIBUTES))
    for cell, row in zip(cells, places, strict=True):
        values = wanted.get(cell.file)
        told = [kinds[place] for kinds, place in zip(ATTRIBUTE_VALUES.values(), row, strict=True) if place >= 0]
        assert told == list(values or ())
    assert 0 < len(wanted) < len(cells)


def test_pictures_without_any_attribute_are_refused(attributed_root, toy_folder):
    with pytest.raises(NoInputError, match=r"None of the training pictures has attributes.*lessons\.attributes"):
        attribute_places(labeled_cells(toy_folder), root=attributed_root)


def recipe_for(folder, **given: object) -> Recipe:
    return Recipe.from_dict(
        {
            "data": {"dataset": folder.as_posix(), "classes": list(TOY_CLASSES)},
            "preprocessing": {"input_px": 32},
            "model": {"name": "toy"},
            "lessons": given,
            "run": {"epochs": 1, "batch_size": 8, "threads": 1, "precision": "fp32"},
            "bundle": {"quantize": False},
        }
    )


def test_a_taught_bundle_names_its_teacher_and_what_that_had_learned(toy_folder, toy_bundle, tmp_path):
    known = load_bundle(toy_bundle)
    result = train(recipe_for(toy_folder, teacher=str(toy_bundle)), output=tmp_path / "run")
    assert f"Taught by the bundle {known.name} {known.version}." in result.bundle.attribution[-1]
    # The same folder's train split is named once.
    assert [row["split"] for row in result.bundle.training_data] == ["train"]
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["lessons"]["teacher"] == str(toy_bundle)


def test_what_a_teacher_had_learned_counts_among_what_a_run_learned(monkeypatch):
    recipe = Recipe.from_dict({"lessons": {"teacher": "corpuscle_s"}})
    rows = ({"dataset": "drawn", "split": "train", "citation": "the pen"}, {"dataset": "my folder", "split": "train"})
    monkeypatch.setattr(facts, "load_bundle", lambda name: replace(load_bundle(name), training_data=rows))
    assert len(facts.learned_before(recipe, None)) == 96
    found = facts.rows_before(recipe, [{"dataset": "my folder", "split": "train"}])
    assert [(row["dataset"], row["citation"]) for row in found] == [("drawn", "the pen; taught by corpuscle_s 2")]
    assert facts.rows_before(Recipe()) == []
