"""Why a model declines to name a cell, in sentences that say what to look at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corpuscle import taxonomy
from corpuscle.models.bundle import Bundle
from corpuscle.records import Framing

__all__ = ["NOT_STAINED", "NO_CELL", "UNLIKE", "refusal_reasons"]

UNLIKE = "does not look like any cell this model knows"
NO_CELL = "no stained cell found"
NOT_STAINED = "not stained like a nucleus or a platelet"
_NEARLY_EQUAL = 0.5


def refusal_reasons(
    probabilities: npt.NDArray[np.float64], strangeness: float, framing: Framing, bundle: Bundle, *, wants_cell: bool
) -> tuple[str, ...]:
    """Apply the thresholds of a bundle to one answer.

    Args:
        probabilities: K calibrated probabilities, in the order of the bundle's classes.
        strangeness: What `RefusalRule.strangeness` gave.
        framing: What was judged.
        bundle: Its classes and thresholds.
        wants_cell: Whether a stained cell was looked for.

    Returns:
        The reasons to refuse, the strongest first; empty where the answer stands.
    """
    rule, reasons = bundle.refusal, []
    if wants_cell and framing.method == "center":
        reasons.append(NO_CELL)
    elif framing.method == "cell" and framing.stain < rule.minimum_stain:
        reasons.append(NOT_STAINED)
    if strangeness > 1:
        reasons.append(UNLIKE)
    # Between which classes the model wavers says nothing where there is no cell that it knows.
    if not reasons and probabilities.max() < rule.minimum_confidence:
        reasons.append(_doubt(probabilities, bundle.classes))
    return tuple(reasons)


def _doubt(probabilities: npt.NDArray[np.float64], classes: tuple[str, ...]) -> str:
    """Name the classes between which the model wavers."""
    first, second = (int(place) for place in np.argsort(-probabilities, kind="stable")[:2])
    names = [taxonomy.cell_class(classes[place]).name_en for place in (first, second)]
    if probabilities[second] >= _NEARLY_EQUAL * probabilities[first]:
        return f"two classes nearly equal: {names[0]} or {names[1]}"
    return f"too doubtful: {names[0]}, perhaps {names[1]}"
