"""A tiny training on made-up crops, for the tests to call and to start as a process of its own.

As a script: `toy_fit.py OUTPUT SETTINGS` fits the toy network, SETTINGS being JSON as for `toy_recipe`, and prints how
many steps it made. With `CORPUSCLE_TEST_KILL=EPOCH,STEP` or `EPOCH,STEP,RANK` the process of that rank kills itself
inside that step, as the operating system would, unless `torchrun` has started it again. Under `torchrun` all processes
work together; `{rank}` in OUTPUT gives each a folder of its own.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from corpuscle.training.crops import CropSet
from corpuscle.training.lessons import ATTRIBUTE_VALUES
from corpuscle.training.recipe import Recipe

CLASSES = ("neutrophil", "lymphocyte", "platelet")
N_TRAIN, N_VAL, INPUT_PX, WIDEN = 24, 12, 32, 1.25


def toy_recipe(**settings: object) -> Recipe:
    """A recipe for `toy_crops`; settings are `section__key=value`."""
    values: dict[str, dict[str, object]] = {
        "data": {"widen": WIDEN},
        "preprocessing": {"input_px": INPUT_PX},
        "model": {"name": "toy", "dropout": 0.0},
        "augmentation": {"preset": "mild"},
        "optimizer": {"learning_rate": 0.02, "label_smoothing": 0.0},
        "run": {"epochs": 3, "batch_size": 8, "ema_decay": 0.9, "precision": "fp32", "threads": 1},
    }
    for key, value in settings.items():
        section, name = key.split("__")
        values.setdefault(section, {})[name] = value
    return Recipe.from_dict({"name": "toy-test", **values})


def crop_set(n: int, side_px: int, seed: int, *, n_classes: int = len(CLASSES)) -> CropSet:
    """Noise around a color of each class: easy to tell apart, different in every crop."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % n_classes
    colors = np.full((n_classes, 3), 90.0)
    colors[np.arange(n_classes), np.arange(n_classes) % 3] = 190.0
    noise = generator.normal(0, 25, (n, side_px, side_px, 3)) + generator.normal(0, 15, (n, 1, 1, 3))
    crops = np.clip(colors[labels][:, None, None, :] + noise, 0, 255).astype(np.uint8)
    return CropSet(crops, labels, tuple(f"{place}.png" for place in range(n)))


def toy_crops() -> tuple[CropSet, CropSet]:
    """The wide training crops and the validation crops that go with `toy_recipe`."""
    return crop_set(N_TRAIN, round(INPUT_PX * WIDEN), 1), crop_set(N_VAL, INPUT_PX, 2)


def taught(train: CropSet) -> CropSet:
    """The same crops with a teacher's answers, and attributes of every second picture."""
    generator = np.random.default_rng(7)
    answers = generator.normal(0, 1, (len(train.labels), len(CLASSES))).astype(np.float32)
    answers[np.arange(len(answers)), train.labels] += 4
    attributes = np.stack([(train.labels + 1) % len(values) for values in ATTRIBUTE_VALUES.values()], axis=1)
    attributes[::2] = -1
    return dataclasses.replace(train, answers=answers, attributes=attributes)


def fit_killed(output: Path, settings: dict[str, object]) -> None:
    """Fit in a process of its own that is killed in the second step of the second epoch."""
    killed = subprocess.run(
        [sys.executable, __file__, str(output), json.dumps(settings)],
        env={**os.environ, "CORPUSCLE_TEST_KILL": "2,2", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr


def main() -> None:
    """Fit as the command line says."""
    from corpuscle.errors import CorpuscleError
    from corpuscle.training.distributed import join
    from corpuscle.training.loop import fit

    start = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    steps = _count_steps("0,0" if start else os.environ.get("CORPUSCLE_TEST_KILL", "0,0"))
    try:
        with join() as processes:
            recipe, output = toy_recipe(**json.loads(sys.argv[2])), Path(sys.argv[1].format(rank=processes.rank))
            train, val = toy_crops()
            train = taught(train) if recipe.lessons.teacher else train
            fit(recipe, train, val, CLASSES, output, processes=processes)
    except CorpuscleError as error:
        sys.exit(f"toy_fit: {error}")
    print(f"start {start}: {len(steps)} steps")


def _count_steps(kill: str) -> list[int]:
    """Return a list that grows with every step of `fit`; the process dies where `kill` says."""
    from corpuscle.training import loop

    epoch, step, rank = (int(part) for part in f"{kill},0".split(",")[:3])
    last = (epoch - 1) * (N_TRAIN // 8) + step if rank == int(os.environ.get("RANK", "0")) else 0
    true, steps = loop.augment_with_parts, []

    def counted(*given: object, **named: object) -> object:
        steps.append(len(steps) + 1)
        if steps[-1] == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return true(*given, **named)  # type: ignore[arg-type]

    loop.augment_with_parts = counted  # type: ignore[assignment]
    return steps


if __name__ == "__main__":
    main()
