"""What people say of cells: labels, steps taken back, and the log that keeps it all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

from corpuscle import taxonomy
from corpuscle.interfaces.api.cell_rows import NOT_A_CELL, cell_values, class_now
from corpuscle.interfaces.api.problems import ProblemError
from corpuscle.interfaces.api.store import Row, Store, now

__all__ = ["confirm_cell", "known_label", "label_cells", "log_entries", "note_reviewed", "undo"]

_LABELS: Final = ("label", "confirm")


def known_label(class_name: str) -> str:
    """Return the key of a class that a person may name.

    Raises:
        UnknownNameError: There is no such class.
    """
    return NOT_A_CELL if class_name == NOT_A_CELL else taxonomy.resolve(class_name)


def label_cells(store: Store, session: str, cells: Iterable[Row], class_name: str, who: str) -> list[Row]:
    """Give cells of a session a person's label, in one step.

    Returns:
        The cells as they stand now.

    Raises:
        UnknownNameError: There is no such class.
    """
    label, rows = known_label(class_name), list(cells)
    _write(store, session, [(row, label) for row in rows], who, "label")
    return [store.cell(row["id"]) for row in rows]


def confirm_cell(store: Store, cell: Row, who: str) -> Row:
    """Make what stands for a cell a person's label.

    Raises:
        ProblemError: Nothing stands, as the cell has no class (422).
    """
    stands = class_now(cell)
    if not stands:
        raise ProblemError(422, "This cell has no class to confirm. Give it a label.")
    _write(store, cell["session"], [(cell, stands)], who, "confirm")
    return store.cell(cell["id"])


def _write(store: Store, session: str, labels: list[tuple[Row, str]], who: str, what: str) -> None:
    at, name = now(), _plain(who)
    with store.change() as db:
        step = _next_step(db)
        for row, label in labels:
            _log(db, (session, at, name, what, row["id"], class_now(row), label, step, None))
            db.execute("UPDATE cells SET label = ?, who = ?, labeled = ? WHERE id = ?", (label, name, at, row["id"]))
        store.touch(db, session)


def _plain(who: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in who).split())


def _next_step(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT COALESCE(MAX(step), 0) + 1 FROM log").fetchone()[0])


def _log(db: sqlite3.Connection, values: tuple[Any, ...]) -> None:
    db.execute(
        "INSERT INTO log (session, at, who, what, cell, before, after, step, undoes) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )


def note_reviewed(db: sqlite3.Connection, session: str, who: str, *, reviewed: bool) -> None:
    """Note that a session was reviewed, or is not any more."""
    before = bool(db.execute("SELECT reviewed FROM sessions WHERE id = ?", (session,)).fetchone()[0])
    if before != reviewed:
        db.execute("UPDATE sessions SET reviewed = ? WHERE id = ?", (int(reviewed), session))
        words = {False: "open", True: "reviewed"}
        _log(db, (session, now(), _plain(who), "reviewed", None, words[before], words[reviewed], _next_step(db), None))


_LAST_STEP: Final = """
SELECT * FROM log WHERE session = ? AND step = (
  SELECT MAX(step) FROM log AS steps WHERE session = ? AND who = ? AND what IN ('label', 'confirm')
  AND NOT EXISTS (SELECT 1 FROM log AS later WHERE later.undoes = steps.n)
  AND EXISTS (SELECT 1 FROM cells WHERE cells.id = steps.cell)) ORDER BY n
"""
_STANDING: Final = """
SELECT * FROM log AS entry WHERE cell = ? AND what IN ('label', 'confirm')
AND NOT EXISTS (SELECT 1 FROM log AS later WHERE later.undoes = entry.n) ORDER BY n DESC LIMIT 1
"""


def undo(store: Store, session: str, who: str) -> dict[str, Any]:
    """Take back the last step of a person that was not taken back yet; the log gains entries and loses none.

    Returns:
        The entry that was taken back and the cell as it stands now, both None if there was no such step; and all cells
        of the step.
    """
    at, name = now(), _plain(who)
    with store.change() as db:
        entries = db.execute(_LAST_STEP, (session, session, name)).fetchall()
        step, changed = _next_step(db), list[str]()
        for entry in entries:
            cell = db.execute("SELECT * FROM cells WHERE id = ?", (entry["cell"],)).fetchone()
            if cell is None:
                continue
            _log(db, (session, at, name, "undo", entry["cell"], class_now(cell), entry["before"], step, entry["n"]))
            left = db.execute(_STANDING, (entry["cell"],)).fetchone()
            said = (left["after"], left["who"], left["at"]) if left else (None, None, None)
            db.execute("UPDATE cells SET label = ?, who = ?, labeled = ? WHERE id = ?", (*said, entry["cell"]))
            changed.append(entry["cell"])
        if changed:
            store.touch(db, session)
    cells = [cell_values(store.cell(cell)) for cell in changed]
    return {
        "undone": entry_values(entries[-1]) if cells else None,
        "cell": cells[-1] if cells else None,
        "cells": cells,
    }


def entry_values(row: Row) -> dict[str, Any]:
    """Return an entry of the log as plain values."""
    return {
        "n": row["n"], "when": row["at"], "who": row["who"], "what": row["what"], "cell": row["cell"],
        "from": row["before"], "to": row["after"], "undoes": row["undoes"],
    }  # fmt: skip


def log_entries(store: Store, session: str) -> list[dict[str, Any]]:
    """Return the log of a session, the oldest entry first."""
    return [entry_values(row) for row in store.rows("SELECT * FROM log WHERE session = ? ORDER BY n", session)]
