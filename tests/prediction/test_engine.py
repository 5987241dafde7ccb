from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from corpuscle.errors import BundleError
from corpuscle.prediction.engine import Engine


def batch_of(toy, n: int) -> np.ndarray:
    side = toy.preprocessing.input_px
    return np.random.default_rng(0).normal(size=(n, 3, side, side)).astype(np.float32)


@pytest.mark.parametrize("graph", ["model.onnx", "model.int8.onnx"])
@pytest.mark.parametrize("n", [1, 2, 17])
def test_a_batch_of_any_size_gives_logits_and_embeddings(toy, graph, n):
    outputs = Engine(toy, graph=graph).run(batch_of(toy, n))
    assert outputs.logits.shape == (n, len(toy.classes))
    assert outputs.embedding.shape == (n, toy.reference().means.shape[1])
    assert outputs.logits.dtype == outputs.embedding.dtype == np.float32
    assert outputs.features is None


def test_the_embedding_is_the_mean_of_the_features(toy):
    outputs = Engine(toy, graph="model.onnx").run(batch_of(toy, 3), features=True)
    assert outputs.features is not None
    assert np.allclose(outputs.features.mean((2, 3)), outputs.embedding, atol=1e-5)


def test_a_picture_gives_the_same_alone_and_in_company(toy):
    engine, batch = Engine(toy), batch_of(toy, 5)
    alone = np.concatenate([engine.run(batch[row : row + 1]).logits for row in range(5)])
    assert np.allclose(engine.run(batch).logits, alone, atol=1e-4)


def test_several_threads_may_ask_at_once(toy):
    engine, batch = Engine(toy), batch_of(toy, 2)
    expected = engine.run(batch).logits
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: engine.run(batch).logits, range(24)))
    assert all(np.array_equal(answer, expected) for answer in answers)


def test_the_fast_graph_agrees_with_the_exact_one(toy, toy_reader, drawn_cells):
    from corpuscle.preprocessing.transforms import prepare, to_batch

    crops = np.stack([prepare(image, toy.preprocessing)[0] for key in toy.classes for image in drawn_cells[key]])
    batch = to_batch(crops, toy.preprocessing)
    exact, fast = (Engine(toy, graph=name).run(batch).logits for name in ("model.onnx", "model.int8.onnx"))
    assert np.corrcoef(exact.ravel(), fast.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x07"])
def test_a_file_that_is_no_graph_is_refused(copied_bundle, toy, content):
    (copied_bundle / "model.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx") as caught:
        Engine(dataclasses.replace(toy, folder=copied_bundle), graph="model.onnx")
    assert "onnxruntime" in str(caught.value) or "lacks one of the outputs" in str(caught.value)


def test_a_graph_without_the_promised_outputs_is_refused(copied_bundle, toy):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(copied_bundle / "model.onnx")
    del model.graph.output[1:]
    onnx.save(model, copied_bundle / "model.onnx")
    with pytest.raises(BundleError, match="lacks one of the outputs logits, embedding and features"):
        Engine(dataclasses.replace(toy, folder=copied_bundle), graph="model.onnx")
