from __future__ import annotations

import pytest
import torch

from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.models.classifier import Classifier, FlatClassifier, _mixed
from corpuscle.models.export import can_quantize
from corpuscle.models.pretrained import reestimate_norms
from corpuscle.models.sizes import network_size
from corpuscle.models.zoo import ZOO, build, timm_name

SMALL = (
    "toy",
    "corpuscle_s",
    "corpuscle_mixed",
    "corpuscle_group",
    "corpuscle_xs",
    "fnn",
    "cnn2",
    "sequential",
    "mobilenetv2",
)


def side_of(name: str) -> int:
    """The smallest side that shows all of a network."""
    return ZOO[name].input_px if ZOO[name].input_px <= 80 else max(64, ZOO[name].least_px)


@pytest.fixture(params=SMALL)
def name(request) -> str:
    return request.param


@pytest.fixture(params=[name for name in SMALL if not ZOO[name].fixed])
def pooled(request) -> str:
    return request.param


def test_the_networks_of_the_studies_and_our_own_are_there():
    assert {"toy", "corpuscle_s", "fnn", "cnn2", "sequential", "mobilenetv2", "resnet50", "inceptionv3"} <= set(ZOO)
    assert {"vgg19", "vgg19_pooled"} <= set(ZOO)
    assert all(row.about and row.input_px >= 28 and row.least_px <= row.input_px for row in ZOO.values())


def test_a_network_gives_logits_embedding_and_features(name):
    side = side_of(name)
    network = build(name, 5, input_px=side).eval()
    with torch.no_grad():
        outputs = network(torch.rand(2, 3, side, side))
        logits = network.head(outputs.embedding)
    assert outputs.logits.shape == (2, 5)
    assert outputs.embedding.ndim == 2
    assert outputs.features.ndim == 4
    torch.testing.assert_close(logits, outputs.logits)


@pytest.mark.parametrize("name", ["resnet50", "inceptionv3", "vgg19", "vgg19_pooled"])
def test_a_large_network_is_built_with_the_classes_asked_for(name):
    side = ZOO[name].least_px
    with torch.device("meta"):
        network = build(name, 4, input_px=side).eval()
        outputs = network(torch.empty(2, 3, side, side))
    assert outputs.logits.shape == (2, 4)
    assert outputs.features.shape[0] == 2
    assert isinstance(network, FlatClassifier if ZOO[name].fixed else Classifier)
    assert timm_name(name)


def test_the_class_map_is_exact(pooled):
    """The mean over the map of a class is its logit: that is what makes the map an explanation."""
    network = build(pooled, 4).eval()
    with torch.inference_mode():
        outputs = network(torch.rand(2, 3, 64, 64))
        maps = torch.einsum("kd,ndhw->nkhw", network.head.weight, outputs.features)
        logits = maps.mean((2, 3)) + network.head.bias
    torch.testing.assert_close(outputs.features.mean((2, 3)), outputs.embedding)
    torch.testing.assert_close(logits, outputs.logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", [28, 29, 31, 64])
def test_our_residual_nets_take_odd_sides(side):
    with torch.inference_mode():
        assert build("corpuscle_xs", 3).eval()(torch.rand(1, 3, side, side)).logits.shape == (1, 3)


def test_a_picture_is_judged_alone(name):
    """In evaluation no picture's answer depends on its neighbors in the batch."""
    side = side_of(name)
    network = build(name, 3, input_px=side).eval()
    batch = torch.rand(3, 3, side, side)
    with torch.inference_mode():
        together, alone = network(batch).logits, network(batch[1:2]).logits
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


def test_weights_come_from_the_seed(name):
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build(name, 3, input_px=side_of(name)).state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert not torch.equal(states[0]["head.weight"], states[2]["head.weight"])


def test_a_picture_too_small_for_the_network_is_a_sentence():
    with pytest.raises(UsageError, match=r"inceptionv3 needs pictures of 75 px or more, not 64"):
        build("inceptionv3", 3, input_px=64)


def test_names_and_shapes_of_weights_stay():
    """Weights of older runs and bundles are loaded by these names."""
    state = build("corpuscle_s", 8).state_dict()
    shapes = {key: tuple(state[key].shape) for key in (
        "backbone.0.weight", "backbone.1.running_var", "backbone.3.first.weight", "backbone.3.shortcut.1.weight",
        "backbone.3.shortcut.2.bias", "backbone.7.second_norm.weight", "head.weight", "head.bias",
    )}  # fmt: skip
    assert shapes == {
        "backbone.0.weight": (24, 3, 3, 3),
        "backbone.1.running_var": (24,),
        "backbone.3.first.weight": (48, 24, 3, 3),
        "backbone.3.shortcut.1.weight": (48, 24, 1, 1),
        "backbone.3.shortcut.2.bias": (48,),
        "backbone.7.second_norm.weight": (192,),
        "head.weight": (8, 192),
        "head.bias": (8,),
    }
    assert {key.split(".")[1] for key in state if key.startswith("backbone.")} == {*"01", *"34567"}


def test_the_shipped_network_is_as_small_as_it_says():
    n = sum(weight.numel() for weight in build("corpuscle_s", 8).parameters())
    assert f"{n / 1e6:.1f} M parameters" in ZOO["corpuscle_s"].about


def test_weights_fit_with_and_without_mixed_norms():
    plain, mixed = build("corpuscle_s", 8).eval(), build("corpuscle_mixed", 8).eval()
    for block in list(plain.backbone)[3:]:  # blocks begin as their shortcuts alone
        torch.nn.init.ones_(block.second_norm.weight)
    mixed.load_state_dict(plain.state_dict())
    batch = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert not torch.allclose(plain(batch).features, mixed(batch).features, atol=1e-3)


def test_mixed_norms_forget_gain_and_shift_of_half_of_the_channels():
    """What a stain does to all pixels of a channel alike is gone from the first half, and stays in the second."""
    norm = torch.nn.BatchNorm2d(8).eval()
    torch.nn.init.uniform_(norm.weight, 0.5, 2)
    torch.nn.init.normal_(norm.bias)
    features = torch.rand(3, 8, 12, 12)
    changed = features * torch.linspace(0.5, 2, 3)[:, None, None, None] + 0.7
    with torch.inference_mode():
        before, after = _mixed(norm(features), norm), _mixed(norm(changed), norm)
    torch.testing.assert_close(before[:, :4], after[:, :4], atol=2e-3, rtol=1e-3)
    assert (before[:, 4:] - after[:, 4:]).abs().max() > 0.1
    torch.testing.assert_close(before[:, :4].mean((2, 3)), norm.bias[:4].expand(3, 4), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(before[:, 4:], norm(features)[:, 4:])


def test_dropout_acts_in_training_only():
    network = build("toy", 3, dropout=0.5)
    batch = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        network.train()
        assert not torch.equal(network(batch).logits, network(batch).logits)
        network.eval()
        assert torch.equal(network(batch).logits, network(batch).logits)


def test_timm_networks_get_our_head():
    pytest.importorskip("timm")
    network = build("timm:mobilenetv2_035", 3).eval()
    with torch.inference_mode():
        outputs = network(torch.rand(1, 3, 64, 64))
    assert outputs.logits.shape == (1, 3)
    assert outputs.features.shape == (1, 1280, 2, 2)
    torch.testing.assert_close(outputs.features.mean((2, 3)), outputs.embedding)


def test_unknown_names_are_refused_with_those_that_exist():
    with pytest.raises(UnknownNameError, match=r"network named 'resnet'.*corpuscle_s.*timm:NAME"):
        build("resnet", 3)
    pytest.importorskip("timm")
    with pytest.raises(UnknownNameError, match=r"timm network named 'mobilenet_v9'.*mobilenet"):
        build("timm:mobilenet_v9", 3)


@pytest.mark.parametrize("n_classes", [1, 0, -1])
def test_a_classifier_needs_two_classes(n_classes):
    with pytest.raises(UsageError, match="at least two classes"):
        build("toy", n_classes)


def test_norms_of_groups_keep_nothing_from_training():
    network, batch = build("corpuscle_group", 8), torch.rand(4, 3, 64, 64)
    assert not dict(network.named_buffers())
    trained, judged = network.train()(batch), network.eval()(batch)
    torch.testing.assert_close(trained.embedding, judged.embedding)
    assert reestimate_norms(network, [batch]) == 0
    alone = network(batch[:1]).embedding
    torch.testing.assert_close(alone, judged.embedding[:1], atol=1e-4, rtol=1e-4)
    assert network_size(network, 64).parameters == network_size(build("corpuscle_s", 8), 64).parameters
    assert can_quantize(build("corpuscle_s", 8))
    assert not can_quantize(network)
