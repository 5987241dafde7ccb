"""Pictures of cells for the page: the square that was judged, and where in it the evidence lies."""

from __future__ import annotations

import io
import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpuscle.data.images import decode_image, read_image
from corpuscle.errors import CorpuscleError
from corpuscle.explanation.heat_map import overlay
from corpuscle.interfaces.api.problems import ProblemError
from corpuscle.interfaces.api.readers import Readers
from corpuscle.interfaces.api.store import Row, Store
from corpuscle.prediction.cell_naming import CellNamer
from corpuscle.prediction.tiling import ArraySource
from corpuscle.preprocessing.framing import background_color, shrink
from corpuscle.preprocessing.transforms import cut, prepare
from corpuscle.records import Framing

__all__ = ["CellPictures", "is_shown_as_is", "png_bytes", "shown_picture", "shown_scale"]

Image8 = npt.NDArray[np.uint8]
_LONGEST_PX: Final = 4096
_HELD_PIXELS: Final = 60_000_000
_MAP_PX: Final = 256
_BLACK: Final = np.zeros(3, np.float32)


def png_bytes(image: Image8) -> bytes:
    """Return a picture (HxWx3 or HxW uint8) as PNG."""
    data = io.BytesIO()
    Image.fromarray(image).save(data, format="PNG", compress_level=1)
    return data.getvalue()


def shown_scale(width: int, height: int) -> float:
    """Return the factor by which a picture is shrunk for the page; 1 for all but very large ones."""
    return min(1.0, _LONGEST_PX / max(width, height))


def is_shown_as_is(path: Path) -> bool:
    """Return whether every browser shows a file just as it is read here."""
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            plain = image.mode in ("RGB", "L") and "exif" not in image.info and "transparency" not in image.info
            return plain and max(image.size) <= _LONGEST_PX and getattr(image, "n_frames", 1) == 1
    except (OSError, ValueError, SyntaxError):
        return False


def shown_picture(store: Store, row: Row) -> tuple[bytes, str]:
    """Return a picture's bytes for the page, and their type.

    Raises:
        ProblemError: Its file is gone (404).
    """
    path = store.picture(row["id"])
    facts = json.loads(row["facts"])
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ProblemError(404, "The picture is gone.") from error
    if facts.get("as_is"):
        return data, "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
    picture = Image.fromarray(decode_image(data, name=row["name"]))
    picture.thumbnail((_LONGEST_PX, _LONGEST_PX), reducing_gap=2.0)
    return png_bytes(np.asarray(picture)), "image/png"


class CellPictures:
    """Cuts cells out of the pictures of a store, and keeps the last pictures decoded."""

    def __init__(self, store: Store, readers: Readers) -> None:
        self._store, self._readers = store, readers
        self._lock = threading.Lock()
        self._held: OrderedDict[str, Image8] = OrderedDict()

    def forget(self) -> None:
        """Let all pictures go."""
        with self._lock:
            self._held.clear()

    def _decoded(self, image: str) -> Image8:
        # One at a time: a gallery asks for a hundred cells of one picture at once.
        with self._lock:
            if image not in self._held:
                try:
                    self._held[image] = read_image(self._store.picture(image))
                except CorpuscleError as error:
                    raise ProblemError(404, "The picture is gone.") from error
            self._held.move_to_end(image)
            while len(self._held) > 1 and sum(item.size // 3 for item in self._held.values()) > _HELD_PIXELS:
                self._held.popitem(last=False)
            return self._held[image]

    def picture(self, cell: Row) -> Image8:
        """Return the picture that was judged: an uploaded crop, or a part of a field; HxWx3 uint8 RGB."""
        row = self._store.image(cell["image"])
        whole, facts = self._decoded(row["id"]), json.loads(row["facts"])
        if row["kind"] == "crop":
            return whole
        box = json.loads(cell["facts"])["box"]
        namer = CellNamer(self._readers.named(facts.get("model", "")))
        cut_out = namer.picture(ArraySource(whole), (box[0], box[1], box[2], box[3]), facts["erythrocyte_px"])
        return np.asarray(cut_out)

    def _model_of(self, cell: Row) -> str:
        return str(json.loads(self._store.image(cell["image"])["facts"]).get("model", ""))

    def _square(self, cell: Row, picture: Image8) -> Framing:
        """Return the square that was judged."""
        reader = self._readers.named(self._model_of(cell))
        return prepare(picture, reader.bundle.preprocessing, framing=reader.framing)[1]

    def crop(self, cell: Row, size_px: int) -> Image8:
        """Return the square that was judged, size x size x 3 uint8 RGB."""
        picture = self.picture(cell)
        return self._cut(picture, self._square(cell, picture), size_px)

    @staticmethod
    def _cut(picture: Image8, square: Framing, size_px: int) -> Image8:
        return cut(picture, square, size_px, background=background_color(shrink(picture)[0]), resampling="bicubic")

    def evidence(self, cell: Row, class_name: str, size_px: int = _MAP_PX) -> tuple[Image8, Image8]:
        """Return the map of a class over the square that was judged, and the map laid over it.

        Args:
            cell: The cell.
            class_name: A class of the model; the predicted one if empty.
            size_px: Side of both.

        Returns:
            SxS uint8, 255 where the evidence is strongest, and SxSx3 uint8 RGB.

        Raises:
            UnknownNameError: The model does not know the class.
        """
        picture = self.picture(cell)
        explainer = self._readers.explainer(self._readers.named(self._model_of(cell)).bundle.name)
        found = explainer.explain(picture, [class_name] if class_name else [])
        key = explainer.known_class(class_name) if class_name else found.maps[0].class_name
        cam = next(item.cam for item in found.maps if item.class_name == key)
        square = found.prediction.framing
        gray = np.round(255 * np.repeat(cam[..., None], 3, axis=2)).astype(np.uint8)
        shown = cut(gray, square, size_px, background=_BLACK)[..., 0]
        laid = overlay(self._cut(picture, square, size_px), shown.astype(np.float32) / np.float32(255))
        return np.ascontiguousarray(shown), laid
