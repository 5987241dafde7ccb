"""What the tests of training share: made-up crops, a way to compare runs, and one processor thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_fit import toy_crops

from corpuscle.training.crops import CropSet


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums over several threads may round differently; `fit` sets the number, and later tests should not inherit it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy_sets() -> tuple[CropSet, CropSet]:
    """Training and validation crops of three classes; not to be changed."""
    sets = toy_crops()
    for part in sets:
        # Crops of a large set are mapped from the cache, where nobody can write to them.
        part.crops.setflags(write=False)
    return sets


@pytest.fixture
def same_tensors() -> Callable[[Path, Path], None]:
    """Check that two safetensors files hold the very same tensors, to the last bit."""

    def check(one: Path, other: Path) -> None:
        first, second = load_file(one), load_file(other)
        assert first.keys() == second.keys()
        assert len(first) > 0
        assert [key for key in first if not torch.equal(first[key], second[key])] == []

    return check


@pytest.fixture(scope="session")
def few_fields():
    """Eight drawn fields with their boxes."""
    from pathlib import Path

    from corpuscle.data.drawn_fields import draw_field
    from corpuscle.data.fields import LabeledField

    found = []
    for seed in range(8):
        pixels, boxes, kinds = draw_field(seed, erythrocytes=8, platelets=1)
        found.append(LabeledField(f"{seed}", Path(f"{seed}"), "drawn-fields", "", "", boxes, kinds, pixels=pixels))
    return found
