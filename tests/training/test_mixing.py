"""Blended and cut pictures carry the labels of both in the same shares."""

from __future__ import annotations

import pytest
import torch

from corpuscle.training.mixing import blend, cut_in

N, K = 64, 4


def blended(parameter: float, seed: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch whose pictures have the number of their row as brightness, before and after."""
    batch = torch.arange(N).float()[:, None, None, None].expand(N, 3, 8, 8).contiguous()
    labels = torch.arange(N) % K
    generator = torch.Generator().manual_seed(seed)
    pictures, shares = blend(batch, labels, K, parameter=parameter, generator=generator)
    return batch, labels, pictures, shares


def test_labels_are_blended_like_their_pictures():
    # Even rows are one class and odd ones another, so that brightness 0 and 1 tell the share of the label.
    labels = torch.arange(N) % 2
    batch = labels.float()[:, None, None, None].expand(N, 3, 8, 8).contiguous()
    pictures, shares = blend(batch, labels, 2, parameter=1.0, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pictures.mean((1, 2, 3)), shares[:, 1])
    assert ((shares > 0.05) & (shares < 0.95)).any()


def test_each_picture_stays_more_itself_than_anything_else():
    for parameter in (0.2, 1.0, 5.0):
        _, labels, _, shares = blended(parameter)
        torch.testing.assert_close(shares.sum(1), torch.ones(N))
        assert shares[torch.arange(N), labels].min() >= 0.5 - 1e-6
        assert shares.min() >= 0


def test_a_small_parameter_leaves_most_pictures_alone():
    (gentle, strong) = ((blended(parameter)[2] - blended(parameter)[0]).abs().mean() for parameter in (0.1, 2.0))
    assert gentle < 0.5 * strong


def test_chance_comes_from_the_generator_alone():
    state = torch.random.get_rng_state()
    first, again, other = (blended(0.5, seed)[2] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_loss_of_blended_labels_is_the_blended_loss():
    """What the training loop relies on: cross-entropy is linear in the label."""
    _, _, _, shares = blended(1.0)
    logits = torch.randn(N, K, generator=torch.Generator().manual_seed(1))
    loss = torch.nn.functional.cross_entropy(logits, shares, label_smoothing=0.1)
    each = torch.stack(
        [torch.nn.functional.cross_entropy(logits, torch.full((N,), k), label_smoothing=0.1, reduction="none")
         for k in range(K)], 1,
    )  # fmt: skip
    assert loss.item() == pytest.approx((each * shares).sum(1).mean().item(), rel=1e-5)


def test_a_rectangle_is_cut_in_and_labels_are_blended_by_its_area():
    labels = torch.arange(N) % 2
    batch = labels.float()[:, None, None, None].expand(N, 3, 32, 32).contiguous()
    pictures, shares = cut_in(batch, labels, 2, parameter=1.0, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pictures.mean((1, 2, 3)), shares[:, 1])
    torch.testing.assert_close(shares.sum(1), torch.ones(N))
    assert set(pictures.unique().tolist()) == {0.0, 1.0}, "cut, not blended"
    changed = pictures != batch
    assert changed.any()
    for picture in changed[changed.any(-1).any(-1).any(-1)][:, 0]:
        rows, columns = picture.any(1), picture.any(0)
        assert torch.equal(picture, rows[:, None] & columns[None]), "a rectangle"
    assert shares[torch.arange(N), labels].min() > 0.45


def test_rectangles_come_from_the_generator_alone_and_lie_anywhere():
    batch, labels = torch.rand(N, 3, 16, 16, generator=torch.Generator().manual_seed(5)), torch.arange(N) % K
    first, again, other = (
        cut_in(batch, labels, K, parameter=1.0, generator=torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    places = (first != batch).any(1).float().mean(0)
    assert places.min() > 0.02
