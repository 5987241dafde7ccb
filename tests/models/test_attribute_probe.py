from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from corpuscle.errors import BundleError, BundleTamperedError, UsageError
from corpuscle.models.attribute_probe import ATTRIBUTES_FILE, AttributeProbe, read_probe, write_probe
from corpuscle.models.bundle import load_bundle, write_manifest


def probe_of(width: int) -> AttributeProbe:
    rng = np.random.default_rng(0)
    return AttributeProbe(
        attributes={"shape": ("round", "band"), "color": ("red", "pink", "none")},
        classes=("neutrophil", "eosinophil"),
        weights=rng.normal(size=(width, 5)).astype(np.float32),
        bias=np.zeros(5, np.float32),
        usual=np.asarray([[0.5, 0.5, 0, 1, 0], [0.01, 0.99, 1, 0, 0]], np.float32),
        certain=0.8,
        rare=0.05,
    )


def test_each_attribute_has_probabilities_of_its_own():
    probe = probe_of(4)
    embedding = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    shares = probe.probabilities(embedding)
    assert np.allclose(shares[:, :2].sum(1), 1)
    assert np.allclose(shares[:, 2:].sum(1), 1)
    logits = embedding @ probe.weights
    assert (shares[:, 2:].argmax(1) == logits[:, 2:].argmax(1)).all()


def test_a_value_is_unusual_where_it_is_rare_in_the_class_and_surely_seen():
    probe = probe_of(4)
    shares = np.asarray([[0.9, 0.1, 0.9, 0.1, 0.0], [0.7, 0.3, 0.5, 0.2, 0.3]], np.float32)
    assert probe.unusual(shares, np.asarray([0, 0])).tolist() == [[False, True], [False, True]]
    assert probe.unusual(shares, np.asarray([1, 1])).tolist() == [[True, False], [False, False]]


def test_probes_come_back_from_the_bundle_as_they_were(copied_bundle):
    bundle = load_bundle(copied_bundle)
    assert read_probe(bundle) is None
    probe = probe_of(bundle.reference().means.shape[1])
    write_probe(bundle, probe)
    found = read_probe(write_manifest(bundle))
    assert found is not None
    assert (found.attributes, found.classes, found.certain, found.rare) == (
        probe.attributes, probe.classes, 0.8, 0.05,
    )  # fmt: skip
    for name in ("weights", "bias", "usual"):
        assert (getattr(found, name) == getattr(probe, name)).all()


def test_probes_of_another_network_and_changed_files_are_refused(copied_bundle):
    bundle = load_bundle(copied_bundle)
    write_probe(
        dataclasses.replace(bundle, files={bundle.graph: "0" * 64}), probe_of(bundle.reference().means.shape[1])
    )
    with pytest.raises(BundleError, match=r"another network\. Run `corpuscle enrich"):
        read_probe(write_manifest(bundle))
    (copied_bundle / ATTRIBUTES_FILE).write_bytes(b"{}")
    with pytest.raises(BundleTamperedError):
        load_bundle(copied_bundle)
    with pytest.raises(BundleError, match="cannot be read"):
        read_probe(write_manifest(bundle))


def test_arrays_that_do_not_belong_together_are_refused():
    with pytest.raises(UsageError, match="5 values"):
        dataclasses.replace(probe_of(4), bias=np.zeros(4, np.float32))
