"""What commands share."""

from corpuscle.interfaces import console
from corpuscle.models import bundle


def test_the_default_model_is_that_of_the_library() -> None:
    assert console.DEFAULT_MODEL == bundle.DEFAULT_MODEL


def test_the_default_model_ships() -> None:
    assert bundle.DEFAULT_MODEL in bundle.shipped_bundles()
