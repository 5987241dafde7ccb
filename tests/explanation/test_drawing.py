"""Result pictures: what they show, that nothing is cut off, and that they are saved whole or not at all."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_parts import border
from PIL import Image

from corpuscle.errors import OutputError, UnknownNameError, UsageError
from corpuscle.explanation import lettering, palette
from corpuscle.explanation.drawing import (
    CLASS_COLORS,
    FOOTER,
    SheetItem,
    class_color,
    draw_contact_sheet,
    save_png,
)
from corpuscle.taxonomy import KEYS

TILE = 208
# Margin of the sheet and padding of a card: the first picture of a sheet without heading begins here.
FIRST = 28 + 14
PURPLE = (120, 40, 140)
LONG = "immature_granulocyte"

# Machado, Oliveira and Fernandes 2009, severity 1; they act on linear RGB.
NO_RED = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
NO_GREEN = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
NO_BLUE = ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900))


def picture(height: int = TILE, width: int = TILE) -> np.ndarray:
    """A smooth picture without symmetry, pale as plasma."""
    y, x = np.mgrid[:height, :width]
    return np.stack([200 + x % 40, 180 + y % 50, 170 + (x + 2 * y) % 60], axis=2).astype(np.uint8)


def item(**changes: object) -> SheetItem:
    values = {"title": "neutrophil", "subtitle": "a.png", "color": PURPLE, "bar": 0.9, "warning": False}
    return SheetItem(**{"image": picture(), **values, **changes})


class TestPalette:
    def test_each_class_has_its_own_color(self) -> None:
        assert tuple(CLASS_COLORS) == KEYS
        assert len(set(CLASS_COLORS.values())) == len(KEYS)
        assert class_color("platelet") == CLASS_COLORS["platelet"]

    def test_unknown_class(self) -> None:
        with pytest.raises(UnknownNameError, match="blast_x"):
            class_color("blast_x")

    @pytest.mark.parametrize("eye", [np.eye(3), NO_RED, NO_GREEN, NO_BLUE], ids=["full", "red", "green", "blue"])
    def test_colors_differ_for_each_kind_of_eye(self, eye: object) -> None:
        srgb = np.array(list(CLASS_COLORS.values())) / 255
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        seen = np.clip(linear @ np.array(eye).T, 0, 1)
        to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        xyz = seen @ to_xyz.T / (0.9505, 1, 1.089)
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1000 * np.eye(len(lab))
        assert apart.min() > 19

    def test_a_larger_share_is_darker(self) -> None:
        luminance = [np.dot(palette.shade(share), (0.2126, 0.7152, 0.0722)) for share in np.linspace(0, 1, 41)]
        assert (np.diff(luminance) < 0).all()
        assert palette.shade(-1) == palette.shade(0)
        assert palette.shade(2) == palette.shade(1)

    def test_text_can_be_read_on_each_shade(self) -> None:
        def luminance(color: tuple[int, int, int]) -> float:
            c = np.array(color) / 255
            return float(
                np.dot(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4), (0.2126, 0.7152, 0.0722))
            )

        inks = set()
        for share in np.linspace(0, 1, 101):
            shade = palette.shade(share)
            inks.add(palette.ink_on(shade))
            dark, light = sorted((luminance(shade), luminance(palette.ink_on(shade))))
            assert (light + 0.05) / (dark + 0.05) > 3.9
        assert inks == {palette.INK, palette.WHITE}


class TestLettering:
    @pytest.mark.parametrize("size_px", [11, 14, 26, 61])
    def test_no_letter_leaves_its_mask(self, size_px: int) -> None:
        for letter in [*map(chr, range(33, 127)), *"áéíóúüñÁÉÍÓÚÜÑçÇâïåčŠ"]:
            mask = np.array(lettering.text_mask(letter, size_px))
            assert mask.any(), letter
            assert not border(mask, 1).any(), letter

    @pytest.mark.parametrize("pair", ["óo", "íi", "ñn", "Áa", "üu", "çc"])
    def test_accents_are_drawn(self, pair: str) -> None:
        first, second = (np.array(lettering.text_mask(letter, 14)) for letter in pair)
        assert first.shape != second.shape or (first != second).any()

    def test_decomposed_text_is_the_same(self) -> None:
        assert lettering.text_mask("neutro\u0301filo", 14) == lettering.text_mask("neutrófilo", 14)

    def test_what_the_font_lacks_is_a_question_mark(self) -> None:
        assert lettering.text_mask("a\u4e2d", 14) == lettering.text_mask("a?", 14)
        assert lettering.text_mask("a\tb\x00", 14) == lettering.text_mask("a b", 14)
        assert lettering.text_mask("4 × 3 – 1", 14) == lettering.text_mask("4 x 3 - 1", 14)

    def test_turned_text_is_as_long(self) -> None:
        flat = lettering.text_mask(LONG, 14)
        flat = flat.crop(flat.getbbox())
        upright = lettering.turned_mask(LONG, 14, 90)
        assert upright.size == flat.size[::-1]
        slanted = lettering.turned_mask(LONG, 14, 45)
        assert slanted.width == pytest.approx((flat.width + flat.height) * 0.707, abs=5)
        assert slanted.width == pytest.approx(slanted.height, abs=4)

    @settings(max_examples=40, deadline=None)
    @given(st.text("abc ñ.", max_size=60), st.integers(20, 120), st.one_of(st.none(), st.integers(1, 3)))
    def test_wrapped_text_fits(self, text: str, width_px: int, lines: int | None) -> None:
        rows = lettering.wrapped(text, 13, width_px, lines=lines)
        assert all(lettering.text_width(row, 13) <= width_px for row in rows)
        if lines is None:
            assert "".join(rows).replace(" ", "") == "".join(text.split())
        else:
            assert len(rows) <= lines

    def test_what_is_left_out_shows(self) -> None:
        assert lettering.wrapped("one two three", 13, 30, lines=1)[0].endswith("…")

    def test_a_pillow_without_freetype_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def load_default(size: float | None = None) -> object:
            if size is not None:
                raise ImportError
            return object()

        monkeypatch.setattr(lettering.ImageFont, "load_default", load_default)
        with pytest.raises(OutputError, match="FreeType"):
            lettering.text_width("text of an unusual size", 517)


class TestContactSheet:
    def test_the_picture_is_shown_unchanged(self) -> None:
        sheet = draw_contact_sheet([item()])
        np.testing.assert_array_equal(sheet[FIRST : FIRST + TILE, FIRST : FIRST + TILE], picture())

    def test_size_follows_rows_and_columns(self) -> None:
        one = draw_contact_sheet([item()])
        two = draw_contact_sheet([item()] * 2)
        four = draw_contact_sheet([item()] * 4, columns=2)
        assert one.dtype == np.uint8
        assert two.shape[1] - one.shape[1] == TILE + 2 * 14 + 16
        assert four.shape[1] == two.shape[1]
        assert four.shape[0] > two.shape[0] + TILE
        assert draw_contact_sheet([item()] * 3, columns=64).shape[1] > four.shape[1]

    def test_same_input_same_picture(self) -> None:
        items = [item(), item(warning=True, frame_box=(20, 20, 150, 150))]
        np.testing.assert_array_equal(
            draw_contact_sheet(items, title="Corpuscle"), draw_contact_sheet(items, title="Corpuscle")
        )

    def test_a_refusal_shows_without_color(self) -> None:
        def frame_row(sheet: np.ndarray) -> np.ndarray:
            return sheet[FIRST - 3, FIRST + 20 : FIRST + TILE - 20].astype(int).mean(axis=1)

        plain, refused = (draw_contact_sheet([item(warning=warning)]) for warning in (False, True))
        assert np.ptp(frame_row(plain)) == 0
        steps = np.diff(frame_row(refused) > 128)
        assert np.count_nonzero(steps) > 20
        # The word stands, white on dark, in the corner of the picture; the rest of the picture is left alone.
        tag = refused[FIRST : FIRST + 18, FIRST : FIRST + 60]
        assert {palette.INK, palette.WHITE} <= {tuple(pixel) for pixel in tag.reshape(-1, 3).tolist()}
        np.testing.assert_array_equal(refused[FIRST + 40 : FIRST + TILE, FIRST : FIRST + TILE], picture()[40:])

    def test_a_refusal_is_not_in_the_color_of_the_class(self) -> None:
        def has_color(sheet: np.ndarray) -> bool:
            return bool((sheet == PURPLE).all(axis=2).any())

        assert has_color(draw_contact_sheet([item()]))
        assert not has_color(draw_contact_sheet([item(warning=True)]))

    @pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
    def test_the_bar_is_as_long_as_the_confidence(self, share: float) -> None:
        def painted(bar: float) -> int:
            below = draw_contact_sheet([item(bar=bar)])[FIRST + TILE + 40 :]
            return int((below == PURPLE).all(axis=2).any(axis=0).sum())

        # The outline takes a pixel at each end.
        assert painted(share) == pytest.approx(share * painted(1.0), abs=2)
        assert painted(1.0) > TILE / 2

    def test_the_number_never_rounds_to_a_certainty(self) -> None:
        nearly, certain = (draw_contact_sheet([item(bar=bar)])[FIRST + TILE :] for bar in (0.9999, 1.0))
        assert (nearly != certain).any()

    def test_the_judged_square_is_drawn_to_scale(self) -> None:
        small = item(image=np.full((104, 104, 3), 200, np.uint8), frame_box=(10.0, 20.0, 80.0, 90.0))
        tile = draw_contact_sheet([small])[FIRST : FIRST + TILE, FIRST : FIRST + TILE]
        np.testing.assert_array_equal(tile[40, 20:160], 255)
        np.testing.assert_array_equal(tile[40:180, 159], 255)
        assert tuple(tile[39, 100]) == palette.INK
        np.testing.assert_array_equal(tile[60:160, 40:140], 200)

    def test_a_square_that_leaves_the_picture_stays_in_the_tile(self) -> None:
        sheets = [draw_contact_sheet([item(frame_box=box)]) for box in ((5, 5, 90, 90), (-70, -30, 900, 150))]
        for sheet in sheets:
            sheet[FIRST : FIRST + TILE, FIRST : FIRST + TILE] = 0
        np.testing.assert_array_equal(sheets[0], sheets[1])

    def test_other_shapes_are_fitted_and_centered(self) -> None:
        flat = item(image=np.full((50, 100, 3), 77, np.uint8))
        tile = draw_contact_sheet([flat])[FIRST : FIRST + TILE, FIRST : FIRST + TILE]
        rows = (tile == 77).all(axis=2).all(axis=1)
        assert np.flatnonzero(rows).tolist() == list(range(52, 156))

    @pytest.mark.parametrize("tile_px", [96, 208, 300])
    def test_long_texts_stay_inside(self, tile_px: int) -> None:
        long = "granulocito_inmaduro_" * 9
        items = [item(title=long, subtitle=long), item(title=f"{LONG} " * 9, subtitle="x y " * 99, warning=True)]
        sheet = draw_contact_sheet(items, columns=1, title=long, footer=long + " " + long, tile_px=tile_px)
        assert (border(sheet, 24) == palette.PAGE).all()
        # Between the texts and the edges of the cards there is no ink.
        plain = draw_contact_sheet(items, columns=1, footer="", tile_px=tile_px)
        bottom = np.flatnonzero((plain[:, 28] == palette.RULE).all(axis=1)).max()
        for left in (28 + 1, 28 + tile_px + 2 * 14 - 5):
            strip = plain[: bottom - 5, left : left + 4].reshape(-1, 3)
            assert {tuple(pixel) for pixel in strip.tolist()} <= {palette.WHITE, palette.PAGE, palette.RULE}

    def test_the_notice_is_always_whole(self) -> None:
        assert FOOTER == "Preliminary. Not a medical device."
        narrow = draw_contact_sheet([item()], tile_px=96)
        none = draw_contact_sheet([item()], tile_px=96, footer="")
        lines = lettering.wrapped(FOOTER, 12, 96 + 2 * 14)
        assert " ".join(lines) == FOOTER
        assert narrow.shape[0] - none.shape[0] == len(lines) * lettering.line_height(12)

    def test_nothing_to_show(self) -> None:
        with pytest.raises(UsageError, match="no picture"):
            draw_contact_sheet([])

    @pytest.mark.parametrize("options", [{"columns": 0}, {"columns": 65}, {"tile_px": 95}, {"tile_px": 1025}])
    def test_numbers_out_of_range(self, options: dict[str, int]) -> None:
        with pytest.raises(UsageError, match="Choose another"):
            draw_contact_sheet([item()], **options)

    def test_too_large_a_sheet(self) -> None:
        with pytest.raises(UsageError, match="Show fewer or smaller"):
            draw_contact_sheet([item()] * 200, tile_px=1024)

    @pytest.mark.parametrize(
        "changes",
        [
            {"image": picture()[..., 0]},
            {"image": picture().astype(np.float32)},
            {"image": picture()[:0]},
            {"image": [[0, 0, 0]]},
            {"bar": 1.01},
            {"bar": float("nan")},
            {"color": (0, 0)},
            {"color": (0, 0, 256)},
            {"color": (0.5, 0.5, 0.5)},
            {"frame_box": (5, 5, 5, 9)},
            {"frame_box": (0, 0, float("nan"), 9)},
            {"frame_box": (0, 0, 9)},
        ],
    )
    def test_an_item_that_cannot_be_drawn(self, changes: dict[str, object]) -> None:
        with pytest.raises(UsageError, match="'neutrophil'"):
            dataclasses.replace(item(), **changes)


class TestSavePng:
    def test_it_can_be_read_again(self, tmp_path: Path) -> None:
        path = tmp_path / "new folder" / "result.png"
        save_png(picture()[:, ::-1], path)
        with Image.open(path) as image:
            assert image.format == "PNG"
            np.testing.assert_array_equal(np.array(image), picture()[:, ::-1])
        assert [file.name for file in path.parent.iterdir()] == ["result.png"]

    def test_a_full_disk_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "result.png"
        path.write_bytes(b"old")

        def fill(image: Image.Image, part: Path, **options: object) -> None:
            Path(part).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Image.Image, "save", fill)
        with pytest.raises(OutputError, match=r"result\.png cannot be written: No space left") as caught:
            save_png(picture(), path)
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_the_old_file_stands_until_the_new_one_is_whole(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "result.png"
        path.write_bytes(b"old")
        seen = []
        save = Image.Image.save

        def watch(image: Image.Image, part: Path, **options: object) -> None:
            save(image, part, **options)
            seen.append(path.read_bytes())

        monkeypatch.setattr(Image.Image, "save", watch)
        save_png(picture(), path)
        assert seen == [b"old"]
        assert path.read_bytes().startswith(b"\x89PNG")

    def test_a_folder_that_may_not_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def forbid(*arguments: object, **options: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Image.Image, "save", forbid)
        with pytest.raises(OutputError, match="Permission denied"):
            save_png(picture(), tmp_path / "result.png")
        assert not list(tmp_path.iterdir())

    def test_a_folder_of_that_name(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="folder"):
            save_png(picture(), tmp_path)

    def test_a_file_in_place_of_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(OutputError, match="cannot be written"):
            save_png(picture(), tmp_path / "file" / "result.png")

    @pytest.mark.parametrize("bad", [picture()[..., 0], picture() / 255, picture()[:0], "picture"])
    def test_what_is_no_picture(self, tmp_path: Path, bad: object) -> None:
        with pytest.raises(UsageError):
            save_png(bad, tmp_path / "result.png")
        assert not list(tmp_path.iterdir())
