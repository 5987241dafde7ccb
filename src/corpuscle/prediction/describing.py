"""Says of a cell what a hematologist would: its attributes in words, what of them is unusual, which known cell is near.

Attributes are read off the embedding by the bundle's linear probes and belong to the classes that annotated cells had;
of any other class, and of a cell that was refused, nothing is said in words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from corpuscle import taxonomy
from corpuscle.data.attributes import ATTRIBUTES
from corpuscle.errors import UsageError
from corpuscle.models.attribute_probe import AttributeProbe, read_probe
from corpuscle.models.bundle import Bundle
from corpuscle.models.known_cells import KnownCells, read_known_cells
from corpuscle.records import Description, KnownCell, Prediction, Trait

__all__ = [
    "Describer",
    "attribute_text",
    "description_columns",
    "description_row",
    "description_values",
    "open_describer",
    "phrase",
    "sentence",
]

_NEAREST: Final = 3
_DOUBTFUL: Final = 0.7
"""A value below this probability is said with "perhaps"."""
_PHRASES: Final = {
    "cell_size": "{} cell",
    "cell_shape": "{} outline",
    "nucleus_shape": "{} nucleus",
    "nuclear_cytoplasmic_ratio": "{} nuclear-cytoplasmic ratio",
    "chromatin_density": "{} chromatin",
    "cytoplasm_texture": "{} cytoplasm",
    "cytoplasm_color": "{} cytoplasm",
    "granule_type": "{} granules",
    "granule_color": "{} granules",
}
_YES_NO: Final = {"cytoplasm_vacuole": ("no vacuoles", "vacuoles"), "granularity": ("no granules", "granules")}
_REST: Final = ("cell_size", "cell_shape", "nuclear_cytoplasmic_ratio", "chromatin_density")


class Describer:
    """Describes cells with what a bundle holds for it; threads may share it."""

    def __init__(self, bundle: Bundle) -> None:
        """Read the bundle's probes and known cells.

        Raises:
            BundleError: One of the files cannot be used.
        """
        self._probe: AttributeProbe | None = read_probe(bundle)
        self._known: KnownCells | None = read_known_cells(bundle)

    @property
    def knows_something(self) -> bool:
        """Whether the bundle holds anything to describe a cell with."""
        return self._probe is not None or self._known is not None

    def describe(self, predictions: Sequence[Prediction], embedding: npt.NDArray[np.float32]) -> list[Prediction]:
        """Return the predictions with descriptions.

        Args:
            predictions: N answers.
            embedding: NxD float32, what the network gave for them.
        """
        shares = self._probe.probabilities(embedding) if self._probe else None
        nearest = self._known.nearest(embedding, _NEAREST) if self._known else [()] * len(predictions)
        answers = []
        for row, (prediction, near) in enumerate(zip(predictions, nearest, strict=True)):
            traits = self._traits(prediction, shares[row]) if shares is not None else ()
            description = _described(traits, prediction.class_name, near)
            answers.append(dataclasses.replace(prediction, description=description))
        return answers

    def _traits(self, prediction: Prediction, shares: npt.NDArray[np.float32]) -> tuple[Trait, ...]:
        probe = self._probe
        if probe is None or prediction.refused:
            return ()
        key = taxonomy.ancestor_in(prediction.class_name, probe.classes)
        if not key:
            return ()
        own = probe.classes.index(key)
        odd = probe.unusual(shares[None], np.asarray([own]))[0]
        traits = []
        for column, (name, part) in enumerate(probe.columns().items()):
            place = int(shares[part].argmax())
            probability, usual = float(shares[part][place]), float(probe.usual[own, part][place])
            traits.append(Trait(name, probe.attributes[name][place], probability, usual, bool(odd[column])))
        return tuple(traits)


def _described(traits: tuple[Trait, ...], class_name: str, nearest: tuple[KnownCell, ...]) -> Description:
    """Put traits into words."""
    if not traits:
        return Description(nearest=nearest)
    by_key = {trait.attribute: trait for trait in traits}
    name = taxonomy.cell_class(class_name).name_en
    remarks = tuple(
        f"{phrase(trait)}, as only {trait.usual:.1%} of the annotated {name}s have"
        if trait.usual > 0
        else f"{phrase(trait)}, as none of the annotated {name}s has"
        for trait in traits
        if trait.unusual
    )
    words = [_hedged([by_key["nucleus_shape"]], phrase(by_key["nucleus_shape"]))] if "nucleus_shape" in by_key else []
    if granules := _granules(by_key):
        words.append(granules)
    return Description(", ".join(words), remarks, traits, nearest)


def phrase(trait: Trait) -> str:
    """Return an attribute's value in words: `segmented-bilobed nucleus`."""
    if trait.attribute in _YES_NO:
        return _YES_NO[trait.attribute][trait.value == "yes"]
    text = _PHRASES.get(trait.attribute, trait.attribute.replace("_", " ") + " {}")
    return text.format("no" if trait.value == "none" else trait.value)


def _hedged(traits: Sequence[Trait], text: str) -> str:
    """Say a doubtful value with "perhaps"."""
    return f"perhaps {text}" if min(trait.probability for trait in traits) < _DOUBTFUL else text


def _granules(by_key: dict[str, Trait]) -> str:
    """Put the three attributes of granules into one phrase; whether there are any is asked first."""
    any_trait = by_key.get("granularity")
    if any_trait is None:
        return ""
    if any_trait.value == "no":
        return _hedged([any_trait], "no granules")
    told = [by_key[key] for key in ("granule_color", "granule_type") if key in by_key]
    told = [trait for trait in told if trait.value != "none"]
    return _hedged([any_trait, *told], " ".join([*(trait.value for trait in told), "granules"]))


def attribute_text(description: Description) -> str:
    """Return the attributes beside nucleus and granules, in words; empty where nothing is said."""
    by_key = {trait.attribute: trait for trait in description.traits}
    said = [_hedged([by_key[key]], phrase(by_key[key])) for key in _REST if key in by_key]
    if told := [by_key[key] for key in ("cytoplasm_texture", "cytoplasm_color") if key in by_key]:
        said.append(_hedged(told, " ".join([*(trait.value for trait in told), "cytoplasm"])))
    said += [phrase(by_key[key]) for key in ("cytoplasm_vacuole",) if key in by_key]
    return ", ".join(said)


def sentence(description: Description) -> str:
    """Return everything that is said of a cell's looks in one line; empty where nothing is."""
    return "; ".join(part for part in (description.words, attribute_text(description)) if part)


def description_columns() -> list[str]:
    """Return the columns that descriptions add to a table, the same for every bundle."""
    return ["words", "unusual", *(item.key for item in ATTRIBUTES), "nearest", "nearest_class", "nearest_distance"]


def description_row(description: Description | None) -> dict[str, str]:
    """Return the values of those columns, empty where there is nothing to say."""
    row = dict.fromkeys(description_columns(), "")
    if description is None:
        return row
    row |= {"words": description.words, "unusual": "; ".join(description.remarks)}
    row |= {trait.attribute: trait.value for trait in description.traits if trait.attribute in row}
    if description.nearest:
        first = description.nearest[0]
        row |= {"nearest": first.file, "nearest_class": first.class_name, "nearest_distance": f"{first.distance:.3f}"}
    return row


def description_values(description: Description) -> dict[str, Any]:
    """Return a description as plain values for JSON."""
    return {
        "words": description.words,
        "sentence": sentence(description),
        "unusual": list(description.remarks),
        "attributes": {
            trait.attribute: {
                "value": trait.value,
                "probability": round(trait.probability, 4),
                "usual": round(trait.usual, 4),
                "unusual": trait.unusual,
            }
            for trait in description.traits
        },
        "nearest": [
            {"file": cell.file, "class": cell.class_name, "distance": round(cell.distance, 4)}
            for cell in description.nearest
        ],
    }


def open_describer(bundle: Bundle) -> Describer:
    """Return a describer of a bundle that has something to describe with.

    Raises:
        UsageError: It has neither attributes nor known cells.
        BundleError: One of the files cannot be used.
    """
    describer = Describer(bundle)
    if not describer.knows_something:
        raise UsageError(
            f"The model {bundle.name} holds neither attributes nor known cells. Add them with "
            f"`corpuscle enrich {bundle.folder}`, or leave --attributes out."
        )
    return describer
