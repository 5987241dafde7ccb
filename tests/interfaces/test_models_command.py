"""The list of networks: what each costs, in columns that fit every name, as text and as JSON."""

from __future__ import annotations

import json

from corpuscle.models.bundle import load_bundle
from corpuscle.models.zoo import ZOO


def test_every_network_is_listed_in_columns_that_fit(cli):
    done = cli("models")
    assert done.status == 0
    lines = [line for line in done.out.splitlines() if " px " in line]
    assert [line.split()[0] for line in lines] == list(ZOO)
    assert len({line.index(" px ") for line in lines}) == 1
    shipped = load_bundle().recipe["model"]["name"]
    assert [line.split()[0] for line in lines if "the shipped one" in line] == [shipped]


def test_networks_are_listed_as_json(cli):
    rows = json.loads(cli("models", "toy", "timm:resnet18", "--json").out)["networks"]
    assert [row["name"] for row in rows] == ["toy", "timm:resnet18"]
    assert all(row["parameters"] > 0 < row["multiply_adds"] for row in rows)


def test_a_network_that_nobody_knows_is_a_sentence(cli):
    done = cli("models", "resnet5000")
    assert done.status == 2
    assert done.only_sentences()
    assert "resnet5000" in done.err
    for name in ("timm:nope", "timm:[", "timm:"):
        done = cli("models", name)
        assert done.status == 2
        assert done.only_sentences()
        assert "Choose one of: ." not in done.err
