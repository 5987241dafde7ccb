"""What a server keeps: sessions, pictures and cells in one SQLite file, the pictures' bytes beside it."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from corpuscle.errors import InputError, OutputError
from corpuscle.files import make_folder
from corpuscle.interfaces.api.problems import ProblemError

__all__ = ["NewCell", "NewImage", "Row", "Store", "now"]

_VERSION: Final = 1
_ROOM_S: Final = 86_400
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sessions (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, created TEXT NOT NULL, changed TEXT NOT NULL, reviewed INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS images (
  id TEXT PRIMARY KEY, session TEXT NOT NULL REFERENCES sessions(id) ON DELETE CASCADE, name TEXT NOT NULL,
  kind TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, added TEXT NOT NULL, facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cells (
  id TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE, session TEXT NOT NULL,
  number INTEGER NOT NULL, kind TEXT NOT NULL, class TEXT NOT NULL, confidence REAL, refused INTEGER NOT NULL,
  facts TEXT NOT NULL, embedding BLOB, label TEXT, who TEXT, labeled TEXT);
CREATE TABLE IF NOT EXISTS log (
  n INTEGER PRIMARY KEY AUTOINCREMENT, session TEXT NOT NULL, at TEXT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
  cell TEXT, before TEXT, after TEXT, step INTEGER NOT NULL, undoes INTEGER);
CREATE INDEX IF NOT EXISTS images_of ON images(session);
CREATE INDEX IF NOT EXISTS cells_of ON cells(session);
CREATE INDEX IF NOT EXISTS cells_in ON cells(image);
CREATE INDEX IF NOT EXISTS log_of ON log(session);
CREATE INDEX IF NOT EXISTS log_cell ON log(cell);
CREATE TRIGGER IF NOT EXISTS log_stays BEFORE UPDATE ON log
  BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS log_is_kept BEFORE DELETE ON log
  WHEN EXISTS (SELECT 1 FROM sessions WHERE id = OLD.session)
  BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
"""

Row = sqlite3.Row


def now() -> str:
    """Return the time as text, in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class NewCell:
    """A cell to keep: number, kind, the model's class, and whatever else is known of it as plain values."""

    number: int
    kind: str
    class_name: str
    confidence: float | None
    refused: bool
    facts: dict[str, Any]
    embedding: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class NewImage:
    """A picture to keep, with its cells."""

    session: str
    name: str
    kind: str
    size_px: tuple[int, int]
    facts: dict[str, Any]
    cells: Sequence[NewCell] = field(default=())


class Store:
    """A folder with the database, the pictures, and what is being uploaded. One connection, one writer at a time."""

    def __init__(self, folder: Path) -> None:
        """Open a store, or make one.

        Raises:
            OutputError: The folder cannot be written.
            InputError: It is no store, or one of a later version.
        """
        self.folder = make_folder(folder)
        self.incoming = make_folder(folder / "incoming")
        self._files = make_folder(folder / "pictures")
        self._lock = threading.RLock()
        path = folder / "corpuscle.sqlite3"
        try:
            folder.chmod(0o700)
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode = WAL", "foreign_keys = ON", "secure_delete = ON", "busy_timeout = 5000"):
                self._connection.execute(f"PRAGMA {pragma}")
            version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
            if version > _VERSION:
                raise InputError(f"The store {folder} was made by a later version of Corpuscle. Use that one.")
            self._connection.executescript(_SCHEMA)
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{path} cannot be used as a store ({error}). Name another folder with --store."
            ) from error
        except OSError as error:
            raise OutputError(
                f"The store {folder} cannot be written: {error.strerror}. Name another folder."
            ) from error
        self._tidy()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for changes that all happen or none."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Let nobody change anything while several questions that belong together are asked."""
        with self._lock:
            yield

    def rows(self, query: str, *values: Any) -> list[Row]:
        """Return what a query finds."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    # Sessions

    def add_session(self, name: str) -> Row:
        """Begin a session."""
        session, at = secrets.token_hex(12), now()
        with self.change() as db:
            db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, 0)", (session, name, at, at))
        return self.session(session)

    def session(self, session: str) -> Row:
        """Return a session.

        Raises:
            ProblemError: There is none (404).
        """
        found = self.rows("SELECT * FROM sessions WHERE id = ?", session)
        if not found:
            raise ProblemError(404, "There is no such session; it may have been deleted.")
        return found[0]

    def sessions(self) -> list[Row]:
        """List the sessions, the last changed first."""
        return self.rows("SELECT * FROM sessions ORDER BY changed DESC, id")

    def session_values(self, row: Row) -> dict[str, Any]:
        """Return a session as plain values for JSON, with how much it holds."""
        kinds = {
            item["kind"]: item["n"]
            for item in self.rows("SELECT kind, COUNT(*) AS n FROM images WHERE session = ? GROUP BY kind", row["id"])
        }
        counted = self.rows("SELECT COUNT(*) AS n, COUNT(label) AS reviewed FROM cells WHERE session = ?", row["id"])[0]
        return {
            "id": row["id"], "name": row["name"], "created": row["created"], "changed": row["changed"],
            "n_crops": kinds.get("crop", 0), "n_fields": kinds.get("field", 0), "n_cells": counted["n"],
            "n_reviewed": counted["reviewed"], "reviewed": bool(row["reviewed"]),
        }  # fmt: skip

    def delete_session(self, session: str) -> None:
        """Delete a session with its pictures, cells and log."""
        images = [row["id"] for row in self.rows("SELECT id FROM images WHERE session = ?", session)]
        with self.change() as db:
            db.execute("DELETE FROM sessions WHERE id = ?", (session,))
            db.execute("DELETE FROM log WHERE session = ?", (session,))
        for image in images:
            self.picture(image).unlink(missing_ok=True)

    def touch(self, db: sqlite3.Connection, session: str) -> None:
        """Note that a session was changed."""
        db.execute("UPDATE sessions SET changed = ? WHERE id = ?", (now(), session))

    def sweep(self, keep_days: float) -> int:
        """Delete sessions that were not changed for some days; returns how many."""
        limit = datetime.now(UTC) - timedelta(days=keep_days)
        old = [row["id"] for row in self.sessions() if datetime.fromisoformat(row["changed"]) < limit]
        for session in old:
            self.delete_session(session)
        return len(old)

    # Pictures and cells

    def picture(self, image: str) -> Path:
        """Return where a picture's bytes lie."""
        return self._files / image

    def add_image(self, new: NewImage, file: Path) -> str:
        """Keep a picture, whose file is moved into the store, with its cells.

        Returns:
            Its id.

        Raises:
            ProblemError: The session is gone (404).
            OutputError: It cannot be written.
        """
        image = secrets.token_hex(12)
        try:
            shutil.move(file, self.picture(image))
            with self.change() as db:
                db.execute(
                    "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (image, new.session, new.name, new.kind, *new.size_px, now(), _text(new.facts)),
                )
                db.executemany(
                    "INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)",
                    [_cell_row(cell, image, new.session) for cell in new.cells],
                )
                self.touch(db, new.session)
        except sqlite3.IntegrityError as error:
            self.picture(image).unlink(missing_ok=True)
            raise ProblemError(404, "The session was deleted while pictures were read.") from error
        except OSError as error:
            raise OutputError("A picture cannot be written into the store. Free some space.") from error
        return image

    def image(self, image: str) -> Row:
        """Return a picture's row.

        Raises:
            ProblemError: There is none (404).
        """
        found = self.rows("SELECT * FROM images WHERE id = ?", image)
        if not found:
            raise ProblemError(404, "There is no such picture; it may have been deleted.")
        return found[0]

    def images(self, session: str) -> list[Row]:
        """List the pictures of a session in the order in which they came."""
        return self.rows("SELECT * FROM images WHERE session = ? ORDER BY rowid", session)

    def delete_image(self, image: str) -> None:
        """Delete a picture with its cells; what the log says of them stays."""
        row = self.image(image)
        with self.change() as db:
            db.execute("DELETE FROM images WHERE id = ?", (image,))
            self.touch(db, row["session"])
        self.picture(image).unlink(missing_ok=True)

    def cell(self, cell: str) -> Row:
        """Return a cell's row.

        Raises:
            ProblemError: There is none (404).
        """
        found = self.rows("SELECT * FROM cells WHERE id = ?", cell)
        if not found:
            raise ProblemError(404, "There is no such cell; its picture may have been deleted.")
        return found[0]

    def cells(self, session: str, image: str = "") -> list[Row]:
        """List the cells of a session, or of one of its pictures, in the order of their pictures and numbers."""
        return self.rows(
            "SELECT cells.* FROM cells JOIN images ON images.id = cells.image "
            "WHERE cells.session = ? AND (? = '' OR cells.image = ?) ORDER BY images.rowid, cells.number",
            session, image, image,
        )  # fmt: skip

    def keep_embeddings(self, embeddings: dict[str, npt.NDArray[np.float32]]) -> None:
        """Keep what the network saw in cells, so that a map need not look again."""
        with self.change() as db:
            db.executemany(
                "UPDATE cells SET embedding = ? WHERE id = ?",
                [(_blob(value), key) for key, value in embeddings.items()],
            )

    def _tidy(self) -> None:
        """Delete what an interrupted server left: pictures that no row names, and old uploads."""
        known = {row["id"] for row in self.rows("SELECT id FROM images")}
        oldest = datetime.now(UTC).timestamp() - _ROOM_S
        with suppress(OSError):
            for path in self._files.iterdir():
                if path.name not in known and path.stat().st_mtime < oldest:
                    path.unlink()
            for path in self.incoming.iterdir():
                if path.stat().st_mtime < oldest:
                    shutil.rmtree(path, ignore_errors=True)


def _text(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)


def _blob(embedding: npt.NDArray[np.float32] | None) -> bytes | None:
    return None if embedding is None else np.ascontiguousarray(embedding, np.float32).tobytes()


def _cell_row(cell: NewCell, image: str, session: str) -> tuple[Any, ...]:
    return (
        secrets.token_hex(12), image, session, cell.number, cell.kind, cell.class_name, cell.confidence,
        int(cell.refused), _text(cell.facts), _blob(cell.embedding),
    )  # fmt: skip
