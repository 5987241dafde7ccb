from __future__ import annotations

from corpuscle.reporting.smear_report import _findings, _origin


def test_cells_behind_a_finding_are_named_by_file_once_and_no_more_than_twenty():
    cells = [{"file": "run/a.png", "number": 3}, {"file": "run/a.png", "number": 9}]
    cells += [{"file": "run/<b>.png", "number": number} for number in range(1, 25)]
    page = "".join(_findings({"findings": [{"text": "Look.", "cells": cells}]}))
    assert "Cells: a.png 3, 9; &lt;b&gt;.png 1, 2, " in page
    assert page.count("a.png") == 1
    assert "18 and 6 more" in page


def test_a_detector_learned_from_fields_and_a_classifier_from_cells():
    row = {"dataset": "bccd", "split": "train", "n": 183, "sha256": "ab"}
    model = {"name": "m", "version": "1", "sha256": "cd", "training_data": [row]}
    values = {"models": {"classifier": model, "detector": model}, "fields": [], "corpuscle": "0"}
    page = "".join(_origin(values))
    assert "bccd, train, 183 cells" in page
    assert "bccd, train, 183 fields" in page
    assert page.index("183 cells") < page.index("183 fields")
