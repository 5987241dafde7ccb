"""Labels find places that hide nothing."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from corpuscle.explanation.label_places import Box, leader, place_labels

AREA = Box(0, 0, 1200, 800)
places = st.tuples(st.integers(50, 1150), st.integers(50, 750))


@given(st.lists(places, min_size=1, max_size=14, unique=True))
def test_labels_hide_neither_each_other_nor_an_obstacle(points):
    obstacles = [Box(x, y, x, y).grown(12) for x, y in points]
    sizes = [(60 + 12 * number, 26) for number in range(len(points))]
    boxes = place_labels(points, sizes, obstacles, AREA)
    if boxes is None:
        return
    assert len(boxes) == len(points)
    for box, (width, height) in zip(boxes, sizes, strict=True):
        assert (round(box.right - box.left, 6), round(box.bottom - box.top, 6)) == (width, height)
        assert AREA.left <= box.left
        assert box.right <= AREA.right
        assert AREA.top <= box.top
        assert box.bottom <= AREA.bottom
        assert not any(box.overlaps(other) for other in obstacles)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_a_lonely_point_has_its_label_at_the_right():
    (box,) = place_labels([(600, 400)], [(100, 26)], [Box(590, 390, 610, 410)], AREA) or ()
    assert (box.left, (box.top + box.bottom) / 2) == (616, 400)


def test_at_the_right_edge_the_label_is_at_the_left():
    (box,) = place_labels([(1190, 400)], [(100, 26)], [], AREA) or ()
    assert box.right < 1190


def test_neighbors_find_room():
    points = [(400 + 60 * number, 400) for number in range(8)]
    boxes = place_labels(points, [(120, 26)] * 8, [Box(x, y, x, y).grown(12) for x, y in points], AREA)
    assert boxes is not None
    for box, own in zip(boxes, points, strict=True):
        assert not any(box.holds(point) for point in points if point != own)


def test_no_room_is_said_with_none():
    assert place_labels([(20, 20)], [(100, 26)], [], Box(0, 0, 40, 40)) is None


def test_the_same_input_gives_the_same_places():
    points, sizes = [(100 + 9 * number, 300 + number % 3) for number in range(9)], [(90, 26)] * 9
    assert place_labels(points, sizes, [], AREA) == place_labels(points, sizes, [], AREA)


def test_a_leader_runs_to_the_nearest_place_of_the_label():
    assert leader((0, 5), Box(10, 0, 30, 10)) == ((0, 5), (10, 5))
    assert leader((50, 50), Box(10, 0, 30, 10)) == ((50, 50), (30, 10))
