from __future__ import annotations

import pytest
import torch

from corpuscle.training import precision
from corpuscle.training.precision import faster_precision


def test_the_probe_answers_and_leaves_the_random_state():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert faster_precision(32, seconds=0.02) in {"fp32", "bf16"}
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("bf16", "expected"), [(30.0, "bf16"), (10.6, "bf16"), (10.4, "fp32"), (3.0, "fp32")])
def test_only_a_clear_gain_is_worth_less_exact_numbers(bf16, expected, monkeypatch):
    rates = {torch.float32: 10.0, torch.bfloat16: bf16}
    monkeypatch.setattr(precision, "_rate", lambda network, batch, dtype, seconds: rates[dtype])
    assert faster_precision(32) == expected
