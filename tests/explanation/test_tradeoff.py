"""Accuracy against cost: points lie where their figures say, leaks are hollow, and no name hides anything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from corpuscle.errors import UsageError
from corpuscle.explanation import tradeoff
from corpuscle.explanation.drawing import TradeoffPoint, draw_tradeoff
from corpuscle.explanation.palette import CAUTION, POINT, WHITE


def point(name: str, cost: float, accuracy: float, **options) -> TradeoffPoint:
    low, high = max(0.0, accuracy - 0.004), min(1.0, accuracy + 0.004)
    return TradeoffPoint(name, cost, accuracy, low, high, **options)


def draw(*points: TradeoffPoint) -> np.ndarray:
    return draw_tradeoff(points, title="Accuracy against cost", subtitle="drawn test, n = 100")


def markers(image: np.ndarray, points: tuple[TradeoffPoint, ...]) -> list[tuple[float, float]]:
    """Where the scene puts the points; their colors there are checked by the tests."""
    heading = tradeoff.line_height(32) + tradeoff.line_height(20)
    return tradeoff._scene(points, heading).places


def test_a_point_lies_where_its_figures_say():
    points = (point("a", 1e8, 0.96), point("b", 1e9, 0.98), point("c", 1e10, 0.99))
    image = draw(*points)
    places = markers(image, points)
    for x, y in places:
        assert tuple(image[round(y), round(x)]) == POINT
    (xa, ya), (xb, yb), (xc, yc) = places
    assert xb - xa == pytest.approx(xc - xb)
    assert ya - yb == pytest.approx(2 * (yb - yc))
    assert yc < yb < ya


def test_a_leaking_point_is_hollow_and_of_another_color():
    points = (point("a", 1e8, 0.96), point("b", 1e9, 0.98, leaks=True))
    image = draw(*points)
    (_, (x, y)) = markers(image, points)
    assert tuple(image[round(y), round(x)]) == WHITE
    assert tuple(image[round(y), round(x) + 7]) == CAUTION
    assert (image == CAUTION).all(axis=2).sum() > 150
    assert not (draw(point("a", 1e8, 0.96), point("b", 1e9, 0.98)) == CAUTION).all(axis=2).any()


def test_the_words_for_a_leak_stand_in_legend_and_label(monkeypatch):
    written = []
    put = tradeoff.put_text
    monkeypatch.setattr(
        tradeoff, "put_text", lambda canvas, place, text, look: (written.append(text), put(canvas, place, text, look))
    )
    draw(point("a", 1e8, 0.96, is_reference=True), point("b", 1e9, 0.98, leaks=True))
    assert {"a", "b (leaks)", "leaks: its accuracy flatters", "reference", "Preliminary. Not a medical device."} <= set(
        written
    )
    written.clear()
    draw(point("a", 1e8, 0.96))
    assert not [text for text in written if "leak" in text or text == "reference"]


def test_the_interval_is_drawn_from_end_to_end():
    points = (TradeoffPoint("a", 1e8, 0.96, 0.93, 0.98), point("b", 1e9, 0.97))
    image = draw(*points)
    scene = tradeoff._scene(points, tradeoff.line_height(32) + tradeoff.line_height(20))
    x = round(scene.places[0][0])

    def is_blue(share: float) -> bool:
        near = image[round(scene.axes.y(share)), x - 2 : x + 3].astype(int)
        return bool((np.abs(near - POINT).sum(axis=1) < 60).any())

    assert all(map(is_blue, (0.931, 0.945, 0.979)))
    assert not any(map(is_blue, (0.9285, 0.9815)))


@pytest.mark.parametrize("spread", [0.0, 0.004, 0.3])
@pytest.mark.parametrize("n", [1, 2, 8, 14, 30])
def test_no_name_hides_a_name_a_point_or_a_bar(n, spread):
    """Runs of one network, the worst case: all of the same cost."""
    points = tuple(point(f"resnet50 (runs/seed-{k})", 4.1e9, 0.95 - spread * k / n) for k in range(n))
    scene = tradeoff._scene(points, 60)
    bars = [
        (x - 7, scene.axes.y(item.high), x + 7, scene.axes.y(item.low))
        for (x, _), item in zip(scene.places, points, strict=True)
    ]
    assert scene.boxes is not None or n == 30
    for bar in bars:
        assert not any(tradeoff.Box(*bar).overlaps(box) for box in scene.boxes or ())
    assert not any(one.overlaps(other) for one, other in itertools.combinations(scene.boxes or (), 2))
    columns = sorted(scene.columns)
    assert all(after - before > 17.99 for before, after in itertools.pairwise(columns))
    assert scene.axes.plot.left < columns[0]
    assert columns[-1] < scene.axes.plot.right


def test_without_room_for_names_points_have_numbers_and_a_key(monkeypatch):
    places = {}
    put = tradeoff.put_text

    def record(canvas, place, text, look):
        places.setdefault((text, look.size_px), []).append(place)
        put(canvas, place, text, look)

    monkeypatch.setattr(tradeoff, "put_text", record)
    points = tuple(point(f"name {k}", 4.1e9, 0.95, leaks=k == 3) for k in range(60))
    image = draw(*points)
    assert tradeoff._scene(points, 60).boxes is None
    numbers = [places[str(k + 1), 14][0] for k in range(60)]
    assert all(
        after[0] - before[0] > (tradeoff.text_width("60", 14) + 1) for before, after in itertools.pairwise(numbers)
    )
    assert all(len(places[f"name {k}" + (" (leaks)" if k == 3 else ""), 20]) == 1 for k in range(60))
    lowest = max(y for (text, _), found in places.items() if text.startswith("name") for _, y in found)
    assert lowest + tradeoff.line_height(20) < places["Preliminary. Not a medical device.", 20][0][1]
    assert (image[-30:] == 255).all()


def test_points_far_apart_are_not_moved():
    scene = tradeoff._scene((point("a", 1e8, 0.96), point("b", 1e9, 0.98)), 60)
    assert not scene.is_spread
    assert tradeoff._scene((point("a", 1e8, 0.96), point("b", 1.001e8, 0.98), point("c", 1e9, 0.9)), 60).is_spread


def test_ticks_are_round_and_inside():
    for shares in ((0.97, 1.0), (0.985, 0.9991), (0.5, 1.0), (0.0, 1.0), (0.9899, 0.9912)):
        ticks = tradeoff._share_ticks(shares)
        assert 4 <= len(ticks) <= 11
        assert all(shares[0] - 1e-9 <= share <= shares[1] + 1e-9 for share, _ in ticks)
        assert all(float(text) == pytest.approx(share) for share, text in ticks)
    assert [text for _, text in tradeoff._cost_ticks((4e7, 3e9))] == [
        "50 M", "100 M", "200 M", "500 M", "1 G", "2 G",
    ]  # fmt: skip
    assert [text for _, text in tradeoff._cost_ticks((1e3, 2e9))] == [
        "1 k",
        "10 k",
        "100 k",
        "1 M",
        "10 M",
        "100 M",
        "1 G",
    ]


def test_nothing_is_cut_off():
    image = draw(*(point(f"a very long name of a run, number {k}", 10.0 ** (6 + k), 0.99) for k in range(5)))
    assert image.shape[1] == 1500
    for edge in (image[:30], image[-30:], image[:, :30], image[:, -30:]):
        assert (edge == 255).all()


@pytest.mark.parametrize("name", ["", " ", "neutrófilo", "x" * 300, "a\x00b", "细胞"])
def test_any_name_can_be_drawn(name):
    assert draw(point(name, 1e8, 0.5)).dtype == np.uint8


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_the_ends_of_the_scale_can_be_drawn(accuracy):
    draw(TradeoffPoint("a", 1e8, accuracy, accuracy, accuracy))


@pytest.mark.parametrize(
    "values", [(0, 0.5, 0.4, 0.6), (float("inf"), 0.5, 0.4, 0.6), (1, 0.5, 0.6, 0.7), (1, 1, 1, 1.1)]
)
def test_impossible_points_are_refused(values):
    with pytest.raises(UsageError):
        TradeoffPoint("a", *values)


@pytest.mark.parametrize("n", [0, 61])
def test_too_few_and_too_many_points_are_refused(n):
    with pytest.raises(UsageError, match="1 to 60"):
        draw(*(point(str(k), 1e8, 0.9) for k in range(n)))
