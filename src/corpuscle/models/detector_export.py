"""From a trained detector to the ONNX graphs of its bundle."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from corpuscle.errors import BundleError
from corpuscle.models.detector import Detector
from corpuscle.models.export import halve_weights, quantize_graph, quiet
from corpuscle.preprocessing.field_scaling import STRIDE_PX

__all__ = ["ScoredDetector", "export_detector", "quantize_detector"]


class ScoredMaps(NamedTuple):
    """Scores (NxKxhxw in [0, 1]) and reaches (Nx4xhxw, pixels of the input), float32."""

    scores: torch.Tensor
    reaches: torch.Tensor


class ScoredDetector(nn.Module):
    """A detector that gives scores instead of logits, as the graph does."""

    def __init__(self, network: Detector) -> None:
        """Wrap a detector."""
        super().__init__()
        self.network = network

    def forward(self, batch: torch.Tensor) -> ScoredMaps:
        """Look for cells in a batch: Nx3xHxW float32."""
        output = self.network(batch)
        return ScoredMaps(output.logits.sigmoid(), output.reaches)


def export_detector(network: Detector, path: Path) -> None:
    """Write a detector as ONNX with the outputs scores and reaches; batch size and sides are free.

    Args:
        network: In evaluation mode; its weights are 16-bit floats in value.
        path: The file to write.

    Raises:
        BundleError: It cannot be exported.
    """
    dims = {axis: STRIDE_PX * torch.export.Dim(name, min=1, max=1024) for axis, name in ((2, "rows"), (3, "columns"))}
    shapes = {0: torch.export.Dim("n", min=1, max=65536), **dims}
    with quiet():
        program = torch.onnx.export(
            ScoredDetector(network).eval(),
            (torch.zeros(2, 3, 4 * STRIDE_PX, 6 * STRIDE_PX),),
            input_names=["batch"],
            output_names=["scores", "reaches"],
            dynamic_shapes=(shapes,),
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    if program is None:
        raise BundleError("The detector could not be exported to ONNX.")
    graph = program.model_proto
    halve_weights(graph)
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString())


def quantize_detector(source: Path, target: Path, batches: list[npt.NDArray[np.float32]]) -> None:
    """Write an 8-bit copy of a detector's graph; its first convolution and its two answers stay exact.

    Args:
        source: The exact graph.
        target: The file to write.
        batches: Nx3xHxW float32 each, as the network gets them.
    """
    quantize_graph(source, target, batches, exact_ends=True, even_sides=True)
