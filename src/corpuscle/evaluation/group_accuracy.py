"""How many groups of pictures, as all pictures made from one photograph, are named right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from corpuscle.evaluation.intervals import Interval, wilson_interval

__all__ = ["GroupAccuracy", "group_accuracy"]


@dataclass(frozen=True, slots=True)
class GroupAccuracy:
    """Accuracy over groups: thirty pictures of one photograph are one answer and not thirty.

    Attributes:
        n: Number of groups.
        right: How many of them are named right.
        interval: 95 % Wilson interval of the share.
    """

    n: int
    right: int
    interval: Interval

    @property
    def accuracy(self) -> float:
        """Share of the groups that are named right, in [0, 1]."""
        return self.right / self.n

    def summary(self) -> str:
        """Return the outcome as half a line."""
        ends = self.interval
        return f"{self.right} of {self.n} groups right ({self.accuracy:.4f}, 95 % {ends.low:.4f}-{ends.high:.4f})"

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {"n": self.n, "right": self.right, "accuracy": self.accuracy, "interval": self.interval.to_dict()}


def group_accuracy(
    groups: Sequence[str], labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> GroupAccuracy | None:
    """Name each group by the mean probability over its pictures, and compare with its most frequent label.

    Args:
        groups: Group of each picture; pictures with a blank one, of which nobody knows the group, are left out.
        labels: Places of the labels, shape (n,).
        probabilities: Shape (n, k).

    Returns:
        The accuracy over groups; None where most pictures have no group, or no group holds two pictures.
    """
    known = [place for place, group in enumerate(groups) if group]
    codes = {name: code for code, name in enumerate(dict.fromkeys(groups[place] for place in known))}
    if 2 * len(known) <= len(groups) or len(codes) == len(known):
        return None
    rows = np.asarray([codes[groups[place]] for place in known])
    labels, probabilities = labels[known], probabilities[known]
    k = probabilities.shape[1]
    sums, votes = np.zeros((len(codes), k)), np.zeros((len(codes), k))
    np.add.at(sums, rows, probabilities)
    np.add.at(votes, (rows, labels), 1)
    right = int((sums.argmax(axis=1) == votes.argmax(axis=1)).sum())
    return GroupAccuracy(len(codes), right, wilson_interval(right, len(codes)))
