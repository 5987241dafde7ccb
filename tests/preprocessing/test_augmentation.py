"""Random changes come from one generator, and halves of a batch see what the whole batch would."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from corpuscle.data.examples import draw_cell  # noqa: E402
from corpuscle.errors import UnknownNameError, UsageError  # noqa: E402
from corpuscle.preprocessing.augmentation import (  # noqa: E402
    PRESETS,
    AugmentationSpec,
    augment,
    augment_with_parts,
    preset,
)
from corpuscle.preprocessing.transforms import WHITE, PreprocessingSpec, prepare  # noqa: E402

SIZE, WIDEN = 32, 1.5
STRONG = PRESETS["strong"]
ONE_BY_ONE = {
    "rotation_deg": 180.0, "shift": 0.2, "zoom_in": 0.5, "zoom_out": 0.5, "flips": True, "stain": 0.5, "mixing": 0.5,
    "tint": 0.2, "contrast": 0.5, "gradient": 0.3, "grey": 1.0, "blur": 1.0, "noise": 0.05, "tight": 1.0,
    "background": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def wide_crops() -> torch.Tensor:
    spec = PreprocessingSpec(input_px=SIZE)
    cells = [draw_cell(key, 1) for key in ("neutrophil", "lymphocyte", "platelet")]
    crops = [prepare(cell, spec, widen=WIDEN, size_px=round(SIZE * WIDEN))[0] for cell in cells]
    turned = [np.rot90(crop, times) for crop in crops for times in range(4)]
    return torch.from_numpy(np.stack(turned))


def changed(crops: torch.Tensor, spec: AugmentationSpec, *, seed: int = 5, **rows: object) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return augment(crops, spec, size_px=SIZE, widen=WIDEN, generator=generator, **rows)


def test_the_same_generator_gives_the_same_pictures_and_another_others(wide_crops):
    first = changed(wide_crops, STRONG)
    assert torch.equal(first, changed(wide_crops, STRONG))
    assert not torch.allclose(first, changed(wide_crops, STRONG, seed=6), atol=0.05)


def edges(batch: torch.Tensor) -> float:
    """How sharp pictures are: the mean difference between neighbors in the middle, where turning leaves no corner."""
    inner = batch[..., 6:-6, 6:-6]
    return float(inner.diff(dim=-1).abs().mean() + inner.diff(dim=-2).abs().mean())


@pytest.mark.parametrize("resampling", ["bilinear", "bicubic"])
def test_tiny_pictures_that_are_moved_finer_stay_as_sharp_as_those_that_are_judged(resampling):
    spec = PreprocessingSpec(input_px=28, resampling=resampling)
    cells = [draw_cell(key, seed) for key in ("neutrophil", "eosinophil", "monocyte") for seed in range(4)]

    def crops(widen: float, fine: int) -> torch.Tensor:
        side = round(28 * widen * fine)
        return torch.from_numpy(np.stack([prepare(cell, spec, widen=widen, size_px=side)[0] for cell in cells]))

    def moved(changes: AugmentationSpec, fine: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(3)
        size = {"size_px": 28, "widen": 1.5, "fine": fine, "resampling": resampling}
        return augment(crops(1.5, fine), changes, **size, generator=generator)

    judged = crops(1.0, 1).permute(0, 3, 1, 2) / 255
    assert (moved(PRESETS["none"], 3) - judged).abs().mean() < 0.01
    turning = AugmentationSpec(rotation_deg=180)
    assert edges(moved(turning, 3)) > 0.93 * edges(judged)
    assert edges(moved(turning, 1)) < 0.9 * edges(judged)


def test_only_the_given_generator_is_used_and_the_crops_stay(wide_crops):
    before, state = wide_crops.clone(), torch.random.get_rng_state()
    changed(wide_crops, STRONG)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(wide_crops, before)


@pytest.mark.parametrize("name", ["mild", "strong"])
@pytest.mark.parametrize("cut", [1, 5, 6])
def test_parts_of_a_batch_see_what_the_whole_batch_sees(wide_crops, name, cut):
    whole = changed(wide_crops, PRESETS[name])
    n = len(wide_crops)
    for rows in (slice(0, cut), slice(cut, n)):
        part = changed(wide_crops[rows], PRESETS[name], rows=rows, total=n)
        assert torch.allclose(part, whole[rows], atol=1e-6)


def test_none_only_cuts_the_middle_out(wide_crops):
    plain = changed(wide_crops, PRESETS["none"])
    margin = round(SIZE * (WIDEN - 1) / 2)
    middle = wide_crops[:, margin : margin + SIZE, margin : margin + SIZE].permute(0, 3, 1, 2) / 255
    assert torch.allclose(plain, middle, atol=2e-3)
    assert torch.equal(plain, changed(wide_crops, PRESETS["none"], seed=99))


@pytest.mark.parametrize("name", PRESETS)
def test_the_answer_is_a_batch_of_pictures(wide_crops, name):
    batch = changed(wide_crops, PRESETS[name])
    assert batch.shape == (len(wide_crops), 3, SIZE, SIZE)
    assert batch.dtype == torch.float32
    assert torch.isfinite(batch).all()
    assert batch.min() >= 0
    assert batch.max() <= 1


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31), shade=st.integers(0, 255), n=st.integers(1, 4),
    values=st.fixed_dictionaries({name: st.sampled_from([0, value]) for name, value in ONE_BY_ONE.items()}),
)  # fmt: skip
def test_any_mixture_of_changes_keeps_the_range(seed, shade, n, values):
    crops = torch.from_numpy(np.random.default_rng(seed).integers(0, shade + 1, (n, 48, 48, 3), dtype=np.uint8))
    batch = changed(crops, AugmentationSpec(**{**values, "flips": bool(values["flips"])}), seed=seed)
    assert torch.isfinite(batch).all()
    assert batch.min() >= 0
    assert batch.max() <= 1


def test_every_range_of_the_specification_is_tried_below():
    assert set(ONE_BY_ONE) == {item.name for item in fields(AugmentationSpec)}


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_each_change_alone_changes_something(wide_crops, name):
    plain = changed(wide_crops, PRESETS["none"])
    batch = changed(wide_crops, AugmentationSpec(**{name: ONE_BY_ONE[name]}))
    assert (batch - plain).abs().mean() > 0.003


def test_grey_pictures_have_no_color(wide_crops):
    batch = changed(wide_crops, AugmentationSpec(grey=1.0))
    assert (batch.amax(1) - batch.amin(1)).max() < 1e-4
    plain = changed(wide_crops, PRESETS["none"])
    assert (plain.amax(1) - plain.amin(1)).max() > 0.1


def test_flips_are_exact_and_all_four_happen(wide_crops):
    plain = changed(wide_crops, PRESETS["none"])
    twins = [plain, plain.flip(2), plain.flip(3), plain.flip(2, 3)]
    seen = set()
    for seed in range(4):
        batch = changed(wide_crops, AugmentationSpec(flips=True), seed=seed)
        for row in range(len(batch)):
            distances = [(batch[row] - twin[row]).abs().max().item() for twin in twins]
            assert min(distances) < 2e-3
            seen.add(distances.index(min(distances)))
    assert seen == {0, 1, 2, 3}


def test_beyond_the_crop_lies_the_white_of_the_slide():
    dark = torch.zeros(4, 48, 48, 3, dtype=torch.uint8)
    spec = AugmentationSpec(zoom_out=3.0)
    generator = torch.Generator().manual_seed(1)
    batch = augment(dark, spec, size_px=SIZE, widen=1.0, generator=generator)
    corner = batch[:, :, 0, 0].amax()
    assert corner == pytest.approx(WHITE / 255, abs=1e-6)
    assert batch[:, :, SIZE // 2, SIZE // 2].amax() < 0.01


def test_the_stain_leaves_the_empty_slide_alone():
    white = torch.full((4, 48, 48, 3), WHITE, dtype=torch.uint8)
    batch = changed(white, AugmentationSpec(stain=0.5, mixing=0.3))
    assert (batch - WHITE / 255).abs().max() < 1e-3


def test_a_share_of_the_cells_lies_on_other_surroundings(wide_crops):
    many = wide_crops.repeat(10, 1, 1, 1)
    plain = changed(many, PRESETS["none"])
    for share in (0.3, 1.0):
        batch = changed(many, AugmentationSpec(background=share))
        touched = ((batch - plain).abs() > 0.02).flatten(1).any(1).float().mean()
        assert share - 0.15 < touched <= share + 0.15
    middle = slice(SIZE // 2 - 3, SIZE // 2 + 3)
    assert (batch - plain)[:, :, middle, middle].abs().mean() < 0.01


def test_part_of_a_batch_cannot_lend_surroundings(wide_crops):
    with pytest.raises(UsageError, match="takes surroundings from all of a batch"):
        changed(wide_crops[:4], AugmentationSpec(background=0.5), rows=slice(0, 4), total=12)


def test_scaling_weakens_color_and_keeps_geometry():
    none = STRONG.scaled(0.0)
    geometry = ("rotation_deg", "shift", "zoom_in", "zoom_out", "flips")
    for item in fields(AugmentationSpec):
        expected = getattr(STRONG, item.name) if item.name in geometry else 0
        assert getattr(none, item.name) == expected
    assert STRONG.scaled(1.0) == STRONG
    assert STRONG.scaled(0.5) == replace(
        STRONG,
        **{item.name: getattr(STRONG, item.name) / 2 for item in fields(AugmentationSpec) if item.name not in geometry},
    )


def test_presets_have_names():
    assert preset("mild") is PRESETS["mild"]
    with pytest.raises(
        UnknownNameError, match=r"no augmentation preset named 'wild'\. Choose one of: none, mild, strong"
    ):
        preset("wild")


def test_parts_move_with_their_pictures():
    """Nucleus and cell stay where the picture is dark, however it is turned, zoomed and recolored."""
    crop = np.full((1, 108, 108, 3), 240, np.uint8)
    axis = np.arange(108)
    crop[0, (axis[:, None] - 50) ** 2 + (axis - 60) ** 2 < 20**2] = (90, 40, 130)
    crops = torch.from_numpy(crop).expand(16, -1, -1, -1)
    spec = replace(preset("strong"), tight=0.0)
    size = {"size_px": 72, "widen": 1.5}
    batch, parts = augment_with_parts(crops, spec, **size, generator=torch.Generator().manual_seed(3))
    assert parts.shape == (16, 2, 72, 72)
    plain = augment(crops, spec, **size, generator=torch.Generator().manual_seed(3))
    assert torch.equal(plain, batch), "the pictures are those of augment"
    for picture, (nucleus, cell) in zip(batch.mean(1), parts, strict=True):
        inside, outside = picture[nucleus > 0.9], picture[cell < 0.05]
        assert inside.numel() > 50
        assert inside.mean() < outside.mean() - 0.1
    places = (parts[:, 0] * torch.arange(72)).sum((1, 2)) / parts[:, 0].sum((1, 2))
    assert places.std() > 2, "and they did move"


def test_parts_may_be_left_out():
    crops = torch.full((2, 48, 48, 3), 200, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(1)
    plain = {"size_px": 32, "widen": 1.5, "generator": generator, "parts": False}
    assert augment_with_parts(crops, preset("mild"), **plain)[1] is None
