"""The shipped model does what its card says; the figures themselves are measured by commands."""

import os

import pytest

import corpuscle
from corpuscle.data.examples import CLASSES, draw_background, draw_cell
from corpuscle.evaluation.model import evaluate
from corpuscle.evaluation.robustness import framing_robustness

needs_data = pytest.mark.skipif("CORPUSCLE_DATA" not in os.environ, reason="CORPUSCLE_DATA is not set")


def test_it_names_most_drawn_cells() -> None:
    answers = corpuscle.classify([draw_cell(key, seed) for seed in (1, 2) for key in CLASSES])
    right = [answer.class_name == key for answer, key in zip(answers, 2 * CLASSES, strict=True)]
    assert sum(right) >= 13


def test_it_refuses_plasma_and_erythrocytes() -> None:
    answers = corpuscle.classify([draw_background(seed) for seed in range(8)])
    assert sum(answer.refused for answer in answers) >= 7


def test_it_is_a_few_megabytes_and_holds_no_pickle() -> None:
    files = list(corpuscle.load_bundle().folder.iterdir())
    assert sum(file.stat().st_size for file in files) < 9e6
    assert {file.suffix for file in files} == {".json", ".md", ".onnx", ".safetensors"}


def test_its_card_names_home_and_abroad() -> None:
    metrics = corpuscle.load_bundle().metrics
    assert {("pbc", "test"), ("bccd-leukocytes", "test")} <= {(row["dataset"], row["split"]) for row in metrics}


@pytest.mark.real_data
@needs_data
def test_its_accuracy_at_home_is_at_least_99_percent() -> None:
    assert evaluate("pbc", split="test").evaluation.accuracy >= 0.99


@pytest.mark.real_data
@needs_data
def test_the_same_cell_in_another_frame_keeps_its_class() -> None:
    assert all(item.same >= 0.99 for item in framing_robustness("pbc").variants if item.n > 1000)
