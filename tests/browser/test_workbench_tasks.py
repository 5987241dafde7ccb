"""What people do at the workbench, from the upload to the export, in a real browser."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from corpuscle.data.examples import CLASSES, draw_cell

pytestmark = pytest.mark.browser
MOST_FIRST_PAGE_BYTES = 300_000
FILES = "input[type=file]:not([webkitdirectory])"


@pytest.fixture
def crops(tmp_path: Path) -> list[Path]:
    paths = []
    for key in ("neutrophil", "lymphocyte", "monocyte"):
        Image.fromarray(draw_cell(key, 4)).save(tmp_path / f"{key}.png")
        paths.append(tmp_path / f"{key}.png")
    return paths


def uploaded(page: Any, crops: list[Path]) -> str:
    page.goto("/cell")
    page.set_input_files(FILES, crops)
    page.wait_for_selector(f".tile >> nth={len(crops) - 1}")
    return str(page.evaluate("localStorage.getItem('corpuscle.session')"))


def test_crops_from_upload_to_result(open_page, server, crops):
    page = open_page()
    uploaded(page, crops)
    assert page.locator(".tile").count() == 3
    assert page.locator(".file-name").inner_text() == "neutrophil.png"
    shares = page.locator(".detail .bar-number").all_inner_texts()
    assert len(shares) == 8
    assert all(re.fullmatch(r"[<>]? ?\d+\.\d%", share) for share in shares)
    assert page.locator(".detail svg.pie").get_attribute("aria-label")
    assert page.locator(".detail .chips .chip").count() >= 1
    # Arrow keys go from crop to crop, Enter opens.
    page.locator(".tile").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_text("lymphocyte.png").wait_for()


def test_a_bad_file_is_told_in_the_language_and_the_rest_is_read(open_page, server, crops, tmp_path):
    bad = tmp_path / "roto.png"
    bad.write_bytes(b"no picture at all")
    page = open_page("es")
    page.goto("/cell")
    page.set_input_files(FILES, [*crops, bad])
    page.wait_for_selector(".intake-status .notice")
    told = page.locator(".intake-status").inner_text()
    assert "No se pudo leer 1 imagen" in told
    assert "roto.png no es una imagen" in told
    page.locator(".tile").nth(2).wait_for()
    assert page.locator(".tile").count() == 3


def test_a_picture_can_be_pasted_and_dropped(open_page, server):
    page = open_page()
    page.goto("/cell")
    page.wait_for_selector(".intake")
    data = io.BytesIO()
    Image.fromarray(draw_cell("eosinophil", 2)).save(data, "PNG")
    give = """([bytes, kind, holder, name]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
      const how = {[holder]: transfer, bubbles: true, cancelable: true};
      window.dispatchEvent(kind === "paste" ? new ClipboardEvent(kind, how) : new DragEvent(kind, how));
    }"""
    page.evaluate(give, [list(data.getvalue()), "paste", "clipboardData", "pasted.png"])
    page.wait_for_selector(".tile")
    page.evaluate(give, [list(data.getvalue()), "drop", "dataTransfer", "dropped.png"])
    page.wait_for_selector(".tile >> nth=1")


def test_relabel_by_key_undo_and_find_it_after_a_restart(open_page, server, crops):
    page = open_page()
    session = uploaded(page, crops)
    page.goto("/review")
    page.wait_for_selector(".review-one")
    page.get_by_label("Your name, for the log").fill("Reviewer One")
    page.locator("h1").click()
    done = page.locator(".review-progress")
    page.keyboard.press("5")  # basophil
    page.get_by_text("1 of 3 reviewed").wait_for()
    row = page.locator(".differential tr", has_text="basophil").locator("td").first
    row.get_by_text("1", exact=True).wait_for()
    page.keyboard.press("u")
    page.get_by_text("0 of 3 reviewed").wait_for()
    row.get_by_text("0", exact=True).wait_for()
    page.keyboard.press("4")  # eosinophil, of the same cell
    page.get_by_text("1 of 3 reviewed").wait_for()
    page.get_by_label("This session is reviewed").check()
    page.get_by_text("Marked as reviewed.").wait_for()
    page.locator("summary", has_text="Log").click()
    entries = page.locator(".log li")
    assert entries.count() == 4
    assert "Reviewer One" in entries.nth(1).inner_text()
    assert done.is_visible()

    server.stop()
    server.start()
    again = open_page(session=session)
    again.goto("/review")
    again.get_by_text("1 of 3 reviewed").wait_for()
    assert again.get_by_label("This session is reviewed").is_checked()
    again.locator(".session-button").click()
    again.locator(".session-row.here", has_text="reviewed").wait_for()


def test_corrections_are_exported_as_a_folder_for_each_class(open_page, server, crops):
    page = open_page()
    uploaded(page, crops)
    page.goto("/review")
    page.wait_for_selector(".review-one")
    page.keyboard.press("3")
    page.get_by_text("1 of 3 reviewed").wait_for()
    page.locator(".review-bar .menu summary").click()
    with page.expect_download() as waited:
        page.get_by_role("button", name=re.compile("dataset.zip")).click()
    with zipfile.ZipFile(waited.value.path()) as packed:
        pictures = [name for name in packed.namelist() if name.lower().endswith(".png")]
    assert len(pictures) == 1
    assert "monocyte/" in pictures[0]


def test_a_field_is_counted_and_a_cell_opens(open_page, server, filled):
    page = open_page("es", session=filled)
    page.goto("/field")
    page.wait_for_selector(".gallery-fold")
    page.locator(".field-canvas").focus()
    page.keyboard.press("n")
    page.get_by_role("heading", name="Célula 1", exact=True).wait_for()
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("0")
    counts = (
        page.locator("section.card", has=page.get_by_role("heading", name="Recuentos")).locator("td").all_inner_texts()
    )
    assert len(counts) == 6
    assert int(counts[2]) > 0
    assert page.locator(".differential").first.is_visible()
    # A click in the middle of a box opens that cell.
    box = page.evaluate("""async () => {
      const sid = localStorage.getItem("corpuscle.session");
      const {cells} = await (await fetch(`/v1/sessions/${sid}/cells?order=number`)).json();
      const cell = cells.find(each => each.source === "field" && each.kind === "leukocyte");
      const {images} = await (await fetch(`/v1/sessions/${sid}/images`)).json();
      const image = images.find(each => each.id === cell.image);
      const [left, top, right, bottom] = cell.box;
      return {number: cell.number, x: (left + right) / 2 / image.width, y: (top + bottom) / 2 / image.height};
    }""")
    place = page.locator(".field-canvas").bounding_box()
    page.mouse.click(place["x"] + box["x"] * place["width"], place["y"] + box["y"] * place["height"])
    page.get_by_role("heading", name=f"Célula {box['number']}", exact=True).wait_for()


def test_cells_inside_a_line_on_the_map_go_to_review(open_page, server, filled):
    page = open_page(session=filled)
    page.goto("/map")
    page.wait_for_selector(".legend-list li")
    page.get_by_role("button", name="Draw around cells").click()
    place = page.locator(".map-canvas").bounding_box()
    left, top, right, bottom = 4, 4, place["width"] - 4, place["height"] - 4
    page.mouse.move(place["x"] + left, place["y"] + top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom)):
        page.mouse.move(place["x"] + x, place["y"] + y, steps=4)
    page.mouse.up()
    page.get_by_role("heading", name=re.compile(r"\d+ cells chosen")).wait_for()
    page.get_by_role("button", name="Review them").click()
    page.wait_for_selector(".review-one")
    assert "chosen cells" in page.locator("#scope option:checked").inner_text()


def test_the_theme_is_remembered(open_page, server):
    page = open_page()
    page.goto("/about")
    page.wait_for_selector(".theme-button")
    page.locator(".theme-button").click()
    page.locator(".theme-button").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_the_first_page_is_small_and_fast(open_page, server, capsys):
    page = open_page("es")
    sizes: list[int] = []
    page.on("response", lambda answer: sizes.append(len(answer.body())))
    page.goto("/")
    page.wait_for_selector(".hints")
    page.reload()
    page.wait_for_selector(".hints")
    ready = page.evaluate("performance.now()")
    with capsys.disabled():
        print(f"\nfirst page, second visit: ready after {ready:.0f} ms")
    page.wait_for_load_state("networkidle")
    assert sum(sizes) / 2 < MOST_FIRST_PAGE_BYTES


def test_a_server_that_is_gone_is_said_in_one_sentence(open_page, server, filled):
    page = open_page(session=filled, calm=False)
    page.goto("/cell")
    page.wait_for_selector(".tile")
    page.route(
        "**/v1/**",
        lambda route: route.fulfill(status=503, json={"error": {"code": "busy", "message": "The job was cancelled."}}),
    )
    page.evaluate("history.pushState(null, '', '/models'); dispatchEvent(new PopStateEvent('popstate'))")
    page.get_by_role("heading", name="This did not work").wait_for()


def test_many_labels_are_one_step(open_page, server, tmp_path):
    for key in CLASSES:
        Image.fromarray(draw_cell(key, 5)).save(tmp_path / f"{key}.png")
    page = open_page()
    uploaded(page, sorted(tmp_path.glob("*.png")))
    page.goto("/map")
    page.wait_for_selector(".legend-list li")
    page.get_by_label("Color by").select_option("source")
    page.get_by_role("button", name="Choose all: crop").click()
    page.get_by_role("heading", name="8 cells chosen").wait_for()
    page.get_by_role("button", name="Review them").click()
    page.wait_for_selector(".review-one")
    page.locator("#all-as").select_option("basophil")
    page.get_by_role("button", name="Label all").click()
    page.get_by_text("8 of 8 reviewed").wait_for()
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("0 of 8 reviewed").wait_for()


def test_the_chosen_model_reads_the_next_pictures(open_page, server, crops):
    page = open_page(calm=False)

    def with_another(route):
        answer = route.fetch().json()
        answer["models"].append({**answer["models"][0], "name": "another"})
        route.fulfill(json=answer)

    page.route("**/v1/models", with_another)
    page.goto("/models")
    page.get_by_role("button", name="another").click()
    page.get_by_role("button", name="Use this model").click()
    page.get_by_text("another will read the next pictures.").wait_for()
    page.goto("/cell")
    with page.expect_request("**/crops?**") as asked:
        page.set_input_files(FILES, crops)
    assert "model=another" in asked.value.url
    page.wait_for_selector(".intake-status .notice")


def test_the_skip_link_goes_to_the_content_and_keys_to_the_pages(open_page, server):
    page = open_page()
    page.goto("/about")
    page.wait_for_selector(".about-body")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url("**/review")
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()


def test_a_token_is_asked_for_until_it_is_right(open_page, serve, tmp_path):
    guarded = serve(tmp_path / "store", token="a-long-enough-token")
    guarded.start()
    try:
        page = open_page("es", calm=False, url=guarded.url)
        page.goto("/cell")
        for token, after in (
            ("this-is-not-the-token", "Esa no era la clave"),
            ("a-long-enough-token", "Rechazar también es"),
        ):
            page.get_by_label("Clave", exact=True).fill(token)
            page.keyboard.press("Enter")
            page.get_by_text(after).wait_for()
    finally:
        guarded.stop()


def test_a_picture_dropped_on_another_page_does_not_replace_it(open_page, server):
    page = open_page()
    page.goto("/review")
    page.wait_for_selector(".empty")
    kept = page.evaluate("""() => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(["x"], "a.png", {type: "image/png"}));
      return !window.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true}));
    }""")
    assert kept
