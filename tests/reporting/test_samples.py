from __future__ import annotations

import csv
from pathlib import Path

from corpuscle.reporting.samples import choose_samples, sample_rows

LABELS = ["monocyte", "lymphocyte", "monocyte", "lymphocyte", "monocyte", "platelet"]
PREDICTIONS = ["monocyte", "lymphocyte", "lymphocyte", "monocyte", "monocyte", "monocyte"]
CONFIDENCES = [0.9, 0.8, 0.6, 0.99, 0.7, 0.99]


def test_one_right_answer_of_each_class_comes_before_the_surest_mistakes():
    chosen = choose_samples(LABELS, PREDICTIONS, CONFIDENCES)
    assert chosen[0] == 1
    assert chosen[1] in (0, 4)
    assert chosen[2:] == [3, 5, 2]
    assert chosen == choose_samples(LABELS, PREDICTIONS, CONFIDENCES)


def test_no_more_than_six_mistakes_are_shown():
    assert len(choose_samples(["platelet"] * 20, ["monocyte"] * 20, [0.5] * 20)) == 6
    assert choose_samples([], [], []) == []


def test_rows_are_read_from_the_table_of_predictions(tmp_path: Path):
    with (tmp_path / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", "class", "confidence", "refused"])
        table.writerows(
            [f"{place}.png", label, prediction, confidence, "false"]
            for place, (label, prediction, confidence) in enumerate(zip(LABELS, PREDICTIONS, CONFIDENCES, strict=True))
        )
    rows = sample_rows(tmp_path / "predictions.csv")
    assert rows[0] == {"file": "1.png", "label": "lymphocyte", "class": "lymphocyte", "confidence": "0.8"}
    assert [row["file"] for row in rows[2:]] == ["3.png", "5.png", "2.png"]
