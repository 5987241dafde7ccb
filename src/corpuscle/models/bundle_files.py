"""What bundles of every kind share: the manifest, its hashes, and where shipped ones lie."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from corpuscle.errors import BundleError, BundleNotFoundError, BundleTamperedError, CorpuscleError
from corpuscle.files import written_whole

__all__ = [
    "FORMAT",
    "MANIFEST",
    "check_files",
    "manifest_errors",
    "read_manifest",
    "shared_values",
    "shipped_bundles",
    "task_of",
    "write_hashed",
]

FORMAT = 1
MANIFEST = "bundle.json"


def shipped_bundles() -> dict[str, Path]:
    """Return the folders of the bundles that ship with the package, by name."""
    root = Path(str(resources.files("corpuscle"))) / "bundles"
    if not root.is_dir():
        return {}
    return {path.name: path for path in sorted(root.iterdir()) if (path / MANIFEST).is_file()}


def read_manifest(model: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]]:
    """Find a bundle and read its manifest; nothing but the format is checked.

    Args:
        model: Name of a shipped bundle, or a folder.

    Returns:
        The folder and the values.

    Raises:
        BundleNotFoundError: Neither.
        BundleError: The manifest cannot be read or is of another format.
    """
    shipped = shipped_bundles()
    folder = shipped.get(str(model), Path(model))
    manifest = folder / MANIFEST
    try:
        found = manifest.is_file()
    except OSError:  # no name that a file could have
        found = False
    if not found:
        names = ", ".join(shipped) or "none"
        raise BundleNotFoundError(
            f"There is no model {str(model)!r}: neither a shipped one ({names}) nor a folder with a {MANIFEST}."
        )
    try:
        values = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{manifest} cannot be read ({error}). Get the bundle again.") from error
    if not isinstance(values, Mapping) or values.get("format") != FORMAT:
        raise BundleError(f"{manifest} is not of format {FORMAT}. Use the version of Corpuscle that made it.")
    return folder, dict(values)


def task_of(model: str | os.PathLike[str]) -> str:
    """Return what a bundle does, as its manifest says: `classification` or `detection`.

    Raises:
        BundleNotFoundError: It is neither a shipped bundle's name nor a folder.
        BundleError: The manifest cannot be read.
    """
    return str(read_manifest(model)[1].get("task", ""))


@contextmanager
def manifest_errors(folder: Path) -> Iterator[None]:
    """Turn every way in which the values of a manifest can be wrong into one sentence, a `BundleError`."""
    manifest = folder / MANIFEST
    try:
        yield
    except BundleError:
        raise
    except CorpuscleError as error:
        raise BundleError(f"{manifest}: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{manifest} is incomplete or wrong at {error}. Get the bundle again.") from error


def shared_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those values of a manifest that bundles of every task have, as arguments of the bundle's class."""
    texts = {key: str(values[key]) for key in ("name", "version", "task", "graph", "licence", "code_version")}
    lists = {key: tuple(values[key]) for key in ("training_data", "metrics", "attribution")}
    return {**texts, **lists, "files": dict(values["files"]), "recipe": dict(values.get("recipe", {}))}


def check_files(folder: Path, files: Mapping[str, str], required: Iterable[str]) -> None:
    """Check that every needed file is listed, lies in the folder and has its hash.

    Raises:
        BundleTamperedError: A file does not have the stated hash.
        BundleError: One is not listed, is missing, or is no plain file name.
    """
    for name in required:
        if name not in files:
            raise BundleError(f"The bundle {folder} does not list {name}. Get the bundle again.")
    for name, expected in files.items():
        if Path(name).name != name:
            raise BundleError(f"The bundle {folder} lists {name!r}, which is no plain file name.")
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise BundleError(f"The bundle {folder} lacks {name}: {error.strerror}. Get it again.") from error
        if found != expected:
            raise BundleTamperedError(
                f"{folder / name} was changed after the bundle was made: its hash is not the stated one. "
                "Do not use it; get the bundle again."
            )


def write_hashed(folder: Path, values: dict[str, Any], names: Iterable[str]) -> None:
    """Hash the files of a bundle's folder and write its manifest, atomically.

    Args:
        folder: The bundle's.
        values: The manifest as plain values; `files` is replaced.
        names: The files to list.

    Raises:
        BundleError: A file is missing.
        OutputError: The folder cannot be written.
    """
    try:
        values["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(names)}
    except OSError as error:
        raise BundleError(f"The bundle {folder} lacks a file: {error}.") from error
    with written_whole(folder / MANIFEST) as part:
        part.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
