"""Runs the ONNX graph of a bundle with onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpuscle.errors import BundleError
from corpuscle.models.bundle import Bundle
from corpuscle.models.silent_runtime import onnxruntime

__all__ = ["Engine", "Outputs", "open_session"]


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the network gives for a batch: logits (NxK float32), embedding (NxD) and, if asked, features (NxDxhxw)."""

    logits: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32] | None = None


def open_session(path: Path, *, threads: int) -> onnxruntime.InferenceSession:
    """Open a graph on the processor.

    Args:
        path: An ONNX file.
        threads: Threads inside one call.

    Raises:
        BundleError: onnxruntime cannot read the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Without the arena memory stays flat when inputs of different size follow each other.
    options.enable_cpu_mem_arena = False
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BundleError(f"{path} is no graph that onnxruntime {onnxruntime.__version__} can run: {error}") from error


class Engine:
    """One onnxruntime session; safe to call from several threads at once.

    One thread a call is the default: two threads that wait for each other on a busy machine are many times slower
    than one, and work is shared by giving different batches to different threads.
    """

    def __init__(self, bundle: Bundle, *, graph: str = "", threads: int = 1) -> None:
        """Open the graph of a bundle.

        Args:
            bundle: A checked bundle.
            graph: Another of its ONNX files than the one that it names.
            threads: Threads inside one call.

        Raises:
            BundleError: onnxruntime cannot read the graph, it lacks an output, or it does not fit the manifest.
        """
        path = bundle.folder / (graph or bundle.graph)
        self._session = open_session(path, threads=threads)
        shapes = {output.name: output.shape for output in self._session.get_outputs()}
        if not {"logits", "embedding", "features"} <= shapes.keys():
            raise BundleError(f"{path} lacks one of the outputs logits, embedding and features. Export it again.")
        entry, side = self._session.get_inputs()[0], bundle.preprocessing.input_px
        if list(entry.shape[1:]) != [3, side, side] or shapes["logits"][1:] != [len(bundle.classes)]:
            raise BundleError(
                f"{path} takes {entry.shape} and gives {shapes['logits']}, but the manifest speaks of {side} pixels "
                f"and {len(bundle.classes)} classes. Get the bundle again."
            )
        self._input = entry.name

    def run(self, batch: npt.NDArray[np.float32], *, features: bool = False) -> Outputs:
        """Run a batch (Nx3xHxW float32, scaled as the bundle's preprocessing says)."""
        wanted = ["logits", "embedding", "features"] if features else ["logits", "embedding"]
        results = self._session.run(wanted, {self._input: batch})
        return Outputs(results[0], results[1], results[2] if features else None)
