from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace

import pytest

from corpuscle.errors import UsageError
from corpuscle.records import Framing, Prediction

SQUARE = Framing("whole", 0.0, 0.0, 10.0)
PREDICTION = Prediction(
    file="a.png",
    class_name="monocyte",
    confidence=0.9,
    probabilities={"monocyte": 0.9, "platelet": 0.1},
    refused=False,
    reason="",
    prediction_set=("monocyte",),
    distance=0.5,
    framing=SQUARE,
)


@pytest.mark.parametrize("side", [0.0, -1.0, math.nan])
def test_a_frame_without_area_is_refused(side):
    with pytest.raises(UsageError, match="more than 0 px"):
        Framing("cell", 0.0, 0.0, side)


def test_a_predicted_class_must_have_a_probability():
    with pytest.raises(UsageError, match="'basophil' has no probability"):
        replace(PREDICTION, class_name="basophil")


def test_a_refusal_must_say_why():
    with pytest.raises(UsageError, match="must say why"):
        replace(PREDICTION, refused=True)
    assert replace(PREDICTION, refused=True, reason="too doubtful").reason == "too doubtful"


def test_records_are_frozen():
    with pytest.raises(FrozenInstanceError):
        PREDICTION.confidence = 1.0
