"""The stained cell is found in drawn crops whose mask is known, and lands on other surroundings whole."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from corpuscle.data.examples import CLASSES, draw_background, draw_cell, draw_cell_with_mask  # noqa: E402
from corpuscle.preprocessing.surroundings import cell_masks, part_masks, with_surroundings_of  # noqa: E402
from corpuscle.preprocessing.transforms import WHITE, PreprocessingSpec, prepare  # noqa: E402

SIDE, WIDEN = 72, 1.5
SPEC = PreprocessingSpec(input_px=SIDE)
WHITE_SHARE = WHITE / 255


def as_batch(crops: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


def wide_crop(image: np.ndarray) -> np.ndarray:
    return prepare(image, SPEC, widen=WIDEN, size_px=round(SIDE * WIDEN))[0]


def wide_mask(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Cut the true mask as the crop is cut; beyond the picture there is no cell."""
    place = prepare(image, SPEC)[1]
    side, size_px = place.side_px * WIDEN, round(SIDE * WIDEN)
    steps = (np.arange(size_px) + 0.5) * side / size_px - (side - place.side_px) / 2
    rows, columns = (place.y_min + steps).astype(int), (place.x_min + steps).astype(int)
    found = np.zeros((size_px, size_px), bool)
    inside = [(axis >= 0) & (axis < len(mask)) for axis in (rows, columns)]
    found[np.ix_(*inside)] = mask[np.ix_(rows[inside[0]], columns[inside[1]])]
    return found


@pytest.fixture(scope="module")
def drawings() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {key: draw_cell_with_mask(key, 3) for key in CLASSES}


@pytest.mark.parametrize("key", CLASSES)
def test_the_mask_is_the_drawn_cell(key, drawings):
    image, mask = drawings[key]
    cell, wide = (item[0, 0].numpy() for item in cell_masks(as_batch([wide_crop(image)]), WIDEN))
    truth = wide_mask(image, mask)
    both, either = ((cell > 0.5) & truth).sum(), ((cell > 0.5) | truth).sum()
    assert both / either > 0.65
    assert wide[truth].mean() > 0.95
    assert (wide >= cell - 1e-6).all()
    assert wide[~truth].mean() < 0.3
    assert ((cell > 0.05) & (cell < 0.95)).any(), "the edge is soft"


def test_nothing_is_found_where_nothing_is_stained():
    plain = torch.full((2, 3, 108, 108), WHITE_SHARE)
    for mask in cell_masks(plain, WIDEN):
        assert mask.shape == (2, 1, 108, 108)
        assert mask.max() == 0


def test_the_cell_stays_and_the_surroundings_are_those_of_the_other(drawings):
    own, other = (wide_crop(drawings[key][0]) for key in ("neutrophil", "platelet"))
    before, ground = as_batch([own]), as_batch([other])
    after = with_surroundings_of(before, ground, WIDEN)
    inside = torch.from_numpy(wide_mask(*drawings["neutrophil"]))
    cell = cell_masks(before, WIDEN)[0][0, 0] == 1
    torch.testing.assert_close(after[0, :, cell], before[0, :, cell])
    far = (cell_masks(before, WIDEN)[1] + cell_masks(ground, WIDEN)[1])[0, 0] == 0
    assert far.float().mean() > 0.2
    torch.testing.assert_close(after[0, :, far], ground[0, :, far])
    assert (after - before)[0][:, inside].abs().mean() < 0.05 < (after - before)[0][:, far].abs().mean() * 3


def test_nothing_of_the_other_cell_is_left(drawings):
    large = wide_crop(drawings["monocyte"][0])
    small = torch.full((1, 3, 108, 108), WHITE_SHARE)
    small[:, :, 46:62, 46:62] = torch.tensor([0.4, 0.2, 0.6])[:, None, None]
    after = with_surroundings_of(small, as_batch([large]), WIDEN)
    truth = torch.from_numpy(wide_mask(*drawings["monocyte"]))
    truth[40:68, 40:68] = False
    assert (after[0][:, truth] - WHITE_SHARE).abs().mean() < 0.03


def test_what_shall_lie_on_empty_slide_does(drawings):
    crops = as_batch([wide_crop(drawings[key][0]) for key in ("lymphocyte", "eosinophil")])
    after = with_surroundings_of(crops, crops.flip(0), WIDEN, empty=torch.tensor([True, False]))
    outside = cell_masks(crops, WIDEN)[0][:, 0] == 0
    assert (after[0][:, outside[0]] - WHITE_SHARE).abs().max() < 1e-5
    assert (after[1][:, outside[1]] - WHITE_SHARE).abs().max() > 0.1


def test_a_crop_without_a_cell_stays_and_lends_only_empty_slide(drawings):
    bare = torch.full((1, 3, 108, 108), WHITE_SHARE)
    bare[:, :, :8, :8] = 0.7
    cell = as_batch([wide_crop(drawings["basophil"][0])])
    assert torch.equal(with_surroundings_of(bare, cell, WIDEN), bare)
    after = with_surroundings_of(cell, bare, WIDEN)
    assert (after[:, :, :8, :8] - WHITE_SHARE).abs().max() < 1e-5


@pytest.mark.parametrize("side", [21, 36, 40, 107, 192])
def test_any_size_goes(side):
    noise = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(side))
    after = with_surroundings_of(noise, noise.flip(0), WIDEN)
    assert after.shape == noise.shape
    assert torch.isfinite(after).all()
    assert after.min() >= 0
    assert after.max() <= 1


def test_erythrocytes_alone_make_no_large_cell():
    crops = as_batch([wide_crop(draw_background(seed)) for seed in range(4)])
    real = as_batch([wide_crop(draw_cell("neutrophil", seed)) for seed in range(4)])
    area = [cell_masks(batch, WIDEN)[0].mean((1, 2, 3)) for batch in (crops, real)]
    assert area[1].min() > 0.1
    assert area[0].max() < 0.5


@pytest.mark.parametrize("key", ["neutrophil", "lymphocyte"])
def test_the_nucleus_lies_in_the_cell(key, drawings):
    image, mask = drawings[key]
    nucleus, cell = part_masks(as_batch([wide_crop(image)]), WIDEN)[0].numpy()
    truth = wide_mask(image, mask)
    assert nucleus[~truth].mean() < 0.05
    assert (nucleus <= cell + 0.3).all()
    assert 0.15 < (nucleus > 0.5).sum() / truth.sum() < 1.1
    if key == "neutrophil":
        assert (nucleus > 0.5).sum() < 0.75 * (cell > 0.5).sum(), "and does not fill it"
