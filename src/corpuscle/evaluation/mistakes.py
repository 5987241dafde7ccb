"""The mistakes a model was surest of, for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from corpuscle.errors import UsageError
from corpuscle.evaluation.inputs import check_predictions

__all__ = ["Mistake", "most_confident_mistakes"]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A picture whose most probable class is not its label.

    Attributes:
        file: The picture as the caller named it.
        label: What the annotator said, a key of the taxonomy.
        prediction: What the model said, a key of the taxonomy.
        confidence: Probability of `prediction`, in [0, 1].
        label_probability: Probability of `label`, in [0, 1].
    """

    file: str
    label: str
    prediction: str
    confidence: float
    label_probability: float


def most_confident_mistakes(
    files: Sequence[str], labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str], *, most: int = 50
) -> list[Mistake]:
    """List the mistakes with the highest confidence first; in a tie, by the name of the file.

    These show either where the model is dangerous or where a label is wrong.

    Args:
        files: Name of each picture.
        labels: Class number of each picture as annotated, shape (n,), integers in [0, k).
        probabilities: What the model said, shape (n, k), in [0, 1], rows adding up to 1.
        classes: The k class names, keys of the taxonomy, in the order of the columns.
        most: How many mistakes to list at most, 1 or more.

    Raises:
        UsageError: `most` is below 1, the files are not one a row, or a shape, type or list of names is wrong.
        UnknownNameError: The taxonomy lacks a class name.
        DataError: There is no picture, a label is out of range, or a row is no probability distribution.
    """
    numbers, values = check_predictions(labels, probabilities, classes)
    if most < 1:
        raise UsageError(f"The list cannot hold {most} mistakes. Ask for 1 or more.")
    if len(files) != len(numbers):
        raise UsageError(f"There are {len(numbers)} labels and {len(files)} files. Give one file a label.")
    predictions = values.argmax(axis=1)
    confidence = values.max(axis=1)
    wrong = np.flatnonzero(predictions != numbers).tolist()
    ranked = sorted(wrong, key=lambda row: (-confidence[row], files[row]))
    return [
        Mistake(
            file=files[row],
            label=classes[numbers[row]],
            prediction=classes[predictions[row]],
            confidence=float(confidence[row]),
            label_probability=float(values[row, numbers[row]]),
        )
        for row in ranked[:most]
    ]
