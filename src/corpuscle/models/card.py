"""The model card of a bundle, written from its manifest."""

from __future__ import annotations

from corpuscle import taxonomy
from corpuscle.models.bundle import Bundle

__all__ = ["RELIABILITY", "model_card"]

RELIABILITY = "reliability"
"""Name of the figure that holds accuracy at each level of confidence, as a list of bins."""

_ATTRIBUTES = "wbcatt"
_BAR = 20


def model_card(bundle: Bundle) -> str:
    """Return the card as Markdown: what the model does, on what it learned, how good it is, whose it is."""
    names = ", ".join(taxonomy.cell_class(key).name_en for key in bundle.classes)
    spec = bundle.preprocessing
    lines = [
        f"# {bundle.name} {bundle.version}",
        "",
        f"Names one stained blood cell in a picture: {names}.",
        "",
        "**Not a medical device, preliminary.** It suggests; a person decides. It knows only the classes above: any "
        "other cell is either refused or named wrongly.",
        "",
        "## How it reads a picture",
        "",
        f"The stained cell nearest the center is found and a square of {spec.framing.margin:g} stained spreads around "
        f"it is brought to {spec.input_px} x {spec.input_px} pixels"
        + (", with the empty slide as a light grey." if spec.white_balance else "."),
        f"Temperature {bundle.temperature:.3f}; refused below a confidence of {bundle.refusal.minimum_confidence:.3f} "
        f"or where distance from the known cells and energy together exceed what 99 % of them keep, or where the "
        f"found cell is not blue-violet (below {bundle.refusal.minimum_stain:.2f}). Prediction sets are made "
        f"for a coverage of {bundle.refusal.coverage:.0%} of each class. All of these were chosen on `val`.",
        "",
        "## What it learned from",
        "",
    ]
    for row in bundle.training_data:
        lines += [
            f"- {row['dataset']}, split `{row['split']}`, {row['n']} cells; {row['licence']}; {row['citation']}; "
            f"list of files SHA-256 `{row['sha256'][:16]}`"
        ]
    lines += ["", "## How good it is", "", "| data set | split | figure | value | 95 % interval | n | seeds | note |",
              "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in bundle.metrics:
        if row["dataset"] == _ATTRIBUTES:
            continue
        if not isinstance(row["value"], (int, float)):  # a whole table, such as the confusion matrix
            continue
        interval = row.get("interval")
        ends = f"{interval[0]:.4f}-{interval[1]:.4f}" if interval else ""
        lines.append(
            f"| {row['dataset']} | {row['split']} | {row['figure']} | {row['value']:.4f} | {ends} | {row['n']} | "
            f"{row.get('seeds', 1)} | {row.get('note', '')} |"
        )
    lines += [
        "",
        "Pictures from another laboratory, stain or camera are judged far worse than those of the laboratory it "
        "learned from; the table shows by how much where that was measured.",
        "",
        *_reliability_lines(bundle),
        *_attribute_lines(bundle),
        "## Whose it is",
        "",
        f"Weights: {bundle.licence}. " + " ".join(bundle.attribution),
        "",
        f"Made by Corpuscle {bundle.code_version}.",
        "",
    ]
    return "\n".join(lines)


def _reliability_lines(bundle: Bundle) -> list[str]:
    """Draw confidence against accuracy, a table with a bar for each data set."""
    lines = []
    for row in bundle.metrics:
        if row["figure"] != RELIABILITY:
            continue
        lines += [
            f"### Confidence and truth, {row['dataset']} {row['split']}", "",
            "| confidence | mean | right | 95 % interval | n | right, drawn |", "|---|---|---|---|---|---|",
        ]  # fmt: skip
        for item in row["value"]:
            ends, filled = item["interval"], round(_BAR * item["accuracy"])
            lines.append(
                f"| {item['low']:.2f}-{item['high']:.2f} | {item['confidence']:.3f} | {item['accuracy']:.3f} | "
                f"{ends['low']:.3f}-{ends['high']:.3f} | {item['n']} | `{'#' * filled}{'.' * (_BAR - filled)}` |"
            )
        lines.append("")
    return lines


def _attribute_lines(bundle: Bundle) -> list[str]:
    """Return the section on attributes; nothing where none were fitted."""
    rows = [row for row in bundle.metrics if row["dataset"] == _ATTRIBUTES]
    if not rows:
        return []
    lines = [
        "## What it says in words",
        "",
        "Linear probes on the embedding, fitted on WBCAtt's train list as far as it is in PBC's train split, chosen on "
        "its val list and measured on its own test list. They read the same embedding as the class does, so they "
        "mostly agree with it, also where it is wrong: agreement confirms nothing.",
        "",
        "| figure | cells | value | 95 % interval | n | note |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["interval"]
        lines.append(
            f"| {row['figure']} | {row['split']} | {row['value']:.4f} | {low:.4f}-{high:.4f} | {row['n']} | "
            f"{row['note']} |"
        )
    return [*lines, ""]
