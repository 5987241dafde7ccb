"""Sharing groups of rows out to parts, such as splits or folds, without cutting a group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from corpuscle.errors import UsageError

__all__ = ["group_codes", "group_table", "share_out"]

_MOST_ROUNDS = 20
"""Rounds of placing anew; two or three are the rule."""


def group_codes(groups: Sequence[str]) -> NDArray[np.int64]:
    """Number the groups from 0, each row with a blank group getting a number of its own.

    Named groups come first, in alphabetical order; rows on their own follow, in the order of the rows.

    Returns:
        Group number of each row, shape (n,), int64, in [0, number of groups).
    """
    named = {name: code for code, name in enumerate(sorted(set(groups) - {""}))}
    codes = np.empty(len(groups), dtype=np.int64)
    free = len(named)
    for row, name in enumerate(groups):
        if name:
            codes[row] = named[name]
        else:
            codes[row] = free
            free += 1
    return codes


def group_table(classes: Sequence[str], codes: NDArray[np.int64]) -> tuple[list[str], NDArray[np.int64]]:
    """Count the rows of each class in each group.

    Args:
        classes: Class of each row, one at least.
        codes: Group number of each row, shape (n,), int64, as `group_codes` gives them.

    Returns:
        The class names in alphabetical order, and the counts, shape (groups, classes + 1), int64. The last column
        counts all rows of the group: seen as one more class, it keeps the parts filled and in proportion.
    """
    class_names = sorted(set(classes))
    place = {class_name: column for column, class_name in enumerate(class_names)}
    columns = np.array([place[class_name] for class_name in classes], dtype=np.int64)
    table = np.zeros((int(codes.max()) + 1, len(class_names) + 1), dtype=np.int64)
    np.add.at(table, (codes, columns), 1)
    table[:, -1] = table.sum(axis=1)
    return class_names, table


def share_out(
    table: NDArray[np.int64],
    class_names: Sequence[str],
    shares: NDArray[np.float64],
    needs: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    least: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Give each group to one part, so that each class is shared out by `shares` as nearly as groups allow.

    Groups come in random order, and each goes to the part that lacks the largest share of its classes; this serves the
    greatest need first, as in Sechidis et al. 2011, "On the stratification of multi-label data", but not the largest
    group first, which would then always land in the largest part. Next, each group in turn is taken out and put where
    the sum of squared deviations over wanted rows is smallest, until none moves. Last, groups are moved at the least
    cost until each class is in as many parts as it should be.

    Args:
        table: Rows of each class in each group, shape (groups, classes + 1), int64, as `group_table` gives them.
        class_names: Names of the classes, for messages.
        shares: Share of each part, shape (parts,), float64, 1 in sum.
        needs: In how many parts each column of `table` should be, shape (classes + 1,), int64.
        rng: Random generator.
        least: In how many parts it must be, same shape, not above `needs`.

    Returns:
        Part of each group, shape (groups,), int64, in [0, parts).

    Raises:
        UsageError: No way was found to put a class into as many parts as it must be in.
    """
    sharing = _Sharing(table, shares, needs, rng, least=least)
    order = rng.permutation(len(table))
    for group in order:
        sharing.put(group, sharing.emptiest_part(group))
    for _ in range(_MOST_ROUNDS):
        if not sharing.improve(order):
            break
    while (short := sharing.short_columns()).size:
        moves = (sharing.cheapest_move(int(column)) for column in short)
        move = next((found for found in moves if found is not None), None)
        if move is None:
            _refuse_too_few_parts(class_names, short[sharing.parts_with(short) < least[short]], least)
            break  # Each class is in as many parts as it must be, if not in as many as it should be.
        group, to = move
        sharing.take(group)
        sharing.put(group, to)
    return sharing.parts


class _Sharing:
    """Which part each group is in, and how far each part is from what is wanted."""

    def __init__(
        self,
        table: NDArray[np.int64],
        shares: NDArray[np.float64],
        needs: NDArray[np.int64],
        rng: np.random.Generator,
        *,
        least: NDArray[np.int64],
    ) -> None:
        self.table, self.needs, self.least = table, needs, least
        totals = table.sum(axis=0)
        # A row too many weighs more in a small part; the column of all rows only decides between equal parts.
        self.weights = 1.0 / (shares[:, None] * totals[None, :])
        self.weights[:, -1] *= 1e-6
        self.parts = np.zeros(len(table), dtype=np.int64)
        # Rows still wanted in each part, negative where it has too many; shape (parts, classes + 1).
        self.lacking = _wanted_rows(totals, shares, rng).astype(np.float64)
        # Groups with each class in each part, same shape.
        self.held = np.zeros(self.lacking.shape, dtype=np.int64)

    def emptiest_part(self, group: int) -> int:
        """Return the part that lacks the largest share of the group's classes, for a group that is in none."""
        return int((self.lacking * self.table[group] * self.weights).sum(axis=1).argmax())

    def best_part(self, group: int) -> int:
        """Return the part where the deviations grow least, for a group that is in none."""
        rows = self.table[group]
        return int(((rows - 2 * self.lacking) * rows * self.weights).sum(axis=1).argmin())

    def put(self, group: int, to: int) -> None:
        """Put a group that is in no part into one."""
        self.lacking[to] -= self.table[group]
        self.held[to] += self.table[group] > 0
        self.parts[group] = to

    def take(self, group: int) -> None:
        """Take a group out of its part."""
        self.lacking[self.parts[group]] += self.table[group]
        self.held[self.parts[group]] -= self.table[group] > 0

    def improve(self, order: NDArray[np.int64]) -> bool:
        """Take each group out and place it anew; return whether any moved."""
        moved = False
        for group in order:
            before = self.parts[group]
            self.take(group)
            self.put(group, self.best_part(group))
            moved |= bool(self.parts[group] != before)
        return moved

    def short_columns(self) -> NDArray[np.int64]:
        """Return the columns that are in fewer parts than they need."""
        return np.flatnonzero((self.held > 0).sum(axis=0) < self.needs)

    def parts_with(self, columns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count the parts that each of the columns is in."""
        counts: NDArray[np.int64] = (self.held[:, columns] > 0).sum(axis=0)
        return counts

    def cheapest_move(self, column: int) -> tuple[int, int] | None:
        """Find the group and the part to which it moves so that `column` is in one more part, at the least cost.

        Only moves count that lower the number of missing places over all columns, so that the search must end.
        """
        missing = self._missing(self.held)
        best: tuple[float, int, int] | None = None
        for group in np.flatnonzero((self.table[:, column] > 0) & (self.held[self.parts, column] > 1)):
            rows, source = self.table[group], self.parts[group]
            for to in np.flatnonzero(self.held[:, column] == 0):
                after = self.held.copy()
                after[source] -= rows > 0
                after[to] += rows > 0
                if self._missing(after) >= missing:
                    continue
                leave = (rows + 2 * self.lacking[source]) * rows * self.weights[source]
                enter = (rows - 2 * self.lacking[to]) * rows * self.weights[to]
                cost = float((leave + enter).sum())
                if best is None or cost < best[0]:
                    best = (cost, int(group), int(to))
        return None if best is None else best[1:]

    def _missing(self, held: NDArray[np.int64]) -> int:
        """Count the missing places; one below `least` outweighs all that are only below `needs`."""
        parts_with = (held > 0).sum(axis=0)
        should = int(np.maximum(self.needs - parts_with, 0).sum())
        must = int(np.maximum(self.least - parts_with, 0).sum())
        return must * (int(self.needs.sum()) + 1) + should


def _refuse_too_few_parts(class_names: Sequence[str], columns: NDArray[np.int64], least: NDArray[np.int64]) -> None:
    if columns.size:
        column = int(columns[0])
        what = f"the class {class_names[column]!r}" if column < len(class_names) else "a group"
        raise UsageError(
            f"No way was found to put {what} into {least[column]} parts without cutting a group. "
            f"Ask for fewer parts, or try another seed."
        )


def _wanted_rows(totals: NDArray[np.int64], shares: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Round the rows wanted of each class in each part to whole numbers that add up.

    Returns:
        Wanted rows, shape (parts, classes + 1), int64; each column adds up to its total.
    """
    exact = shares[:, None] * totals[None, :]
    wanted = np.floor(exact + 1e-9).astype(np.int64)
    for column, total in enumerate(totals):
        # Largest remainder first; ties fall at random, lest the first part be the larger one for every class.
        tie_break = rng.permutation(len(shares))
        order = np.lexsort((tie_break, -np.round(exact[:, column] - wanted[:, column], 9)))
        wanted[order[: total - wanted[:, column].sum()], column] += 1
    return wanted
