"""How true heat maps are, as figures for the page of figures."""

from __future__ import annotations

from corpuscle.evaluation.explanations import BASELINES, ExplanationEvaluation
from corpuscle.reporting.ledger import Figure

__all__ = ["explanation_figures"]

_BLIND = {
    "random": "noise: knows nothing of the picture",
    "center": "a hill in the middle: knows nothing of the picture, but cells lie in the middle of their crops",
}


def explanation_figures(result: ExplanationEvaluation) -> list[Figure]:
    """Return peak and energy in the cell, deletion, insertion and likeness to random weights of each method."""
    where = f"{result.dataset} {result.split}".strip()
    limited = f" {result.n} of {result.total} cells, drawn with seed 0;" if result.n < result.total else ""
    about = f"{limited} the cell fills {result.area:.1%} of the judged square".strip()
    figures = []
    for item in result.methods:
        name = f"{result.model}: {item.method}{' (blind)' if item.method in BASELINES else ''}"
        note = "; ".join(part for part in (about, _BLIND.get(item.method, "")) if part)
        ends = f"{item.interval.low:.4f}-{item.interval.high:.4f}"
        figures.append(Figure(f"{name}, peak in the cell", f"{item.pointing:.4f}", ends, where, item.n, note=note))
        rows = [
            ("energy in the cell", item.energy),
            ("area under deletion, less is better", item.deletion),
            ("area under insertion, more is better", item.insertion),
        ]
        if item.likeness is not None:
            rows.append(("likeness to the map of random weights, 0 is best", item.likeness))
        figures += [Figure(f"{name}, {what}", f"{value:.4f}", "", where, item.n, note=note) for what, value in rows]
    return figures
