"""On what a figure was measured."""

from __future__ import annotations

import platform
from pathlib import Path

from corpuscle.prediction.classification import default_workers

__all__ = ["machine_line", "memory_bytes", "processor"]

_ABILITIES = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "i8mm")


def processor() -> tuple[str, tuple[str, ...]]:
    """Name of the processor and which of the abilities that matter it has; Linux says, others only the name."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return name, ()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip().lower() in ("flags", "features"):
            flags = set(value.split())
    return name, tuple(item for item in _ABILITIES if item in flags)


def machine_line() -> str:
    """Return one line that says on what a figure was measured."""
    name, abilities = processor()
    listed = ", ".join(abilities) or "abilities unknown"
    return f"{name}, {default_workers()} processors ({listed}), {platform.system()}, Python {platform.python_version()}"


def memory_bytes() -> int:
    """Return the memory that this process holds now, in bytes; 0 where the system does not say."""
    try:
        fields = Path("/proc/self/statm").read_text(encoding="utf-8").split()
    except OSError:
        return 0
    import resource

    return int(fields[1]) * resource.getpagesize()
