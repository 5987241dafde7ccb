from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from corpuscle.errors import UnknownNameError
from corpuscle.models.classifier import ResidualBackbone
from corpuscle.models.detector import STEP_PX, build_detector


def test_one_place_every_four_pixels_with_three_scores_and_four_reaches():
    output = build_detector("toy_field").eval()(torch.zeros(2, 3, 64, 96))
    assert output.logits.shape == (2, 3, 64 // STEP_PX, 96 // STEP_PX)
    assert output.reaches.shape == (2, 4, 64 // STEP_PX, 96 // STEP_PX)
    assert (output.reaches >= 0).all()


def test_a_fresh_detector_expects_next_to_nothing_and_boxes_of_cells():
    output = build_detector("corpuscle_field").eval()(torch.zeros(1, 3, 64, 64))
    assert output.logits.sigmoid().max() < 0.1
    assert 5 < output.reaches.mean() < 60


def test_the_shipped_detector_is_small():
    with torch.device("meta"):
        network = build_detector("corpuscle_field")
        batch = torch.empty(1, 3, 256, 320)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(batch)
    assert sum(weight.numel() for weight in network.parameters()) < 3_000_000
    assert counter.get_total_flops() / 2 < 1.6e9


def test_its_backbone_is_that_of_the_classifier():
    mine = build_detector("corpuscle_field").backbone.state_dict()
    other = ResidualBackbone(24, (48, 96, 192), (1, 2, 2)).state_dict()
    assert {key: value.shape for key, value in mine.items()} == {key: value.shape for key, value in other.items()}


def test_an_unknown_name_is_refused():
    with pytest.raises(UnknownNameError, match="corpuscle_field"):
        build_detector("yolo")
