from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.explanation.cam import CamMaker
from corpuscle.models.attribution import METHODS, NetworkMaker
from corpuscle.models.classifier import Classifier
from corpuscle.models.restored import restore_network, with_random_weights
from corpuscle.models.zoo import build
from corpuscle.prediction.engine import Engine
from corpuscle.preprocessing.transforms import PreprocessingSpec

SPEC = PreprocessingSpec(input_px=40)


class Brightness(nn.Module):
    """Two features: how far each 4x4 block is from the empty slide in red, and in blue."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        white = (240 / 255 - 0.5) / 0.25
        return nn.functional.avg_pool2d((white - batch[:, ::2]).clamp(min=0), 4)


def planted() -> tuple[Classifier, np.ndarray]:
    """A network that calls red ink class 0 and blue ink class 1, and a picture with a spot of each."""
    network = Classifier(Brightness(), 2, 2)
    with torch.no_grad():
        network.head.weight.copy_(torch.eye(2) * 100)
        network.head.bias.zero_()
    batch = np.full((2, 3, 40, 40), (240 / 255 - 0.5) / 0.25, np.float32)
    batch[:, 0, 8:16, 4:12] -= 3
    batch[:, 2, 24:32, 28:36] -= 3
    return network.eval(), batch


@pytest.mark.parametrize("method", METHODS)
def test_the_planted_evidence_lights_up(method):
    network, batch = planted()
    maps = NetworkMaker(network, SPEC, method).maps(batch, np.array([0, 1]))
    assert maps.dtype == np.float32
    size = 40 / maps.shape[1]
    for found, (top, left) in zip(maps, ((8, 4), (24, 28)), strict=True):
        row, column = np.unravel_index(found.argmax(), found.shape)
        assert top <= (row + 0.5) * size < top + 8
        assert left <= (column + 0.5) * size < left + 8
        assert found.max() > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_network_without_weights_has_no_evidence(method):
    network, batch = planted()
    nn.init.zeros_(network.head.weight)
    assert not np.abs(NetworkMaker(network, SPEC, method).maps(batch, np.array([0, 1]))).max() > 1e-7


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_on_the_network(method):
    network, batch = planted()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    NetworkMaker(network, SPEC, method).maps(batch, np.array([0, 1]))
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert all(item.grad is None for item in network.parameters())


@pytest.mark.parametrize("method", [name for name in METHODS if name != "cam"])
def test_networks_that_flatten_are_explained_too(method):
    torch.manual_seed(0)
    network = build("sequential", 3, input_px=32).eval()
    batch = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    maps = NetworkMaker(network, SPEC, method).maps(batch, np.array([0, 2]))
    assert maps.shape[0] == 2
    assert np.isfinite(maps).all()
    assert np.abs(maps).max() > 0


def test_only_averaged_features_have_an_exact_map():
    with pytest.raises(UsageError, match="gradcam"):
        NetworkMaker(build("cnn2", 3), SPEC, "cam")


def test_an_unknown_method_is_named():
    with pytest.raises(UnknownNameError, match="'smoothgrad'"):
        NetworkMaker(planted()[0], SPEC, "smoothgrad")


def test_grad_cam_is_the_exact_map_times_a_constant(toy):
    side = toy.preprocessing.input_px
    batch = np.random.default_rng(0).normal(size=(3, 3, side, side)).astype(np.float32)
    targets = np.array([0, 2, 3])
    exact = CamMaker(toy, graph="model.onnx").maps(batch, targets)
    network = restore_network(toy)
    assert np.allclose(NetworkMaker(network, toy.preprocessing, "cam").maps(batch, targets), exact, atol=1e-3)
    by_gradient = NetworkMaker(network, toy.preprocessing, "gradcam").maps(batch, targets)
    places = exact.shape[1] * exact.shape[2]
    assert np.allclose(by_gradient * places, exact, atol=1e-3)


def test_a_restored_network_answers_as_the_graph_and_a_random_one_does_not(toy):
    side = toy.preprocessing.input_px
    batch = np.random.default_rng(0).normal(size=(3, 3, side, side)).astype(np.float32)
    logits = Engine(toy, graph="model.onnx").run(batch).logits
    with torch.inference_mode():
        assert np.allclose(restore_network(toy)(torch.from_numpy(batch)).logits.numpy(), logits, atol=1e-3)
        random = with_random_weights(toy)(torch.from_numpy(batch)).logits.numpy()
    assert np.isfinite(random).all()
    assert not np.allclose(random, logits, atol=0.1)
