"""A study on drawn cells: trained, stopped, gone on with, collected, and written; and its arithmetic by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from corpuscle.errors import UsageError
from corpuscle.reporting.abroad import abroad_rows, measure_abroad
from corpuscle.reporting.studies import StudyHooks, _recipe, collect_study, follow_study, write_study
from corpuscle.reporting.study_page import row_outcome, study_page
from corpuscle.reporting.study_plan import Part, Row, read_study
from corpuscle.training.adaptation import can_adapt

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted((ROOT / "studies").glob("*.toml"))
TEXT = """
name = "tiny"
title = "A tiny study"
about = "About it."
reading = "What it teaches."

[[published]]
work = "somebody"
protocol = "random"
accuracy = 0.9

[[rows]]
name = "one"
label = "the toy"
protocol = "drawn cells"
recipe = "toy.toml"
seeds = [0, 1]
published = 0.9
abroad = "drawn:train"

[[rows]]
name = "never"
label = "never run"
protocol = "drawn cells"
recipe = "toy.toml"
"""


def written(folder: Path, text: str = TEXT) -> Path:
    (folder / "toy.toml").write_text((ROOT / "recipes" / "toy.toml").read_text())
    (folder / "tiny.toml").write_text(text)
    return folder / "tiny.toml"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_can_be_read_and_its_recipes_are_there(path):
    study = read_study(path)
    assert study.name == path.stem
    assert all(row.recipe.exists() for row in study.rows)
    page = study_page(study, {"runs": {}, "splits": {}})
    assert page.count("not run yet") == len(study.rows)
    assert f"corpuscle study studies/{path.stem}.toml" in page


def test_the_studies_are_there():
    assert {path.stem for path in STUDIES} == {"leukocytes", "bloodmnist", "vgg19", "travel", "unseen", "home"}


def test_a_study_is_trained_stopped_and_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setenv("CORPUSCLE_CACHE", str(tmp_path / "cache"))
    study = read_study(written(tmp_path))
    names: list[str] = []
    stopping = StudyHooks(run=names.append, stop=lambda: True)
    assert follow_study(study, tmp_path / "runs", only=("one",), hooks=stopping) is False
    assert names == ["tiny: one, seed 0"]
    assert follow_study(study, tmp_path / "runs", only=("one",), hooks=StudyHooks(run=names.append)) is True
    assert names[1:] == ["tiny: one, seed 0", "tiny: one, seed 1"]
    assert follow_study(study, tmp_path / "runs", only=("one",), hooks=StudyHooks(run=names.append)) is True
    assert len(names) == 3
    entries = collect_study(study, tmp_path / "runs", tmp_path / "tiny.json")
    assert set(entries["runs"]) == {"one-seed0", "one-seed1"}
    abroad = entries["runs"]["one-seed0"]["abroad"]
    assert (abroad["dataset"], abroad["split"], abroad["n"]) == ("drawn", "train", 96)
    assert 0 <= abroad["plain"]["interval"][0] <= abroad["plain"]["balanced_accuracy"] <= 1
    assert abroad["adapted"] != abroad["plain"]
    assert entries["splits"]["drawn"]["test"]["platelet"] == 4
    write_study(study, tmp_path / "pages" / "tiny.md", entries)
    text = (tmp_path / "pages" / "tiny.md").read_text()
    outcome = row_outcome(study.rows[0], entries["runs"])
    assert outcome.seeds == (0, 1)
    assert f"| {outcome.accuracy:.4f} |" in text
    assert "not run yet" in text
    assert "](tiny-one-seed0.png)" in text
    assert (tmp_path / "pages" / "tiny-one-seed0.png").stat().st_size > 1000
    # The store alone gives the same page, on a machine that never trained.
    again = collect_study(study, tmp_path / "nowhere", tmp_path / "pages" / "tiny.json")
    assert study_page(study, again) == text


def run(confusion: list[list[int]], *, leak: str = "", groups: tuple[int, int] | None = None) -> dict[str, object]:
    matrix = np.asarray(confusion)
    return {
        "curves": [],
        "facts": {
            "leak": leak, "dataset": "drawn", "parameters": 10, "multiply_adds": 20, "training_seconds": 60.0,
            "machine": "a machine",
        },
        "test": {
            "n": int(matrix.sum()), "confusion": confusion, "balanced_accuracy": 0.75,
            "classes": ["lymphocyte", "monocyte"], "leak": "",
            "by_group": {"n": groups[1], "right": groups[0]} if groups else None,
        },
    }  # fmt: skip


def row(*parts: str, seeds: tuple[int, ...] = (0,)) -> Row:
    return Row("label", "protocol", Path("toy.toml"), tuple(Part(name) for name in parts), seeds)


def test_folds_are_put_together_and_seeds_averaged():
    runs = {
        "a-seed0": run([[8, 2], [0, 10]], groups=(3, 4)), "b-seed0": run([[5, 5], [5, 5]], groups=(1, 4)),
        "a-seed1": run([[10, 0], [0, 10]], groups=(4, 4)), "b-seed1": run([[10, 0], [10, 0]], groups=(2, 4)),
    }  # fmt: skip
    found = row_outcome(row("a", "b", seeds=(0, 1)), runs)
    assert found.accuracies == (28 / 40, 30 / 40)
    assert (found.n, found.groups, found.group_right) == (40, 8, (4, 6))
    assert found.confusion.tolist() == [[33, 7], [15, 25]]
    precision, recall, f1, support = found.per_class()[0]
    assert (precision, recall, support) == (33 / 48, 33 / 40, 40)
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert found.interval[0] < found.accuracy < found.interval[1]


def test_figures_abroad_are_a_table_of_means_over_seeds():
    def judged(plain: float, adapted: float) -> dict[str, object]:
        ends = {"interval": [plain - 0.2, 0.9]}
        return run([[5, 5], [0, 10]]) | {
            "abroad": {"dataset": "pbc", "split": "val", "n": 7, "classes": 4,
                       "plain": ends | {"balanced_accuracy": plain},
                       "adapted": ends | {"balanced_accuracy": adapted}}
        }  # fmt: skip

    lines = abroad_rows([("mine", [judged(0.5, 0.6), judged(0.6, 0.8)]), ("homely", [run([[1, 0], [0, 1]])])])
    assert sum("mine" in line for line in lines) == 1
    assert (
        "pbc val, 4 classes | 7 | 2 | 0.5500 (0.3500-0.9000) | 0.5000-0.6000 | 0.7000 (0.3500-0.9000) | 0.6000-0.8000 |"
    ) in "\n".join(lines)
    assert "| 0.5000 (0.3000-0.9000) |  | 0.6000 (0.3000-0.9000) |  |" in "\n".join(
        abroad_rows([("one", [judged(0.5, 0.6)])])
    )
    assert not any("homely" in line for line in lines)
    without = judged(0.5, 0.6)
    without["abroad"]["adapted"] = None
    assert "| 0.5000 (0.3000-0.9000) |  | none to fit |  |" in "\n".join(abroad_rows([("one", [without])]))
    assert abroad_rows([("homely", [run([[1, 0], [0, 1]])])]) == []


def test_a_network_without_norms_to_measure_is_judged_once(toy, toy_folder, tmp_path, monkeypatch):
    assert can_adapt(toy)
    monkeypatch.setattr("corpuscle.reporting.abroad.can_adapt", lambda bundle: False)
    found = measure_abroad(toy, str(toy_folder), tmp_path)
    assert found["adapted"] is None
    assert 0 <= found["plain"]["balanced_accuracy"] <= 1


def test_a_seed_that_lacks_a_fold_does_not_count():
    runs = {"a-seed0": run([[8, 2], [0, 10]]), "b-seed0": run([[8, 2], [0, 10]]), "a-seed1": run([[9, 1], [0, 10]])}
    assert row_outcome(row("a", "b", seeds=(0, 1)), runs).seeds == (0,)
    assert row_outcome(row("a", "c"), runs) is None


def test_a_leak_stands_in_the_line_of_its_figure(tmp_path):
    study = read_study(written(tmp_path))
    runs = {"one-seed0": run([[8, 2], [0, 10]], leak="leaks: 100 % of test photographs are also in training (9 of 9)")}
    lines = study_page(study, {"runs": runs, "splits": {}}).splitlines()
    line = next(line for line in lines if line.startswith("| the toy"))
    assert "0.9000" in line
    assert "leaks: 100 % of test photographs" in line


def test_samples_and_pictures_left_out_are_on_the_page(tmp_path):
    study = read_study(written(tmp_path))
    samples = [{"file": "a.png", "label": "monocyte", "class": "lymphocyte", "confidence": "0.98765"}]
    entries = {
        "runs": {"one-seed0": run([[8, 2], [0, 10]]) | {"samples": samples}},
        "splits": {"pbc-vgg19-study": {"test": {"monocyte": 3}}},
        "left_out": {"pbc-vgg19-study": 4, "kaggle-wbc": 47},
    }
    text = study_page(study, entries)
    assert "| a.png | monocyte | lymphocyte | 0.988 |" in text
    assert "Of pbc-vgg19-study, 4 pictures are left out" in text
    assert "kaggle-wbc" not in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "no valid TOML"),
        (TEXT.replace('recipe = "toy.toml"\nseeds', "seeds"), "recipe"),
        (TEXT.replace("published = 0.9\n", "publish = 0.9\n"), "unknown key publish"),
        (TEXT.replace('name = "never"', 'name = "one"'), "no two parts of one name"),
        (TEXT.replace("seeds = [0, 1]", "seeds = []"), "a row without seeds"),
        ('name = "x"\ntitle = "x"\nabout = "x"\nrows = []\n', "at least one row"),
    ],
)
def test_a_wrong_study_is_a_sentence(text, words, tmp_path):
    with pytest.raises(UsageError, match=words):
        read_study(written(tmp_path, text))


def test_a_missing_study_and_an_unknown_part_are_sentences(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be read.*Shipped ones are in studies/"):
        read_study(tmp_path / "none.toml")
    with pytest.raises(UsageError, match=r"has no part 'two'\. Its parts: never, one"):
        follow_study(read_study(written(tmp_path)), tmp_path, only=("two",))


def test_a_broken_store_is_a_sentence(tmp_path):
    study = read_study(written(tmp_path))
    (tmp_path / "tiny.json").write_text("[1, 2")
    with pytest.raises(UsageError, match=r"What was measured of tiny cannot be read"):
        collect_study(study, tmp_path, tmp_path / "tiny.json")


def test_the_pages_of_the_project_are_what_their_stores_hold():
    for path in STUDIES:
        store = ROOT / "docs" / "studies" / f"{path.stem}.json"
        entries = json.loads(store.read_text())
        assert study_page(read_study(path), entries) == store.with_suffix(".md").read_text(), "run corpuscle study"


@pytest.mark.parametrize(
    ("named", "expected"), [("timm", "mine.safetensors"), ("corpuscle_s", "corpuscle_s"), ("", "")]
)
def test_weights_at_hand_replace_only_those_that_timm_would_fetch(tmp_path, named, expected):
    path = written(tmp_path, TEXT)
    part = Part("one", (f"model.pretrained={named}",))
    row = next(row for row in read_study(path).rows if row.label == "the toy")
    assert _recipe(row, part, 0, "mine.safetensors").model.pretrained == expected
