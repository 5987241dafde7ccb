"""Weights and multiplications, checked by hand for networks whose layers one can count."""

from __future__ import annotations

import pytest
import torch

from corpuscle.errors import UnknownNameError
from corpuscle.models.sizes import list_zoo, network_size
from corpuscle.models.zoo import ZOO, build


def test_the_one_layer_network_is_counted_as_by_hand():
    size = network_size(build("fnn", 8, input_px=28), 28)
    assert size.parameters == 3 * 28 * 28 * 128 + 128 + 128 * 8 + 8
    assert size.multiply_adds == 3 * 28 * 28 * 128 + 128 * 8


def test_the_two_convolutions_are_counted_as_by_hand():
    size = network_size(build("cnn2", 8, input_px=28), 28)
    flat = 64 * 7 * 7
    assert size.parameters == (27 * 32 + 32) + (32 * 9 * 64 + 64) + (flat * 64 + 64) + (64 * 8 + 8)
    assert size.multiply_adds == 27 * 32 * 28 * 28 + 32 * 9 * 64 * 14 * 14 + flat * 64 + 64 * 8


def test_counting_changes_nothing():
    network = build("toy", 3).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network_size(network, 32)
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_four_times_the_pixels_cost_four_times_as_much():
    network = build("toy", 3)
    small, large = (network_size(network, side) for side in (32, 64))
    assert small.parameters == large.parameters
    assert large.multiply_adds == pytest.approx(4 * small.multiply_adds, rel=0.01)


def test_the_whole_zoo_is_listed_with_published_sizes():
    rows = {row.name: row for row in list_zoo()}
    assert list(rows) == list(ZOO)
    # He et al. 2016 give 25.6 million weights with 1000 classes; 2.0 million of them are the head's.
    assert rows["resnet50"].parameters == pytest.approx(23.5e6, rel=0.01)
    assert rows["resnet50"].multiply_adds == pytest.approx(4.1e9, rel=0.02)
    assert rows["vgg19"].multiply_adds == pytest.approx(19.5e9, rel=0.02)
    assert rows["mobilenetv2"].licence == "apache-2.0"
    assert rows["fnn"].licence == ""


def test_any_network_of_timm_can_be_listed_and_others_not():
    assert list_zoo(("timm:resnet18",))[0].parameters > 11e6
    with pytest.raises(UnknownNameError, match="nonsense"):
        list_zoo(("timm:nonsense",))
