"""From a trained network to the ONNX graphs of a bundle."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper, shape_inference
from torch import nn

from corpuscle.errors import BundleError
from corpuscle.models.silent_runtime import onnxruntime
from corpuscle.models.zoo import CellNetwork

__all__ = [
    "can_quantize",
    "export_graph",
    "forget_origin",
    "halve_weights",
    "merge_constants",
    "quantize_graph",
    "quiet",
    "round_to_half",
]

_Network = TypeVar("_Network", bound=nn.Module)

OUTPUTS = ("logits", "embedding", "features")


def round_to_half(network: _Network) -> _Network:
    """Round every weight to a 16-bit float, in place, so that files of half the size hold the very same network."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.dtype.is_floating_point:
                tensor.copy_(tensor.half().to(tensor.dtype))
    return network


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' own chatter and warnings away from the user."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def export_graph(network: CellNetwork, path: Path, *, input_px: int) -> None:
    """Write a network as ONNX with the outputs logits, embedding and features, and a free batch size.

    Args:
        network: In evaluation mode.
        path: The file to write.
        input_px: Side of the input.
    """
    network.eval()
    example = torch.zeros(2, 3, input_px, input_px)
    with quiet():
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["batch"],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("n", min=1, max=65536)},),
            dynamo=True,
            # Norms stay nodes of their own, so that the weights are those of the network to the last bit;
            # onnxruntime folds them into the convolutions when it opens the file.
            optimize=False,
            verbose=False,
        )
    if program is None:
        raise BundleError("The network could not be exported to ONNX.")
    graph = program.model_proto
    halve_weights(graph)
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString())


def forget_origin(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes on where in which file of the training machine each step came from."""
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.value_info, model.graph, model):
        part.doc_string = ""
        del part.metadata_props[:]


def halve_weights(model: onnx.ModelProto) -> None:
    """Store large weights as 16-bit floats with a cast behind them, where that loses no more than rounding does.

    onnxruntime folds the casts when it opens the file: half the size on disk, the same speed.
    """
    graph, casts, kept = model.graph, [], []
    forget_origin(model)
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < 256:
            kept.append(tensor)
            continue
        half = numpy_helper.from_array(values.astype(np.float16), tensor.name + ".half")
        kept.append(half)
        casts.append(helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def can_quantize(network: nn.Module) -> bool:
    """Say whether 8 bits are worth trying: norms that cannot go into a convolution would be most of the work then."""
    return not any(isinstance(layer, (nn.GroupNorm, nn.LayerNorm)) for layer in network.modules())


def quantize_graph(
    source: Path,
    target: Path,
    batches: list[npt.NDArray[np.float32]],
    *,
    exact_ends: bool = False,
    even_sides: bool = False,
) -> None:
    """Write an 8-bit copy of a graph: weights a channel, activations from what real batches reach.

    Weights use seven bits, because processors without VNNI instructions add pairs of products in 16 bits and would
    otherwise overflow: the answers are then the same on every processor. The first convolution, which sees the picture
    itself, stays exact, and all before it: on `val` that brought the logits nearer to the exact graph at no cost in
    time. So do instance norms.

    Args:
        source: The exact graph.
        target: The file to write.
        batches: Nx3xHxW float32 each, as the network gets them.
        exact_ends: Whether the convolutions that no other follows stay exact too, and all behind them.
        even_sides: As for `merge_constants`.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class _Batches(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(batches)

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            batch = next(self._left, None)
            return None if batch is None else {"batch": batch}

    with tempfile.TemporaryDirectory() as folder, quiet():
        plain = Path(folder) / "plain.onnx"
        merge_constants(source, plain, even_sides=even_sides)
        nodes = list(onnx.load(plain).graph.node)
        first = [node.op_type for node in nodes].index("Conv")
        exact = [node.name for node in nodes[: first + 1]] + _instance_norms(nodes)
        exact += _from_last_convolutions_on(nodes) if exact_ends else []
        quantize_static(
            plain, target, _Batches(), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=exact,
        )  # fmt: skip


def _instance_norms(nodes: list[onnx.NodeProto]) -> list[str]:
    """Name the steps of norms that are written with means: from the slice of half of the channels to their joining.

    Steps of means and roots gain nothing from 8 bits and lose by rounding between each other.
    """
    inside: set[str] = set()
    found = []
    for node in nodes:
        if node.op_type == "Slice" or inside & set(node.input):
            found.append(node.name)
            inside |= set(node.output) if node.op_type != "Concat" else set()
    return found


def _from_last_convolutions_on(nodes: list[onnx.NodeProto]) -> list[str]:
    """Name the convolutions behind which there is no other, and everything behind them."""
    leads_on: set[str] = set()  # what a convolution further on is made from
    ends: list[str] = []
    for node in reversed(nodes):
        followed = bool(leads_on & set(node.output))
        if node.op_type == "Conv" or followed:
            leads_on |= set(node.input)
        if not followed:
            ends.append(node.name)
    return ends


def merge_constants(source: Path, target: Path, *, even_sides: bool = False) -> None:
    """Write a copy of a graph that answers the same with fewer steps: norms and poolings go into convolutions.

    A norm that stays is a step in floating point between two 8-bit ones, and costs more than its convolution saves.

    Args:
        source: A graph of `export_graph`.
        target: The file to write.
        even_sides: Whether every map that is pooled is known to have even sides though the graph leaves them open.
    """
    _fold(source, target)  # turns casts into 32-bit weights
    _fold(target, target)  # merges the norms, now constant
    _pool_by_convolution(target, even_sides=even_sides)


def _fold(source: Path, target: Path) -> None:
    """Write a copy of a graph in which constants are folded as far as one pass of onnxruntime goes."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(source.read_bytes(), options, providers=["CPUExecutionProvider"])


def _pool_by_convolution(path: Path, *, even_sides: bool) -> None:
    """Merge each 2x2 average pooling into the 1x1 convolution behind it, which becomes a strided 2x2 one.

    The result is the same where sides are even; the 8-bit pooling of onnxruntime takes longer than a 3x3 convolution.
    """
    model = onnx.load(path)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    known = shape_inference.infer_shapes(model).graph.value_info
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in known}
    for node in [node for node in graph.node if node.op_type == "Conv"]:
        pool, kernel = makers.get(node.input[0]), weights.get(node.input[1])
        if pool is None or kernel is None or uses[pool.output[0]] != 1 or uses[kernel.name] != 1:
            continue
        values = numpy_helper.to_array(kernel)
        if not (_halves(pool, shapes, even_sides=even_sides) and _is_pointwise(node, values)):
            continue
        kernel.CopyFrom(numpy_helper.from_array(np.tile(values / 4, (1, 1, 2, 2)), kernel.name))
        del node.attribute[:]
        node.attribute.extend([helper.make_attribute(key, [2, 2]) for key in ("kernel_shape", "strides")])
        node.input[0] = pool.input[0]
        graph.node.remove(pool)
    onnx.save(model, path)


def _halves(node: onnx.NodeProto, shapes: dict[str, list[int]], *, even_sides: bool) -> bool:
    """Say whether a node averages 2x2 blocks of a map with even sides."""
    values = _attributes(node)
    sides = shapes.get(node.input[0], [])[2:]
    plain = values.get("kernel_shape") == values.get("strides") == [2, 2] and not any(values.get("pads", []))
    even = even_sides or (len(sides) == 2 and all(side and side % 2 == 0 for side in sides))
    return node.op_type == "AveragePool" and plain and even


def _is_pointwise(node: onnx.NodeProto, kernel: npt.NDArray[np.generic]) -> bool:
    """Say whether a convolution looks at single places, at each of them, with all channels together."""
    values = _attributes(node)
    everywhere = all(step == 1 for step in values.get("strides", [])) and not any(values.get("pads", []))
    return kernel.shape[2:] == (1, 1) and everywhere and values.get("group", 1) == 1


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}
