from __future__ import annotations

import csv
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.explanation.explaining import METHODS, Explainer, explain
from corpuscle.explanation.heat_map import draw_explanation, heat_colors, overlay
from corpuscle.explanation.map_files import OutputNames
from corpuscle.models import attribution
from corpuscle.records import Failure


def test_the_first_maps_are_of_the_predicted_class_and_the_runner_up(toy, drawn_files):
    answer = next(iter(explain(drawn_files[0], model=toy, classes=["thrombocyte"])))
    ranked = sorted(answer.prediction.probabilities, key=lambda key: -answer.prediction.probabilities[key])
    assert [item.class_name for item in answer.maps][:2] == ranked[:2]
    assert "platelet" in [item.class_name for item in answer.maps]
    assert answer.prediction.file == str(drawn_files[0])
    for item in answer.maps:
        assert item.cam.shape == answer.picture.shape[:2]
        assert item.cam.dtype == np.float32
        assert 0 <= item.cam.min() <= item.cam.max() <= 1


def test_the_numbers_are_those_of_classify(toy, toy_reader, drawn_files):
    [plain] = toy_reader.read([drawn_files[3]])
    [answer] = explain(drawn_files[3], model=toy)
    assert answer.prediction == plain


def test_every_method_explains_a_picture(toy, drawn_cells):
    assert tuple(attribution.METHODS) == METHODS
    for method in METHODS:
        [answer] = explain(drawn_cells["neutrophil"][0], model=toy, method=method)
        assert answer.method == method
        assert answer.maps[0].cam.max() == 1


def test_a_run_folder_stands_for_its_bundle(toy_run, drawn_cells):
    assert Explainer(toy_run).bundle.folder == toy_run / "bundle"


def test_what_is_unknown_is_refused_before_any_picture_is_read(toy):
    with pytest.raises(UnknownNameError, match="class of the model"):
        list(explain(np.zeros((40, 40, 3), np.uint8), model=toy, classes=["basophil"]))
    with pytest.raises(UnknownNameError, match="explanation method"):
        Explainer(toy, method="guess")
    with pytest.raises(UsageError, match="on_error"):
        list(explain([], model=toy, on_error="ignore"))


def test_a_bad_file_is_a_failure_and_the_rest_is_explained(toy, drawn_files, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    answers = list(explain([bad, drawn_files[0]], model=toy, on_error="keep"))
    assert isinstance(answers[0], Failure)
    assert answers[1].maps


def test_the_drawing_shows_picture_map_and_both(toy, drawn_files):
    [answer] = explain(drawn_files[0], model=toy)
    drawn = draw_explanation(answer)
    assert drawn.dtype == np.uint8
    assert drawn.shape[0] > 600
    assert drawn.shape[1] > 900


def test_the_overlay_leaves_the_picture_alone_where_there_is_no_evidence():
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    cam = np.zeros((30, 40), np.float32)
    cam[10:20, 10:20] = 1
    mixed = overlay(picture, cam)
    assert (mixed[cam == 0] == picture[cam == 0]).all()
    assert (mixed[cam == 1] != picture[cam == 1]).any()
    with pytest.raises(UsageError, match="Give maps of the picture"):
        overlay(picture, cam[:-1])


def test_more_evidence_is_lighter():
    colors = heat_colors(np.linspace(0, 1, 50, dtype=np.float32)[None])[0]
    assert (np.diff(colors @ [0.21, 0.72, 0.07]) > 0).all()


def test_files_of_one_stem_get_different_names():
    files = ["a/x.png", "b/x.png", "b/y.jpg", "b/y.png", "z.png"]
    names = OutputNames(files)
    assert len({names(file) for file in files}) == 5
    assert names("z.png") == "z"


def test_the_command_writes_drawings_and_lists_bad_files(cli, toy_bundle, drawn_files, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    out = tmp_path / "why"
    done = cli("explain", drawn_files[0], bad, "--model", toy_bundle, "--class", "platelet", "-o", out, "--arrays")
    assert done.status == 3
    stem = drawn_files[0].stem
    with Image.open(out / f"{stem}.explanation.png") as drawn:
        assert drawn.width > 900
    assert np.load(out / f"{stem}.platelet.npy").dtype == np.float32
    with (out / "explanations.errors.csv").open() as file:
        assert [row["file"] for row in csv.DictReader(file)] == [str(bad)]


def test_classify_writes_a_map_a_picture_and_the_same_answers(cli, toy_bundle, drawn_files, tmp_path):
    folder = drawn_files[0].parent
    plain = cli("classify", folder, "--model", toy_bundle, "-o", tmp_path / "plain.csv")
    with_maps = cli("classify", folder, "--model", toy_bundle, "-o", tmp_path / "maps.csv", "--cam", tmp_path / "cam")
    assert plain.status == with_maps.status == 0
    assert (tmp_path / "plain.csv").read_bytes() == (tmp_path / "maps.csv").read_bytes()
    written = sorted(path.name for path in (tmp_path / "cam").iterdir())
    assert written == sorted(f"{path.stem}.cam.png" for path in drawn_files)
    with Image.open(tmp_path / "cam" / written[0]) as cam, Image.open(drawn_files[0]) as picture:
        assert cam.size == picture.size


def test_a_missing_package_is_one_sentence(toy_bundle, drawn_files, tmp_path):
    code = (
        "import sys; sys.modules['captum'] = None\n"
        f"sys.argv = ['corpuscle', 'explain', {str(drawn_files[0])!r}, '--model', {str(toy_bundle)!r}, "
        f"'--method', 'gradcam', '-o', {str(tmp_path / 'o')!r}]\n"
        "from corpuscle.interfaces.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "pip install 'corpuscle[explain]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_maps_need_no_framework(toy_bundle, drawn_files, tmp_path):
    code = (
        f"import sys; sys.argv = ['corpuscle', 'explain', {str(drawn_files[0])!r}, '--model', {str(toy_bundle)!r}, "
        f"'-o', {str(tmp_path / 'o')!r}]\n"
        "from corpuscle.interfaces.cli import main; main(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert not {"torch", "captum", "matplotlib", "scipy"} & set(done.stdout.split())
