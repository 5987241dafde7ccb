"""The list of what a run wrote into its folder, so that the next run there can clear away what is out of date."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from corpuscle.files import written_whole

__all__ = ["LIST_NAME", "RunFiles", "add_to_run"]

LIST_NAME = "files.json"


class RunFiles:
    """Files that were written into one folder, with their SHA-256; kept in `files.json` there.

    Use it as a context around a run. When the run ends well, files of an earlier run that this one did not write are
    deleted, but only those that still hold just what was written then, and only at the place where it was written: what
    a person changed, moved or added stays. When it fails, all stay, and the list knows both.
    """

    def __init__(self, folder: Path) -> None:
        """Read the list of an earlier run, if there is one."""
        self._folder = folder
        self._earlier = _read(folder / LIST_NAME)
        self._written: dict[str, str] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> RunFiles:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear away what is out of date, and write the list."""
        if error is None:
            self._clear()
            self.write()
        else:
            with suppress(Exception):  # the first failure is the one to report
                self.write()

    def add(self, paths: Iterable[Path]) -> None:
        """Note files that were just written; any thread may."""
        for path in paths:
            name = path.relative_to(self._folder).as_posix()
            sha256 = _sha256(path)
            with self._lock:
                self._written[name] = sha256

    def _clear(self) -> None:
        earlier, self._earlier = self._earlier, {}
        for name in earlier.keys() - self._written.keys():
            path = self._folder / name
            if path.is_symlink() or not path.resolve().is_relative_to(self._folder.resolve()):
                continue
            with suppress(OSError):
                if _sha256(path) == earlier[name]:
                    path.unlink()
                    if path.parent != self._folder:
                        path.parent.rmdir()  # fails, as it should, where anything is left

    def write(self) -> None:
        """Write the list: what is new, and what is left of the earlier run.

        Raises:
            OutputError: It cannot be written.
        """
        files = {**self._earlier, **self._written}
        path = self._folder / LIST_NAME
        with written_whole(path) as part:
            part.write_text(json.dumps(dict(sorted(files.items())), indent=1) + "\n", encoding="utf-8")


def add_to_run(folder: Path, paths: Iterable[Path]) -> None:
    """Note files that were made from a run and lie in its folder, such as its report, if the run has a list.

    Raises:
        OutputError: The list cannot be written.
    """
    if not (folder / LIST_NAME).is_file():
        return
    files = RunFiles(folder)
    files.add(paths)
    files.write()


def _read(path: Path) -> dict[str, str]:
    """Return a list as it was written; a missing or damaged one is empty, so that nothing is deleted by it."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {name: sha256 for name, sha256 in values.items() if isinstance(sha256, str) and _is_inside(name)}


def _is_inside(name: str) -> bool:
    """Whether a name leads to a file below the folder."""
    path = Path(name)
    return bool(name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
