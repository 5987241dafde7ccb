"""Tables of TOML turned into dataclasses, every key and type checked; recipes of all kinds are read by it."""

from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from corpuscle.errors import RecipeError

__all__ = ["override", "read_section", "read_table"]

_Section = TypeVar("_Section")


def read_section(kind: type[_Section], values: object, prefix: str) -> _Section:
    """Build a dataclass from a table, checking every key and type.

    Args:
        kind: The dataclass; its fields may be plain values or dataclasses again.
        values: The table.
        prefix: What stands before its keys in messages, as `run.`.

    Raises:
        RecipeError: A key is unknown or a value of the wrong type.
    """
    if not isinstance(values, dict):
        raise RecipeError(f"[{prefix.rstrip('.')}] must be a table.")
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise RecipeError(f"Unknown key {prefix}{key}. Known here: {', '.join(known)}.")
        given[key] = _value(hints[key], value, f"{prefix}{key}")
    return kind(**given)


def _value(hint: Any, value: Any, key: str) -> Any:
    """Check one value against the type of its field."""
    if isinstance(hint, type) and is_dataclass(hint):
        return read_section(hint, value, key + ".")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint == tuple[str, ...] and isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if hint == tuple[dict[str, Any], ...] and isinstance(value, (list, tuple)):
        return tuple(_value(dict[str, Any], item, key) for item in value)
    if hint == tuple[float, float, float] and isinstance(value, (list, tuple)):
        return tuple(_value(float, item, key) for item in value)
    plain = hint if isinstance(hint, type) else getattr(hint, "__origin__", object)
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        raise RecipeError(f"{key} must be {getattr(hint, '__name__', hint)}, not {value!r}.")
    return value


def read_table(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        RecipeError: It is missing or no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"The recipe {path} cannot be read: {error.strerror}. Shipped ones are in recipes/."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe {path} is no valid TOML: {error}.") from error


def override(values: dict[str, Any], setting: str) -> None:
    """Change one key of a recipe's table in place: `setting` is `a.b=value`, the value as in TOML or a bare word.

    Raises:
        RecipeError: It is not of that form, or `a` is no table.
    """
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set wants KEY=VALUE, as in run.epochs=5, not {setting!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = key.strip().split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise RecipeError(f"--set {setting}: {table} is no table of the recipe.")
    values[last] = value
