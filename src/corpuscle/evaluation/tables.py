"""Amounts and rows as text for a person."""

from __future__ import annotations

from collections.abc import Sequence

from corpuscle.errors import UsageError

__all__ = ["aligned", "duration", "p_value", "short_amount"]

_SUFFIXES = ("", " k", " M", " G", " T", " P")


def short_amount(value: float) -> str:
    """Write an amount of 0 or more with three figures and the suffix k, M, G, T or P: 1,523,456 is `1.52 M`."""
    power = 0
    shown = float(f"{value:.3g}")
    while shown >= 1000 and power < len(_SUFFIXES) - 1:
        shown, power = float(f"{shown / 1000:.3g}"), power + 1
    return f"{shown:.0f}{_SUFFIXES[power]}" if shown >= 1000 else f"{shown:.3g}{_SUFFIXES[power]}"


def duration(seconds: float) -> str:
    """Write a length of time in its two largest units: `42 s`, `12 min 05 s`, `3 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def p_value(value: float) -> str:
    """Write a p-value with four decimals, a smaller one as `<0.0001`."""
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"


def aligned(rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> list[str]:
    """Set rows of one length below each other; columns listed in `left` begin, the others end, at one place.

    Raises:
        UsageError: The rows differ in length.
    """
    if len({len(row) for row in rows}) > 1:
        raise UsageError("The rows of a table must have one length.")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
