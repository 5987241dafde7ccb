"""Weights from elsewhere reach the backbone, and only the backbone; norms are measured anew."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from corpuscle.errors import DataError, InputError, UsageError
from corpuscle.models.bundle import load_bundle
from corpuscle.models.pretrained import load_pretrained, pretrained_about, reestimate_norms
from corpuscle.models.zoo import build

NAME = "mobilenetv2"


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return {key: value.clone() for key, value in timm.create_model("mobilenetv2_100").state_dict().items()}


@pytest.fixture
def file(weights, tmp_path):
    path = tmp_path / "given.safetensors"
    halves = {key: value.half() if value.dtype == torch.float32 else value for key, value in weights.items()}
    save_file(halves, path, {"source": "made up for a test, no licence"})
    return path


def test_the_backbone_gets_the_weights_and_the_head_keeps_its_own(file, weights):
    network = build(NAME, 3)
    head = network.head.weight.clone()
    load_pretrained(network, NAME, str(file))
    found = network.backbone.net.state_dict()
    assert all(torch.equal(value, weights[key].half().to(value.dtype)) for key, value in found.items())
    assert found["conv_stem.weight"].dtype == torch.float32
    assert torch.equal(network.head.weight, head)


def test_the_card_says_where_they_come_from(file):
    assert pretrained_about(NAME, str(file)).endswith("given.safetensors: made up for a test, no licence.")
    assert "apache-2.0" in pretrained_about(NAME, "timm")


def test_weights_of_another_network_are_a_sentence(file):
    with pytest.raises(InputError, match=r"lack conv1\.weight.*Give those of resnet50"):
        load_pretrained(build("resnet50", 3), "resnet50", str(file))


def test_weights_of_another_shape_are_a_sentence(weights, tmp_path):
    changed = {**weights, "conv_stem.weight": torch.zeros(1, 3, 3, 3)}
    save_file(changed, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"do not fit mobilenetv2_100 at conv_stem\.weight"):
        load_pretrained(build(NAME, 3), NAME, str(tmp_path / "other.safetensors"))


@pytest.mark.parametrize("content", [None, b"", b"no tensors at all"])
def test_a_file_that_is_none_is_a_sentence(content, tmp_path):
    path = tmp_path / "bad.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read.*Name a safetensors file"):
        load_pretrained(build(NAME, 3), NAME, str(path))


def test_our_own_networks_have_no_weights_to_start_from(file):
    with pytest.raises(UsageError, match="toy is our own"):
        load_pretrained(build("toy", 3), "toy", str(file))


def test_without_a_network_timm_is_a_sentence(monkeypatch):
    def refuse(*names: object, **options: object) -> None:
        raise OSError("no route to anywhere")

    network = build(NAME, 3)
    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(DataError, match=r"no route to anywhere.*--pretrained FILE"):
        load_pretrained(network, NAME, "timm")


def test_norms_are_measured_on_the_pictures_at_hand():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    batches = [torch.rand(8, 3, 6, 6) * 5 + 2 for _ in range(4)]
    weight = network[0].weight.clone()
    assert reestimate_norms(network, batches) == 1
    seen = network[0](torch.cat(batches)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(network[1].running_mean, seen.mean(1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network[1].running_var, seen.var(1), atol=0.05, rtol=0.05)
    assert network[1].momentum == 0.1
    assert not network.training
    assert torch.equal(network[0].weight, weight)


def test_a_network_without_norms_is_left_alone():
    assert reestimate_norms(build("fnn", 3), [torch.rand(2, 3, 28, 28)]) == 0


def test_a_backbone_may_come_from_a_bundle_of_the_same_network():
    network = build("corpuscle_s", 4)
    head = network.head.weight.clone()
    load_pretrained(network, "corpuscle_s", "corpuscle_s")
    shipped = load_file(load_bundle().folder / "weights.safetensors")
    found = network.state_dict()
    assert all(
        torch.equal(found[key], value.to(found[key].dtype)) for key, value in shipped.items() if "head" not in key
    )
    assert torch.equal(network.head.weight, head)
    assert "pbc" in pretrained_about("corpuscle_s", "corpuscle_s")


def test_a_head_may_come_along_with_the_rows_of_the_classes_learned():
    bundle = load_bundle()
    classes = ("neutrophil", "eosinophil", "monocyte")
    network = build("corpuscle_mixed", 3)
    load_pretrained(network, "corpuscle_mixed", "corpuscle_s", classes=classes)
    shipped = load_file(bundle.folder / "weights.safetensors")
    for row, key in enumerate(classes):
        assert torch.equal(network.head.weight[row], shipped["head.weight"][bundle.classes.index(key)].float())
        assert torch.equal(network.head.bias[row], shipped["head.bias"][bundle.classes.index(key)].float())


def test_a_head_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"corpuscle_s does not know: blast\. Leave out given_head"):
        load_pretrained(build("corpuscle_mixed", 2), "corpuscle_mixed", "corpuscle_s", classes=("monocyte", "blast"))
    with pytest.raises(UsageError, match=r"have no head for blood cells\. Name a bundle, or leave out given_head"):
        load_pretrained(build(NAME, 2), NAME, str(tmp_path / "x.safetensors"), classes=("monocyte", "neutrophil"))


def test_a_bundle_of_another_network_is_a_sentence():
    with pytest.raises(InputError, match=r"holds the network corpuscle_\w+, not toy"):
        load_pretrained(build("toy", 4), "toy", "corpuscle_s")
