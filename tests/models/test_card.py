from __future__ import annotations

import dataclasses

from corpuscle import taxonomy
from corpuscle.models.card import RELIABILITY, model_card


def test_the_card_says_what_a_reader_must_know(toy):
    card = model_card(toy)
    for key in toy.classes:
        assert taxonomy.cell_class(key).name_en in card
    assert "Not a medical device, preliminary." in card
    assert f"Temperature {toy.temperature:.3f}" in card
    assert f"below a confidence of {toy.refusal.minimum_confidence:.3f}" in card
    assert f"{toy.preprocessing.input_px} x {toy.preprocessing.input_px} pixels" in card
    assert f"Made by Corpuscle {toy.code_version}." in card
    row = toy.training_data[0]
    assert f"{row['dataset']}, split `{row['split']}`, {row['n']} cells" in card


def test_every_figure_stands_with_its_n_and_interval(toy):
    metric = {
        "dataset": "pbc", "split": "test", "figure": "accuracy", "value": 0.98765, "interval": [0.9812, 0.9921],
        "n": 1709, "seeds": 3, "note": "leaks",
    }  # fmt: skip
    plain = {"dataset": "bccd", "split": "all", "figure": "accuracy", "value": 0.25, "interval": None, "n": 12}
    card = model_card(dataclasses.replace(toy, metrics=(metric, plain)))
    assert "| pbc | test | accuracy | 0.9877 | 0.9812-0.9921 | 1709 | 3 | leaks |" in card
    assert "| bccd | all | accuracy | 0.2500 |  | 12 | 1 |  |" in card


def test_the_card_of_the_folder_is_the_card_of_the_bundle(toy):
    assert (toy.folder / "README.md").read_text(encoding="utf-8") == model_card(toy)


def test_confidence_against_truth_is_drawn_for_each_set_that_was_measured(toy):
    bins = [
        {"low": 0.8, "high": 1.0, "n": 8, "confidence": 0.9, "accuracy": 0.75, "interval": {"low": 0.4, "high": 0.9}}
    ]
    row = {"dataset": "mine", "split": "test", "n": 8, "seeds": 1, "note": "", "figure": RELIABILITY, "value": bins}
    text = model_card(dataclasses.replace(toy, metrics=(*toy.metrics, row)))
    assert "### Confidence and truth, mine test" in text
    assert "| 0.80-1.00 | 0.900 | 0.750 | 0.400-0.900 | 8 | `###############.....` |" in text
    assert "Confidence and truth" not in model_card(dataclasses.replace(toy, metrics=()))
