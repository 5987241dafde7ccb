from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_fit
from safetensors.torch import load_file
from toy_fit import CLASSES, crop_set, toy_recipe

from corpuscle.errors import RecipeError, TrainingError, UnknownNameError, UsageError
from corpuscle.models.zoo import build
from corpuscle.training import loop
from corpuscle.training.crops import CropSet
from corpuscle.training.loop import fit

N = len(CLASSES)
CHECKPOINT, BEST = "checkpoint.safetensors", "best.safetensors"


def mislabeled(part: CropSet) -> CropSet:
    """The same crops with wrong labels: the more is learned, the worse they are judged."""
    return dataclasses.replace(part, labels=(part.labels + 1) % N)


def test_the_loss_falls_and_the_classes_are_learned(toy_sets, tmp_path):
    progress = fit(toy_recipe(run__epochs=8), *toy_sets, CLASSES, tmp_path)
    first, last = progress.history[0], progress.history[-1]
    assert [record.epoch for record in progress.history] == list(range(1, 9))
    assert last.train_loss < 0.5 * first.train_loss
    assert last.val_loss < 0.5 * first.val_loss
    assert last.val_accuracy == 1.0
    assert all(0 <= record.train_accuracy <= 1 and record.seconds > 0 for record in progress.history)


def test_the_training_crops_and_not_those_of_val_are_learned(toy_sets, tmp_path, same_tensors):
    train, val = toy_sets
    fit(toy_recipe(run__epochs=2), train, val, CLASSES, tmp_path / "one")
    fit(toy_recipe(run__epochs=2), train, mislabeled(val), CLASSES, tmp_path / "other")
    same_tensors(tmp_path / "one" / CHECKPOINT, tmp_path / "other" / CHECKPOINT)


def test_a_seed_gives_the_same_weights_and_another_seed_others(toy_sets, tmp_path, same_tensors):
    settings = {"run__epochs": 2, "model__dropout": 0.3, "augmentation__preset": "strong"}
    for name, seed in (("one", 4), ("again", 4), ("other", 5)):
        fit(toy_recipe(**settings, run__seed=seed), *toy_sets, CLASSES, tmp_path / name)
    same_tensors(tmp_path / "one" / CHECKPOINT, tmp_path / "again" / CHECKPOINT)
    key = "network.head.weight"
    one, other = (load_file(tmp_path / name / CHECKPOINT)[key] for name in ("one", "other"))
    assert not torch.equal(one, other)


MIXING = {
    "model__style_mixing": 0.5, "augmentation__mixup": 0.4, "augmentation__overrides": {"background": 0.5},
}  # fmt: skip
"""Ways in which pictures of a batch meet, all at once."""
CUTTING = {"augmentation__cutmix": 1.0, "lessons__masks": 0.5}
"""What excludes one of these, and what needs masks of the changed pictures."""


@pytest.mark.parametrize(
    ("optimizer", "more"),
    [("adamw", {}), ("sgd", {}), ("adamw", MIXING), *(("adamw", {key: value}) for key, value in CUTTING.items())],
)
def test_a_stopped_run_goes_on_bit_for_bit(optimizer, more, toy_sets, tmp_path, same_tensors):
    recipe = toy_recipe(
        optimizer__name=optimizer, model__dropout=0.3, augmentation__preset="strong", augmentation__cooldown_epochs=1,
        **more,
    )  # fmt: skip
    whole = fit(recipe, *toy_sets, CLASSES, tmp_path / "whole")
    for epochs in (1, 2, 3):
        parts = fit(recipe, *toy_sets, CLASSES, tmp_path / "parts", stop=lambda: True)
        assert parts.epochs_done == epochs
    same_tensors(tmp_path / "whole" / CHECKPOINT, tmp_path / "parts" / CHECKPOINT)
    same_tensors(tmp_path / "whole" / BEST, tmp_path / "parts" / BEST)
    assert (parts.best_epoch, parts.best_loss) == (whole.best_epoch, whole.best_loss)
    for one, other in zip(whole.history, parts.history, strict=True):
        assert dataclasses.replace(one, seconds=0.0) == dataclasses.replace(other, seconds=0.0)


@pytest.mark.parametrize("more", [{}, MIXING], ids=["plain", "mixing"])
def test_a_run_killed_inside_an_epoch_goes_on_bit_for_bit(more, toy_sets, tmp_path, same_tensors):
    settings = {"model__dropout": 0.3, "augmentation__preset": "strong", **more}
    toy_fit.fit_killed(tmp_path / "killed", settings)
    done = []
    progress = fit(
        toy_recipe(**settings), *toy_sets, CLASSES, tmp_path / "killed",
        watcher=lambda progress, step, steps: done.append((progress.epochs_done, step)),
    )  # fmt: skip
    assert done[0] == (1, 1)
    assert progress.epochs_done == 3
    fit(toy_recipe(**settings), *toy_sets, CLASSES, tmp_path / "whole")
    same_tensors(tmp_path / "whole" / CHECKPOINT, tmp_path / "killed" / CHECKPOINT)
    same_tensors(tmp_path / "whole" / BEST, tmp_path / "killed" / BEST)


def test_a_finished_run_is_left_alone(toy_sets, tmp_path):
    recipe = toy_recipe(run__epochs=1)
    fit(recipe, *toy_sets, CLASSES, tmp_path)
    before = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    assert fit(recipe, *toy_sets, CLASSES, tmp_path).epochs_done == 1
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == before


def test_a_checkpoint_of_another_recipe_is_refused(toy_sets, tmp_path):
    fit(toy_recipe(run__epochs=1), *toy_sets, CLASSES, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(TrainingError, match=r"belongs to another recipe.*--output"):
        fit(toy_recipe(run__epochs=1, optimizer__learning_rate=0.5), *toy_sets, CLASSES, tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_checkpoint_of_other_classes_is_refused(toy_sets, tmp_path):
    recipe = toy_recipe(run__epochs=2)
    fit(recipe, *toy_sets, CLASSES, tmp_path, stop=lambda: True)
    with pytest.raises(TrainingError, match="other classes"):
        fit(recipe, *toy_sets, (*CLASSES, "other"), tmp_path)


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_damaged_checkpoint_is_refused(damage, toy_sets, tmp_path):
    recipe = toy_recipe(run__epochs=2)
    fit(recipe, *toy_sets, CLASSES, tmp_path, stop=lambda: True)
    path = tmp_path / CHECKPOINT
    path.write_bytes({"cut": path.read_bytes()[:-100], "empty": b"", "text": b"no checkpoint" * 9}[damage])
    with pytest.raises(TrainingError, match=r"cannot be read .*Delete it to start anew"):
        fit(recipe, *toy_sets, CLASSES, tmp_path)


def test_training_stops_early_and_keeps_the_best_weights(toy_sets, tmp_path):
    train, val = toy_sets
    recipe = toy_recipe(run__epochs=20, run__early_stopping=2, run__ema_decay=0.5)
    copies = tmp_path / "copies"
    copies.mkdir()

    def copy_and_go_on() -> bool:
        shutil.copy(tmp_path / CHECKPOINT, copies / f"{len(list(copies.iterdir())) + 1}.safetensors")
        return False

    progress = fit(recipe, train, mislabeled(val), CLASSES, tmp_path, stop=copy_and_go_on)
    assert progress.epochs_done == progress.best_epoch + 2 < 20
    ranks = [(record.val_accuracy, -record.val_loss) for record in progress.history]
    assert progress.best_epoch == ranks.index(max(ranks)) + 1
    best = load_file(tmp_path / BEST)
    at_best, at_end = (load_file(copies / f"{epoch}.safetensors") for epoch in (progress.best_epoch, len(ranks)))
    assert best.keys() == {key.removeprefix("average.") for key in at_best if key.startswith("average.")}
    assert all(torch.equal(value, at_best[f"average.{key}"]) for key, value in best.items())
    assert not torch.equal(best["head.weight"], at_end["average.head.weight"])
    assert fit(recipe, train, mislabeled(val), CLASSES, tmp_path).epochs_done == progress.epochs_done


def test_plateau_lowers_the_rate_also_across_a_stop(toy_sets, tmp_path):
    train, val = toy_sets
    recipe = toy_recipe(run__epochs=6, run__ema_decay=0.5, optimizer__schedule="plateau", optimizer__plateau_patience=1)
    fit(recipe, train, mislabeled(val), CLASSES, tmp_path, stop=iter([False, False, False, True]).__next__)
    history = fit(recipe, train, mislabeled(val), CLASSES, tmp_path).history
    best, rate = (-1.0, -np.inf), 0.02
    for record in history:
        assert record.learning_rate == pytest.approx(rate)
        rank = (record.val_accuracy, -record.val_loss)
        rate *= 1.0 if rank > best else 0.3
        best = max(best, rank)
    assert len(history) == 6
    assert history[-1].learning_rate < history[3].learning_rate < 0.02


@pytest.mark.parametrize(("batch_size", "where"), [(8, "in a step"), (24, "after the only step")])
def test_a_loss_that_is_no_number_ends_the_run(batch_size, where, toy_sets, tmp_path):
    recipe = toy_recipe(
        optimizer__learning_rate=1e30, optimizer__schedule="constant", run__batch_size=batch_size, run__ema_decay=0
    )
    with pytest.raises(TrainingError, match=r"became (nan|inf) in epoch 1.*optimizer\.learning_rate"):
        fit(recipe, *toy_sets, CLASSES, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_larger_than_the_split_is_refused(toy_sets, tmp_path):
    with pytest.raises(RecipeError, match=r"24 pictures, fewer than run\.batch_size 32"):
        fit(toy_recipe(run__batch_size=32), *toy_sets, CLASSES, tmp_path)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"augmentation__preset": "wild"}, UnknownNameError, "augmentation preset named 'wild'"),
        (
            {"augmentation__overrides": {"blurr": 1}},
            RecipeError,
            r"augmentation\.overrides\.blurr\. Known here: .*blur",
        ),
        ({"model__name": "resnet"}, UnknownNameError, "network named 'resnet'"),
    ],
)
def test_unknown_parts_of_a_recipe_are_refused(settings, error, words, toy_sets, tmp_path):
    with pytest.raises(error, match=words):
        fit(toy_recipe(**settings), *toy_sets, CLASSES, tmp_path)


def test_the_watcher_sees_every_step_and_epoch(toy_sets, tmp_path):
    seen = []
    fit(
        toy_recipe(run__epochs=2), *toy_sets, CLASSES, tmp_path,
        watcher=lambda progress, step, steps: seen.append((progress.epochs_done, step, steps)),
    )  # fmt: skip
    assert seen == [(0, 1, 3), (0, 2, 3), (1, 3, 3), (1, 1, 3), (1, 2, 3), (2, 3, 3)]


def test_every_epoch_sees_each_crop_once_in_another_order(toy_sets, tmp_path, monkeypatch):
    train, val = toy_sets
    crops = train.crops.copy()
    crops[:, 0, 0, 0] = np.arange(len(crops))
    seen = []
    monkeypatch.setattr(
        loop,
        "augment_with_parts",
        lambda batch, *args, **named: seen.append(batch[:, 0, 0, 0].tolist()) or whole(batch),
    )

    def whole(batch: torch.Tensor) -> tuple[torch.Tensor, None]:
        return batch[:, 4:36, 4:36].permute(0, 3, 1, 2) / 255, None

    fit(toy_recipe(run__epochs=2), dataclasses.replace(train, crops=crops), val, CLASSES, tmp_path)
    first, second = np.reshape(seen, (2, -1))
    assert sorted(first) == sorted(second) == list(range(24))
    assert first.tolist() != second.tolist()


def test_the_last_epochs_are_augmented_more_weakly(toy_sets, tmp_path, monkeypatch):
    specs = []
    true = loop.augment_with_parts
    monkeypatch.setattr(
        loop, "augment_with_parts", lambda crops, spec, **named: specs.append(spec) or true(crops, spec, **named)
    )
    recipe = toy_recipe(
        augmentation__preset="strong", augmentation__overrides={"blur": 0.8}, augmentation__cooldown_epochs=1,
        augmentation__cooldown_strength=0.25, run__batch_size=24,
    )  # fmt: skip
    fit(recipe, *toy_sets, CLASSES, tmp_path)
    assert [spec.blur for spec in specs] == pytest.approx([0.8, 0.8, 0.2])
    assert specs[-1].stain == pytest.approx(0.25 * specs[0].stain)
    assert specs[-1].rotation_deg == specs[0].rotation_deg == 180


@pytest.mark.parametrize("key", [*MIXING, *CUTTING])
def test_each_way_of_mixing_changes_what_is_learned_and_lets_learn(key, toy_sets, tmp_path):
    plain = fit(toy_recipe(run__epochs=8), *toy_sets, CLASSES, tmp_path / "plain")
    mixed = fit(toy_recipe(run__epochs=8, **{key: (MIXING | CUTTING)[key]}), *toy_sets, CLASSES, tmp_path / "mixed")
    assert mixed.history[-1].train_loss != plain.history[-1].train_loss
    assert mixed.history[-1].val_accuracy > 0.9
    assert 0.5 < mixed.history[-1].train_accuracy <= 1


def test_a_network_that_cannot_mix_styles_is_refused(toy_sets, tmp_path):
    with pytest.raises(UsageError, match=r"takes no style_mixing\. Leave out model\.style_mixing"):
        fit(toy_recipe(model__name="cnn2", model__style_mixing=0.5), *toy_sets, CLASSES, tmp_path)


def test_the_probed_arithmetic_is_kept_when_a_run_goes_on(toy_sets, tmp_path, monkeypatch):
    recipe = toy_recipe(run__epochs=2, run__precision="auto")
    monkeypatch.setattr(loop, "faster_precision", lambda input_px: "bf16")
    assert fit(recipe, *toy_sets, CLASSES, tmp_path, stop=lambda: True).precision == "bf16"
    monkeypatch.setattr(loop, "faster_precision", lambda input_px: "fp32")
    assert fit(recipe, *toy_sets, CLASSES, tmp_path).precision == "bf16"


def test_bf16_changes_little_and_keeps_the_weights_in_fp32(toy_sets, tmp_path):
    losses = {}
    for precision in ("fp32", "bf16"):
        progress = fit(toy_recipe(run__precision=precision, run__epochs=1), *toy_sets, CLASSES, tmp_path / precision)
        losses[precision] = progress.history[-1].train_loss
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], abs=0.05)
    assert {value.dtype for value in load_file(tmp_path / "bf16" / BEST).values()} == {torch.float32, torch.int64}


def test_val_is_judged_with_the_averaged_weights_and_the_last_batch_counts(toy_sets, tmp_path, monkeypatch):
    """Recomputes loss and accuracy from the saved weights, with a validation split that fills no whole batch."""
    from corpuscle.models.zoo import build
    from corpuscle.preprocessing.transforms import to_batch

    val = crop_set(70, 32, 3)
    recipe = toy_recipe(run__epochs=1)
    record = fit(recipe, toy_sets[0], val, CLASSES, tmp_path).history[0]
    network = build("toy", N)
    network.load_state_dict(load_file(tmp_path / BEST))
    with torch.inference_mode():
        logits = network.eval()(torch.from_numpy(to_batch(val.crops, recipe.preprocessing))).logits
    labels = torch.from_numpy(val.labels)
    assert record.val_accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert record.val_loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), abs=1e-5)


def test_an_output_that_cannot_be_written_is_a_sentence(toy_sets, tmp_path):
    from corpuscle.errors import OutputError

    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        fit(toy_recipe(run__epochs=1), *toy_sets, CLASSES, Path(tmp_path / "file"))


def test_a_run_may_start_from_the_weights_of_another(toy_sets, tmp_path):
    fit(toy_recipe(run__epochs=6), *toy_sets, CLASSES, tmp_path / "first")
    gentle = {"run__epochs": 2, "optimizer__learning_rate": 1e-6, "run__seed": 9}
    anew = fit(toy_recipe(**gentle), *toy_sets, CLASSES, tmp_path / "anew")
    start = tmp_path / "first" / BEST
    further = fit(toy_recipe(**gentle), *toy_sets, CLASSES, tmp_path / "further", start=start, stop=lambda: True)
    assert further.history[0].train_loss < 0.5 * anew.history[0].train_loss
    begun, weights = load_file(tmp_path / "further" / CHECKPOINT), load_file(start)
    torch.testing.assert_close(begun["network.head.weight"], weights["head.weight"], atol=1e-4, rtol=0)
    # Going on, the checkpoint and not the start counts.
    fit(toy_recipe(**gentle), *toy_sets, CLASSES, tmp_path / "further", start=start)
    fit(toy_recipe(**gentle), *toy_sets, CLASSES, tmp_path / "at-once", start=start)
    one, other = (load_file(tmp_path / name / CHECKPOINT) for name in ("further", "at-once"))
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_weights_that_do_not_fit_are_no_start(toy_sets, tmp_path):
    fit(toy_recipe(run__epochs=1), *toy_sets, CLASSES, tmp_path / "first")
    with pytest.raises(TrainingError, match=r"do not fit the network toy.*same classes"):
        fit(toy_recipe(), *toy_sets, (*CLASSES, "other"), tmp_path / "second", start=tmp_path / "first" / BEST)
    with pytest.raises(TrainingError, match=r"none\.safetensors cannot be read"):
        fit(toy_recipe(), *toy_sets, CLASSES, tmp_path / "third", start=tmp_path / "none.safetensors")


def test_frozen_weights_do_not_move_and_others_do(toy_sets, tmp_path):
    stages = ({"epoch": 1, "train": ["head"]}, {"epoch": 2, "train": [""]})
    states = []
    for epochs in (1, 2):
        recipe = toy_recipe(
            model__stages=stages, run__epochs=epochs, run__ema_decay=0.0, optimizer__schedule="constant"
        )
        fit(recipe, *toy_sets, CLASSES, tmp_path / str(epochs))
        states.append(load_file(tmp_path / str(epochs) / "checkpoint.safetensors"))
    torch.manual_seed(0)
    fresh = build("toy", len(CLASSES)).state_dict()
    for key, value in fresh.items():
        same = torch.equal(states[0][f"network.{key}"], value)
        assert same == (not key.startswith("head")), key
    moved = [key for key, value in fresh.items() if not torch.equal(states[1][f"network.{key}"], value)]
    assert len(moved) == len(fresh)


def test_an_epoch_may_be_a_draw_of_the_training_pictures(toy_sets, tmp_path):
    steps = []
    recipe = toy_recipe(run__epochs=1, run__epoch_pictures=17)
    fit(recipe, *toy_sets, CLASSES, tmp_path, watcher=lambda progress, step, of: steps.append((step, of)))
    assert steps == [(1, 2), (2, 2)]


def test_a_run_starts_from_given_weights_with_norms_of_its_own_pictures(tmp_path):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(3)
    given = {key: value.clone() for key, value in timm.create_model("mobilenetv2_100").state_dict().items()}
    save_file(given, tmp_path / "given.safetensors")
    recipe = toy_recipe(
        model__name="mobilenetv2", model__pretrained=str(tmp_path / "given.safetensors"), run__epochs=1,
        model__stages=({"epoch": 1, "train": ["head"]},),
    )  # fmt: skip
    fit(recipe, crop_set(8, 40, 1), crop_set(3, 32, 2), CLASSES, tmp_path / "run")
    found = load_file(tmp_path / "run" / "checkpoint.safetensors")
    assert torch.equal(found["network.backbone.net.conv_stem.weight"], given["conv_stem.weight"])
    assert not torch.equal(found["network.backbone.net.bn1.running_mean"], given["bn1.running_mean"])
