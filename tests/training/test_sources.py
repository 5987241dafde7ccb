"""Pictures of a further set are learned too, and nothing is validated on them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpuscle.data.leaks import shared_sources
from corpuscle.errors import NoInputError, RecipeError
from corpuscle.models.bundle import load_bundle
from corpuscle.training import facts
from corpuscle.training.crops import CropSet
from corpuscle.training.loop import _order
from corpuscle.training.recipe import Recipe, read_recipe
from corpuscle.training.sources import _chances, further_sources, joined_crops
from corpuscle.training.train import train

TOY = Path(__file__).resolve().parents[2] / "recipes" / "toy.toml"
CLASSES = ("lymphocyte", "neutrophil")


def write_set(folder: Path, drawn_cells, numbers: dict[str, int]) -> Path:
    for place, n in numbers.items():
        (folder / place).mkdir(parents=True)
        images = drawn_cells[Path(place).name.replace("band_", "")]
        for number in range(n):
            turned = Image.fromarray(np.rot90(images[number % 2], number // 2))
            turned.resize((80, 80)).save(folder / place / f"{number}.png")
    return folder


@pytest.fixture
def own(tmp_path, drawn_cells) -> Path:
    numbers = {f"{split}/{key}": n for split, n in (("train", 6), ("val", 2)) for key in CLASSES}
    return write_set(tmp_path / "own", drawn_cells, numbers)


@pytest.fixture
def other(tmp_path, drawn_cells) -> Path:
    numbers = {"train/band_neutrophil": 3, "train/lymphocyte": 2, "train/platelet": 4, "test/lymphocyte": 2}
    return write_set(tmp_path / "other", drawn_cells, numbers)


def recipe_for(own: Path, also: list[dict[str, object]], *more: str) -> Recipe:
    settings = (
        "run.epochs=1", "run.threads=1", "run.precision=fp32", "run.batch_size=4",
        f'data.dataset="{own.as_posix()}"', f'data.classes=["{CLASSES[0]}", "{CLASSES[1]}"]', *more,
    )  # fmt: skip
    values = read_recipe(TOY, settings).to_dict()
    values["data"]["also"] = also
    return Recipe.from_dict(json.loads(json.dumps(values)))


def test_training_cells_of_learned_classes_are_taken_by_the_class_to_learn(own, other):
    entry = {"dataset": str(other), "framing": {"method": "center", "center_px": 40}}
    (source,) = further_sources(recipe_for(own, [entry]), CLASSES, None)
    assert [cell.class_name for cell in source.cells].count("neutrophil") == 3
    assert len(source.cells) == 5
    assert (source.spec.framing.method, source.spec.framing.center_px) == ("center", 40)
    assert source.spec.input_px == read_recipe(TOY).preprocessing.input_px
    (plain,) = further_sources(recipe_for(own, [{"dataset": str(other)}], "data.limit=2"), CLASSES, None)
    assert plain.spec == read_recipe(TOY).preprocessing
    assert len(plain.cells) == 2


def test_their_crops_stand_behind_the_own_ones(own, other, tmp_path, monkeypatch):
    monkeypatch.setenv("CORPUSCLE_CACHE", str(tmp_path / "cache"))
    sources = further_sources(recipe_for(own, [{"dataset": str(other)}]), CLASSES, None)
    side = sources[0].spec.input_px
    mine = CropSet(np.zeros((2, side, side, 3), np.uint8), np.array([0, 1]), ("a", "b"))
    joined = joined_crops(mine, sources, CLASSES)
    assert joined.crops.shape == (7, side, side, 3)
    assert joined.files[:2] == ("a", "b")
    assert [CLASSES[place] for place in joined.labels[2:]] == [cell.class_name for cell in sources[0].cells]
    assert joined.crops[2:].any()
    assert joined_crops(mine, (), CLASSES) is mine


def drawn_shares(own: list[int], *others: tuple[list[int], float], balance: float) -> list[np.ndarray]:
    """Return how likely each picture of each set is drawn."""
    side = 8

    def crops(labels: list[int]) -> CropSet:
        return CropSet(np.zeros((len(labels), side, side, 3), np.uint8), np.array(labels), ("x",) * len(labels))

    sets = [crops(own), *(crops(labels) for labels, _ in others)]
    chances = _chances([item.labels for item in sets], [share for _, share in others], balance)
    assert chances is not None
    assert chances.sum() == pytest.approx(1)
    return np.split(chances, np.cumsum([len(item.labels) for item in sets])[:-1])


def test_without_share_and_balance_every_picture_is_shown_once_an_epoch():
    assert _chances([np.array([0, 1]), np.array([1])], [0.0], 0.0) is None


def test_balance_draws_rare_classes_more_often():
    (even,) = drawn_shares([0, 0, 0, 1], balance=1.0)
    assert even.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    (between,) = drawn_shares([0, 0, 0, 0, 1], balance=0.5)
    assert between[4] / between[0] == pytest.approx(2)


def test_a_share_is_that_part_of_the_epoch_whatever_the_size_and_evens_out_its_classes():
    mine, theirs = drawn_shares([0] * 30 + [1] * 10, ([0, 0, 0, 1], 0.2), balance=0.0)
    assert theirs.sum() == pytest.approx(0.2)
    assert theirs[3] == pytest.approx(0.1)
    assert np.allclose(mine, 0.8 / 40)
    mine, plain, theirs = drawn_shares([0, 1], ([0, 0], 0.0), ([1], 0.5), balance=0.0)
    assert np.allclose([*mine, *plain], 0.5 / 4)
    assert theirs.tolist() == pytest.approx([0.5])


def test_an_epoch_follows_the_chances():
    labels = np.array([0] * 50 + [1] * 50)
    chances = np.where(labels == 1, 0.02, 0.0)
    crops = CropSet(np.zeros((100, 4, 4, 3), np.uint8), labels, ("x",) * 100, chances)
    order = _order(crops, 64, seed=3)
    assert len(order) == 64
    assert set(labels[order]) == {1}
    assert order.tolist() == _order(crops, 64, seed=3).tolist()
    plain = _order(CropSet(crops.crops, labels, crops.files), 64, seed=3)
    assert sorted(plain.tolist()) == list(range(100))


def test_a_run_names_all_that_it_learned_from_and_validates_on_its_own(own, other, tmp_path, monkeypatch):
    monkeypatch.setenv("CORPUSCLE_CACHE", str(tmp_path / "cache"))
    result = train(recipe_for(own, [{"dataset": str(other)}]), output=tmp_path / "run")
    assert [(row["dataset"], row["n"]) for row in result.bundle.training_data] == [("own", 12), ("other", 5)]
    assert result.bundle.metrics[0]["n"] == 4
    assert list(result.bundle.recipe["data"]["also"]) == [{"dataset": str(other)}]


@pytest.mark.parametrize(
    ("also", "words"),
    [
        ([{"name": "pbc"}], r'needs dataset = "NAME"'),
        ([{"dataset": "pbc", "part": 0.5}], "nothing else"),
        ([{"dataset": "pbc", "share": 1.0}], r"share of pbc in data.also must lie in \[0, 1\)"),
        ([{"dataset": "pbc", "share": "half"}], "share of pbc"),
        ([{"dataset": "a", "share": 0.6}, {"dataset": "b", "share": 0.4}], "leave nothing for the recipe's own set"),
        ([{"dataset": "pbc", "framing": {"wide": 3}}], "framing of pbc"),
        ([{"dataset": "pbc", "framing": {"margin": -1}}], "data.also, framing of pbc: .*margin above 0"),
    ],
)
def test_an_entry_that_nobody_could_follow_is_refused(own, also, words):
    with pytest.raises(RecipeError, match=words):
        recipe_for(own, also)


def test_a_set_that_adds_nothing_is_refused(own, tmp_path, drawn_cells):
    empty = write_set(tmp_path / "empty", drawn_cells, {"train/platelet": 2})
    with pytest.raises(NoInputError, match="has no training cell of: lymphocyte, neutrophil"):
        further_sources(recipe_for(own, [{"dataset": str(empty)}]), CLASSES, None)
    with pytest.raises(RecipeError, match="the recipe's own set"):
        further_sources(recipe_for(own, [{"dataset": own.as_posix()}]), CLASSES, None)


def test_what_the_weights_had_learned_counts_among_what_a_run_learned(monkeypatch):
    """A bundle that learned BCCD photographs makes a run on their Kaggle versions leak."""
    recipe = Recipe.from_dict({"model": {"pretrained": "corpuscle_s"}})
    rows = ({"dataset": "drawn", "split": "train"}, {"dataset": "my folder", "split": "train"},
            {"dataset": "drawn", "split": "adaptation"})  # fmt: skip
    monkeypatch.setattr(facts, "load_bundle", lambda name: replace(load_bundle(name), training_data=rows))
    cells = facts.learned_before(recipe, None)
    assert len(cells) == 96
    assert {cell.split for cell in cells} == {"train"}
    assert facts.learned_before(Recipe.from_dict({"model": {"pretrained": "timm"}}), None) == []
    assert facts.learned_before(Recipe(), None) == []
    judged = [replace(cells[0], split="test"), replace(cells[0], split="test", file="new", group="new")]
    assert "1 of 2" in shared_sources(cells, judged).sentence()
