from __future__ import annotations

import re

import pytest

from corpuscle import errors
from corpuscle.errors import CorpuscleError, MissingExtraError, UnknownNameError


def drawn_tree() -> dict[str, str]:
    """Read each class and its parent off the drawing at the top of the module."""
    parents: dict[str, str] = {}
    branch: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([│├└─ ]*)(\w+Error)\s{2,}(\S.*)$", line)
        if found is None:
            continue
        depth = len(found[1]) // 4
        branch[depth:] = [found[2]]
        parents[found[2]] = branch[depth - 1] if depth else ""
    return parents


def classes() -> dict[str, type[CorpuscleError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, CorpuscleError)
    }


def test_the_drawing_shows_the_classes_as_they_are():
    real = {name: kind.__bases__[0].__name__ for name, kind in classes().items()}
    assert drawn_tree() == real | {"CorpuscleError": ""}


def test_every_class_is_public_and_the_list_is_sorted():
    assert errors.__all__ == sorted(classes())


def test_every_class_says_what_it_means():
    assert all(kind.__doc__ and kind.__doc__.endswith(".") for kind in classes().values())


@pytest.mark.parametrize("kind", sorted(classes()))
def test_exit_statuses(kind):
    wrong_request = {
        "UsageError", "UnknownNameError", "RecipeError", "NoInputError", "BundleNotFoundError", "MissingExtraError",
    }  # fmt: skip
    assert classes()[kind].exit_status == (2 if kind in wrong_request else 3)


def test_an_unknown_name_lists_the_known_ones():
    error = UnknownNameError("fruit", "aple", ("apple", "pear"))
    assert str(error) == "There is no fruit named 'aple'. Choose one of: apple, pear."
    assert (error.kind, error.name, error.known) == ("fruit", "aple", ("apple", "pear"))


def test_a_missing_extra_says_how_to_install_it():
    assert "pip install 'corpuscle[train]'" in str(MissingExtraError("Training", "train"))
