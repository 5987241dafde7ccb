from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_fit import crop_set

from corpuscle.errors import RecipeError
from corpuscle.training.detection_recipe import is_detection
from corpuscle.training.loop import fit
from corpuscle.training.recipe import Recipe, read_recipe

RECIPES = [
    path for path in sorted((Path(__file__).resolve().parents[2] / "recipes").rglob("*.toml")) if not is_detection(path)
]


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_there_are_shipped_recipes():
    assert {path.stem for path in RECIPES} >= {"toy", "corpuscle_s"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_runs_two_steps(path, tmp_path):
    small = (
        "run.batch_size=4",
        "run.epochs=1",
        "run.threads=1",
        "run.precision=fp32",
        "data.limit=8",
        "model.pretrained=",
        "model.given_head=false",
    )
    recipe = read_recipe(path, small)
    if recipe.preprocessing.input_px > 160:  # the same steps on fewer pixels
        recipe = read_recipe(path, (*small, "preprocessing.input_px=64"))
    size_px = recipe.preprocessing.input_px
    steps = []
    progress = fit(
        recipe, crop_set(8, round(size_px * recipe.data.widen), 1), crop_set(3, size_px, 2), ("a", "b", "c"), tmp_path,
        watcher=lambda progress, step, of: steps.append((step, of)),
    )  # fmt: skip
    assert steps == [(1, 2), (2, 2)]
    assert not recipe.run.epoch_pictures or recipe.run.epoch_pictures > 100
    assert np.isfinite(progress.history[0].train_loss)
    assert (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_survives_json(path):
    recipe = read_recipe(path)
    assert Recipe.from_dict(json.loads(recipe.to_json())) == recipe
    assert recipe.name == path.stem


def test_every_field_survives_json():
    recipe = Recipe.from_dict(
        {
            "name": "all",
            "data": {"dataset": "drawn", "classes": ["monocyte", "platelet"], "widen": 2, "limit": 7},
            "preprocessing": {"input_px": 64, "framing": {"margin": 4}, "white_balance": False, "mean": [0, 0.1, 0.2]},
            "augmentation": {"preset": "mild", "overrides": {"blur": 0.5, "flips": False}, "cooldown_epochs": 2},
            "optimizer": {"name": "sgd", "schedule": "plateau", "learning_rate": 1},
            "run": {"epochs": 1, "seed": 5, "precision": "bf16"},
        }
    )
    assert Recipe.from_dict(json.loads(recipe.to_json())) == recipe
    assert recipe.data.classes == ("monocyte", "platelet")
    assert recipe.preprocessing.mean == (0.0, 0.1, 0.2)
    assert recipe.preprocessing.framing.margin == 4.0
    assert isinstance(recipe.optimizer.learning_rate, float)


def test_the_name_is_that_of_the_file_if_not_given(tmp_path):
    assert read_recipe(written(tmp_path, "[run]\nepochs = 2\n")).name == "mine"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs = 3", r"Unknown key epochs\. Known here: .*run"),
        ("[run]\nepoch = 3", r"Unknown key run\.epoch\. Known here: .*epochs"),
        ("[preprocessing]\ninput = 3", r"Unknown key preprocessing\.input\."),
        ("[preprocessing.framing]\nmargins = 3", r"Unknown key preprocessing\.framing\.margins\."),
        ("[run]\nepochs = 'many'", r"run\.epochs must be int, not 'many'"),
        ("[run]\nepochs = 2.5", r"run\.epochs must be int"),
        ("[run]\nepochs = true", r"run\.epochs must be int, not True"),
        ("run = 3", r"\[run\] must be a table"),
        ("[data]\nclasses = 'monocyte'", r"data\.classes must be"),
        ("[data]\nclasses = [1]", r"data\.classes must be"),
        ("[preprocessing]\ninput_px = 64.5", r"preprocessing\.input_px must be int"),
        ("[preprocessing]\nwhite_balance = 'no'", r"preprocessing\.white_balance must be bool"),
        ("[preprocessing]\nmean = ['a', 'b', 'c']", r"preprocessing\.mean must be float, not 'a'"),
        ("[preprocessing]\nmean = [0.5]", r"\[preprocessing\]: .*mean"),
        ("[preprocessing]\ninput_px = 4", r"\[preprocessing\]: input_px must .*between 8 and 1024"),
        ("[optimizer]\nname = 'lion'", r"optimizer\.name is 'lion'; it must be one of: adamw, sgd"),
        ("[optimizer]\nschedule = 'steps'", r"optimizer\.schedule is 'steps'"),
        ("[run]\nprecision = 'fp16'", r"run\.precision is 'fp16'"),
        ("[run]\nepochs = 0", r"run\.epochs must be a number above 0"),
        ("[run]\nbatch_size = -8", r"run\.batch_size must be a number above 0"),
        ("[optimizer]\nlearning_rate = nan", r"optimizer\.learning_rate must be a number above 0"),
        ("[optimizer]\nlearning_rate = inf", r"optimizer\.learning_rate must be a number above 0"),
        ("[optimizer]\nclip_norm = 0", r"optimizer\.clip_norm must be a number above 0"),
        ("[data]\nwiden = 0", r"data\.widen must be a number above 0"),
        ("[data]\nfine = 0", r"data\.fine must be between 1 and 8, not 0"),
        ("[data]\nlimit = -1", r"data\.limit must be 0 or more, not -1"),
        ("[model]\ndropout = 1.5", r"model\.dropout must be between 0 and 1"),
        ("[model]\nstyle_mixing = 2", r"model\.style_mixing must be between 0 and 1"),
        ("[augmentation]\nmixup = 0.2\n[lessons]\nattributes = 0.5", r"mixup blends labels, but no teacher"),
        ("[augmentation]\nmixup = 0.2\n[lessons]\nwithout_labels = true", r"mixup blends labels"),
        ("[augmentation]\nmixup = 0.2\n[lessons]\nteacher = 'corpuscle_s'", r"mixup blends labels"),
        ("[augmentation]\nmixup = 0.2\ncutmix = 1.0", r"mixup and augmentation\.cutmix exclude each other"),
        ("[augmentation]\ncutmix = 0.2\n[lessons]\nmasks = 0.5", r"cutmix blends labels, but no teacher.*masks"),
        ("[augmentation]\ncutmix = -1", r"augmentation\.cutmix must be 0 or more"),
        ("[lessons]\nmasks = -1", r"lessons\.masks must be 0 or more"),
        ("[model]\nfront = 'macenko'", r"model\.front is 'macenko'; it must be stain or masks, or left out"),
        ("[model]\ngiven_head = true", r"model\.given_head needs a bundle in model\.pretrained"),
        ("[augmentation.overrides]\nbackground = 1.5", r"background is a share of the pictures, in \[0, 1\], not 1\.5"),
        ("[augmentation.overrides]\ngrey = -0.1", r"grey is a share of the pictures, in \[0, 1\], not -0\.1"),
        ("[augmentation]\nmixup = -0.2", r"augmentation\.mixup must be 0 or more"),
        ("[optimizer]\nlabel_smoothing = 2", r"optimizer\.label_smoothing must be between 0 and 1"),
        ("[optimizer]\nplateau_patience = 0", r"optimizer\.plateau_patience must be 1 or more"),
        ("[lessons]\nteacher_share = 1.5", r"lessons\.teacher_share must be between 0 and 1, not 1\.5"),
        ("[lessons]\ntemperature = 0", r"lessons\.temperature must be a number above 0"),
        ("[lessons]\nattributes = -1", r"lessons\.attributes must be 0 or more"),
        ("[lessons]\nattributes = true", r"lessons\.attributes must be float, not True"),
        ("[run]\nearly_stopping = -1", r"run\.early_stopping must be 0 or more"),
        ("[run]\nseed = -1", r"run\.seed must be between 0 and"),
        ("[augmentation.overrides]\nblur = 'much'", r"augmentation\.overrides\.blur must be a number, not 'much'"),
        ("[augmentation.overrides]\nblur = nan", r"augmentation\.overrides\.blur must be a number"),
        ("[augmentation.overrides]\nblur = 2020-01-01", r"augmentation\.overrides\.blur must be a number"),
        ("[model]\nstart = 3", r"model\.start must be"),
        ("[model.start.run]\nepoch = 3", r"Unknown key run\.epoch"),
        ("[model]\nstart = 'none.toml'", r"none\.toml cannot be read"),
        ("[model]\nstart = 'mine.toml'", r"mine\.toml starts from mine\.toml, which starts from it in turn"),
        ("[run]\nema_decay = 1.0", r"run\.ema_decay must lie in \[0, 1\)"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_sentence(text, words, tmp_path):
    with pytest.raises(RecipeError, match=words):
        read_recipe(written(tmp_path, text))


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("run.epochs=5", lambda recipe: recipe.run.epochs, 5),
        ("run.epochs = 5", lambda recipe: recipe.run.epochs, 5),
        ("optimizer.learning_rate=1e-3", lambda recipe: recipe.optimizer.learning_rate, 1e-3),
        ("optimizer.name=sgd", lambda recipe: recipe.optimizer.name, "sgd"),
        ('optimizer.name="sgd"', lambda recipe: recipe.optimizer.name, "sgd"),
        ("data.dataset=/some/folder", lambda recipe: recipe.data.dataset, "/some/folder"),
        ('data.classes=["monocyte"]', lambda recipe: recipe.data.classes, ("monocyte",)),
        ("preprocessing.framing.margin=4", lambda recipe: recipe.preprocessing.framing.margin, 4.0),
        ("augmentation.overrides.blur=0.1", lambda recipe: recipe.augmentation.overrides, {"blur": 0.1}),
        ("name=other", lambda recipe: recipe.name, "other"),
        ("data.dataset=a=b", lambda recipe: recipe.data.dataset, "a=b"),
    ],
)
def test_set_changes_one_key(override, read, expected, tmp_path):
    path = written(tmp_path, "[run]\nepochs = 2\nseed = 4\n")
    recipe = read_recipe(path, (override,))
    assert read(recipe) == expected
    assert recipe.run.seed == 4


def test_the_last_setting_wins(tmp_path):
    assert read_recipe(written(tmp_path, ""), ("run.epochs=5", "run.epochs=6")).run.epochs == 6


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("run.epochs", "--set wants KEY=VALUE"),
        ("=5", "--set wants KEY=VALUE"),
        ("run.epoch=5", r"Unknown key run\.epoch"),
        ("run.epochs=many", "run.epochs must be int, not 'many'"),
        ("run.epochs=", "run.epochs must be int, not ''"),
        ("run.epochs.deep=1", "epochs is no table"),
        ("run=3", r"\[run\] must be a table"),
    ],
)
def test_a_wrong_setting_is_refused(override, words, tmp_path):
    with pytest.raises(RecipeError, match=words):
        read_recipe(written(tmp_path, "[run]\nepochs = 2\n"), (override,))


def test_bad_toml_and_missing_files_are_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"mine\.toml is no valid TOML"):
        read_recipe(written(tmp_path, "[run\nepochs = 2"))
    with pytest.raises(RecipeError, match=r"none\.toml cannot be read.*recipes/"):
        read_recipe(tmp_path / "none.toml")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "caf\xe9"')
    with pytest.raises(RecipeError, match="no valid TOML"):
        read_recipe(tmp_path / "latin.toml")


def test_a_recipe_may_start_from_another_beside_it(tmp_path):
    (tmp_path / "first.toml").write_text("[run]\nepochs = 7\n", encoding="utf-8")
    recipe = read_recipe(written(tmp_path, "[model]\nstart = 'first.toml'\n[run]\nepochs = 3\n"))
    first = Recipe.from_dict(recipe.model.start)
    assert (first.name, first.run.epochs, first.model.start) == ("first", 7, {})
    assert recipe.run.epochs == 3
    assert Recipe.from_dict(json.loads(recipe.to_json())) == recipe
    assert read_recipe(tmp_path / "mine.toml", ("model.start=",)).model.start == {}


def test_a_recipe_may_start_from_one_that_starts_from_another(tmp_path):
    (tmp_path / "first.toml").write_text("[run]\nepochs = 7\n", encoding="utf-8")
    (tmp_path / "second.toml").write_text("[model]\nstart = 'first.toml'\n[run]\nepochs = 5\n", encoding="utf-8")
    recipe = read_recipe(written(tmp_path, "[model]\nstart = 'second.toml'\n[run]\nepochs = 3\n"))
    second = Recipe.from_dict(recipe.model.start)
    first = Recipe.from_dict(second.model.start)
    assert [step.run.epochs for step in (recipe, second, first)] == [3, 5, 7]
    assert first.model.start == {}
    assert Recipe.from_dict(json.loads(recipe.to_json())) == recipe


def test_recipes_that_start_from_each_other_are_refused(tmp_path):
    (tmp_path / "first.toml").write_text("[model]\nstart = 'mine.toml'\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"first\.toml starts from mine\.toml, which starts from it in turn"):
        read_recipe(written(tmp_path, "[model]\nstart = 'first.toml'\n"))


_KEYS = [
    f"{section}.{key}"
    for section, values in Recipe().to_dict().items() if isinstance(values, dict)
    for key in values
]  # fmt: skip
_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.floats(), st.text(max_size=5),
    st.lists(st.one_of(st.floats(), st.text(max_size=2)), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from(_KEYS), value=_VALUES)
def test_any_value_gives_a_recipe_or_a_sentence(key, value):
    section, name = key.split(".")
    try:
        recipe = Recipe.from_dict({section: {name: value}})
    except RecipeError:
        return
    assert Recipe.from_dict(recipe.to_dict()) == recipe


STAGES = """
[[model.stages]]
epoch = 1
train = ["head"]
[[model.stages]]
epoch = 3
train = [""]
"""


def test_stages_and_rates_are_read(tmp_path):
    recipe = read_recipe(written(tmp_path, STAGES + "[optimizer]\nrates = { backbone = 0.1 }\n"))
    assert recipe.model.stages == ({"epoch": 1, "train": ["head"]}, {"epoch": 3, "train": [""]})
    assert recipe.optimizer.rates == {"backbone": 0.1}
    assert Recipe.from_dict(json.loads(recipe.to_json())) == recipe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (STAGES.replace("epoch = 1", "epoch = 2"), r"must start at 1 and grow, not be \[2, 3\]"),
        (STAGES.replace("epoch = 3", "epoch = 1"), r"must start at 1 and grow, not be \[1, 1\]"),
        (STAGES.replace('train = ["head"]', "train = []"), r"Each of model\.stages needs"),
        (STAGES.replace("epoch = 1", 'epoch = "one"'), r"Each of model\.stages needs"),
        ("[[model.stages]]\nepoch = 1\n", r"Each of model\.stages needs"),
        ("[optimizer]\nrates = { head = -1 }\n", r"optimizer\.rates\.head must be a number of 0 or more"),
        ("[preprocessing]\nresampling = 'nearest'\n", r"no resampling named 'nearest'"),
        ("[preprocessing.framing]\nmethod = 'guess'\n", r"no framing method named 'guess'"),
    ],
)
def test_wrong_stages_rates_and_framings_are_refused(text, words, tmp_path):
    with pytest.raises(RecipeError, match=words):
        read_recipe(written(tmp_path, text))
