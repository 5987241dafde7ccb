"""The store: what it keeps, how long, and what nobody can take out of it."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from corpuscle.errors import InputError
from corpuscle.interfaces.api.labels import log_entries, note_reviewed
from corpuscle.interfaces.api.store import NewCell, NewImage, Store


@pytest.fixture
def store(tmp_path):
    found = Store(tmp_path / "store")
    yield found
    found.close()


def filled(store: Store, tmp_path, name: str = "a.png") -> tuple[str, str]:
    session = store.add_session("one")["id"]
    (tmp_path / "upload").write_bytes(b"pixels")
    cell = NewCell(1, "leukocyte", "monocyte", 0.9, False, {"set": []})
    return session, store.add_image(NewImage(session, name, "crop", (4, 3), {}, [cell]), tmp_path / "upload")


def test_sessions_nobody_changed_are_gone_with_their_pictures(store, tmp_path):
    old, image = filled(store, tmp_path)
    new, kept = filled(store, tmp_path)
    past = (datetime.now(UTC) - timedelta(days=31)).isoformat()
    with store.change() as db:
        db.execute("UPDATE sessions SET changed = ? WHERE id = ?", (past, old))
    assert store.sweep(30) == 1
    assert [row["id"] for row in store.sessions()] == [new]
    assert not store.picture(image).exists()
    assert store.picture(kept).exists()
    assert store.cells(old) == []


def test_the_log_cannot_be_rewritten(store, tmp_path):
    session, _ = filled(store, tmp_path)
    with store.change() as db:
        note_reviewed(db, session, "Ana", reviewed=True)
    for order in ("UPDATE log SET who = 'Bo'", "DELETE FROM log"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"), store.change() as db:
            db.execute(order)
    assert [entry["who"] for entry in log_entries(store, session)] == ["Ana"]


def test_a_change_that_fails_leaves_nothing(store, tmp_path):
    session, _ = filled(store, tmp_path)

    def fail() -> None:
        with store.change() as db:
            db.execute("DELETE FROM cells")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(store.cells(session)) == 1


def test_only_this_user_may_look_into_the_store(store):
    assert store.folder.stat().st_mode & 0o077 == 0


def test_what_is_no_store_is_one_sentence(tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "corpuscle.sqlite3").write_bytes(b"this is no database" * 100)
    with pytest.raises(InputError, match="cannot be used as a store"):
        Store(folder)


def test_a_store_of_a_later_version_is_left_alone(store):
    store._connection.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="later version"):
        Store(store.folder)
