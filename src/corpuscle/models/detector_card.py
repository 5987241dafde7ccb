"""The model card of a detector, written from its manifest."""

from __future__ import annotations

from corpuscle.models.detection_bundle import DetectionBundle

__all__ = ["detector_card"]


def detector_card(bundle: DetectionBundle) -> str:
    """Return the card as Markdown: what the detector does, on what it learned, how good it is, whose it is."""
    rules = "; ".join(
        f"{kind}: score {rule.least_score:.2f}, overlap {rule.overlap_limit:.2f}" for kind, rule in bundle.rules.items()
    )
    lines = [
        f"# {bundle.name} {bundle.version}",
        "",
        f"Finds the cells of a stained blood field and says of each what it is: {', '.join(bundle.kinds)}.",
        "",
        "**Not a medical device, preliminary.** It suggests; a person decides. It knows only these kinds: "
        "erythroblasts, parasites, dirt and stain crystals are taken for one of them or missed.",
        "",
        "## How it reads a field",
        "",
        f"The field is resized so that its erythrocytes are {bundle.preprocessing.erythrocyte_px:g} px wide in the "
        "median"
        + (", with the empty slide as a light grey" if bundle.preprocessing.white_balance else "")
        + f", and cut into tiles where a side is longer than {bundle.max_side_px} px. Scores rank boxes; they are no "
        "probabilities.",
        f"Counted from these scores on, of boxes that overlap more only the best ({rules}). Chosen on `val`, for "
        "counting.",
        "",
        "## What it learned from",
        "",
    ]
    lines += [
        f"- {row['dataset']}, split `{row['split']}`, {row['n']} fields; {row['licence']}; {row['citation']}; "
        f"list of files and boxes SHA-256 `{row['sha256'][:16]}`"
        for row in bundle.training_data
    ]
    lines += ["", "## How good it is", "", "| data set | split | figure | value | 95 % interval | n | seeds | note |",
              "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in bundle.metrics:
        interval = row.get("interval")
        ends = f"{interval[0]:.4f}-{interval[1]:.4f}" if interval else ""
        lines.append(
            f"| {row['dataset']} | {row['split']} | {row['figure']} | {row['value']:.4f} | {ends} | {row['n']} | "
            f"{row.get('seeds', 1)} | {row.get('note', '')} |"
        )
    lines += [
        "",
        "Fields from another laboratory, stain or camera are counted worse than those of the laboratories it learned "
        "from. Crowded places, where nobody can tell outlines, are counted too low.",
        "",
        "## Whose it is",
        "",
        f"Weights: {bundle.licence}. " + " ".join(bundle.attribution),
        "",
        f"Made by Corpuscle {bundle.code_version}.",
        "",
    ]
    return "\n".join(lines)
