"""What all tests share: drawn cells, a toy bundle trained on them once a session, and a way to run commands.

Everything is drawn at test time from seeds. Nothing is read from outside, and nothing is written outside pytest's
temporary folders.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from corpuscle.data.examples import CLASSES, draw_cell
from corpuscle.data.labeled import LabeledCell
from corpuscle.models.bundle import Bundle
from corpuscle.prediction.classification import CellReader
from corpuscle.records import Detections

# A busy machine is no fault of the code under test.
settings.register_profile("corpuscle", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("corpuscle")

ROOT = Path(__file__).resolve().parent.parent
TOY_CLASSES = ("neutrophil", "eosinophil", "lymphocyte", "platelet")
"""What the toy bundle knows, in its own order; the other drawn classes are strangers to it."""

_SEEDS = {"train": (1, 2, 3), "val": (11, 12), "test": (21, 22)}


@pytest.fixture(scope="session", autouse=True)
def _own_cache(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the crop cache and the data root away from those of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CORPUSCLE_CACHE", str(tmp_path_factory.mktemp("crops")))
        # Real pictures are read only where a run selects their mark, as in `-m real_data`.
        chosen = str(pytestconfig.getoption("markexpr"))
        if "real_data" not in chosen or "not real_data" in chosen:
            patch.setenv("CORPUSCLE_DATA", str(tmp_path_factory.mktemp("no-data")))
        yield


@pytest.fixture(scope="session")
def drawn_cells() -> dict[str, tuple[np.ndarray, ...]]:
    """Two cells of each drawn class, each 208x208x3 uint8 and read-only."""
    cells = {key: tuple(draw_cell(key, seed) for seed in (1, 21)) for key in CLASSES}
    for images in cells.values():
        for image in images:
            image.setflags(write=False)
    return cells


@pytest.fixture(scope="session")
def drawn_files(drawn_cells: dict[str, tuple[np.ndarray, ...]], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The drawn cells as lossless files `<class>_<n>.png`, in one folder, sorted."""
    folder = tmp_path_factory.mktemp("drawn")
    paths = []
    for key, images in drawn_cells.items():
        for number, image in enumerate(images):
            paths.append(folder / f"{key}_{number}.png")
            Image.fromarray(image).save(paths[-1])
    return sorted(paths)


def _turned(image: np.ndarray) -> list[np.ndarray]:
    """All eight turns and mirrored turns of a picture: cheap variety, as a cell has no upright."""
    turns = [np.rot90(image, times) for times in range(4)]
    return [*turns, *(turn[:, ::-1] for turn in turns)]


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labeled set in folders `<split>/<class>`: 24 cells of each class to train on, 4 to choose by, 2 to test.

    One label of `val` is wrong on purpose: without any mistake the best temperature would be the least one, and all
    probabilities 0 or 1.
    """
    folder = tmp_path_factory.mktemp("toy-set")
    turns = {"train": 8, "val": 2, "test": 1}
    for split, seeds in _SEEDS.items():
        for key in TOY_CLASSES:
            place = folder / split / key
            place.mkdir(parents=True)
            for seed in seeds:
                for number, image in enumerate(_turned(draw_cell(key, seed))[: turns[split]]):
                    Image.fromarray(image).save(place / f"{key}_{seed}_{number}.png", compress_level=1)
    wrong = folder / "val" / TOY_CLASSES[0] / f"{TOY_CLASSES[1]}_wrong.png"
    shutil.copy(folder / "val" / TOY_CLASSES[1] / f"{TOY_CLASSES[1]}_11_0.png", wrong)
    return folder


@pytest.fixture(scope="session")
def toy_run(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of `recipes/toy.toml`, trained through the very path of `corpuscle train`."""
    from corpuscle.training.recipe import read_recipe
    from corpuscle.training.train import train

    settings = {
        "data.dataset": f'"{toy_folder.as_posix()}"',
        "data.classes": str(list(TOY_CLASSES)),
        "optimizer.learning_rate": "0.02",
        "run.epochs": "12",
        "run.precision": "fp32",
        "run.threads": "1",
    }
    recipe = read_recipe(ROOT / "recipes" / "toy.toml", tuple(f"{key}={value}" for key, value in settings.items()))
    result = train(recipe, output=tmp_path_factory.mktemp("toy-run"))
    assert result.finished
    return result.output


@pytest.fixture(scope="session")
def toy_bundle(toy_run: Path) -> Path:
    """The folder of a small real bundle that knows `TOY_CLASSES`; not to be changed."""
    return toy_run / "bundle"


@pytest.fixture
def copied_bundle(toy_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the toy bundle for a test to break."""
    return Path(shutil.copytree(toy_bundle, tmp_path / "copied-bundle"))


@pytest.fixture(scope="session")
def toy_reader(toy_bundle: Path) -> CellReader:
    """A reader that holds the toy bundle."""
    return CellReader(toy_bundle)


@pytest.fixture(scope="session")
def toy(toy_reader: CellReader) -> Bundle:
    """The toy bundle, loaded."""
    return toy_reader.bundle


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status and what it wrote."""

    status: int
    out: str
    err: str

    def only_sentences(self) -> bool:
        """Whether nothing but sentences was written for people."""
        return "Traceback" not in self.err + self.out and "Error:" not in self.err


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run `corpuscle ARGUMENTS...` in this process, through the same door as the installed command.

    With `terminal=True` the command takes both its streams for a terminal.
    """
    from corpuscle.interfaces.cli import main

    def run(*arguments: object, terminal: bool = False) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["corpuscle", *(str(argument) for argument in arguments)])
        capsys.readouterr()
        if terminal:
            monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
            monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        status: object = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code or 0
        assert isinstance(status, int)
        written = capsys.readouterr()
        return Outcome(status, written.out, written.err)

    return run


@pytest.fixture
def drawn_twice(monkeypatch: pytest.MonkeyPatch, drawn_cells: dict[str, tuple[np.ndarray, ...]]) -> list[LabeledCell]:
    """Make `labeled_cells("drawn")` quick: two cells of each class, one to train and one to test on."""
    from corpuscle.data import labeled

    cells = [
        LabeledCell(f"{split}/{key}", Path(key), key, split, pixels=image)
        for key, images in drawn_cells.items()
        for split, image in zip(("train", "test"), images, strict=True)
    ]
    monkeypatch.setattr(labeled, "_drawn", lambda: cells)
    return cells


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Make folders of trained runs with the shipped bundle and made-up answers.

    `make_run("a", "110")` was right, right and wrong on the files `0.png`, `1.png` and `2.png`; other arguments change
    values of `run.json`, those in `tested` values of `evaluation.json`.
    """
    import csv
    import json

    from corpuscle.models.bundle import load_bundle

    bundle = load_bundle()
    columns = ["file", "label", "class", "confidence", "refused", "reason", "set"]
    columns += [f"p_{key}" for key in bundle.classes]

    def make(name: str, right: str, /, *, first: int = 0, tested: dict[str, object] | None = None, **facts) -> Path:
        folder = tmp_path / name
        shutil.copytree(bundle.folder, folder / "bundle")
        values = {
            "format": 1, "name": name, "model": "corpuscle_s", "dataset": "pbc", "seed": 0, "input_px": 160,
            "parameters": 1_523_456, "multiply_adds": 310_000_000, "training_seconds": 3725.5, "epochs": 30,
            "best_epoch": 28, "machine": "a machine", "leak": "", "code_version": "0.1.0", **facts,
        }  # fmt: skip
        (folder / "run.json").write_text(json.dumps(values))
        place = folder / "evaluation" / "test"
        place.mkdir(parents=True)
        with (place / "predictions.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="0.125", lineterminator="\n")
            writer.writeheader()
            for number, sign in enumerate(right, start=first):
                label = bundle.classes[number % 4]
                said = label if sign == "1" else bundle.classes[number % 4 + 1]
                writer.writerow({"file": f"{number}.png", "label": label, "class": said, "refused": "false"})
        share = right.count("1") / len(right)
        figures = {"dataset": "pbc", "split": "test", "leak": "", "n": len(right), "accuracy": share}
        figures |= {"balanced_accuracy": share, "group_count": None, **(tested or {})}
        (place / "evaluation.json").write_text(json.dumps(figures))
        return folder

    return make


@pytest.fixture(scope="session")
def toy_field_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of `recipes/toy_field.toml`, trained through the very path of `corpuscle train`."""
    from corpuscle.training.detection_recipe import read_detection_recipe
    from corpuscle.training.train_detector import train_detector

    settings = ("data.limit=8", "run.epochs=12", "run.batch_size=4", "run.precision=fp32", "run.threads=1")
    recipe = read_detection_recipe(ROOT / "recipes" / "toy_field.toml", settings)
    result = train_detector(recipe, output=tmp_path_factory.mktemp("toy-field-run"))
    assert result.finished
    return result.output


@pytest.fixture(scope="session")
def toy_detector(toy_field_run: Path) -> Path:
    """The folder of a small real detector of drawn fields; not to be changed."""
    return toy_field_run / "bundle"


DISC_COLORS = {"erythrocyte": (222, 150, 150), "leukocyte": (90, 40, 140), "platelet": (150, 70, 210)}
"""What `disc_field` paints with, and what `DiscDetector` finds."""

_DISC_BACKGROUND = (245, 235, 225)


@dataclass(frozen=True)
class DiscDetector:
    """A detector for painted discs: a patch of a color is a cell, if it is about as large as it should be.

    Like a net it works on the resized picture, and finds neither what is far too small there nor what is too large.
    """

    erythrocyte_px: float = 40.0
    max_side_px: int = 512
    name: str = "discs"

    def detect(self, image: np.ndarray, *, scale: float = 1.0) -> Detections:
        from scipy import ndimage

        height, width = image.shape[:2]
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.NEAREST))
        boxes, kinds = [], []
        for kind, color in enumerate(DISC_COLORS.values()):
            marks, _ = ndimage.label((small == color).all(axis=2))
            for rows, columns in ndimage.find_objects(marks):
                longest = max(rows.stop - rows.start, columns.stop - columns.start)
                if 0.1 * self.erythrocyte_px <= longest <= 3.5 * self.erythrocyte_px:
                    boxes.append([columns.start, rows.start, columns.stop, rows.stop])
                    kinds.append(kind)
        factor = [width / size[0], height / size[1]] * 2
        places = np.array(boxes, np.float32).reshape(-1, 4) * np.array(factor, np.float32)
        return Detections(places, np.full(len(boxes), 0.9, np.float32), np.array(kinds, np.int64))


DiscTruth = list[tuple[str, tuple[float, float], float]]


@pytest.fixture(scope="session")
def disc_detector() -> DiscDetector:
    """A detector that finds what `disc_field` paints."""
    return DiscDetector()


@pytest.fixture(scope="session")
def disc_field() -> Callable[..., tuple[np.ndarray, DiscTruth]]:
    """Paint discs on a lattice with jitter, so that none touch.

    `disc_field(640, 480, erythrocyte_px=40)` gives the picture, and kind, middle (x, y) and diameter of each disc.
    """

    def paint(width: int, height: int, *, erythrocyte_px: float = 40.0, seed: int = 0) -> tuple[np.ndarray, DiscTruth]:
        rng = np.random.default_rng(seed)
        image = np.empty((height, width, 3), np.uint8)
        image[:] = _DISC_BACKGROUND
        step = 2.1 * erythrocyte_px
        truth: DiscTruth = []
        for row in range(int(height / step)):
            for column in range(int(width / step)):
                kind = rng.choice(["erythrocyte", "erythrocyte", "erythrocyte", "leukocyte", "platelet"])
                wide = {"erythrocyte": rng.normal(1, 0.04), "leukocyte": 1.6, "platelet": 0.35}[kind] * erythrocyte_px
                x, y = (np.array([column, row]) + 0.5) * step + rng.uniform(-0.2, 0.2, 2) * erythrocyte_px
                reach = int(wide / 2) + 2
                top, left = max(0, int(y) - reach), max(0, int(x) - reach)
                part = image[top : int(y) + reach + 1, left : int(x) + reach + 1]
                rows, columns = np.mgrid[: part.shape[0], : part.shape[1]]
                part[np.hypot(rows + top + 0.5 - y, columns + left + 0.5 - x) < wide / 2] = DISC_COLORS[kind]
                truth.append((str(kind), (float(x), float(y)), float(wide)))
        return image, truth

    return paint


@pytest.fixture
def counting(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    disc_detector: DiscDetector,
    disc_field: Callable[..., tuple[np.ndarray, DiscTruth]],
) -> Path:
    """A folder with two fields of painted discs, where every detector that is opened by name finds discs."""
    from corpuscle.prediction import fields

    monkeypatch.setattr(fields, "open_detector", lambda name=None: disc_detector)
    folder = tmp_path / "smear"
    folder.mkdir()
    for number in (1, 2):
        Image.fromarray(disc_field(640, 480, seed=number)[0]).save(folder / f"field_{number}.png")
    return folder


@pytest.fixture(scope="session")
def attributed_root(drawn_cells: dict[str, tuple[np.ndarray, ...]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a drawn twin of PBC and of WBCAtt.

    Six pictures each of neutrophil, eosinophil and lymphocyte in PBC's train split, two in each of the others, and two
    platelets that have no attributes. WBCAtt's train list also has a picture of PBC's test split, and one whose file
    is not there; a picture of its train list is a duplicate of one in its test list.
    """
    import csv

    from corpuscle.data.attributes import ATTRIBUTES
    from corpuscle.data.catalog import DATASETS

    root = tmp_path_factory.mktemp("attributed")
    for name in DATASETS["pbc"].must_have:
        (root / "pbc" / name).mkdir(parents=True)
    looks = {
        "neutrophil": ("small", "pink", "unsegmented-band"),
        "eosinophil": ("round", "red", "segmented-bilobed"),
        "lymphocyte": ("nil", "nil", "unsegmented-round"),
    }
    rows, lists = [], {"train": [], "val": [], "test": []}
    places = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    parts = ["train"] * 4 + ["test", "test", "val", "train", "test", "train"]
    for key, (kind, color, nucleus) in {**looks, "platelet": ("", "", "")}.items():
        for number, (split, part) in enumerate(zip(places, parts, strict=True)):
            image = _turned(drawn_cells[key][number % 2])[number % 8]
            name = f"{key[:2].upper()}_{number}.jpg"
            Image.fromarray(image).save(root / "pbc" / key / name, quality=95)
            group = f"twins-{key}" if number in (0, 4) else ""
            rows.append([f"{key}/{name}", key, "", split, group])
            if not kind:
                continue
            values = {item.column: next(iter(item.values)) for item in ATTRIBUTES}
            values |= {"granule_type": kind, "granule_colour": color, "nucleus_shape": nucleus}
            values["granularity"] = "no" if kind == "nil" else "yes"
            lists[part].append({"img_name": name, "label": key.title(), **values, "path": ""})
    lists["train"].append({**lists["train"][0], "img_name": "NE_999.jpg"})
    with (root / "pbc" / "splits.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "class", "subtype", "split", "duplicate_group"])
        table.writerows(rows)
    (root / "wbcatt").mkdir()
    for part, values in lists.items():
        with (root / "wbcatt" / f"pbc_attr_v1_{part}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(values[0]))
            writer.writeheader()
            writer.writerows(values)
    return root
