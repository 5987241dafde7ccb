"""Corpuscle reads pictures of stained blood: it names cells, says how sure it is, and can refuse.

The public names below are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corpuscle.data.audit import audit
    from corpuscle.data.fetch import fetch
    from corpuscle.data.images import read_image
    from corpuscle.errors import CorpuscleError
    from corpuscle.evaluation.comparison import compare
    from corpuscle.evaluation.model import evaluate
    from corpuscle.explanation.explaining import explain
    from corpuscle.models.bundle import Bundle, load_bundle
    from corpuscle.prediction.classification import CellReader, classify
    from corpuscle.prediction.fields import FieldReader, count
    from corpuscle.records import Failure, FieldCell, FieldReading, Framing, Prediction
    from corpuscle.training.recipe import read_recipe
    from corpuscle.training.train import train

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "models.bundle",
    "CellReader": "prediction.classification",
    "CorpuscleError": "errors",
    "Failure": "records",
    "FieldCell": "records",
    "FieldReader": "prediction.fields",
    "FieldReading": "records",
    "Framing": "records",
    "Prediction": "records",
    "audit": "data.audit",
    "classify": "prediction.classification",
    "compare": "evaluation.comparison",
    "count": "prediction.fields",
    "evaluate": "evaluation.model",
    "explain": "explanation.explaining",
    "fetch": "data.fetch",
    "load_bundle": "models.bundle",
    "read_image": "data.images",
    "read_recipe": "training.recipe",
    "train": "training.train",
}

__all__ = [
    "Bundle",
    "CellReader",
    "CorpuscleError",
    "Failure",
    "FieldCell",
    "FieldReader",
    "FieldReading",
    "Framing",
    "Prediction",
    "audit",
    "classify",
    "compare",
    "count",
    "evaluate",
    "explain",
    "fetch",
    "load_bundle",
    "read_image",
    "read_recipe",
    "train",
]


def __getattr__(name: str) -> object:
    """Load a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"corpuscle has no {name!r}")
    value = getattr(import_module(f"corpuscle.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
