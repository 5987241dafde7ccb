from __future__ import annotations

import json

import pytest

from corpuscle.errors import UsageError
from corpuscle.evaluation.benchmark import ClassifyBenchmark
from corpuscle.evaluation.model import evaluate
from corpuscle.evaluation.robustness import VARIANTS, framing_robustness
from corpuscle.reporting.cards import enter_figures, measure_bundle
from corpuscle.reporting.ledger import Figure, figures_of, record

FIGURE = Figure("accuracy", "0.9900", "0.9800-0.9950", "pbc test", 1709)
OTHER = Figure("accuracy", "0.5000", "", "bccd", 10, note="leaks: seen")


def test_a_page_shows_what_its_store_holds(tmp_path):
    page = tmp_path / "docs" / "figures.md"
    record(page, "corpuscle evaluate --dataset pbc", "a laptop", [FIGURE])
    record(page, "corpuscle benchmark classify", "a server", [OTHER])
    text = page.read_text(encoding="utf-8")
    assert "## `corpuscle evaluate --dataset pbc`\n\nMachine: a laptop\n" in text
    assert "| accuracy | 0.9900 | 0.9800-0.9950 | pbc test | 1709 | 1 |  |" in text
    assert "| accuracy | 0.5000 |  | bccd | 10 | 1 | leaks: seen |" in text
    assert set(json.loads(page.with_suffix(".json").read_text())) == {
        "corpuscle evaluate --dataset pbc",
        "corpuscle benchmark classify",
    }


def test_the_same_command_replaces_its_figures(tmp_path):
    page = tmp_path / "figures.md"
    record(page, "corpuscle evaluate", "a laptop", [FIGURE, OTHER])
    record(page, "corpuscle evaluate", "a laptop", [OTHER])
    text = page.read_text(encoding="utf-8")
    assert "0.9900" not in text
    assert text.count("## ") == 1


@pytest.mark.parametrize("content", ["no json", "[]", '{"a": 1}', '{"a": {"machine": "x", "figures": 3}}'])
def test_a_foreign_store_is_left_alone(tmp_path, content):
    store = tmp_path / "figures.json"
    store.write_text(content)
    with pytest.raises(UsageError, match="is no list of figures"):
        record(tmp_path / "figures.md", "corpuscle evaluate", "a laptop", [FIGURE])
    assert store.read_text() == content
    assert not (tmp_path / "figures.md").exists()


def test_only_markdown_pages_are_written(tmp_path):
    with pytest.raises(UsageError, match=r"must end in \.md"):
        record(tmp_path / "figures.txt", "corpuscle evaluate", "a laptop", [FIGURE])


def test_an_evaluation_gives_figures_with_n_and_leak(toy, toy_folder):
    result = evaluate(toy_folder, model=toy, split="train")
    figures = {item.what: item for item in figures_of(result)}
    accuracy = figures["toy 1: accuracy"]
    interval = result.evaluation.accuracy_interval
    assert (accuracy.value, accuracy.n) == (f"{result.evaluation.accuracy:.4f}", result.evaluation.n)
    assert accuracy.interval == f"{interval.low:.4f}-{interval.high:.4f}"
    assert all(item.note.startswith("leaks") for item in figures.values())


def test_a_speed_gives_figures():
    result = ClassifyBenchmark("m", "toy", 16, "9x9 pixels", 2, {"ours": 99.6}, {"faster": 3.14159}, 1.01, 2000, "2.0")
    assert [(item.what, item.value) for item in figures_of(result)] == [
        ("ours", "100 a second"), ("faster", "3.14"), ("memory after 2000 files / after 1000", "1.010"),
    ]  # fmt: skip


def test_the_framing_gives_figures_and_a_table(toy, drawn_twice):
    keys = list(toy.classes)
    drawn_twice[:] = [cell for cell in drawn_twice if cell.class_name in keys]
    done = []
    result = framing_robustness("drawn", model=toy, split="test", progress=lambda now, total: done.append((now, total)))
    assert [item.name for item in result.variants] == list(VARIANTS)
    assert result.n == 4
    assert all(item.n == 4 and 0 <= item.same <= 1 for item in result.variants)
    assert done == [(number, len(VARIANTS) + 1) for number in range(1, len(VARIANTS) + 1)]
    assert [item.what for item in figures_of(result)] == [f"same class when {name}" for name in VARIANTS]
    assert all(name in result.text() for name in VARIANTS)
    assert json.loads(json.dumps(result.to_dict()))["n"] == 4


def test_figures_are_entered_into_the_card_once(copied_bundle, toy_folder):
    from corpuscle.models.bundle import load_bundle

    bundle = load_bundle(copied_bundle)
    result = evaluate(toy_folder, model=bundle, split="test")
    once = enter_figures(bundle, result)
    twice = enter_figures(once, result)
    assert twice.metrics == once.metrics
    rows = [row for row in twice.metrics if row["split"] == "test"]
    assert [row["figure"] for row in rows][:3] == ["accuracy", "balanced accuracy", "calibration error (15 bins)"]
    assert [row["figure"] for row in rows[-2:]] == ["confusion matrix", "reliability"]
    assert len(twice.metrics) == len(bundle.metrics) + len(rows)
    assert len({row["figure"] for row in rows}) == len(rows) == 8
    assert f"{rows[0]['value']:.4f}" in (copied_bundle / "README.md").read_text(encoding="utf-8")
    assert load_bundle(copied_bundle) == twice


def test_a_bundle_is_measured_on_its_own_test_split(copied_bundle, toy_folder, tmp_path):
    from corpuscle.models.bundle import load_bundle

    bundle, lines = measure_bundle(load_bundle(copied_bundle), str(toy_folder), root=tmp_path)
    assert len(lines) == 1
    assert "n = 8" in lines[0]
    assert {row["n"] for row in bundle.metrics if row["split"] == "test"} == {8}
