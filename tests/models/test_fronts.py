"""What pictures go through before the first convolution, as it is and in exported graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from corpuscle.data.examples import CLASSES, draw_cell, draw_cell_with_mask
from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.models.export import export_graph, quantize_graph
from corpuscle.models.fronts import FRONTS, Front, equalized_stain, stain_masks
from corpuscle.models.restored import described_network
from corpuscle.models.silent_runtime import onnxruntime
from corpuscle.models.zoo import build
from corpuscle.preprocessing.augmentation import AugmentationSpec, recolored
from corpuscle.preprocessing.transforms import WHITE, PreprocessingSpec, prepare
from corpuscle.training.recipe_parts import _FRONTS

SIDE = 72


def pictures(seed: int = 3) -> torch.Tensor:
    crops = [prepare(draw_cell(key, seed), PreprocessingSpec(input_px=SIDE))[0] for key in CLASSES]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


def density(batch: torch.Tensor) -> torch.Tensor:
    return -torch.log(batch.clamp_min(1 / 255) / (WHITE / 255))


def answers(path: Path, batch: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"batch": batch})[0]


def test_pictures_of_other_stains_come_out_alike():
    plain = pictures()
    stained = recolored(plain, AugmentationSpec(stain=0.5), generator=torch.Generator().manual_seed(1))
    before = (density(stained) - density(plain)).abs().mean()
    after = (density(equalized_stain(stained)) - density(equalized_stain(plain))).abs().mean()
    assert after < 0.55 * before


def test_a_gain_of_all_dyes_does_not_show():
    plain = pictures().clamp(0.3, 0.9)  # neither black nor blown out, and stained everywhere
    stronger = torch.exp(-1.3 * density(plain)) * (WHITE / 255)
    torch.testing.assert_close(equalized_stain(stronger), equalized_stain(plain), atol=0.08, rtol=0)


def test_neighbors_matter_little():
    plain = pictures()
    beside = plain.clone()
    beside[:, :, :, -12:] = torch.tensor([0.85, 0.6, 0.6])[:, None, None]
    moved = (equalized_stain(beside) - equalized_stain(plain))[:, :, :, :-12].abs()
    assert moved.mean() < 0.02


def test_empty_slide_stays_empty():
    white = torch.full((2, 3, SIDE, SIDE), WHITE / 255)
    torch.testing.assert_close(equalized_stain(white), white, atol=0.02, rtol=0)
    assert stain_masks(white).max() < 0.1


@pytest.mark.parametrize("key", CLASSES)
def test_the_masks_are_those_of_the_drawn_cell(key):
    image, mask = draw_cell_with_mask(key, 3)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    nucleus, stained = stain_masks(batch)[0]
    truth = torch.from_numpy(mask)
    assert stained[truth].mean() > 0.85
    assert nucleus[~truth].mean() < 0.2
    assert nucleus[truth].mean() > 0.15
    assert (nucleus <= stained + 0.5).all()


@pytest.mark.parametrize("kind", FRONTS)
def test_graphs_answer_as_the_network_does(kind, tmp_path):
    torch.manual_seed(1)
    spec = PreprocessingSpec(input_px=SIDE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    network = described_network({"name": "toy", "front": kind}, 3, spec).eval()
    path = tmp_path / "model.onnx"
    export_graph(network, path, input_px=SIDE)
    batch = (pictures() - torch.tensor(spec.mean)[:, None, None]) / torch.tensor(spec.std)[:, None, None]
    given = answers(path, batch.numpy())
    with torch.inference_mode():
        np.testing.assert_allclose(given, network(batch).logits.numpy(), atol=2e-3)
        plain = build("toy", 3).eval()
        if kind == "stain":
            plain.load_state_dict(network.state_dict())
            assert (plain(batch).logits - network(batch).logits).abs().max() > 1e-4


def test_a_front_undoes_the_scaling_of_the_bundle():
    batch, spec = pictures(), PreprocessingSpec()
    front = Front("stain", spec.mean, spec.std)
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    torch.testing.assert_close(front((batch - mean) / std) * std + mean, equalized_stain(batch), atol=1e-5, rtol=0)
    assert Front("masks").channels == Front("masks")(batch).shape[1] == 5


def test_strange_fronts_and_networks_are_a_sentence():
    assert _FRONTS == FRONTS
    with pytest.raises(UnknownNameError, match="macenko"):
        Front("macenko")
    with pytest.raises(UsageError, match=r"cnn2 takes no front\. Leave out model\.front, or .*corpuscle_s"):
        build("cnn2", 3, front=Front("stain"))


@pytest.mark.parametrize("kind", FRONTS)
def test_8_bits_begin_behind_a_front(kind, tmp_path):
    torch.manual_seed(1)
    network = described_network({"name": "toy", "front": kind}, 3, PreprocessingSpec(input_px=SIDE)).eval()
    exact, fast = tmp_path / "model.onnx", tmp_path / "model.int8.onnx"
    export_graph(network, exact, input_px=SIDE)
    batch = ((pictures() - 0.5) / 0.25).numpy()
    quantize_graph(exact, fast, [batch[:4], batch[4:]])
    one, other = (answers(path, batch) for path in (exact, fast))
    assert not np.array_equal(one, other)
    assert np.abs(one - other).max() < 0.1 * np.ptp(one) + 0.02
