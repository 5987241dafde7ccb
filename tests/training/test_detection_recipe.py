from __future__ import annotations

from pathlib import Path

import pytest

from corpuscle.errors import RecipeError
from corpuscle.training.detection_loop import fit_detector, judged_fields
from corpuscle.training.detection_recipe import DetectionRecipe, is_detection, read_detection_recipe
from corpuscle.training.field_samples import cached_fields

ROOT = Path(__file__).resolve().parents[2]
RECIPES = [path for path in sorted((ROOT / "recipes").rglob("*.toml")) if is_detection(path)]


def test_there_are_shipped_recipes():
    assert {path.stem for path in RECIPES} >= {"toy_field", "corpuscle_field"}
    assert not is_detection(ROOT / "recipes" / "toy.toml")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_runs_two_steps(path, tmp_path, few_fields):
    small = ("run.batch_size=2", "run.epochs=1", "run.threads=1", "run.precision=fp32", "augmentation.canvas_px=96")
    recipe = read_detection_recipe(path, small)
    cached = cached_fields(few_fields[:4], recipe.preprocessing)
    steps = []
    progress = fit_detector(
        recipe, cached, judged_fields(few_fields[4:], 38.0, recipe.preprocessing), tmp_path,
        watcher=lambda _, step, __: steps.append(step),
    )  # fmt: skip
    assert steps == [1, 2]
    assert progress.epochs_done == 1
    assert (tmp_path / "best.safetensors").exists()


def test_settings_change_keys_and_the_name_comes_from_the_file():
    recipe = read_detection_recipe(RECIPES[0], ("run.epochs=7", 'data.datasets=["bccd"]'))
    assert (recipe.run.epochs, recipe.data.datasets) == (7, ("bccd",))
    assert DetectionRecipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('data.datasets=["pbc"]', "data.datasets"),
        ("data.datasets=[]", "at least one set"),
        ('data.datasets=["bccd", "bccd"]', "each set once"),
        ("model.name=resnet50", "model.name"),
        ("augmentation.canvas_px=100", "multiple of 16"),
        ("augmentation.smallest=0.0", "augmentation.smallest"),
        ("augmentation.overrides.blur=many", "augmentation.overrides.blur"),
        ("optimizer.schedule=plateau", "optimizer.schedule"),
        ("run.epochs=0", "run.epochs"),
        ("run.ema_decay=1.0", "run.ema_decay"),
        ("run.colour=1", "Unknown key run.colour"),
        ("run.epochs=many", "run.epochs must be int"),
        ("preprocessing.erythrocyte_px=1.0", "erythrocyte_px"),
        ("task=classification", "task"),
    ],
)
def test_what_cannot_be_followed_is_refused(setting, message):
    with pytest.raises(RecipeError, match=message.replace(".", r"\.")):
        read_detection_recipe(ROOT / "recipes" / "toy_field.toml", (setting,))
