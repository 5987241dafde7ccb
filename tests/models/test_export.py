from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from corpuscle.models.bundle_files import shipped_bundles
from corpuscle.models.classifier import Classifier
from corpuscle.models.export import export_graph, merge_constants, quantize_graph, round_to_half
from corpuscle.models.zoo import build

OUTPUTS = ["logits", "embedding", "features"]


@pytest.fixture(scope="module")
def network() -> Classifier:
    """A toy network whose norms have seen data, so that folding them has something to fold."""
    torch.manual_seed(3)
    made = build("toy", 4, dropout=0.3).train()
    with torch.no_grad():
        for _ in range(20):
            made(torch.randn(16, 3, 32, 32) * 1.5 + 0.3)
        for weight in made.parameters():
            if weight.ndim == 1:
                weight.add_(torch.randn_like(weight) * 0.2)
    return round_to_half(made).eval()


@pytest.fixture(scope="module")
def exact(network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    export_graph(network, path, input_px=32)
    return path


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    return np.random.default_rng(5).normal(0, 1.5, (37, 3, 32, 32)).astype(np.float32)


def run(path: Path, batch: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == OUTPUTS
    return session.run(OUTPUTS, {"batch": batch})


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("n", [1, 2, 37])
def test_the_graph_answers_like_torch_for_any_batch(n, network, exact, batch):
    with torch.inference_mode():
        expected = [part.numpy() for part in network(torch.from_numpy(batch[:n]))]
    found = run(exact, batch[:n])
    assert np.abs(softmax(found[0]) - softmax(expected[0])).max() <= 1e-4
    assert np.array_equal(found[0].argmax(1), expected[0].argmax(1))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-4)


def test_dropout_is_off_in_the_graph(exact, batch):
    assert np.array_equal(run(exact, batch)[0], run(exact, batch)[0])
    assert "Dropout" not in {node.op_type for node in onnx.load(str(exact)).graph.node}


def test_an_unrounded_network_would_not_be_held_exactly(exact):
    """Large weights are stored in 16 bits, which is exact after rounding only."""
    stored = {tensor.data_type for tensor in onnx.load(str(exact)).graph.initializer if np.prod(tensor.dims) >= 256}
    assert stored == {onnx.TensorProto.FLOAT16}


def test_rounding_changes_every_weight_by_less_than_half_a_step():
    torch.manual_seed(1)
    before = build("toy", 3)
    state = {key: value.clone() for key, value in before.state_dict().items()}
    after = round_to_half(before).state_dict()
    assert after["backbone.1.num_batches_tracked"].dtype == torch.int64
    changed = 0
    for key, value in after.items():
        assert value.dtype == state[key].dtype
        assert torch.equal(value, value.half().to(value.dtype)), key
        torch.testing.assert_close(value, state[key], rtol=2**-11, atol=2**-25)
        changed += int(not torch.equal(value, state[key]))
    assert changed > 3


def test_the_8_bit_graph_agrees_with_the_exact_one(exact, batch, tmp_path):
    quantize_graph(exact, tmp_path / "model.int8.onnx", [batch[:20], batch[20:]])
    found, expected = run(tmp_path / "model.int8.onnx", batch), run(exact, batch)
    types = {node.op_type for node in onnx.load(str(tmp_path / "model.int8.onnx")).graph.node}
    assert "QuantizeLinear" in types
    spread = softmax(found[0]) - softmax(expected[0])
    assert np.abs(spread).max() > 0
    assert np.abs(spread).mean() < 0.02
    sure = np.sort(softmax(expected[0]), axis=1)[:, -1] - np.sort(softmax(expected[0]), axis=1)[:, -2] > 0.05
    assert sure.sum() >= 10
    assert np.array_equal(found[0].argmax(1)[sure], expected[0].argmax(1)[sure])
    assert [path.name for path in tmp_path.iterdir()] == ["model.int8.onnx"]


def test_norms_and_poolings_of_the_8_bit_graph_are_merged_into_convolutions(exact, batch, tmp_path):
    quantize_graph(exact, tmp_path / "model.int8.onnx", [batch])
    kinds = [node.op_type for node in onnx.load(str(exact)).graph.node]
    assert {"BatchNormalization", "AveragePool"} <= set(kinds)
    left = [node.op_type for node in onnx.load(str(tmp_path / "model.int8.onnx")).graph.node]
    assert not {"BatchNormalization", "AveragePool", "Cast", "Expand"} & set(left)
    assert left.count("Conv") == kinds.count("Conv")


@pytest.mark.parametrize(("side", "poolings"), [(32, 0), (28, 1), (30, 1)])
def test_merging_changes_no_answer_and_leaves_poolings_of_odd_sides(side, poolings, network, tmp_path):
    """Sides go 32, 16, 8, 4; 28, 14, 7, 4; 30, 15, 8, 4. An odd one is halved upwards: a convolution cannot do so."""
    plain, merged = tmp_path / "plain.onnx", tmp_path / "merged.onnx"
    export_graph(network, plain, input_px=side)
    merge_constants(plain, merged)
    assert [node.op_type for node in onnx.load(str(merged)).graph.node].count("AveragePool") == poolings
    batch = np.random.default_rng(1).normal(size=(5, 3, side, side)).astype(np.float32)
    for one, other in zip(run(plain, batch), run(merged, batch), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-4)


class Pooled(nn.Module):
    """A pooling before a 1x1 convolution that cannot take it in."""

    def __init__(self, pool: nn.Module, convolution: nn.Module) -> None:
        super().__init__()
        self.backbone = nn.Sequential(pool, convolution, nn.ReLU())
        self.head = nn.Linear(6, 2)

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features = self.backbone(batch)
        embedding = features.mean((2, 3))
        return self.head(embedding), embedding, features


@pytest.mark.parametrize(
    "module",
    [
        Pooled(nn.AvgPool2d(2), nn.Conv2d(3, 6, 1, stride=2)),
        Pooled(nn.AvgPool2d(2), nn.Conv2d(3, 6, 1, groups=3)),
        Pooled(nn.AvgPool2d(2), nn.Conv2d(3, 6, 1, padding=1)),
        Pooled(nn.AvgPool2d(2, padding=1), nn.Conv2d(3, 6, 1)),
        Pooled(nn.AvgPool2d(2, stride=1), nn.Conv2d(3, 6, 1)),
    ],
    ids=["stride", "groups", "padding", "padded pool", "sliding pool"],
)
def test_a_pooling_that_no_convolution_can_take_in_stays(module, tmp_path):
    plain, merged = tmp_path / "plain.onnx", tmp_path / "merged.onnx"
    export_graph(module.eval(), plain, input_px=16)
    merge_constants(plain, merged)
    assert "AveragePool" in {node.op_type for node in onnx.load(str(merged)).graph.node}
    batch = np.random.default_rng(1).normal(size=(3, 3, 16, 16)).astype(np.float32)
    for one, other in zip(run(plain, batch), run(merged, batch), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-4)


def test_the_8_bit_weights_use_seven_bits(exact, batch, tmp_path):
    """Else processors without VNNI overflow in 16 bits and answer differently."""
    quantize_graph(exact, tmp_path / "model.int8.onnx", [batch])
    tensors = onnx.load(str(tmp_path / "model.int8.onnx")).graph.initializer
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in tensors if tensor.data_type == onnx.TensorProto.INT8]
    large = [values for values in weights if values.size >= 64]
    assert len(large) >= 5
    assert max(int(np.abs(values.astype(int)).max()) for values in large) in range(60, 65)


def test_exporting_is_quiet_and_leaves_logging_as_it_was(network, tmp_path, capfd):
    logging.disable(logging.NOTSET)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        export_graph(network, tmp_path / "model.onnx", input_px=32)
    assert caught == []
    written = capfd.readouterr()
    assert written.out == ""
    assert written.err == ""
    assert logging.root.manager.disable == logging.NOTSET


def test_shipped_graphs_do_not_tell_of_the_machine_that_made_them():
    for folder in shipped_bundles().values():
        for path in folder.glob("*.onnx"):
            graph = path.read_bytes()
            assert b"site-packages" not in graph, path
            assert b'File "/' not in graph, path
