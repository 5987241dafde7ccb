from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpuscle.data import examples
from corpuscle.errors import DataError, NoInputError, RecipeError, TrainingError
from corpuscle.models.bundle import load_bundle
from corpuscle.training.recipe import Recipe, read_recipe
from corpuscle.training.train import train

TOY = Path(__file__).resolve().parents[2] / "recipes" / "toy.toml"
SMALL = ("run.epochs=2", "run.threads=1", "run.precision=fp32")


def nothing_more(*_: object) -> None:
    raise AssertionError("a finished run was trained further")


@pytest.fixture
def quick_drawn(monkeypatch, drawn_cells) -> None:
    """Make the data set `drawn` quick: turned copies of the few cells that are drawn already."""

    def turned(class_name: str, seed: int) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(drawn_cells[class_name][seed % 2], seed // 2))

    monkeypatch.setattr(examples, "draw_cell", turned)


@pytest.fixture
def tree(tmp_path, drawn_cells) -> Callable[..., Path]:
    """Write a folder per class: `tree({"neutrophil": 6})`, the keys being paths below the folder."""

    def write(numbers: dict[str, int]) -> Path:
        for place, n in numbers.items():
            folder = tmp_path / "tree" / place
            folder.mkdir(parents=True)
            images = drawn_cells[Path(place).name.replace("band_", "")]
            for number in range(n):
                picture = Image.fromarray(np.rot90(images[number % 2], number // 2)).resize((80, 80))
                picture.save(folder / f"{number}.png")
        return tmp_path / "tree"

    return write


def recipe_for(folder: Path, *more: str) -> Recipe:
    dataset = f'data.dataset="{folder.as_posix()}"'
    return read_recipe(TOY, (*SMALL, "run.batch_size=4", dataset, *more))


def test_drawn_cells_become_a_bundle_and_a_stopped_run_goes_on(quick_drawn, tmp_path):
    recipe = read_recipe(TOY, (*SMALL, 'data.classes=["neutrophil", "lymphocyte", "platelet"]'))
    assert recipe.data.dataset == "drawn"
    output = tmp_path / "run"
    cut = []
    stopped = train(recipe, output=output, stop=lambda: True, on_crops=lambda done, total: cut.append((done, total)))
    assert cut == [(36, 36), (12, 12)]
    assert (stopped.finished, stopped.bundle, stopped.progress.epochs_done) == (False, None, 1)
    assert not (output / "bundle").exists()

    seen = []
    done = train(recipe, output=output, watcher=lambda progress, step, steps: seen.append(progress.epochs_done))
    assert done.finished
    assert set(seen) == {1, 2}
    assert {path.name for path in output.iterdir()} == {
        "recipe.json", "checkpoint.safetensors", "best.safetensors", "curves.csv", "curves.png", "run.json", "bundle",
    }  # fmt: skip
    assert Recipe.from_dict(json.loads((output / "recipe.json").read_text())) == recipe
    assert len((output / "curves.csv").read_text().splitlines()) == 3
    assert done.bundle == load_bundle(output / "bundle")
    assert done.bundle.classes == ("neutrophil", "lymphocyte", "platelet")
    assert done.bundle.training_data[0]["n"] == 36
    assert done.bundle.metrics[0]["n"] == 12


def test_a_finished_run_gives_the_same_bundle_again(toy_run, tmp_path):
    output = Path(shutil.copytree(toy_run, tmp_path / "run"))
    recipe = Recipe.from_dict(json.loads((output / "recipe.json").read_text()))
    before, weights = load_bundle(output / "bundle"), (output / "checkpoint.safetensors").read_bytes()
    result = train(recipe, output=output, watcher=nothing_more)
    assert result.finished
    assert result.bundle == before
    assert (output / "checkpoint.safetensors").read_bytes() == weights


def test_another_recipe_is_refused_and_the_old_one_stays_beside_its_weights(toy_run, tmp_path):
    output = Path(shutil.copytree(toy_run, tmp_path / "run"))
    kept = (output / "recipe.json").read_text()
    values = json.loads(kept)
    values["optimizer"]["learning_rate"] *= 2
    with pytest.raises(TrainingError, match="belongs to another recipe"):
        train(Recipe.from_dict(values), output=output)
    assert (output / "recipe.json").read_text() == kept


def test_a_folder_per_class_is_split_and_learned(tree, tmp_path):
    folder = tree({"lymphocyte": 10, "neutrophil": 10})
    result = train(recipe_for(folder), output=tmp_path / "run")
    assert result.bundle is not None
    assert result.bundle.classes == ("lymphocyte", "neutrophil")
    row = result.bundle.training_data[0]
    assert row["dataset"] == "tree"
    assert row["n"] == 16
    assert result.bundle.metrics[0]["n"] == 2
    assert result.bundle.name == "toy"


def test_a_run_may_follow_another_recipe_first(tree, tmp_path):
    folder = tree({f"{split}/{key}": 4 for split in ("train", "val") for key in ("neutrophil", "lymphocyte")})
    first = recipe_for(folder, "name=first")
    values = recipe_for(folder, "run.epochs=1").to_dict()
    values["model"]["start"] = json.loads(first.to_json())
    recipe = Recipe.from_dict(values)
    between = train(recipe, output=tmp_path / "run", stop=lambda: True)
    assert (between.finished, between.bundle, between.progress.epochs_done) == (False, None, 1)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
    result = train(recipe, output=tmp_path / "run")
    assert result.finished
    assert Recipe.from_dict(json.loads((tmp_path / "run" / "start" / "recipe.json").read_text())) == first
    assert result.bundle.recipe["model"]["start"]["name"] == "first"
    values["model"]["start"]["data"]["classes"] = ["neutrophil", "lymphocyte"]
    with pytest.raises(RecipeError, match="learn other classes"):
        train(Recipe.from_dict(values), output=tmp_path / "other")


def test_a_finer_class_counts_as_the_one_to_learn(tree, tmp_path):
    folder = tree({f"{split}/{key}": 2 for split in ("train", "val") for key in ("neutrophil", "band_neutrophil")})
    folder = tree({f"{split}/{key}": 4 for split in ("train", "val") for key in ("lymphocyte", "platelet")})
    recipe = recipe_for(folder, 'data.classes=["lymphocyte", "neutrophil"]', "run.epochs=1")
    result = train(recipe, output=tmp_path / "run")
    assert result.bundle.classes == ("lymphocyte", "neutrophil")
    assert result.bundle.training_data[0]["n"] == 8


def test_one_class_is_nothing_to_learn(tree, tmp_path):
    with pytest.raises(DataError, match="only the class neutrophil"):
        train(recipe_for(tree({"neutrophil": 8})), output=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("lacking", ["train", "val"])
def test_a_split_without_some_class_is_refused_before_training(lacking, tree, tmp_path):
    places = {f"{split}/{key}": 4 for split in ("train", "val") for key in ("neutrophil", "lymphocyte", "platelet")}
    del places[f"{lacking}/lymphocyte"]
    classes = 'data.classes=["neutrophil", "lymphocyte", "platelet"]'
    with pytest.raises(DataError, match=f"The {lacking} split has no cell of: lymphocyte"):
        train(recipe_for(tree(places), classes), output=tmp_path / "run", watcher=nothing_more)
    assert not (tmp_path / "run").exists()


def test_a_split_without_any_cell_is_refused(tree, tmp_path):
    folder = tree({"val/neutrophil": 2, "val/lymphocyte": 2})
    with pytest.raises(NoInputError, match="no cells to train on"):
        train(recipe_for(folder), output=tmp_path / "run")


def test_a_limit_takes_the_same_few_cells_each_time(quick_drawn, tmp_path):
    recipe = read_recipe(TOY, (*SMALL, "run.epochs=1", 'data.classes=["neutrophil", "platelet"]', "data.limit=6",
                               "run.batch_size=4"))  # fmt: skip
    hashes = set()
    for name in ("one", "other"):
        result = train(recipe, output=tmp_path / name)
        assert result.bundle.training_data[0]["n"] == result.bundle.metrics[0]["n"] == 6
        hashes.add(result.bundle.training_data[0]["sha256"])
    assert len(hashes) == 1


def test_training_needs_its_extra(cli, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    outcome = cli("train", TOY)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err == "corpuscle: Training needs more packages. Install them with: pip install 'corpuscle[train]'\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("none.toml",), "The recipe none.toml cannot be read"),
        ((TOY, "--set", "run.epoch=3"), "Unknown key run.epoch"),
        ((TOY, "--set", "run.epochs"), "--set wants KEY=VALUE"),
        ((TOY, "--set", "data.dataset=nowhere"), "nowhere"),
        ((TOY, "--set", "run.precision=fp8"), "run.precision is 'fp8'"),
    ],
)
def test_a_wrong_recipe_is_wrong_usage(arguments, words, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = cli("train", *arguments, "--output", tmp_path / "run")
    assert outcome.status == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
    assert not (tmp_path / "run").exists()
