"""Checks of what a metric is given: labels, probabilities and class names that fit each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corpuscle.errors import DataError, UsageError

__all__ = ["check_arrays", "check_classes", "check_groups", "check_labels", "check_predictions"]

_SUM_TOLERANCE = 1e-3


def check_predictions(
    labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Check labels, probabilities and class names, and return the arrays.

    Args:
        labels: Class number of each picture as annotated, shape (n,), integers in [0, k).
        probabilities: What the model said, shape (n, k), in [0, 1], each row adding up to 1 within 0.001.
        classes: The k class names, keys of the taxonomy, in the order of the columns.

    Returns:
        The labels as int64 and the probabilities as float64.

    Raises:
        UsageError: A shape or a type is wrong, or the class names are fewer than two or not distinct.
        UnknownNameError: The taxonomy lacks a class name.
        DataError: There is no picture, a label is out of range, or a row is no probability distribution.
    """
    check_classes(classes)
    columns = np.asarray(probabilities)
    if columns.ndim == 2 and columns.shape[1] != len(classes):
        raise UsageError(
            f"The probabilities have {columns.shape[1]} columns for {len(classes)} classes. Give one column a class."
        )
    return check_arrays(labels, columns)


def check_classes(classes: Sequence[str]) -> None:
    """Refuse class names that are fewer than two, repeated, or not in the taxonomy.

    Raises:
        UsageError: There are fewer than two names, or one of them twice.
        UnknownNameError: The taxonomy lacks a name.
    """
    # Only this check needs the table of classes; the metrics themselves work on numbers.
    from corpuscle.taxonomy import cell_class

    if len(classes) < 2:
        raise UsageError(f"A classification needs two classes or more, not {len(classes)}. Name them all.")
    for place, name in enumerate(classes):
        cell_class(name)
        if name in classes[:place]:
            raise UsageError(f"The class {name!r} is named twice. Give each class once, in the order of the columns.")


def check_arrays(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Check labels and probabilities without regard to names; arguments, results and errors as `check_predictions`."""
    columns = np.asarray(probabilities)
    if columns.ndim != 2 or columns.dtype.kind != "f":
        raise UsageError(
            f"The probabilities have the shape {columns.shape} and the type {columns.dtype}. "
            f"Give floating-point numbers, one row a picture and one column a class."
        )
    numbers = check_labels(labels, columns.shape[1])
    if len(columns) != len(numbers):
        raise UsageError(f"There are {len(numbers)} labels and {len(columns)} rows of probabilities. Give as many.")
    values = columns.astype(np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise DataError(
            f"Row {row} of the probabilities holds a value that is not finite. Find out why the model failed."
        )
    if values.min() < 0:
        row = int(np.flatnonzero((values < 0).any(axis=1))[0])
        raise DataError(
            f"Row {row} of the probabilities holds a negative value. Apply the softmax to the logits first."
        )
    sums = values.sum(axis=1)
    wrong = np.flatnonzero(np.abs(sums - 1) > _SUM_TOLERANCE)
    if wrong.size:
        raise DataError(
            f"Row {wrong[0]} of the probabilities adds up to {sums[wrong[0]]:.4g}, not to 1. "
            f"Apply the softmax to the logits first."
        )
    return numbers, values


def check_labels(labels: ArrayLike, class_count: int | None, what: str = "labels") -> NDArray[np.int64]:
    """Check class numbers, shape (n,), integers in [0, class_count), and return them as int64.

    Where `class_count` is None, any number from 0 on is right.

    Raises:
        UsageError: They have another shape or are no integers.
        DataError: There are none, or one is out of range.
    """
    numbers = np.asarray(labels)
    if numbers.ndim == 1 and numbers.size == 0:
        raise DataError(f"There are no {what}, so there is nothing to evaluate. Give one picture or more.")
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise UsageError(
            f"The {what} have the shape {numbers.shape} and the type {numbers.dtype}. "
            f"Give one whole number a picture, the place of its class."
        )
    wrong = np.flatnonzero((numbers < 0) | (class_count is not None and numbers >= class_count))
    if wrong.size:
        known = "0 or more" if class_count is None else f"0 to {class_count - 1}"
        raise DataError(
            f"Row {wrong[0]} of the {what} is {numbers[wrong[0]]}, which is no class. Use the numbers {known}."
        )
    return numbers.astype(np.int64)


def check_groups(groups: Sequence[str], n: int) -> None:
    """Refuse groups that are not one a row.

    Raises:
        UsageError: There are more or fewer than `n`.
    """
    if len(groups) != n:
        raise UsageError(f"There are {n} pictures and {len(groups)} groups. Give one group a picture.")
