"""From pictures to predictions: the same answers in every way that one can ask."""

from __future__ import annotations

import dataclasses
import itertools
import math
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpuscle.data.examples import draw_background
from corpuscle.errors import (
    BundleNotFoundError,
    ImageError,
    NoInputError,
    UnknownNameError,
    UsageError,
)
from corpuscle.models.bundle import RefusalRule
from corpuscle.prediction.classification import BATCH, CellReader, classify, default_workers
from corpuscle.records import Failure, Prediction


@pytest.fixture(scope="module")
def many(drawn_files) -> list[Path]:
    """More files than a few batches hold, in an order that is not the sorted one."""
    order = np.random.default_rng(0).integers(0, len(drawn_files), 5 * BATCH + 3)
    return [drawn_files[place] for place in order]


@pytest.fixture
def damaged(tmp_path) -> Path:
    path = tmp_path / "damaged.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    return path


def numbers(answers: list[Prediction | Failure]) -> list[list[float]]:
    return [list(answer.probabilities.values()) for answer in answers if isinstance(answer, Prediction)]


def without_file(answer: Prediction | Failure) -> Prediction | Failure:
    return dataclasses.replace(answer, file="")


def test_a_prediction_agrees_with_itself_and_with_the_bundle(toy, toy_reader, drawn_files):
    for file, answer in zip(drawn_files, toy_reader.stream(drawn_files), strict=True):
        assert isinstance(answer, Prediction)
        assert answer.file == str(file)
        assert tuple(answer.probabilities) == toy.classes
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        assert answer.confidence == max(answer.probabilities.values()) == answer.probabilities[answer.class_name]
        assert answer.refused == bool(answer.reason)
        assert answer.prediction_set
        assert answer.distance >= 0
        assert answer.framing.method == "cell"


def test_the_toy_has_learned_its_classes(toy, toy_reader, drawn_cells):
    """Otherwise every other test would compare noise with noise."""
    keys = [key for key in toy.classes for _ in drawn_cells[key]]
    answers = toy_reader.read([image for key in toy.classes for image in drawn_cells[key]])
    right = [key == answer.class_name for key, answer in zip(keys, answers, strict=True)]
    assert sum(right) >= 0.75 * len(right)


def test_the_whole_path_agrees_with_the_network_in_torch(toy, drawn_cells):
    """Weights, preprocessing, temperature and classes of the manifest, put together by hand in another framework."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    from corpuscle.models.zoo import build

    images = [image for key in sorted(drawn_cells) for image in drawn_cells[key]]
    network = build(toy.recipe["model"]["name"], len(toy.classes)).eval()
    weights = load_file(toy.folder / "weights.safetensors")
    network.load_state_dict({key: value.float() for key, value in weights.items()})
    reader = CellReader(dataclasses.replace(toy, graph="model.onnx"))
    spec = toy.preprocessing
    for image, answer in zip(images, reader.read(images), strict=True):
        frame = answer.framing
        crop = _crop_by_hand(image, frame, spec.input_px)
        batch = (torch.from_numpy(crop).permute(2, 0, 1)[None] / 255 - spec.mean[0]) / spec.std[0]
        with torch.inference_mode():
            expected = torch.softmax(network(batch.float()).logits[0] / toy.temperature, 0).numpy()
        assert np.abs(expected - list(answer.probabilities.values())).max() < 0.01


def _crop_by_hand(image: np.ndarray, frame, size_px: int) -> np.ndarray:
    """Cut the frame out of a generously padded picture and white-balance it."""
    from corpuscle.preprocessing.framing import background_color, shrink

    background = background_color(shrink(image)[0])
    pad = 200
    padded = np.empty((image.shape[0] + 2 * pad, image.shape[1] + 2 * pad, 3), np.uint8)
    padded[:] = np.round(background)
    padded[pad:-pad, pad:-pad] = image
    factor = max(1, int(frame.side_px / size_px))
    left, top = math.floor(frame.x_min), math.floor(frame.y_min)
    part = padded[top + pad :, left + pad :][: math.ceil(frame.side_px) + 2, : math.ceil(frame.side_px) + 2]
    blocks = Image.fromarray(part).reduce(factor)
    x_min, y_min = (frame.x_min - left) / factor, (frame.y_min - top) / factor
    box = (x_min, y_min, x_min + frame.side_px / factor, y_min + frame.side_px / factor)
    crop = blocks.resize((size_px, size_px), Image.Resampling.BILINEAR, box=box)
    return np.clip(np.asarray(crop) * (240 / background) + 0.5, 0, 255).astype(np.uint8)


def test_the_number_of_workers_changes_no_digit(toy_reader, many):
    one = list(toy_reader.stream(many, workers=1))
    three = list(toy_reader.stream(many, workers=3))
    assert one == three
    assert [answer.file for answer in one] == [str(path) for path in many]


def test_the_size_of_the_batch_changes_next_to_nothing(toy_reader, many):
    large = numbers(list(toy_reader.stream(many)))
    small = numbers(list(toy_reader.stream(many, batch_size=5)))
    assert np.abs(np.array(large) - small).max() < 1e-3


def test_arrays_and_files_give_the_same(toy_reader, drawn_files):
    arrays = [np.asarray(Image.open(path)) for path in drawn_files]
    from_arrays, from_files = toy_reader.read(arrays), toy_reader.read(drawn_files)
    assert {answer.file for answer in from_arrays} == {""}
    assert from_arrays == [without_file(answer) for answer in from_files]


def test_arrays_that_are_views_or_read_only_are_taken(toy_reader, drawn_cells):
    image = drawn_cells["lymphocyte"][0]
    view = np.concatenate([image, image], axis=2)[:, :, :3]
    (expected,), (found,) = toy_reader.read([image]), toy_reader.read([view])
    assert found == expected
    (turned,) = toy_reader.read([image[::-1].copy()[::-1]])
    assert turned == expected


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.float32),
        np.zeros((0, 9, 3), np.uint8), np.zeros((2, 9, 9, 3), np.uint8), np.zeros((9, 9, 3), bool),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)  # fmt: skip
def test_an_array_that_is_no_picture_is_refused(toy_reader, toy, array):
    (answer,) = toy_reader.read([array])
    assert isinstance(answer, Failure)
    assert "HxWx3 of uint8" in answer.reason
    with pytest.raises(ImageError, match="HxWx3 of uint8"):
        classify(array, model=toy)


def test_files_folders_patterns_and_arrays_can_be_mixed(toy, drawn_files, drawn_cells):
    folder = drawn_files[0].parent
    image = drawn_cells["platelet"][0]
    answers = classify([image, str(folder / "m*.png"), drawn_files[-1], folder], model=toy)
    files = [Path(answer.file).name for answer in answers]
    names = [path.name for path in drawn_files]
    assert files == ["", "monocyte_0.png", "monocyte_1.png", names[-1], *names]
    assert classify(folder, model=toy) == classify(str(folder), model=toy.folder)
    assert np.allclose(numbers(classify(image, model=toy)), numbers(answers[:1]), atol=1e-3)


def test_of_nothing_nothing_is_said(toy, toy_reader):
    assert classify([], model=toy) == []
    assert toy_reader.read([]) == []
    assert list(toy_reader.stream(iter(()))) == []


def test_bad_files_among_good_ones_keep_their_places(toy, drawn_files, damaged, tmp_path):
    missing = tmp_path / "missing.png"
    missing.symlink_to(tmp_path / "nowhere")
    sources = [drawn_files[0], damaged, drawn_files[1], missing, drawn_files[2]]
    answers = classify(sources, model=toy, on_error="keep")
    assert [type(answer) for answer in answers] == [Prediction, Failure, Prediction, Failure, Prediction]
    assert [answer.file for answer in answers] == [str(source) for source in sources]
    assert str(damaged) in answers[1].reason
    assert [answers[0], answers[2], answers[4]] == classify([*sources[:3:2], sources[4]], model=toy)


def test_a_batch_of_nothing_but_bad_files_gives_failures(toy, damaged):
    assert [type(answer) for answer in classify([damaged], model=toy, on_error="keep")] == [Failure]


def test_the_first_bad_file_stops_unless_failures_are_wanted(toy, drawn_files, damaged):
    with pytest.raises(ImageError, match=r"damaged\.png"):
        classify([drawn_files[0], damaged], model=toy)


def test_wrong_requests_are_refused_before_any_work(toy, drawn_files, tmp_path):
    with pytest.raises(UsageError, match="on_error must be 'raise' or 'keep', not 'ignore'"):
        classify(drawn_files[0], model=toy, on_error="ignore")
    with pytest.raises(UnknownNameError, match="no framing named 'middle'"):
        classify(drawn_files[0], model=toy, framing="middle")
    with pytest.raises(BundleNotFoundError):
        classify(drawn_files[0], model="corpuscle_xl")
    with pytest.raises(UsageError, match="There can be no -1 workers"):
        classify(drawn_files[0], model=toy, workers=-1)
    with pytest.raises(UsageError, match=r"named by a path or given as an array HxWx3 of uint8 .* not as NoneType"):
        classify([drawn_files[0], None], model=toy)
    with pytest.raises(NoInputError):
        classify(tmp_path / "nothing.png", model=toy)
    with pytest.raises(NoInputError):
        classify([drawn_files[0], tmp_path], model=toy)


def test_progress_counts_to_the_end(toy, drawn_files):
    seen: list[tuple[int, int]] = []
    classify(drawn_files[:5], model=toy, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize(("framing", "method"), [("cell", "cell"), ("center", "center"), ("whole", "whole")])
def test_what_is_judged_can_be_chosen(toy, drawn_cells, framing, method):
    (answer,) = classify(drawn_cells["eosinophil"][0], model=toy, framing=framing)
    assert answer.framing.method == method
    assert "no stained cell found" not in answer.reason


def blank() -> np.ndarray:
    return np.full((60, 60, 3), 230, np.uint8)


def test_a_picture_without_a_cell_is_refused(toy):
    (answer,) = classify(blank(), model=toy)
    assert answer.refused
    assert "no stained cell found" in answer.reason
    assert answer.framing.method == "center"


def rule_of(toy, **changes: float) -> RefusalRule:
    """A rule by which distance alone counts, and nothing is refused unless `changes` say so."""
    alone = {"typical_distance": 0.0, "energy_span": 0.0, "maximum_strangeness": 1.0}
    return dataclasses.replace(toy.refusal, **{"minimum_confidence": 0.0, "maximum_distance": 1e9, **alone, **changes})


def test_each_reason_to_refuse_is_named(toy, drawn_cells):
    image = drawn_cells["neutrophil"][0]
    (free,) = classify(image, model=dataclasses.replace(toy, refusal=rule_of(toy)))
    assert not free.refused
    (far,) = classify(image, model=dataclasses.replace(toy, refusal=rule_of(toy, maximum_distance=1e-3)))
    assert (far.refused, far.reason) == (True, "does not look like any cell this model knows")
    assert far.distance == pytest.approx(free.distance * 1e12, rel=1e-6)
    (doubtful,) = classify(image, model=dataclasses.replace(toy, refusal=rule_of(toy, minimum_confidence=1.0)))
    assert doubtful.refused
    assert doubtful.reason.startswith(("too doubtful: ", "two classes nearly equal: "))
    assert doubtful.probabilities == free.probabilities
    nothing = rule_of(toy, minimum_confidence=1.0, maximum_distance=1e-3)
    (all_three,) = classify(blank(), model=dataclasses.replace(toy, refusal=nothing))
    assert all_three.reason.split("; ") == [
        "no stained cell found",
        "does not look like any cell this model knows",
        "nothing stained here",
    ]


def test_energy_counts_beside_the_distance(toy, drawn_cells):
    image = drawn_cells["neutrophil"][0]
    (free,) = classify(image, model=dataclasses.replace(toy, refusal=rule_of(toy)))
    odd = rule_of(toy, typical_energy=-1e6, energy_span=1.0)
    (dull,) = classify(image, model=dataclasses.replace(toy, refusal=odd))
    assert (dull.refused, dull.reason) == (True, "does not look like any cell this model knows")
    assert dull.probabilities == free.probabilities


def test_a_usual_cell_is_not_less_than_not_strange(toy, drawn_cells):
    rule = rule_of(toy, typical_distance=9e8)
    (answer,) = classify(drawn_cells["neutrophil"][0], model=dataclasses.replace(toy, refusal=rule))
    assert answer.distance == 0


def test_erythrocytes_alone_are_farther_from_the_known_cells_than_the_cells(toy, toy_reader, drawn_cells):
    known = [answer.distance for key in toy.classes for answer in toy_reader.read(list(drawn_cells[key]))]
    (strange,) = toy_reader.read([draw_background(0)])
    assert strange.distance > np.median(known)


def test_a_stream_takes_no_more_than_it_needs(toy_reader, drawn_files):
    """Memory stays flat because sources are drawn on only a few batches ahead."""
    taken = []

    def endless():
        for path in itertools.cycle(drawn_files):
            taken.append(path)
            yield path

    stream = toy_reader.stream(endless(), workers=2, batch_size=3)
    answers = list(itertools.islice(stream, 7))
    assert [answer.file for answer in answers] == [str(path) for path in taken[:7]]
    assert len(taken) <= 3 * (2 * 2 + 3)
    before = threading.active_count()
    stream.close()
    assert threading.active_count() <= before


def test_one_source_is_streamed_as_one_and_what_is_none_keeps_its_place(toy_reader, drawn_files):
    (alone,) = toy_reader.stream(str(drawn_files[0]))
    strange, whole = toy_reader.stream([Image.new("RGB", (9, 9)), drawn_files[0]])
    assert isinstance(strange, Failure)
    assert "not as Image" in strange.reason
    assert whole.class_name == alone.class_name


def test_an_error_in_the_source_of_files_comes_through(toy_reader, drawn_files):
    def broken():
        yield drawn_files[0]
        raise RuntimeError("the list broke off")

    with pytest.raises(RuntimeError, match="the list broke off"):
        list(toy_reader.stream(broken()))


def test_crops_that_are_prepared_already_give_the_same(toy, toy_reader, drawn_cells):
    from corpuscle.preprocessing.transforms import prepare

    images = [drawn_cells[key][0] for key in toy.classes]
    prepared = [prepare(image, toy.preprocessing) for image in images]
    crops = np.stack([crop for crop, _ in prepared])
    answers = toy_reader.read_crops(crops, [framing for _, framing in prepared], ["a", "b", "c", "d"])
    assert [answer.file for answer in answers] == ["a", "b", "c", "d"]
    assert [without_file(answer) for answer in answers] == toy_reader.read(images)


def test_the_order_of_the_classes_is_that_of_the_bundle(toy, copied_bundle, drawn_cells):
    """Only the manifest says which column is which class: another order moves the names and no number."""
    names = (*toy.classes[1:], toy.classes[0])
    rule = dataclasses.replace(toy.refusal, set_thresholds=dict.fromkeys(names, 0.0))
    shifted = dataclasses.replace(toy, folder=copied_bundle, classes=names, refusal=rule)
    images = [drawn_cells[key][0] for key in toy.classes]
    assert numbers(classify(images, model=shifted)) == numbers(classify(images, model=toy))
    assert [list(answer.probabilities) for answer in classify(images, model=shifted)] == [list(names)] * 4


def test_there_is_at_least_one_worker(monkeypatch):
    assert default_workers() >= 1
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert default_workers() == 1


def test_a_bundle_without_its_graph_is_refused_at_the_start(copied_bundle, toy):
    shutil.rmtree(copied_bundle)
    with pytest.raises(BundleNotFoundError):
        CellReader(copied_bundle)
