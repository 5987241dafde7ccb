"""Why a picture was given its class: maps of the evidence for the classes that matter in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from corpuscle import taxonomy
from corpuscle.data.images import read_image
from corpuscle.errors import (
    CorpuscleError,
    MissingExtraError,
    UnknownNameError,
    UnreadableImageError,
    UsageError,
)
from corpuscle.explanation.cam import CamMaker, place_map
from corpuscle.models.bundle import DEFAULT_MODEL, OPTIONAL_FILES, Bundle, load_bundle
from corpuscle.prediction.classification import CellReader, Source, all_sources
from corpuscle.preprocessing.transforms import prepare, to_batch
from corpuscle.records import Failure, Prediction

__all__ = [
    "METHODS",
    "ClassMap",
    "Explainer",
    "Explanation",
    "MapMaker",
    "all_makers",
    "explain",
    "make_maker",
    "open_model",
]

METHODS: Final = ("cam", "gradcam", "gradcam++", "integrated_gradients", "occlusion")
"""Ways to make a map. The first needs nothing but the base installation; the others need torch and captum."""


class MapMaker(Protocol):
    """Makes maps of evidence by one method."""

    method: str

    def maps(self, batch: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return Nxhxw float32, signed, for a batch (Nx3xSxS float32) and the places of one class a picture (N)."""
        ...


@dataclass(frozen=True, slots=True)
class ClassMap:
    """Where the evidence for one class lies.

    Attributes:
        class_name: A key of the taxonomy.
        probability: What the model gave that class, in [0, 1].
        cam: The map, float32 in [0, 1], of the picture's height and width; each map has a scale of its own.
        strength: Evidence at its strongest place relative to that of the predicted class; 0 or more.
    """

    class_name: str
    probability: float
    cam: npt.NDArray[np.float32]
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """A prediction with its maps.

    Attributes:
        prediction: What was said of the picture, with a description in words where the bundle has one.
        method: How the maps were made.
        picture: HxWx3 uint8 RGB.
        maps: The predicted class, the runner-up, then each class asked for that is neither.
    """

    prediction: Prediction
    method: str
    picture: npt.NDArray[np.uint8]
    maps: tuple[ClassMap, ...]


def open_model(model: str | os.PathLike[str] | Bundle) -> Bundle:
    """Load a bundle by name or folder; the folder of a training run stands for the bundle inside it.

    Raises:
        BundleError: There is none, or it cannot be used.
    """
    if isinstance(model, Bundle):
        return model
    inside = Path(model) / "bundle"
    return load_bundle(inside if (inside / "bundle.json").is_file() else model)


def make_maker(bundle: Bundle, method: str = "cam") -> MapMaker:
    """Open a way to make maps with a bundle.

    Raises:
        UnknownNameError: There is no such method.
        UsageError: The network has no exact class activation map.
        MissingExtraError: The method needs packages that are not installed.
        BundleError: The bundle's files cannot be used.
    """
    if method not in METHODS:
        raise UnknownNameError("explanation method", method, METHODS)
    if method == "cam":
        return CamMaker(bundle)
    try:
        from corpuscle.models.attribution import NetworkMaker
        from corpuscle.models.restored import restore_network
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"The method {method}", "explain") from error
    return NetworkMaker(restore_network(bundle), bundle.preprocessing, method)


def all_makers(bundle: Bundle) -> tuple[dict[str, MapMaker], dict[str, MapMaker]]:
    """Open every method that a bundle and this installation allow.

    Returns:
        The methods by name, and the same with randomized weights, which need torch.

    Raises:
        BundleError: The bundle's files cannot be used.
    """
    makers: dict[str, MapMaker] = {}
    randomized: dict[str, MapMaker] = {}
    for method in METHODS:
        try:
            makers[method] = make_maker(bundle, method)
        except (MissingExtraError, UsageError):
            continue
    try:
        from corpuscle.models.attribution import NetworkMaker
        from corpuscle.models.restored import with_random_weights
    except ModuleNotFoundError:
        return makers, randomized
    network = with_random_weights(bundle)
    for method in makers:
        randomized[method] = NetworkMaker(network, bundle.preprocessing, method)
    return makers, randomized


class Explainer:
    """Explains pictures one by one with one bundle and one method; keep it for many pictures."""

    def __init__(
        self, model: str | os.PathLike[str] | Bundle = DEFAULT_MODEL, *, method: str = "cam", framing: str = "auto"
    ) -> None:
        """Load what the method needs.

        Args:
            model: Name of a shipped bundle, a bundle's folder, a run's folder, or a loaded bundle.
            method: One of `METHODS`.
            framing: Which square of each picture is judged.

        Raises:
            UnknownNameError: There is no such method or framing.
            UsageError: The network has no exact class activation map.
            MissingExtraError: The method needs packages that are not installed.
            BundleError: The model cannot be used.
        """
        self.bundle = open_model(model)
        can_describe = any(name in self.bundle.files for name in OPTIONAL_FILES)
        self._reader = CellReader(self.bundle, framing=framing, describe=can_describe)
        self._maker = make_maker(self.bundle, method)
        self.method = method

    def explain(self, source: Source, classes: Sequence[str] = ()) -> Explanation:
        """Explain one picture.

        Args:
            source: A file, or an array HxWx3 uint8 RGB.
            classes: Classes to explain besides the predicted one and the runner-up, as keys or synonyms.

        Raises:
            UnknownNameError: The model does not know one of the classes.
            ImageError: The picture cannot be read.
        """
        wanted = [self.known_class(name) for name in classes]
        picture = source if isinstance(source, np.ndarray) else read_image(source)
        answer = self._reader.read([picture])[0]
        if isinstance(answer, Failure):
            raise UnreadableImageError(answer.reason)
        if not isinstance(source, np.ndarray):
            answer = replace(answer, file=str(os.fspath(source)))
        ranked = sorted(answer.probabilities, key=lambda key: -answer.probabilities[key])[:2]
        keys = list(dict.fromkeys([*ranked, *wanted]))
        crop, framing = prepare(picture, self.bundle.preprocessing, framing=self._reader.framing)
        batch = np.repeat(to_batch(crop[None], self.bundle.preprocessing), len(keys), axis=0)
        targets = np.asarray([self.bundle.classes.index(key) for key in keys], np.int64)
        height, width = picture.shape[:2]
        found = np.asarray(self._maker.maps(batch, targets))
        peaks = np.maximum(found.max(axis=(1, 2)), 0)
        maps = tuple(
            ClassMap(
                key,
                answer.probabilities[key],
                place_map(evidence, framing, (height, width)),
                float(peak / peaks[0]) if peaks[0] > 0 else 0.0,
            )
            for key, evidence, peak in zip(keys, found, peaks, strict=True)
        )
        return Explanation(answer, self.method, picture, maps)

    def known_class(self, name: str) -> str:
        """Return the key of a class of the model.

        Raises:
            UnknownNameError: The taxonomy or the model does not know it.
        """
        key = taxonomy.resolve(name)
        if key not in self.bundle.classes:
            raise UnknownNameError(f"class of the model {self.bundle.name}", name, self.bundle.classes)
        return key


def explain(
    sources: Source | Iterable[Source],
    *,
    classes: Sequence[str] = (),
    method: str = "cam",
    model: str | os.PathLike[str] | Bundle = DEFAULT_MODEL,
    framing: str = "auto",
    on_error: str = "raise",
) -> Iterator[Explanation | Failure]:
    """Say why each picture was given its class, one picture at a time, so that memory stays flat.

    Args:
        sources: One or many of: a file, a folder (searched through), a glob pattern, an array HxWx3 uint8 RGB.
        classes: Classes to explain besides the predicted one and the runner-up.
        method: One of `METHODS`.
        model: Name of a shipped bundle, a bundle's folder, a run's folder, or a loaded bundle.
        framing: Which square of a picture is judged.
        on_error: `raise` at the first picture that cannot be read, or `keep` going with a `Failure` for it.

    Yields:
        An `Explanation` for each picture, in order; with `on_error="keep"` a `Failure` where one could not be read.

    Raises:
        UsageError: `on_error` is neither, or the network has no map of that kind.
        UnknownNameError: There is no such method, class or framing.
        NoInputError: A path does not exist or holds no picture.
        ImageError: A picture cannot be read.
        MissingExtraError: The method needs packages that are not installed.
        BundleError: The model cannot be used.
    """
    if on_error not in ("raise", "keep"):
        raise UsageError(f"on_error must be 'raise' or 'keep', not {on_error!r}.")
    found = all_sources(sources)
    explainer = Explainer(model, method=method, framing=framing)
    wanted = [explainer.known_class(name) for name in classes]
    for source in found:
        try:
            yield explainer.explain(source, wanted)
        except CorpuscleError as error:
            if on_error == "raise":
                raise
            yield Failure("" if isinstance(source, np.ndarray) else str(os.fspath(source)), str(error))
