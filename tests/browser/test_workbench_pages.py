"""Every page in both languages and both themes: its words, its notice, and no violation that axe-core finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import corpuscle

pytestmark = pytest.mark.browser
WEB = Path(corpuscle.__file__).parent / "interfaces" / "web"
PAGES = ("cell", "field", "review", "map", "models", "about", "us")
READY = {
    "cell": ".tile", "field": ".field-canvas", "review": ".review-one", "map": ".legend-list li",
    "models": ".model-detail h2", "about": ".about-body h2", "us": ".about-body h2",
}  # fmt: skip
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}


def words(locale: str) -> dict[str, Any]:
    return json.loads((WEB / "locales" / f"{locale}.json").read_text(encoding="utf-8"))


def violations(page: Any) -> list[str]:
    """Run axe-core inside the page; the page's own policy is left as it is."""
    axe = pytest.importorskip("axe_playwright_python", reason="needs the extra `browser`")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("rules => axe.run(document, rules)", RULES)["violations"]
    return [f"{row['id']}: {node['target']} {node['failureSummary']}" for row in found for node in row["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en", "es"])
@pytest.mark.parametrize("name", PAGES)
def test_pages(open_page, filled, name, locale, theme):
    page = open_page(locale, theme, session=filled)
    page.goto(f"/{name}")
    page.wait_for_selector(READY[name])
    said = words(locale)
    assert page.locator("html").get_attribute("lang") == locale
    assert page.locator("html").get_attribute("data-theme") == theme
    assert page.locator("h1").inner_text() == said[name]["title"]
    assert said["footer"]["notice"] in page.locator("footer").inner_text()
    assert said["nav"][name] in page.title()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert violations(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_pages_on_a_phone(open_page, filled, name):
    page = open_page("es", "dark", session=filled, size=(360, 740))
    page.goto(f"/{name}")
    page.wait_for_selector(READY[name])
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert violations(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["cell", "field", "review", "map"])
def test_empty_pages(open_page, server, name, theme):
    page = open_page("es", theme)
    page.goto(f"/{name}")
    page.wait_for_selector(".intake-place.first, .empty")
    assert violations(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_heat_map_and_dialogs(open_page, filled, theme):
    page = open_page("en", theme, session=filled)
    page.goto("/cell")
    page.get_by_role("tab", name="Heat map").click()
    page.wait_for_selector(".heat-layer:not([hidden])")
    page.get_by_label("Opacity").fill("80")
    assert page.locator(".heat-layer").evaluate("node => getComputedStyle(node).opacity") == "0.8"
    page.get_by_label("Evidence for").select_option(index=1)
    assert violations(page) == []
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.locator(".session-button").click()
    page.wait_for_selector(".session-row")
    assert violations(page) == []


def test_all_text_of_a_page_changes_with_the_language(open_page, filled):
    page = open_page("en", session=filled)
    page.goto("/review")
    page.wait_for_selector(".review-one")
    page.get_by_role("button", name="Español").click()
    english, spanish = words("en")["review"], words("es")["review"]
    page.get_by_text(spanish["session_done"]).wait_for()
    text = page.locator("body").inner_text()
    assert english["session_done"] not in text
    page.reload()
    page.wait_for_selector("html[lang=es] .review-one")
    assert page.locator("h1").inner_text() == spanish["title"]
