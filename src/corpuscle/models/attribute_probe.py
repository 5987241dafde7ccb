"""Linear probes on the embedding of a bundle that say a cell's attributes, kept in the bundle's folder.

`attributes.safetensors` holds the probes and, for each class that they were fitted on, how usual each value is. A
bundle without it predicts as before. The file names the graph whose embeddings it belongs to: it is refused where the
network was trained anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from corpuscle.errors import BundleError, UsageError
from corpuscle.files import written_whole
from corpuscle.models.bundle import OPTIONAL_FILES, Bundle

__all__ = ["ATTRIBUTES_FILE", "AttributeProbe", "read_probe", "write_probe"]

ATTRIBUTES_FILE: Final = OPTIONAL_FILES[0]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AttributeProbe:
    """One multinomial logistic model for each attribute, side by side.

    Attributes:
        attributes: Key of each attribute and its values; the columns of all of them, one after the other, are the V
            columns of the arrays.
        classes: Keys of the C classes that annotated cells had.
        weights: DxV float32; an embedding times this, plus the bias, gives the logits of all values.
        bias: V float32.
        usual: CxV float32, share of the annotated cells of each class that have the value.
        certain: Probability of rare values together from which a cell is called unusual, in [0, 1].
        rare: Share of a class below which a value is rare in it, in [0, 1].
    """

    attributes: dict[str, tuple[str, ...]]
    classes: tuple[str, ...]
    weights: Floats
    bias: Floats
    usual: Floats
    certain: float
    rare: float

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        width = sum(len(values) for values in self.attributes.values())
        shapes = (self.weights.ndim, self.weights.shape[-1:], self.bias.shape, self.usual.shape)
        if not width or shapes != (2, (width,), (width,), (len(self.classes), width)):
            raise UsageError(
                f"Probes for {width} values and {len(self.classes)} classes need arrays of that width, not "
                f"{self.weights.shape}, {self.bias.shape} and {self.usual.shape}."
            )

    def probabilities(self, embedding: Floats) -> Floats:
        """Return the probability of every value (NxV float32; each attribute's sum to 1) of embeddings NxD."""
        logits = embedding.astype(np.float64) @ self.weights.astype(np.float64) + self.bias
        for part in self.columns().values():
            block = logits[:, part]
            powers = np.exp(block - block.max(axis=1, keepdims=True))
            logits[:, part] = powers / powers.sum(axis=1, keepdims=True)
        return np.asarray(logits, np.float32)

    def unusual(self, probabilities: Floats, classes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Say which attributes of cells do not fit their class: the likeliest value is rare in it, and surely so.

        Args:
            probabilities: NxV, as `probabilities` gives them.
            classes: N places in `classes`.

        Returns:
            NxA bool.
        """
        rare = self.usual[classes] < self.rare
        answers = np.zeros((len(probabilities), len(self.attributes)), np.bool_)
        rows = np.arange(len(probabilities))
        for column, part in enumerate(self.columns().values()):
            block, odd = probabilities[:, part], rare[:, part]
            answers[:, column] = odd[rows, block.argmax(axis=1)] & ((block * odd).sum(axis=1) >= self.certain)
        return answers

    def columns(self) -> dict[str, slice]:
        """Return which of the V columns belong to each attribute."""
        found, start = {}, 0
        for key, values in self.attributes.items():
            found[key] = slice(start, start + len(values))
            start += len(values)
        return found


def write_probe(bundle: Bundle, probe: AttributeProbe) -> Path:
    """Write probes into a bundle's folder; `write_manifest` must follow.

    Raises:
        OutputError: The folder cannot be written.
    """
    about = {
        "graph_sha256": bundle.files[bundle.graph],
        "attributes": json.dumps(probe.attributes),
        "classes": json.dumps(probe.classes),
        "certain": repr(probe.certain),
        "rare": repr(probe.rare),
    }
    arrays = {"weights": probe.weights, "bias": probe.bias, "usual": probe.usual}
    path = bundle.folder / ATTRIBUTES_FILE
    with written_whole(path) as part:
        save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, part, metadata=about)
    return path


def read_probe(bundle: Bundle) -> AttributeProbe | None:
    """Read the probes of a bundle; None where it has none.

    Raises:
        BundleError: The file is damaged, or was fitted for another network.
    """
    if ATTRIBUTES_FILE not in bundle.files:
        return None
    path = bundle.folder / ATTRIBUTES_FILE
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            weights, bias, usual = (file.get_tensor(key).astype(np.float32) for key in ("weights", "bias", "usual"))
        attributes = {str(key): tuple(map(str, values)) for key, values in json.loads(about["attributes"]).items()}
        classes = tuple(map(str, json.loads(about["classes"])))
        probe = AttributeProbe(attributes, classes, weights, bias, usual, float(about["certain"]), float(about["rare"]))
    except (OSError, AttributeError, KeyError, TypeError, ValueError, SafetensorError, UsageError) as error:
        raise BundleError(f"{path} cannot be read ({error}). Get the bundle again.") from error
    width = bundle.reference().means.shape[1]
    if about.get("graph_sha256") != bundle.files.get(bundle.graph) or weights.shape[0] != width:
        raise BundleError(f"{path} was made for another network. Run `corpuscle enrich {bundle.folder}` again.")
    return probe
