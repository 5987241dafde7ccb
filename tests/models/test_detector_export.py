from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from corpuscle.models.detector import build_detector
from corpuscle.models.detector_export import ScoredDetector, export_detector, quantize_detector
from corpuscle.models.export import round_to_half


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[ScoredDetector, Path]:
    torch.manual_seed(0)
    network = build_detector("toy_field")
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.weight.data.uniform_(0.5, 1.5)
            layer.running_mean.normal_(0, 0.2)
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    round_to_half(network).eval()
    export_detector(network, path)
    return ScoredDetector(network).eval(), path


def answers(path: Path, batch: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["scores", "reaches"], {"batch": batch})


@pytest.mark.parametrize("shape", [(1, 3, 64, 96), (2, 3, 16, 16), (1, 3, 80, 48)])
def test_the_graph_answers_as_the_network_at_any_size(exported, shape):
    network, path = exported
    batch = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(batch))
    found = answers(path, batch)
    assert np.abs(found[0] - expected.scores.numpy()).max() < 1e-5
    assert np.abs(found[1] - expected.reaches.numpy()).max() < 1e-3
    assert found[0].shape == (shape[0], 3, shape[2] // 4, shape[3] // 4)


def test_the_small_graph_is_near_and_keeps_its_ends_exact(exported, tmp_path):
    _, path = exported
    rng = np.random.default_rng(1)
    batches = [rng.normal(size=(1, 3, 64, side)).astype(np.float32) for side in (64, 96, 80)]
    small = tmp_path / "model.int8.onnx"
    quantize_detector(path, small, batches)
    for one, other in zip(answers(path, batches[0]), answers(small, batches[0]), strict=True):
        assert np.abs(one - other).max() < 0.25 * np.abs(one).max()
    graph = onnx.load(small).graph
    quantized = {output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    exact = [node for node in convolutions if node.input[1] not in quantized]
    assert len(exact) == 3  # the first, that of the scores and that of the reaches
    assert not any(node.op_type == "AveragePool" for node in graph.node)
