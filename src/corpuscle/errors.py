"""Errors that Corpuscle raises on purpose, each saying what is wrong, where, and what to do next.

CorpuscleError                    exit status 3 on the command line
├── UsageError                    exit status 2: the request itself is wrong
│   ├── UnknownNameError          no class, data set, model or option of that name
│   └── RecipeError               a training recipe that cannot be followed
├── InputError                    a given file or folder cannot be used
│   ├── NoInputError              nothing to read where something was promised
│   └── ImageError                one picture cannot be used
│       ├── UnreadableImageError  no picture, a damaged one, or a format we do not read
│       └── ImageTooLargeError    more pixels than the limit; refused before decoding
├── DataError                     a data set is missing, incomplete or contradicts itself
│   ├── DatasetNotFoundError      its files are not under the data root
│   └── FetchError                a download failed
├── BundleError                   a model bundle cannot be used
│   ├── BundleNotFoundError       no bundle of that name or at that path
│   └── BundleTamperedError       a file does not have the hash that the bundle states
├── TrainingError                 a training cannot go on
├── OutputError                   a result cannot be written
└── MissingExtraError             an optional part of the installation is needed
"""

from __future__ import annotations

__all__ = [
    "BundleError",
    "BundleNotFoundError",
    "BundleTamperedError",
    "CorpuscleError",
    "DataError",
    "DatasetNotFoundError",
    "FetchError",
    "ImageError",
    "ImageTooLargeError",
    "InputError",
    "MissingExtraError",
    "NoInputError",
    "OutputError",
    "RecipeError",
    "TrainingError",
    "UnknownNameError",
    "UnreadableImageError",
    "UsageError",
]


class CorpuscleError(Exception):
    """Any failure that Corpuscle foresees; its text is one sentence for the user."""

    exit_status = 3


class UsageError(CorpuscleError):
    """The request itself is wrong: nothing was read or written."""

    exit_status = 2


class UnknownNameError(UsageError):
    """A name that no table holds."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...]) -> None:
        """Say which `kind` of thing `name` was meant to be, and list the `known` ones."""
        advice = f"Choose one of: {', '.join(known)}." if known else "Check the spelling."
        super().__init__(f"There is no {kind} named {name!r}. {advice}")
        self.kind, self.name, self.known = kind, name, known


class RecipeError(UsageError):
    """A training recipe that cannot be followed."""


class InputError(CorpuscleError):
    """A given file or folder cannot be used."""


class NoInputError(InputError):
    """Nothing to read where something was promised."""

    exit_status = 2


class ImageError(InputError):
    """One picture cannot be used."""


class UnreadableImageError(ImageError):
    """No picture, a damaged one, or a format that we do not read."""


class ImageTooLargeError(ImageError):
    """More pixels than the limit; refused before decoding."""


class DataError(CorpuscleError):
    """A data set is missing, incomplete or contradicts itself."""


class DatasetNotFoundError(DataError):
    """The files of a data set are not under the data root."""


class FetchError(DataError):
    """A download failed."""


class BundleError(CorpuscleError):
    """A model bundle cannot be used."""


class BundleNotFoundError(BundleError, UsageError):
    """No bundle of that name or at that path."""

    exit_status = 2


class BundleTamperedError(BundleError):
    """A file of a bundle does not have the hash that the bundle states."""


class TrainingError(CorpuscleError):
    """A training cannot go on."""


class OutputError(CorpuscleError):
    """A result cannot be written."""


class MissingExtraError(CorpuscleError):
    """An optional part of the installation is needed."""

    exit_status = 2

    def __init__(self, what: str, extra: str) -> None:
        """Say that `what` needs the optional dependencies `extra`, and how to install them."""
        super().__init__(f"{what} needs more packages. Install them with: pip install 'corpuscle[{extra}]'")
        self.extra = extra
