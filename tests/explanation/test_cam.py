"""Heat maps are tested for truth: planted evidence must light up, and the map must add up to the logit."""

from __future__ import annotations

import numpy as np
import pytest

from corpuscle.errors import UsageError
from corpuscle.explanation.cam import CamMaker, evidence_maps, place_map, relative_evidence
from corpuscle.models.alignment import align
from corpuscle.models.bundle import load_bundle
from corpuscle.models.head import Head, read_head
from corpuscle.prediction.engine import Engine
from corpuscle.preprocessing.transforms import prepare, to_batch
from corpuscle.records import Framing


def batch_of(bundle, drawn_cells, keys=("neutrophil", "platelet", "lymphocyte")) -> np.ndarray:
    crops = [prepare(drawn_cells[key][0], bundle.preprocessing)[0] for key in keys]
    return to_batch(np.stack(crops), bundle.preprocessing)


@pytest.mark.parametrize("name", ["toy", "shipped"])
@pytest.mark.parametrize(("graph", "close"), [("model.onnx", 1e-4), ("model.int8.onnx", 0.12)])
def test_the_mean_of_the_map_and_the_bias_are_the_logit(toy, drawn_cells, name, graph, close):
    """The exact graph to rounding; the 8-bit one to the steps of its last layer."""
    bundle = toy if name == "toy" else load_bundle()
    outputs = Engine(bundle, graph=graph).run(batch_of(bundle, drawn_cells), features=True)
    head = read_head(bundle)
    maps = evidence_maps(outputs.features, head)
    spread = outputs.logits.std()
    assert np.abs(maps.mean((2, 3)) + head.bias - outputs.logits).max() < close * max(1.0, spread)
    relative = relative_evidence(outputs.features, head, np.array([1, 0, 2]))
    wanted = outputs.logits - head.bias
    wanted = (wanted - wanted.mean(1, keepdims=True))[np.arange(3), [1, 0, 2]]
    assert np.abs(relative.mean((1, 2)) - wanted).max() < 2 * close * max(1.0, spread)


def test_zero_weights_give_a_zero_map():
    features = np.random.default_rng(0).random((2, 5, 4, 4)).astype(np.float32)
    head = Head(np.zeros((3, 5), np.float32), np.ones(3, np.float32))
    evidence = evidence_maps(features, head)
    assert not evidence.any()
    cam = place_map(evidence[0, 0], Framing("whole", 0, 0, 20), (20, 20))
    assert cam.dtype == np.float32
    assert not cam.any()


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 6), (7, 2)])
def test_a_planted_spot_lights_up_where_it_lies_in_the_picture(row, column):
    evidence = np.full((8, 8), -0.5, np.float32)
    evidence[row, column] = 2
    framing = Framing("cell", 30.0, -10.0, 80.0)  # each place is 10 pixels wide
    cam = place_map(evidence, framing, (100, 140))
    assert cam.shape == (100, 140)
    assert cam.dtype == np.float32
    assert cam.min() == 0
    assert cam.max() == 1
    rows, columns = np.nonzero(cam > 0.5)
    top = max(0, row * 10 - 10)  # what lies above the picture is cut off
    assert (rows.min() >= top - 5) & (rows.max() <= row * 10 + 5)
    assert (columns.min() >= 30 + column * 10 - 5) & (columns.max() <= 30 + column * 10 + 15)
    assert not cam[:, :30].any()
    assert not cam[:, 110:].any()
    assert not cam[70:].any()


def test_evidence_against_a_class_is_not_shown_as_evidence_for_it():
    cam = place_map(np.full((4, 4), -1, np.float32), Framing("whole", 0, 0, 16), (16, 16))
    assert not cam.any()


def test_a_square_beside_the_picture_gives_an_empty_map():
    assert not place_map(np.ones((4, 4), np.float32), Framing("cell", 500, 500, 20), (30, 40)).any()


def test_features_of_another_network_are_refused():
    with pytest.raises(UsageError, match="5 channels"):
        evidence_maps(np.zeros((1, 4, 2, 2), np.float32), Head(np.zeros((3, 5), np.float32), np.zeros(3, np.float32)))


def test_the_maker_agrees_with_the_features(toy, drawn_cells):
    batch = batch_of(toy, drawn_cells)
    targets = np.array([0, 3, 2])
    made = CamMaker(toy, graph="model.onnx").maps(batch, targets)
    outputs = Engine(toy, graph="model.onnx").run(batch, features=True)
    maps = evidence_maps(outputs.features, read_head(toy))
    wanted = np.stack([maps[n, t] - maps[n].mean(0) for n, t in enumerate(targets)])
    assert np.allclose(made, align(wanted, CamMaker(toy, graph="model.onnx").shift), atol=1e-5)


def test_the_peak_lies_on_the_cell_wherever_it_is_in_the_square(drawn_cells):
    """Strided convolutions look beside the even grid; without moving the map back most of these would fail."""
    bundle = load_bundle()
    maker = CamMaker(bundle)
    assert max(map(abs, maker.shift)) > 0.02
    for turn in range(4):
        image = np.ascontiguousarray(np.rot90(drawn_cells["lymphocyte"][0], turn))
        crop, framing = prepare(image, bundle.preprocessing)
        batch = to_batch(crop[None], bundle.preprocessing)
        target = Engine(bundle).run(batch).logits.argmax(1)
        cam = place_map(maker.maps(batch, target)[0], framing, image.shape[:2])
        away = np.subtract(np.unravel_index(cam.argmax(), cam.shape), 104) / framing.side_px
        assert np.hypot(*away) < 0.25
