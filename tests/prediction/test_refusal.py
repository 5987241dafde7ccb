"""Each threshold has its sentence, and the sentence names what to look at."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from corpuscle.models.bundle import load_bundle
from corpuscle.prediction.refusal import NO_CELL, NOT_STAINED, UNLIKE, refusal_reasons
from corpuscle.records import Framing


@pytest.fixture(scope="module")
def bundle():
    bundle = load_bundle()
    rule = dataclasses.replace(bundle.refusal, minimum_confidence=0.9, minimum_stain=0.2)
    return dataclasses.replace(bundle, refusal=rule)


def reasons(bundle, shares: dict[str, float], *, strangeness: float = 0.1, stain: float = 0.5, method: str = "cell"):
    values = np.asarray([shares.get(key, 0.0) for key in bundle.classes])
    framing = Framing(method, 0, 0, 100, stain=stain)
    return refusal_reasons(values, strangeness, framing, bundle, wants_cell=True)


SURE = {"monocyte": 0.95, "lymphocyte": 0.05}


def test_an_answer_inside_all_limits_stands(bundle):
    assert reasons(bundle, SURE, strangeness=1.0, stain=0.2) == ()


def test_each_limit_has_its_sentence(bundle):
    assert reasons(bundle, SURE, strangeness=1.01) == (UNLIKE,)
    assert reasons(bundle, SURE, stain=0.1) == (NOT_STAINED,)
    assert reasons(bundle, SURE, stain=0.1, method="center") == (NO_CELL,)
    assert reasons(bundle, SURE, stain=0.1, method="whole") == ()
    assert reasons(bundle, SURE, strangeness=9.9, stain=0.1) == (NOT_STAINED, UNLIKE)


def test_doubt_names_the_classes_it_wavers_between(bundle):
    nearly = {"immature_granulocyte": 0.4, "monocyte": 0.5, "neutrophil": 0.1}
    assert reasons(bundle, nearly) == ("two classes nearly equal: monocyte or immature granulocyte",)
    leaning = {"immature_granulocyte": 0.15, "monocyte": 0.85}
    assert reasons(bundle, leaning) == ("too doubtful: monocyte, perhaps immature granulocyte",)


def test_doubt_is_no_reason_where_the_cell_is_not_known(bundle):
    assert reasons(bundle, {"monocyte": 0.5, "neutrophil": 0.5}, strangeness=9.9) == (UNLIKE,)
