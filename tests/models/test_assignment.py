from __future__ import annotations

import torch

from corpuscle.models.assignment import FieldTargets, detection_loss, places_of
from corpuscle.models.detector import DetectorOutput

SIDE = 16
BOX = [12.0, 16.0, 44.0, 48.0]


def targets(
    boxes: list[list[float]], kinds: list[int], known: torch.Tensor | None = None, wanted: float = 1.0
) -> FieldTargets:
    return FieldTargets(
        [torch.tensor(boxes).reshape(-1, 4)], [torch.tensor(kinds, dtype=torch.int64)],
        torch.ones(1, 3, SIDE, SIDE) if known is None else known, [torch.full((len(boxes),), wanted)],
    )  # fmt: skip


def answer(score: float = 0.0, box: list[float] | None = None) -> DetectorOutput:
    """Every place says `box`, and nothing of where a cell is."""
    places = places_of(SIDE, SIDE)
    edges = torch.tensor(box or BOX)
    reaches = torch.cat([places - edges[:2], edges[2:] - places], 1).clamp_min(1.0).T.reshape(1, 4, SIDE, SIDE)
    return DetectorOutput(
        torch.full((1, 3, SIDE, SIDE), score, requires_grad=True), reaches.clone().requires_grad_()
    )  # fmt: skip


def test_places_lie_in_the_middle_of_their_squares():
    assert places_of(2, 3).tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]


def test_scores_rise_inside_the_cell_for_its_kind_alone():
    output = answer()
    detection_loss(output, targets([BOX], [1])).score.backward()
    rising = (output.logits.grad < 0)[0]
    assert rising.sum() > 4
    assert rising[1].sum() == rising.sum()
    rows, columns = rising[1].nonzero().T
    assert (columns * 4 + 2 > BOX[0]).all()
    assert (columns * 4 + 2 < BOX[2]).all()
    assert (rows * 4 + 2 > BOX[1]).all()
    assert (rows * 4 + 2 < BOX[3]).all()


def test_where_nothing_is_known_nothing_is_learned():
    known = torch.ones(1, 3, SIDE, SIDE)
    known[:, 0, :, : SIDE // 2] = 0
    output = answer()
    detection_loss(output, targets([], [], known)).score.backward()
    assert output.logits.grad[0, 0, :, : SIDE // 2].abs().max() == 0
    assert (output.logits.grad[0, 0, :, SIDE // 2 :] > 0).all()
    assert (output.logits.grad[0, 1:] > 0).all()


def test_an_empty_field_has_no_loss_of_boxes():
    loss = detection_loss(answer(), targets([], []))
    assert loss.box == 0
    assert loss.score > 0


def test_a_box_that_fits_costs_nothing_and_one_that_does_not_costs_more():
    fits = detection_loss(answer(), targets([BOX], [0])).box
    near = detection_loss(answer(box=[12, 16, 40, 48]), targets([BOX], [0])).box
    far = detection_loss(answer(box=[12, 16, 30, 30]), targets([BOX], [0])).box
    assert fits < 0.2 < near.item() + 0.2
    assert fits < near < far


def test_the_best_fitting_place_is_to_say_how_well_it_fits():
    """With a perfect box the wanted score is 1: a confident network pays almost nothing there."""
    sure, unsure = answer(), answer()
    with torch.no_grad():
        sure.logits[:] = -9
        unsure.logits[:] = -9
        sure.logits[0, 0, 8, 7] = 9
    assert detection_loss(sure, targets([BOX], [0])).score < detection_loss(unsure, targets([BOX], [0])).score


def test_a_cell_smaller_than_the_map_is_not_forgotten():
    output = answer(-6.0, box=[20.5, 20.5, 21.5, 21.5])
    detection_loss(output, targets([[20.5, 20.5, 21.5, 21.5]], [2])).score.backward()
    assert (output.logits.grad[0, 2] < 0).sum() >= 1


def test_each_of_two_overlapping_cells_gets_places_of_its_own():
    other = [28.0, 16.0, 60.0, 48.0]
    output = answer()
    with torch.no_grad():
        places = places_of(SIDE, SIDE).reshape(SIDE, SIDE, 2)
        edges = torch.tensor(other)
        right = places[..., 0] > 36
        reach = torch.cat([places - edges[:2], edges[2:] - places], 2).clamp_min(1.0).permute(2, 0, 1)
        output.reaches[0] = torch.where(right, reach, output.reaches[0])
    detection_loss(output, targets([BOX, other], [0, 0])).score.backward()
    columns = (output.logits.grad[0, 0] < 0).nonzero()[:, 1] * 4 + 2
    assert (columns < 36).any()
    assert (columns > 36).any()


def test_the_score_that_is_wanted_may_be_lower():
    wanted = {}
    for share in (1.0, 0.5):
        output = answer(score=0.4)  # a score of 0.6
        detection_loss(output, targets([BOX], [1], wanted=share)).score.backward()
        row, column = 8, 7  # the middle of the cell
        wanted[share] = float(output.logits.grad[0, 1, row, column])
    assert wanted[1.0] < 0 < wanted[0.5]
