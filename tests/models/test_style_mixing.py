"""Styles of features are traded in training alone, and leave the shape of what is seen."""

from __future__ import annotations

import pytest
import torch

from corpuscle.errors import UsageError
from corpuscle.models import classifier
from corpuscle.models.classifier import mixed_styles
from corpuscle.models.pretrained import reestimate_norms
from corpuscle.models.zoo import ZOO, build


@pytest.fixture
def features() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    scale = torch.rand(16, 6, 1, 1, generator=generator) * 3 + 0.5
    return torch.randn(16, 6, 9, 9, generator=generator) * scale + 4 * torch.randn(16, 6, 1, 1, generator=generator)


def normed(batch: torch.Tensor) -> torch.Tensor:
    mean, spread = batch.mean((2, 3), keepdim=True), batch.std((2, 3), keepdim=True)
    return (batch - mean) / spread


def test_mean_and_spread_change_and_nothing_else(features):
    torch.manual_seed(2)
    mixed = mixed_styles(features, parameter=1.0)
    torch.testing.assert_close(normed(mixed), normed(features), atol=1e-3, rtol=1e-3)
    assert (mixed.mean((2, 3)) - features.mean((2, 3))).abs().mean() > 0.5
    assert (mixed.std((2, 3)) / features.std((2, 3)) - 1).abs().mean() > 0.1


def test_a_style_lies_between_those_of_two_pictures(features):
    """All channels of a picture move towards the same other one by the same share."""
    torch.manual_seed(3)
    before, after = features.mean((2, 3)), mixed_styles(features, parameter=1.0).mean((2, 3))
    moved = (after - before).norm(dim=1) > 1e-3
    assert moved.any()
    for row in moved.nonzero()[:, 0].tolist():
        toward = before - before[row]
        step = after[row] - before[row]
        share = (toward @ step) / (toward * toward).sum(1).clamp_min(1e-9)
        off = (toward * share[:, None] - step).norm(dim=1)
        best = int(off.argmin())
        assert off[best] < 1e-3
        assert 0 <= share[best] <= 1


def test_no_gradient_flows_through_the_style(features):
    features.requires_grad = True
    torch.manual_seed(2)
    mixed = mixed_styles(features)
    mixed[0].sum().backward()
    assert features.grad[0].abs().min() > 0
    assert features.grad[1:].abs().max() == 0


def test_half_precision_stays_half_precision(features):
    assert mixed_styles(features.to(torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(("name", "places"), [("corpuscle_s", 2), ("corpuscle_mixed", 2), ("toy", 1)])
def test_styles_are_mixed_behind_the_first_stages_in_training_alone(name, places, monkeypatch):
    widths = []
    true = classifier.mixed_styles
    monkeypatch.setattr(classifier, "mixed_styles", lambda batch: widths.append(batch.shape[1]) or true(batch))
    network, batch = build(name, 3, style_mixing=1.0), torch.rand(4, 3, 32, 32)
    network.train()(batch)
    assert len(widths) == places
    assert len(set(widths)) == places
    network.eval()(batch)
    build(name, 3).train()(batch)
    assert len(widths) == places


def test_the_share_of_batches_is_kept(monkeypatch):
    calls = []
    monkeypatch.setattr(classifier, "mixed_styles", lambda batch: calls.append(1) or batch)
    network, batch = build("toy", 3, style_mixing=0.3).train(), torch.rand(2, 3, 16, 16)
    torch.manual_seed(0)
    for _ in range(100):
        network(batch)
    assert 15 <= len(calls) <= 45


def test_weights_fit_with_and_without(monkeypatch):
    torch.manual_seed(1)
    mixing, plain = build("toy", 3, style_mixing=1.0), build("toy", 3)
    plain.load_state_dict(mixing.state_dict())
    batch = torch.rand(4, 3, 32, 32)
    assert torch.equal(mixing.eval()(batch).logits, plain.eval()(batch).logits)


def test_norms_are_measured_without_mixing():
    torch.manual_seed(1)
    mixing, plain = build("toy", 3, dropout=0.5, style_mixing=1.0), build("toy", 3)
    plain.load_state_dict(mixing.state_dict())
    batches = [torch.rand(8, 3, 32, 32), torch.rand(8, 3, 32, 32)]
    for network in (mixing, plain):
        network.train()
        assert reestimate_norms(network, batches) > 0
        assert network.training
    other = plain.state_dict()
    assert all(torch.equal(value, other[key]) for key, value in mixing.state_dict().items())


@pytest.mark.parametrize("name", ["cnn2", "sequential", "mobilenetv2"])
def test_a_network_without_such_stages_is_refused(name):
    with pytest.raises(
        UsageError, match=rf"{name} takes no style_mixing\. Leave out model\.style_mixing, or .*corpuscle_s"
    ):
        build(name, 3, input_px=ZOO[name].input_px, style_mixing=0.5)
