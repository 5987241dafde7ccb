"""onnxruntime, with its telemetry off: nothing leaves the machine.

From version 1.29 on the official packages for Linux and macOS report each session to their maker unless the environment
forbids it before the library is loaded; those for Windows did so before. Whoever needs onnxruntime takes it from here.
"""

from __future__ import annotations

import os

# The second name is that of later versions.
for _name in ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED"):
    os.environ[_name] = "1"

import onnxruntime  # noqa: E402

# Where another program has loaded the library before, this is what can still be done.
onnxruntime.disable_telemetry_events()

__all__ = ["onnxruntime"]
