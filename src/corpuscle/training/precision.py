"""Chooses the arithmetic of a training by trying it for a second."""

from __future__ import annotations

import time

import torch
from torch import nn

__all__ = ["faster_precision"]


def faster_precision(input_px: int, *, seconds: float = 1.0) -> str:
    """Time a few convolutions forward and backward in fp32 and bf16.

    The weights stay fp32 either way; bf16 means autocast. CPUs without bf16 instructions run it several times slower,
    which is why nobody should have to know.

    Args:
        input_px: Side of the pictures to come.
        seconds: Time to spend, over both.

    Returns:
        `fp32` or `bf16`, whichever did more steps a second; `fp32` if they are within 5 %.
    """
    state = torch.random.get_rng_state()
    side = max(8, input_px // 4)
    layers = [nn.Conv2d(48, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.Conv2d(48, 96, 3, stride=2)]
    network = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    batch = torch.rand(16, 48, side, side).contiguous(memory_format=torch.channels_last)
    rates = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        rates[name] = _rate(network, batch, dtype, seconds / 2)
    torch.random.set_rng_state(state)
    return "bf16" if rates["bf16"] > 1.05 * rates["fp32"] else "fp32"


def _rate(network: nn.Module, batch: torch.Tensor, dtype: torch.dtype, seconds: float) -> float:
    """Steps a second over about `seconds`, the first step not counted."""
    steps, start = -1, 0.0
    while steps < 1 or time.monotonic() - start < seconds:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            loss = network(batch).float().square().mean()
        loss.backward()
        steps += 1
        if steps == 0:
            start = time.monotonic()
    return steps / (time.monotonic() - start)
