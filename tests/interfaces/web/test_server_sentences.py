"""The server's English sentences have Spanish ones: each is made by the code that says it, and must be known."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import corpuscle
from corpuscle.prediction import refusal, ruler
from corpuscle.prediction.counting import differential_of, make_differential
from corpuscle.prediction.findings import find_findings
from corpuscle.preprocessing.quality import Quality, faults, remarks
from corpuscle.records import FieldCell, FieldReading, Ruler

WEB = Path(corpuscle.__file__).parent / "interfaces" / "web"
ROWS = json.loads((WEB / "locales" / "es.sentences.json").read_text(encoding="utf-8"))
GOOD = {"light": 230.0, "burnt": 0.0, "contrast": 40.0, "focus": 0.3, "grain": 0.3, "reach": 0.5}


def pattern_of(row: dict[str, str]) -> re.Pattern[str]:
    """Do what `compiled` of words.js does."""
    parts = re.split(r"\{\w+(?::\w+)?\}", row["from"])
    kinds = re.findall(r"\{\w+:?(\w*)\}", row["from"])
    holes = [r"-?[\d.,]*\d" if kind == "number" else ".+?" for kind in kinds] + [""]
    return re.compile("".join(re.escape(part) + hole for part, hole in zip(parts, holes, strict=True)))


PATTERNS = [pattern_of(row) for row in ROWS]


def known(text: str) -> bool:
    return any(pattern.fullmatch(text) for pattern in PATTERNS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["from"][:40])
def test_both_sides_name_the_same_values(row):
    given = set(re.findall(r"\{(\w+)(?::\w+)?\}", row["from"]))
    assert set(re.findall(r"\{(\w+)\}", row["to"])) <= given
    assert "{what:" not in row["to"]


def test_reasons_to_refuse():
    classes = ("neutrophil", "monocyte")
    for shares in ((0.5, 0.45), (0.8, 0.1)):
        assert known(refusal._doubt(np.array(shares), classes))
    assert all(known(text) for text in (refusal.NO_CELL, refusal.NOT_STAINED, refusal.UNLIKE))
    for kind in ("leukocyte", "platelet"):
        assert known(f"found as a {kind}, looks like: neutrophil")


def test_faults_and_remarks_of_pictures():
    bad = [{"light": 10.0}, {"contrast": 1.0}, {"focus": 0.01}, {"grain": 2.0}, {"reach": 0.1}]
    texts = [text for change in bad for text in faults(Quality(**{**GOOD, **change}))]
    texts += [
        text
        for change in ({"focus": 0.08}, {"burnt": 0.5}, {"reach": 0.2})
        for text in remarks(Quality(**{**GOOD, **change}))
    ]
    assert len(set(texts)) == 8
    assert [text for text in texts if not known(text)] == []


def test_notes_on_the_cards_of_the_shipped_models():
    bundles = sorted(Path(corpuscle.__file__).parent.glob("bundles/*/bundle.json"))
    rows = [row for path in bundles for row in json.loads(path.read_text(encoding="utf-8"))["metrics"]]
    shown = [row for row in rows if row["dataset"] != "wbcatt"]
    notes = {part for row in shown for part in row["note"].split("; ") if part}
    assert len(notes) > 3
    assert {note for note in notes if not known(note)} == set()
    for language in ("en", "es"):
        names = json.loads((WEB / "locales" / f"{language}.json").read_text(encoding="utf-8"))["figure"]
        assert {row["figure"] for row in shown} - set(names) == {"confusion matrix", "reliability"}


def test_rulers():
    assert known(ruler._doubt(0.5, 40.0, 30))


def test_differentials():
    for n in (0, 40, 150):
        found = make_differential({"neutrophil": n})
        assert all(known(text) for text in (found.warning, found.note) if text)
    for method in ("wilson", "exact", "simultaneous"):
        assert known(make_differential({"neutrophil": 60, "monocyte": 5}, interval=method).method)
        assert known(method)


def reading_of(counts: dict[str, int], *, kind: str = "leukocyte", clump: int = 0, strange: int = 0) -> FieldReading:
    names = [key for key, n in counts.items() for _ in range(n)]
    cells = [
        FieldCell(place, kind, (place, 0.0, place + 1.0, 1.0), 0.9, name, clump=clump)  # type: ignore[arg-type]
        for place, name in enumerate(names, start=1)
    ]
    for place in range(len(cells) + 1, len(cells) + 1 + strange):
        cells.append(
            FieldCell(
                place,
                "leukocyte",
                (place, 0.0, place + 1.0, 1.0),
                0.9,
                "monocyte",
                0.5,
                True,
                "unlike; " + refusal.UNLIKE,
            )
        )
    return FieldReading("a.png", 100, 100, tuple(cells), Ruler(0.1, 1.0, "given", 0))


def said_of(*readings: FieldReading) -> list[str]:
    return [finding.text for finding in find_findings(readings, differential_of(readings))]


def test_findings():
    texts = []
    for key in ("eosinophil", "basophil", "monocyte", "lymphocyte", "neutrophil"):
        texts += said_of(reading_of({key: 190, "neutrophil" if key != "neutrophil" else "monocyte": 10}))
    texts += said_of(
        reading_of({"immature_granulocyte": 30, "band_neutrophil": 60, "segmented_neutrophil": 100, "erythroblast": 4})
    )
    texts += said_of(reading_of({"neutrophil": 60, "lymphocyte": 30}, strange=9))
    texts += said_of(reading_of({"platelet": 3}, kind="platelet", clump=1))
    texts += said_of(reading_of({"erythrocyte": 900}, kind="erythrocyte"))
    assert len({text[:12] for text in texts}) >= 11
    assert [text for text in texts if not known(text)] == []


def raised_in(path: Path) -> Iterator[str]:
    """Yield the sentences of the errors that a module raises, with 7 for each value."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("Error")):
            continue
        for given in node.args[:2]:
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                yield given.value
            elif isinstance(given, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in given.values)


def test_what_the_server_refuses():
    """Sentences that the page can meet; those of settings and of requests that the page does not make are left out."""
    modules = ("cell_pictures", "exports", "jobs", "labels", "session_map")
    paths = [WEB.parent / "api" / f"{name}.py" for name in modules]
    said = [text for path in paths for text in raised_in(path) if " " in text]
    assert len(said) > 6
    assert [text for text in said if not known(text)] == []
    assert known("A map needs at least 4 cells, not 3. Give more pictures.")
