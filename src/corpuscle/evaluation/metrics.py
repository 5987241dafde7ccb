"""Metrics of classification, computed with numpy alone.

A prediction is the class of highest probability, the first of them in a tie. What cannot be measured is None and is
said in a note; it is neither dropped in silence nor counted as 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corpuscle.data.groups import group_codes
from corpuscle.errors import UsageError
from corpuscle.evaluation.inputs import check_arrays, check_groups, check_labels, check_predictions
from corpuscle.evaluation.intervals import Interval, bootstrap_interval, wilson_interval
from corpuscle.evaluation.summary import Averages, ClassEvaluation, Evaluation

__all__ = [
    "accuracy",
    "balanced_accuracy",
    "brier_score",
    "calibration_error",
    "confusion_matrix",
    "evaluate_predictions",
    "negative_log_likelihood",
    "one_vs_rest_auc",
    "roc_auc",
]

_FEW_GROUPS = 30


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, class_count: int) -> NDArray[np.int64]:
    """Count pictures by label and prediction.

    Args:
        labels: Class number of each picture as annotated, shape (n,), integers in [0, class_count).
        predictions: Class number that the model said, same shape and range.
        class_count: Number of classes k.

    Returns:
        Counts, shape (k, k), int64; a row for each label, a column for each prediction.

    Raises:
        UsageError: The arrays are no rows of integers of one length.
        DataError: They are empty, or a number is out of range.
    """
    rows, columns = _pairs(labels, predictions, class_count)
    return np.bincount(rows * class_count + columns, minlength=class_count**2).reshape(class_count, class_count)


def accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Return the share of predictions that equal the label; arguments and errors as in `confusion_matrix`."""
    rows, columns = _pairs(labels, predictions, None)
    return float((rows == columns).mean())


def balanced_accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Return the mean recall of the classes that have a label; arguments and errors as in `confusion_matrix`."""
    rows, columns = _pairs(labels, predictions, None)
    _, place, support = np.unique(rows, return_inverse=True, return_counts=True)
    return _mean_recall(np.bincount(place[rows == columns], minlength=len(support)), support)


def roc_auc(is_positive: ArrayLike, values: ArrayLike) -> float | None:
    """Compute the area under the ROC curve from ranks.

    It is the chance that a positive has a higher value than a negative, a tie counting one half: the Mann-Whitney
    statistic over the number of pairs (Hanley and McNeil 1982, Radiology 143, 29-36).

    Args:
        is_positive: Whether each picture is a positive, shape (n,), bool.
        values: What the model gave it, shape (n,), finite floats; only their order matters.

    Returns:
        The area, in [0, 1]; None where there is no positive or no negative.

    Raises:
        UsageError: The shapes differ, or a value is not finite.
    """
    positive = np.asarray(is_positive, dtype=bool)
    numbers = np.asarray(values, dtype=np.float64)
    if positive.ndim != 1 or positive.shape != numbers.shape or not np.isfinite(numbers).all():
        raise UsageError(
            f"A ROC curve needs one finite value for each of the {positive.size} pictures. Check the two arrays."
        )
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if positives == 0 or negatives == 0:
        return None
    _, place, count = np.unique(numbers, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    wins = mean_rank[place][positive].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))


def one_vs_rest_auc(labels: ArrayLike, probabilities: ArrayLike) -> tuple[float | None, ...]:
    """Compute the AUC of each class against all others.

    The mean of the areas is the AUC of MedMNIST's evaluator (Yang et al. 2023, Scientific Data 10, 41) when every
    class has pictures. Arguments and errors as in `evaluate_predictions`.

    Returns:
        One area a class, in [0, 1]; None for a class without pictures and for one that has all of them.
    """
    numbers, values = check_arrays(labels, probabilities)
    return tuple(roc_auc(numbers == column, values[:, column]) for column in range(values.shape[1]))


def calibration_error(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 15) -> float:
    """Compute the expected calibration error: how far confidence and accuracy lie apart.

    Pictures are sorted by confidence into bins of equal width, ((m - 1) / bins, m / bins]; the result is the mean over
    pictures of the gap between mean confidence and accuracy of their bin (Guo et al. 2017, "On Calibration of Modern
    Neural Networks", equation 3). Arguments and other errors as in `evaluate_predictions`.

    Returns:
        The error, in [0, 1].

    Raises:
        UsageError: There is less than one bin.
    """
    if bins < 1:
        raise UsageError(f"A calibration error needs 1 bin or more, not {bins}.")
    numbers, values = check_arrays(labels, probabilities)
    # A row may add up to a little more than 1, within the tolerance of the check.
    confidence = np.minimum(values.max(axis=1), 1.0)
    correct = (values.argmax(axis=1) == numbers).astype(np.float64)
    bin_of = np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")
    gaps = np.bincount(bin_of, weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(numbers))


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Compute the mean over pictures of the squared distance between the probabilities and the label.

    This is the sum over all classes (Brier 1950, Monthly Weather Review 78, 1-3), in [0, 2]; for two classes it is
    twice the figure that looks at one class only. Arguments and errors as in `evaluate_predictions`.
    """
    numbers, values = check_arrays(labels, probabilities)
    values[np.arange(len(numbers)), numbers] -= 1.0
    return float((values**2).sum(axis=1).mean())


def negative_log_likelihood(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Compute the mean of minus the natural logarithm of the label's probability, 0 or more.

    A probability below 2.2e-16 (the precision of float64) counts as that, so that the mean stays finite. Arguments
    and errors as in `evaluate_predictions`.
    """
    numbers, values = check_arrays(labels, probabilities)
    return float(-np.log(np.clip(_label_probabilities(numbers, values), np.finfo(np.float64).eps, 1.0)).mean())


def evaluate_predictions(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> Evaluation:
    """Measure predictions against labels, with 95 % intervals.

    Beyond rounding, neither the order of the rows nor that of the classes changes a number, except that in a tie of
    probabilities the first class is the prediction.

    Args:
        labels: Class number of each picture as annotated, shape (n,), integers in [0, k).
        probabilities: What the model said, shape (n, k), in [0, 1], each row adding up to 1 within 0.001.
        classes: The k class names, keys of the taxonomy, in the order of the columns.
        groups: Group of each picture (patient, smear, source photograph); a blank one is a group of its own. Where
            given, the bootstrap draws whole groups.
        seed: Start of the bootstrap's random generator.
        resamples: Number of the bootstrap's draws, 100 or more.

    Raises:
        UsageError: A shape or a type is wrong, or the class names are fewer than two or not distinct.
        UnknownNameError: The taxonomy lacks a class name.
        DataError: There is no picture, a label is out of range, or a row is no probability distribution.
    """
    numbers, values = check_predictions(labels, probabilities, classes)
    if groups is not None:
        check_groups(groups, len(numbers))
    predictions = values.argmax(axis=1)
    confusion = confusion_matrix(numbers, predictions, len(classes))
    confusion.flags.writeable = False
    n, correct = len(numbers), int(np.trace(confusion))
    per_class = _per_class(confusion, one_vs_rest_auc(numbers, values), classes)
    areas = [entry.auc for entry in per_class if entry.auc is not None]
    group_interval, balanced_interval = _bootstraps(numbers, predictions, classes, groups, (seed, resamples))
    zeros = int((_label_probabilities(numbers, values) == 0).sum())
    return Evaluation(
        n=n,
        group_count=None if groups is None else int(group_codes(groups).max()) + 1,
        classes=tuple(classes),
        accuracy=correct / n,
        accuracy_interval=wilson_interval(correct, n),
        accuracy_group_interval=group_interval,
        balanced_accuracy=_mean_recall(np.diagonal(confusion), confusion.sum(axis=1)),
        balanced_accuracy_interval=balanced_interval,
        macro=_averages(per_class, weighted=False),
        weighted=_averages(per_class, weighted=True),
        macro_auc=sum(areas) / len(areas) if areas else None,
        calibration_error=calibration_error(numbers, values),
        brier_score=brier_score(numbers, values),
        negative_log_likelihood=negative_log_likelihood(numbers, values),
        per_class=per_class,
        confusion=confusion,
        notes=(*_class_notes(per_class, n), *_interval_notes(groups, balanced_interval, zeros)),
    )


def _pairs(
    labels: ArrayLike, predictions: ArrayLike, class_count: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows = check_labels(labels, class_count)
    columns = check_labels(predictions, class_count, "predictions")
    if len(rows) != len(columns):
        raise UsageError(f"There are {len(rows)} labels and {len(columns)} predictions. Give as many.")
    return rows, columns


def _label_probabilities(labels: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    chosen: NDArray[np.float64] = values[np.arange(len(labels)), labels]
    return chosen


def _mean_recall(correct: NDArray[np.int64], support: NDArray[np.int64]) -> float:
    present = support > 0
    return float((correct[present] / support[present]).mean())


def _per_class(
    confusion: NDArray[np.int64], areas: Sequence[float | None], classes: Sequence[str]
) -> tuple[ClassEvaluation, ...]:
    entries = []
    for place, class_name in enumerate(classes):
        correct, support = int(confusion[place, place]), int(confusion[place].sum())
        predicted = int(confusion[:, place].sum())
        # A class that has pictures and was never predicted: 0, lest the macro mean gain by leaving it out.
        no_precision = 0.0 if support else None
        entries.append(
            ClassEvaluation(
                class_name=class_name,
                support=support,
                predicted=predicted,
                precision=correct / predicted if predicted else no_precision,
                precision_interval=wilson_interval(correct, predicted) if predicted else None,
                recall=correct / support if support else None,
                recall_interval=wilson_interval(correct, support) if support else None,
                f1=2 * correct / (support + predicted) if support else None,
                auc=areas[place],
            )
        )
    return tuple(entries)


def _averages(per_class: Sequence[ClassEvaluation], *, weighted: bool) -> Averages:
    """Average over the classes that have pictures."""
    present = [entry for entry in per_class if entry.support]
    weights = [entry.support if weighted else 1 for entry in present]
    sums = [
        sum(weight * (value or 0.0) for weight, value in zip(weights, values, strict=True))
        for values in (
            [entry.precision for entry in present],
            [entry.recall for entry in present],
            [entry.f1 for entry in present],
        )
    ]
    precision, recall, f1 = (total / sum(weights) for total in sums)
    return Averages(precision, recall, f1)


def _bootstraps(
    labels: NDArray[np.int64],
    predictions: NDArray[np.int64],
    classes: Sequence[str],
    groups: Sequence[str] | None,
    draws: tuple[int, int],
) -> tuple[Interval | None, Interval | None]:
    """Return the intervals of accuracy (only of groups) and of balanced accuracy, None where they cannot be drawn."""
    n = len(labels)
    if n < 2 or (groups is not None and group_codes(groups).max() < 1):
        return None, None
    # The draws go by row number: put the rows in an order that does not depend on how they came.
    rank = np.argsort(np.argsort(np.array(classes)))
    order = np.lexsort((rank[predictions], rank[labels]))
    labels, correct = labels[order], labels[order] == predictions[order]
    ordered_groups = None if groups is None else [groups[row] for row in order]

    def share_right(rows: NDArray[np.int64]) -> float:
        return float(correct[rows].mean())

    def mean_recall(rows: NDArray[np.int64]) -> float:
        support = np.bincount(labels[rows], minlength=len(classes))
        return _mean_recall(np.bincount(labels[rows][correct[rows]], minlength=len(classes)), support)

    seed, resamples = draws
    balanced = bootstrap_interval(mean_recall, n, groups=ordered_groups, seed=seed, resamples=resamples)
    if ordered_groups is None:
        return None, balanced
    return bootstrap_interval(share_right, n, groups=ordered_groups, seed=seed, resamples=resamples), balanced


def _class_notes(per_class: Sequence[ClassEvaluation], n: int) -> list[str]:
    notes = []
    for entry in per_class:
        if entry.support == 0:
            notes.append(
                f"No picture is labeled {entry.class_name}: its recall, F1 and AUC are not measured, and the means "
                f"leave it out. Pictures of other classes predicted as it: {entry.predicted}."
            )
        elif entry.predicted == 0:
            notes.append(
                f"No picture was predicted as {entry.class_name}: its precision counts as 0 and has no interval."
            )
        if entry.support == n:
            notes.append(f"All pictures are labeled {entry.class_name}: no AUC can be measured.")
    return notes


def _interval_notes(groups: Sequence[str] | None, balanced: Interval | None, zeros: int) -> list[str]:
    notes = []
    if groups is not None:
        count = int(group_codes(groups).max()) + 1
        if count < len(groups):
            notes.append(
                "Pictures share groups, and a Wilson interval takes them to be independent, so it is too narrow: "
                "read the intervals of the bootstrap of groups."
            )
        if count < _FEW_GROUPS:
            notes.append(f"A bootstrap of only {count} groups gives intervals that are too narrow.")
    if balanced is None:
        notes.append("The bootstrap intervals are not measured: they need two pictures, or two groups, or more.")
    elif balanced.low == balanced.high:
        notes.append(
            "Every draw of the bootstrap gave the same balanced accuracy, so its interval has no width: "
            "read the Wilson intervals instead."
        )
    if zeros:
        notes.append(
            f"A label of probability 0 counts as 2.2e-16 in the negative log-likelihood; there are {zeros} of them."
        )
    return notes
