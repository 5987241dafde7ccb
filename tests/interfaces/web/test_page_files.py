"""The files of the page: equal languages, known words and icons, no inline code, nothing from elsewhere, small."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import corpuscle
from corpuscle import taxonomy

WEB = Path(corpuscle.__file__).parent / "interfaces" / "web"
SCRIPTS = sorted((WEB / "js").rglob("*.js"))
LOCALES = [path for path in sorted((WEB / "locales").glob("*.json")) if path.name.count(".") == 1]
MOST_LINES = 400
MOST_FIRST_PAGE_BYTES = 300_000
FORMS = {"zero", "one", "two", "few", "many", "other"}


def loaded(name: str) -> Any:
    return json.loads((WEB / "locales" / name).read_text(encoding="utf-8"))


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text with its place; the forms of a plural count as one place, as languages have other forms."""
    if isinstance(value, dict) and value and value.keys() <= FORMS:
        yield path, value["other"]
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from flat(part, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from flat(part, f"{path}[{place}]")
    else:
        yield path, value


def text_of(script: Path) -> str:
    return script.read_text(encoding="utf-8")


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/|^\s*//.*$", "", text, flags=re.DOTALL | re.MULTILINE)


def test_there_is_a_file_for_each_language_and_no_other():
    listed = re.findall(r'code: "(\w+)"', text_of(WEB / "js" / "locales.js"))
    assert len(listed) >= 2
    assert sorted(path.stem for path in LOCALES) == sorted(listed)


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.stem)
def test_languages_have_the_same_keys_and_places_for_values(path):
    english, other = dict(flat(loaded("en.json"))), dict(flat(loaded(path.name)))
    assert english.keys() == other.keys()
    for key, words in english.items():
        # An attribute or an icon is the same in all languages; a sentence has the same values in it.
        assert set(re.findall(r"\{(\w+)\}", words)) == set(re.findall(r"\{(\w+)\}", other[key])), key
        assert other[key].strip(), key


def test_every_key_that_a_script_names_has_words():
    keys = set(dict(flat(loaded("en.json"))))
    for script in SCRIPTS:
        for key in re.findall(r'\bt\(\s*"([\w.]+)"', text_of(script)):
            assert key in keys, f"{script.name}: {key}"


def test_every_word_is_used():
    text = "".join(text_of(script) for script in SCRIPTS)
    stems = set(re.findall(r"`([\w.]*\.)\$\{", text)) | {"about.", "us.", "attribute."}
    stems |= {f"{tree}." for tree in re.findall(r'tree\("(\w+)"\)', text)}
    stems |= set(re.findall(r'"(method|coloring)"', text)) - {""}
    stems |= {f"{stem}{start}" for stem, start in re.findall(r"`(\w+\.)(\w+_)\$\{", text)}
    for key, _ in flat(loaded("en.json")):
        place = re.sub(r"\[.*", "", key)
        assert f'"{place}"' in text or any(key.startswith(stem) for stem in stems), f"{key} is said nowhere"


def test_icons_that_are_shown_exist():
    known = set(re.findall(r'<symbol id="(\w+)"', text_of(WEB / "icons" / "icons.svg")))
    shown: set[str] = set()
    for script in SCRIPTS:
        shown |= set(re.findall(r'\bicon(?:Button)?\("(\w+)"', text_of(script)))
        shown |= set(re.findall(r'\bicon: "(\w+)"', text_of(script)))
    for path in LOCALES:
        shown |= {section["icon"] for page in ("about", "us") for section in loaded(path.name)[page]["sections"]}
    assert shown <= known, shown - known


@pytest.mark.parametrize("path", [*SCRIPTS, *sorted((WEB / "css").glob("*.css"))], ids=lambda path: path.name)
def test_files_can_be_read_in_one_go(path):
    assert len(text_of(path).splitlines()) <= MOST_LINES


def test_nothing_comes_from_elsewhere():
    for path in [*SCRIPTS, *WEB.glob("css/*.css"), WEB / "index.html"]:
        found = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`)]*", without_comments(text_of(path))))
        assert found <= {"http://www.w3.org/2000/svg"}, path.name


def test_the_page_has_no_code_or_style_of_its_own():
    page = text_of(WEB / "index.html")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    for script in SCRIPTS:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text_of(script)
        ), script.name
        assert 'setAttribute("style"' not in text_of(script)


def test_every_class_has_a_shape_of_its_own():
    shapes = dict(re.findall(r'(\w+): "(\w+)"', text_of(WEB / "js/parts/marks.js").split("SHAPE_OF")[1].split("};")[0]))
    assert shapes.keys() >= set(taxonomy.KEYS)
    assert len(set(shapes.values())) == len(shapes)


def imports_of(script: Path) -> set[Path]:
    """Return a module and all that it imports at once; what is imported later is not counted."""
    found, open_ = set(), [script]
    while open_:
        module = open_.pop()
        if module in found:
            continue
        found.add(module)
        open_ += [(module.parent / name).resolve() for name in re.findall(r'from "(\.[^"]+)"', text_of(module))]
    return found


def test_the_first_page_is_small():
    page = text_of(WEB / "index.html")
    named = {WEB / name for name in re.findall(r'(?:href|src)="/static/([^"]+)"', page)}
    scripts = imports_of(WEB / "js" / "main.js") | imports_of(WEB / "js" / "pages" / "cell.js")
    words = {WEB / "locales" / "es.json", WEB / "locales" / "es.sentences.json", WEB / "icons" / "icons.svg"}
    files = {path.resolve() for path in (named | scripts | words | {WEB / "index.html"})}
    assert len(files) > 15
    assert sum(path.stat().st_size for path in files) < MOST_FIRST_PAGE_BYTES


def test_the_first_page_asks_for_all_its_modules_at_once():
    asked = set(re.findall(r'<link rel="modulepreload" href="/static/([^"]+)"', text_of(WEB / "index.html")))
    needed = imports_of(WEB / "js" / "main.js") | imports_of(WEB / "js" / "pages" / "cell.js")
    assert asked | {"js/main.js"} == {path.resolve().relative_to(WEB.resolve()).as_posix() for path in needed}
