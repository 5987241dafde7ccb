"""Learning without labels: the loss by hand, labels that nobody looks at, and runs that start from such weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_fit
from safetensors.torch import load_file
from toy_fit import CLASSES, toy_recipe

from corpuscle.errors import RecipeError
from corpuscle.training.distributed import Processes
from corpuscle.training.loop import fit
from corpuscle.training.recipe import Recipe, read_recipe
from corpuscle.training.train import train
from corpuscle.training.views import collapse_loss, neighbor_accuracy, projector, views_loss

N = len(CLASSES)
CHECKPOINT, BEST = "checkpoint.safetensors", "best.safetensors"
WITHOUT = {"lessons__without_labels": True}
TOY = Path(__file__).resolve().parents[2] / "recipes" / "toy.toml"


def test_one_embedding_for_all_is_punished_and_independent_numbers_are_not():
    generator = torch.Generator().manual_seed(0)
    same = torch.ones(50, 4)
    free = torch.randn(5000, 4, generator=generator) * 1.1
    assert collapse_loss(same).item() == pytest.approx(25 * (1 - 0.01) / 2, abs=1e-3)
    assert collapse_loss(free).item() < 0.02
    doubled = free[:, [0, 0, 1, 1]]
    # Two pairs of equal numbers of variance 1.21: four entries of 1.21 squared, over four numbers.
    assert collapse_loss(doubled).item() == pytest.approx(4 * 1.21**2 / 4, rel=0.1)


def test_views_of_a_picture_are_drawn_together():
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(200, 6, generator=generator) * 1.2
    alike = views_loss(torch.cat([one, one]))
    apart = views_loss(torch.cat([one, one + 2.0]))
    assert (apart - alike).item() == pytest.approx(25 * 4.0, rel=1e-4)
    assert alike.item() == pytest.approx(2 * collapse_loss(one).item())
    # It is the second view of the same picture that counts, and no other.
    assert views_loss(torch.cat([one, one.roll(1, 0)])) > 5 * alike


def test_the_nearest_other_picture_counts_by_angle():
    points = torch.tensor([[1.0, 0.0], [5.0, 0.1], [0.0, 1.0], [0.1, 3.0], [-1.0, 0.2]])
    assert neighbor_accuracy(points, torch.tensor([0, 0, 1, 1, 0])) == pytest.approx(0.8)
    assert neighbor_accuracy(points, torch.tensor([0, 1, 0, 1, 2])) == 0.0


def test_the_projector_widens_an_embedding():
    assert projector(16)(torch.zeros(4, 16)).shape == (4, 256)


def test_no_label_is_looked_at_and_the_last_epoch_is_kept(toy_sets, tmp_path, same_tensors):
    recipe = toy_recipe(**WITHOUT, run__epochs=2, model__dropout=0.3, augmentation__preset="strong")
    whole, val = toy_sets
    for name, shift in (("one", 0), ("other", 1)):
        shifted = [dataclasses.replace(part, labels=(part.labels + shift) % N) for part in (whole, val)]
        progress = fit(recipe, *shifted, CLASSES, tmp_path / name)
        assert progress.best_epoch == 2
    same_tensors(tmp_path / "one" / CHECKPOINT, tmp_path / "other" / CHECKPOINT)
    best, checkpoint = (load_file(tmp_path / "one" / name) for name in (BEST, CHECKPOINT))
    assert not any(key.startswith("lessons.") for key in best)
    assert all(torch.equal(value, checkpoint[f"average.{key}"]) for key, value in best.items())


def test_cells_of_a_kind_come_to_lie_together(toy_sets, tmp_path):
    recipe = toy_recipe(**WITHOUT, run__epochs=12, optimizer__learning_rate=0.005, augmentation__preset="mild")
    history = fit(recipe, *toy_sets, CLASSES, tmp_path).history
    assert history[-1].val_accuracy >= 0.9
    assert history[-1].val_loss < 0.9 * history[0].val_loss


def test_both_views_are_changed_each_in_its_own_way(toy_sets, tmp_path, monkeypatch):
    from corpuscle.training import loop

    seen = []
    true = loop.augment_with_parts

    def watched(crops: torch.Tensor, *given: object, **named: object) -> tuple[torch.Tensor, None]:
        changed, parts = true(crops, *given, **named)
        assert parts is None
        seen.append((crops, changed))
        return changed, None

    monkeypatch.setattr(loop, "augment_with_parts", watched)
    fit(toy_recipe(**WITHOUT, run__epochs=1), *toy_sets, CLASSES, tmp_path)
    assert len(seen) == 3
    for crops, changed in seen:
        assert len(crops) == len(changed) == 16
        assert torch.equal(crops[:8], crops[8:])
        assert not any(torch.equal(one, other) for one, other in zip(changed[:8], changed[8:], strict=True))


def test_a_killed_run_without_labels_goes_on_bit_for_bit(toy_sets, tmp_path, same_tensors):
    toy_fit.fit_killed(tmp_path / "killed", WITHOUT)
    assert fit(toy_recipe(**WITHOUT), *toy_sets, CLASSES, tmp_path / "killed").epochs_done == 3
    fit(toy_recipe(**WITHOUT), *toy_sets, CLASSES, tmp_path / "whole")
    same_tensors(tmp_path / "whole" / CHECKPOINT, tmp_path / "killed" / CHECKPOINT)


def test_it_runs_in_one_process(toy_sets, tmp_path):
    with pytest.raises(RecipeError, match=r"lessons\.without_labels compares all pictures.*Start one process"):
        fit(toy_recipe(**WITHOUT), *toy_sets, CLASSES, tmp_path, processes=Processes(0, 2))


@pytest.mark.parametrize("other", [{"teacher": "corpuscle_s"}, {"attributes": 0.5}, {"masks": 0.5}])
def test_other_lessons_beside_it_are_refused(other):
    with pytest.raises(
        RecipeError, match=r"lessons\.without_labels leaves nothing to a teacher, to attributes or to masks"
    ):
        Recipe.from_dict({"lessons": {"without_labels": True, **other}})


def recipes(folder: Path, further: Path) -> Recipe:
    """A recipe that starts from one without labels, which sees another folder's pictures besides."""
    settings = ("run.epochs=1", "run.threads=1", "run.precision=fp32", "run.batch_size=8", "bundle.quantize=false",
                f'data.dataset="{folder.as_posix()}"', 'data.classes=["neutrophil", "lymphocyte"]')  # fmt: skip
    values = read_recipe(TOY, settings).to_dict()
    before = json.loads(json.dumps(values)) | {"name": "views"}
    before["lessons"]["without_labels"] = True
    before["data"]["also"] = [{"dataset": str(further)}]
    values["model"]["start"] = before
    return Recipe.from_dict(json.loads(json.dumps(values)))


def test_a_run_may_start_from_views_and_names_their_pictures(toy_folder, tmp_path):
    import shutil

    further = tmp_path / "further"
    for key in ("neutrophil", "lymphocyte"):
        shutil.copytree(toy_folder / "test" / key, further / "train" / key)
    recipe = recipes(toy_folder, further)
    result = train(recipe, output=tmp_path / "run")
    rows = result.bundle.training_data
    assert [(row["dataset"], row["split"], row["n"]) for row in rows] == [
        (toy_folder.name, "train", 48), ("further", "train", 4)]  # fmt: skip
    assert not rows[0]["citation"].endswith("shown without labels")
    assert rows[1]["citation"].endswith("shown without labels")
    assert np.isfinite(result.progress.history[0].val_loss)
    assert (tmp_path / "run" / "start" / BEST).exists()


def test_no_model_is_made_of_views_alone(toy_folder, tmp_path):
    before = Recipe.from_dict(recipes(toy_folder, tmp_path).model.start)
    with pytest.raises(RecipeError, match=r"views learns no label.*model\.start"):
        train(before, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
