"""Every kind of picture becomes HxWx3 uint8 RGB, and whatever is none gives one clear sentence."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from corpuscle.data.images import IMAGE_SUFFIXES, MAX_PIXELS, decode_image, find_images, read_image
from corpuscle.errors import ImageError, ImageTooLargeError, NoInputError, UnreadableImageError

HEIGHT, WIDTH = 40, 56


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A smooth picture without symmetry, so that any wrong turn or channel shows."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 4, y * 6, 255 - x * 2 - y], axis=2).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(image: Image.Image, kind: str, **options: object) -> np.ndarray:
    array = decode_image(encoded(image, kind, **options), name="drawn")
    assert array.dtype == np.uint8
    assert array.ndim == 3
    assert array.shape[2] == 3
    assert array.flags.c_contiguous
    assert array.flags.writeable
    return array


def png_header(width: int, height: int, *, body: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_lossless_formats_give_the_exact_pixels(picture, kind, options):
    assert np.array_equal(decoded(Image.fromarray(picture), kind, **options), picture)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}])
def test_jpeg_pixels_are_those_of_pillow(picture, options):
    data = encoded(Image.fromarray(picture), "JPEG", quality=90, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    assert np.array_equal(decode_image(data, name="x"), expected)


def test_the_content_counts_and_not_the_suffix(picture, tmp_path):
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encoded(Image.fromarray(picture), "PNG"))
    assert np.array_equal(read_image(path), picture)
    assert np.array_equal(read_image(str(path)), picture)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_noted_rotation_is_applied(picture, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    expected = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, -1),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture, 1),
    }[orientation]
    got = decoded(Image.fromarray(picture), kind, exif=exif, **options)
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).max() <= (8 if kind == "JPEG" else 0)


def test_broken_exif_is_no_reason_to_refuse_the_pixels(picture):
    data = encoded(Image.fromarray(picture), "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\xff\xff\x01\x12\x00")
    assert decode_image(data, name="x").shape == picture.shape


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "YCbCr"])
def test_other_color_modes_are_converted_as_pillow_does(picture, mode):
    image = Image.fromarray(picture).convert(mode)
    assert np.array_equal(decoded(image, "TIFF"), np.asarray(image.convert("RGB")))


def test_cmyk_jpeg_of_adobe_keeps_its_colors(picture):
    flat = np.full_like(picture, (200, 40, 90))
    got = decoded(Image.fromarray(flat).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(got.astype(int) - flat).max() <= 6


def test_palette_is_resolved(picture):
    image = Image.fromarray(picture).quantize(16)
    assert np.array_equal(decoded(image, "PNG"), np.asarray(image.convert("RGB")))


def test_transparent_palette_entries_lie_on_white(picture):
    image = Image.fromarray(picture).quantize(16)
    index = np.asarray(image)
    opacity = bytes([0] + [255] * 15)
    for transparency in (opacity, 0):
        got = decoded(image, "PNG", transparency=transparency)
        assert (got[index == 0] == 255).all()
        assert np.array_equal(got[index != 0], np.asarray(image.convert("RGB"))[index != 0])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_on_white(picture, mode):
    image = Image.fromarray(picture).convert(mode)
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[:, 20:], alpha[:, 40:] = 128, 255
    image.putalpha(Image.fromarray(alpha))
    opaque = np.asarray(Image.fromarray(picture).convert("RGB" if mode == "RGBA" else "L").convert("RGB")).astype(float)
    share = alpha[..., None] / 255
    got = decoded(image, "PNG")
    assert np.abs(got - (opaque * share + 255 * (1 - share))).max() <= 1
    assert (got[:, :20] == 255).all()


@pytest.mark.parametrize(("mode", "color"), [("RGB", (0, 0, 255)), ("L", 7)])
def test_a_single_transparent_color_becomes_white(mode, color):
    image = Image.new(mode, (6, 4), color)
    assert (decoded(image, "PNG", transparency=color) == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gray_uses_its_full_range(kind):
    gray = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    got = decoded(Image.fromarray(gray), kind)
    assert got.min() == 0
    assert got.max() == 255
    assert np.abs(got[..., 0] - gray / 257.0).max() <= 0.5
    assert (got[..., 0] == got[..., 2]).all()


def test_32_bit_gray_is_taken_inside_16_bits_and_refused_outside():
    assert (decoded(Image.new("I", (5, 5), 65535), "TIFF") == 255).all()
    for value in (-1, 65536):
        with pytest.raises(UnreadableImageError, match=r"outside 0\.\.65535"):
            decoded(Image.new("I", (5, 5), value), "TIFF")


def test_floating_point_gray_is_refused():
    with pytest.raises(UnreadableImageError, match="floating-point"):
        decoded(Image.new("F", (5, 5), 0.5), "TIFF")


def test_16_bit_color_png_loses_only_the_low_byte():
    row = b"\x00" + struct.pack(">6H", 0xFF00, 0x8012, 0x0034, 0x01FF, 0xFFFF, 0x7F80)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = png_header(2, 1, body=row).replace(struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 0), header)
    data = data.replace(
        struct.pack(">I", zlib.crc32(b"IHDR" + struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 0))),
        struct.pack(">I", zlib.crc32(b"IHDR" + header)),
    )
    assert decode_image(data, name="x").tolist() == [[[0xFF, 0x80, 0x00], [0x01, 0xFF, 0x7F]]]


def test_the_first_page_is_read(picture):
    other = Image.fromarray(255 - picture)
    assert np.array_equal(
        decoded(Image.fromarray(picture), "TIFF", save_all=True, append_images=[other]),
        picture,
    )


def test_one_pixel_is_a_picture():
    assert decoded(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG").tolist() == [[[9, 8, 7]]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_cut_off_anywhere_is_refused(kind, progressive):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    options = {"progressive": progressive} if kind == "JPEG" else {}
    data = encoded(Image.fromarray(noise), kind, **options)
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
        with pytest.raises(UnreadableImageError, match=r"cut off|damaged") as caught:
            decode_image(data[: int(len(data) * share)], name="cell.img")
        assert str(caught.value).startswith("cell.img ")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"patient,count\n1,2\n" * 50, "save it in one of"),
        (b"\x00" * 1000, "save it in one of"),
        (b"\xff\xd8\xff", "damaged"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, data, words):
    path = tmp_path / "notes.png"
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match=words) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(".")


def test_formats_outside_the_list_are_refused(picture):
    for kind in ("GIF", "ICO", "PPM"):
        with pytest.raises(UnreadableImageError, match="PNG, JPEG, TIFF, WebP or BMP"):
            decode_image(encoded(Image.fromarray(picture), kind), name="x")


def test_folder_missing_file_and_pipe_are_named(tmp_path):
    with pytest.raises(UnreadableImageError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(UnreadableImageError, match="does not exist"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UnreadableImageError, match="cannot be opened"):
        read_image("a\0b.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnreadableImageError, match="no ordinary file"):
        read_image(tmp_path / "pipe.png")


def test_a_file_without_permission_is_named(tmp_path, monkeypatch):
    path = tmp_path / "locked.png"
    path.write_bytes(b"x")

    def locked(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", locked)  # a chmod would not stop the superuser
    with pytest.raises(UnreadableImageError, match="permissions"):
        read_image(path)


def test_the_limit_lets_a_large_field_pass_and_is_checked_before_decoding():
    assert MAX_PIXELS >= 10_000 * 10_000
    started = time.process_time()
    with pytest.raises(ImageTooLargeError, match="13000 x 13000"):
        decode_image(png_header(13_000, 13_000), name="bomb.png")
    for side in (60_000, 2**31 - 1):
        with pytest.raises(ImageTooLargeError):
            decode_image(png_header(side, side), name="bomb.png")
    webp = encoded(Image.new("RGB", (4, 4)), "WEBP", lossless=True)
    huge = webp[:21] + struct.pack("<I", 0x0FFFFFFF) + webp[25:]
    with pytest.raises(ImageError):
        decode_image(huge, name="bomb.webp")
    assert time.process_time() - started < 0.1


def test_the_limit_itself_passes(picture):
    data = encoded(Image.fromarray(picture), "PNG")
    assert decode_image(data, name="x", max_pixels=HEIGHT * WIDTH).shape == picture.shape
    with pytest.raises(ImageTooLargeError, match="limit of 2,239"):
        decode_image(data, name="x", max_pixels=HEIGHT * WIDTH - 1)


def test_pillow_warns_of_size_and_the_user_does_not_hear_it(picture, monkeypatch):
    data = encoded(Image.fromarray(picture), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH - 1)
    with pytest.raises(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data))
    assert np.array_equal(decode_image(data, name="x"), picture)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageTooLargeError):
        decode_image(data, name="x")


def test_warning_filters_survive_many_threads(picture):
    data = encoded(Image.fromarray(picture), "JPEG")
    before = list(warnings.filters)
    threads = [threading.Thread(target=lambda: [decode_image(data, name="x") for _ in range(30)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP", "BMP"]), st.data())
def test_damaged_bytes_give_a_picture_or_our_error(kind, data):
    source = bytearray(encoded(Image.fromarray(np.arange(27 * 3, dtype=np.uint8).reshape(3, 9, 3)), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        source[data.draw(st.integers(0, len(source) - 1))] = data.draw(st.integers(0, 255))
    try:
        array = decode_image(bytes(source), name="x", max_pixels=10_000)
    except ImageError:
        return
    assert array.dtype == np.uint8
    assert array.shape[2] == 3


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b/2.PNG", "b/1.jpg", "a/3.tiff", "a/notes.txt", "a/.hidden.png", ".cache/x.png", "z.webp"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "folder.jpg").mkdir()
    return tmp_path


def names(found: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found]


def test_a_folder_is_walked_sorted_without_hidden_files(tree):
    assert names(find_images([tree]), tree) == ["a/3.tiff", "b/1.jpg", "b/2.PNG", "z.webp"]
    assert find_images(tree) == find_images([str(tree)])
    (tree / "folder.jpg" / "in.bmp").write_bytes(b"x")
    assert "folder.jpg/in.bmp" in names(find_images(tree), tree)


def test_named_files_are_kept_and_given_once_in_order(tree):
    found = find_images([tree / "z.webp", tree / "a/notes.txt", tree / "a", f"{tree}/b/../a/3.tiff"])
    assert names(found, tree) == ["z.webp", "a/notes.txt", "a/3.tiff"]


def test_patterns(tree):
    assert names(find_images([f"{tree}/*/[13].*"]), tree) == ["a/3.tiff", "b/1.jpg"]
    assert names(find_images([f"{tree}/**/*.jpg"]), tree) == ["b/1.jpg"]
    assert names(find_images([f"{tree}/[ab]"]), tree) == ["a/3.tiff", "b/1.jpg", "b/2.PNG"]
    (tree / "b/c[1].png").write_bytes(b"x")
    assert names(find_images([tree / "b/c[1].png"]), tree) == ["b/c[1].png"]


def test_links_to_files_are_followed_and_rings_of_folders_are_not(tree):
    (tree / "b/link.png").symlink_to(tree / "z.webp")
    (tree / "b/ring").symlink_to(tree, target_is_directory=True)
    assert names(find_images(tree / "b"), tree) == ["b/1.jpg", "b/2.PNG", "b/link.png"]


@pytest.mark.parametrize("missing", ["nowhere.png", "none/*.png", "folder.jpg", "a/*.txt", "a\0b", ""])
def test_nothing_to_read_is_said(tree, missing, monkeypatch):
    monkeypatch.chdir(tree)
    with pytest.raises(NoInputError, match=r"\.$"):
        find_images([tree / "z.webp", missing])


def test_no_path_at_all():
    with pytest.raises(NoInputError, match="No path"):
        find_images([])


def test_a_folder_that_cannot_be_listed_is_named(tree, monkeypatch):
    def locked(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(NoInputError, match="cannot be listed"):
        find_images(tree)


def test_suffixes_are_lower_case_with_a_dot():
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in IMAGE_SUFFIXES)
