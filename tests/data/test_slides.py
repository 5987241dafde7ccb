from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from PIL import Image

from corpuscle.data.slides import open_slide, parse_region
from corpuscle.errors import MissingExtraError, UnreadableImageError, UsageError

tifffile = pytest.importorskip("tifffile")


def picture(height=700, width=900):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows % 251, columns % 241, (rows + columns) % 239], axis=-1).astype(np.uint8)


def write_pyramid(path, image, *, levels=3, **options):
    with tifffile.TiffWriter(path) as writer:
        settings = {"photometric": "rgb", "tile": (128, 128), **options}
        writer.write(image, subifds=levels - 1, resolution=(40_000, 40_000), resolutionunit=3, **settings)
        for level in range(1, levels):
            writer.write(image[:: 2**level, :: 2**level], subfiletype=1, **settings)
    return path


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_part_of_a_pyramid_is_what_was_written(tmp_path, compression):
    image = picture()
    path = write_pyramid(tmp_path / "slide.tif", image, compression=compression)
    part = open_slide(path, region=(100, 50, 400, 300))
    assert (part.width_px, part.height_px, part.downsample) == (400, 300, 1.0)
    assert part.origin_px == (100, 50)
    assert part.um_per_px == pytest.approx(0.25)
    assert np.array_equal(part.read(0, 0, 400, 300), image[50:350, 100:500])
    assert np.array_equal(part.read(37, 81, 140, 9), image[131:140, 137:277])


def test_a_level_is_smaller_and_its_pixels_are_larger(tmp_path):
    image = picture()
    part = open_slide(write_pyramid(tmp_path / "slide.tif", image), level=1, region=(200, 100, 400, 200))
    assert (part.width_px, part.height_px, part.downsample) == (200, 100, 2.0)
    assert part.origin_px == (200, 100)
    assert part.um_per_px == pytest.approx(0.5)
    assert np.array_equal(part.read(0, 0, 200, 100), image[::2, ::2][50:150, 100:300])


def test_the_whole_slide_is_the_default_and_edges_are_whole(tmp_path):
    image = picture(333, 517)
    part = open_slide(write_pyramid(tmp_path / "slide.tif", image))
    assert np.array_equal(part.read(0, 0, 517, 333), image)


def test_levels_as_pages_of_their_own_are_found(tmp_path):
    image = picture(512, 512)
    with tifffile.TiffWriter(tmp_path / "slide.tif") as writer:
        for level in (image, image[::2, ::2]):
            writer.write(level, photometric="rgb", tile=(64, 64), metadata=None)
    part = open_slide(tmp_path / "slide.tif", level=1)
    assert np.array_equal(part.read(0, 0, 256, 256), image[::2, ::2])


def test_a_picture_in_strips_is_read_too(tmp_path):
    image = picture(300, 200)
    tifffile.imwrite(tmp_path / "plain.tif", image, photometric="rgb", rowsperstrip=64)
    part = open_slide(tmp_path / "plain.tif", region=(10, 100, 50, 190))
    assert np.array_equal(part.read(0, 0, 50, 190), image[100:290, 10:60])
    assert part.um_per_px == 0


def test_jpeg_tiles_are_decoded_by_pillow(tmp_path):
    image = np.asarray(Image.fromarray(picture(64, 64)[::8, ::8]).resize((256, 256), Image.Resampling.BICUBIC))
    Image.fromarray(image).save(tmp_path / "jpeg.tif", compression="jpeg", quality=95)
    part = open_slide(tmp_path / "jpeg.tif")
    assert np.abs(part.read(0, 0, 256, 256).astype(int) - image).mean() < 4


def test_sixteen_bits_and_grey_become_rgb(tmp_path):
    grey = (np.arange(100 * 100).reshape(100, 100) * 6).astype(np.uint16)
    tifffile.imwrite(tmp_path / "grey.tif", grey, photometric="minisblack")
    seen = open_slide(tmp_path / "grey.tif").read(0, 0, 100, 100)
    assert seen.shape == (100, 100, 3)
    assert seen[-1, -1].tolist() == [round(int(grey[-1, -1]) / 257)] * 3


def test_the_size_of_a_pixel_is_read_from_an_aperio_description(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", picture(64, 64), photometric="rgb", description="Aperio |MPP = 0.4990|x = 1")
    assert open_slide(tmp_path / "a.tif").um_per_px == 0.499


@pytest.mark.parametrize(("level", "region", "said"), [(5, None, "levels 0 to 2"), (0, (5000, 0, 5, 5), "outside")])
def test_what_a_slide_does_not_have_is_refused(tmp_path, level, region, said):
    path = write_pyramid(tmp_path / "slide.tif", picture())
    with pytest.raises(UsageError, match=said):
        open_slide(path, level=level, region=region)


def test_a_damaged_slide_is_one_sentence(tmp_path):
    (tmp_path / "bad.svs").write_bytes(b"II*\0" + b"\0" * 40)
    with pytest.raises(UnreadableImageError, match="no slide that can be read"):
        open_slide(tmp_path / "bad.svs")
    path = write_pyramid(tmp_path / "slide.tif", picture(), compression="zlib")
    data = bytearray(path.read_bytes())
    data[3000:9000] = b"\x55" * 6000
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match=r"slide\.tif"):
        open_slide(path).read(0, 0, 900, 700)


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingExtraError, match=r"corpuscle\[wsi\]"):
        open_slide(tmp_path / "a.svs")
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(UnreadableImageError, match="openslide"):
        open_slide(tmp_path / "a.mrxs")


def test_other_makes_go_through_openslide(tmp_path, monkeypatch):
    image = picture(200, 300)

    class Slide:
        level_count, level_dimensions, level_downsamples = 2, [(300, 200), (150, 100)], [1.0, 2.0]

        def __init__(self, path):
            self.properties = {"openslide.mpp-x": "0.25"}
            assert path.endswith("a.mrxs")

        def read_region(self, corner, level, size):
            x, y = corner
            step = 2**level
            part = image[y::step, x::step][: size[1], : size[0]]
            return Image.fromarray(part).convert("RGBA")

    monkeypatch.setitem(sys.modules, "openslide", types.SimpleNamespace(OpenSlide=Slide))
    part = open_slide(tmp_path / "a.mrxs", level=1, region=(100, 40, 100, 100))
    assert np.array_equal(part.read(0, 0, 50, 50), image[40:140:2, 100:200:2])
    assert part.um_per_px == 0.5


def test_a_region_is_four_whole_numbers():
    assert parse_region("1,2,30,40") == (1, 2, 30, 40)
    for text in ("1,2,3", "a,b,c,d", "-1,0,5,5", "0,0,0,5"):
        with pytest.raises(UsageError, match="region"):
            parse_region(text)
