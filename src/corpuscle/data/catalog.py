"""The public data sets that Corpuscle knows: where they come from, under which licence, and where they lie on disk.

The table `DATASETS` is the only place where a data set is described: adding one means adding a row. Nothing here
opens a connection; that is done by `corpuscle.data.fetch` alone, and only when asked. The cells of a set, and of any
folder that has a folder per class, are read by `corpuscle.data.labeled`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from corpuscle.errors import DatasetNotFoundError, UnknownNameError, UsageError
from corpuscle.taxonomy import LABEL_MAPS

__all__ = [
    "DATASETS",
    "ROOT_VARIABLE",
    "DatasetRow",
    "Layout",
    "RemoteFile",
    "data_root",
    "dataset",
    "locate",
]

Layout = Literal["folders", "npz", "voc", "yolo", "csv"]

ROOT_VARIABLE: Final = "CORPUSCLE_DATA"
"""Environment variable that names the folder of all data sets."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a data set as its publisher offers it.

    Attributes:
        name: File name to save it under.
        url: Plain address to download it from; empty when it needs an account.
        md5: Published hash in hexadecimal; empty when the publisher states none.
        sha256: Likewise.
        size_bytes: Published size; None when unknown.
    """

    name: str
    url: str = ""
    md5: str = ""
    sha256: str = ""
    size_bytes: int | None = None

    @property
    def known_hash(self) -> str | None:
        """The hash as `algorithm:hexadecimal`, the stronger one if both are known, and None if none is."""
        if self.sha256:
            return f"sha256:{self.sha256}"
        return f"md5:{self.md5}" if self.md5 else None


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One row of the table of data sets.

    Attributes:
        name: What `corpuscle fetch` calls it.
        title: What its publisher calls it.
        page: Page where a person reads about it and downloads it.
        files: The files to download; an archive (.zip) is unpacked.
        licence: Terms of use, of labels and pictures where they differ.
        citation: Work to cite.
        doi: Digital object identifier of the data or else of the work; empty when there is none.
        classes: Keys of the classes that it labels.
        layout: `folders` (one folder a class), `npz`, `voc` or `yolo` (boxes), or `csv` (a table without pictures).
        folder: Name of its folder under the data root.
        must_have: What its folder must hold to be taken for this data set.
        manual: What to do by hand where the download does not work: which file, from where, to which place.
            `{root}` stands for the data root.
    """

    name: str
    title: str
    page: str
    files: tuple[RemoteFile, ...]
    licence: str
    citation: str
    doi: str
    classes: tuple[str, ...]
    layout: Layout
    folder: str
    must_have: tuple[str, ...]
    manual: str

    @property
    def file_name(self) -> str:
        """Name of the first file to download; of the only one, except where a set comes as several tables."""
        return self.files[0].name


_ZENODO: Final = "https://zenodo.org/records/10519652"
# The commit that holds version 1 of the tables; `main` may move on.
_WBCATT: Final = (
    "https://raw.githubusercontent.com/apple2373/wbcatt/3121eea24a0977184bbedcb61b90f7a528f7b4e9/submission"
)
_BCCD_COMMIT: Final = "d272fb14cdff6e473fafeeeba32aba5f560e9e43"

_ACEVEDO: Final = (
    "Acevedo A., Merino A., Alférez S., Molina Á., Boldú L., Rodellar J. (2020). A dataset of microscopic peripheral "
    "blood cell images for development of automatic recognition systems. Data in Brief 30, 105474, "
    "doi 10.1016/j.dib.2020.105474"
)
_MEDMNIST: Final = (
    "Yang J., Shi R., Wei D. et al. (2023). MedMNIST v2 - a large-scale lightweight benchmark for 2D and 3D "
    "biomedical image classification. Scientific Data 10, 41, doi 10.1038/s41597-022-01721-8. Pictures: " + _ACEVEDO
)


def _bloodmnist(size_px: int, file_name: str, md5: str) -> DatasetRow:
    """Return the row of BloodMNIST at one picture size; the four differ in file and hash only."""
    return DatasetRow(
        name=f"bloodmnist_{size_px}",
        title=f"BloodMNIST, {size_px}x{size_px} px (MedMNIST)",
        page=_ZENODO,
        files=(RemoteFile(file_name, url=f"{_ZENODO}/files/{file_name}?download=1", md5=md5),),
        licence="CC BY 4.0",
        citation=_MEDMNIST,
        doi="10.5281/zenodo.10519652",
        classes=LABEL_MAPS["bloodmnist"],
        layout="npz",
        folder="bloodmnist",
        must_have=(file_name,),
        manual=f"Download {file_name} from {_ZENODO} and put it into {{root}}/bloodmnist.",
    )


_ROWS: Final[tuple[DatasetRow, ...]] = (
    _bloodmnist(28, "bloodmnist.npz", "7053d0359d879ad8a5505303e11de1dc"),
    _bloodmnist(64, "bloodmnist_64.npz", "2b94928a2ae4916078ca51e05b6b800b"),
    _bloodmnist(128, "bloodmnist_128.npz", "adace1e0ed228fccda1f39692059dd4c"),
    _bloodmnist(224, "bloodmnist_224.npz", "b718ff6835fcbdb22ba9eacccd7b2601"),
    DatasetRow(
        name="pbc",
        title="A dataset for microscopic peripheral blood cell images (Barcelona)",
        page="https://data.mendeley.com/datasets/snkd93bnjr/1",
        files=(
            RemoteFile(
                "PBC_dataset_normal_DIB.zip",
                url="https://data.mendeley.com/public-files/datasets/snkd93bnjr/files/"
                "2fc38728-2ae7-4a62-a857-032af82334c3/file_downloaded",
            ),
        ),
        licence="CC BY 4.0",
        citation=_ACEVEDO,
        doi="10.17632/snkd93bnjr.1",
        classes=LABEL_MAPS["pbc"],
        layout="folders",
        folder="pbc",
        must_have=(
            "basophil",
            "eosinophil",
            "erythroblast",
            "ig",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
        manual="Download PBC_dataset_normal_DIB.zip from https://data.mendeley.com/datasets/snkd93bnjr/1, put it into "
        "{root} and run `corpuscle fetch pbc` again, or unpack its eight class folders into {root}/pbc.",
    ),
    DatasetRow(
        name="kaggle-wbc",
        title="Blood Cell Images (Kaggle, P. Mooney)",
        page="https://www.kaggle.com/datasets/paultimothymooney/blood-cells",
        files=(RemoteFile("kaggle-wbc.zip"),),
        licence="MIT (the BCCD photographs that it was augmented from)",
        citation="Mooney P. Blood Cell Images. Kaggle, paultimothymooney/blood-cells",
        doi="",
        classes=LABEL_MAPS["kaggle"],
        layout="folders",
        folder="kaggle-wbc",
        must_have=("TRAIN", "TEST"),
        manual="Kaggle asks for an account: log in, download the archive from "
        "https://www.kaggle.com/datasets/paultimothymooney/blood-cells, put it into {root} under the name "
        "kaggle-wbc.zip and run `corpuscle fetch kaggle-wbc` again, or copy its folders TRAIN, TEST and TEST_SIMPLE "
        "into {root}/kaggle-wbc.",
    ),
    DatasetRow(
        name="bccd",
        title="BCCD: Blood Cell Count and Detection",
        page="https://github.com/Shenggan/BCCD_Dataset",
        # No hash: GitHub packs such archives anew and does not promise the same bytes.
        files=(
            RemoteFile("BCCD_Dataset.zip", url=f"https://github.com/Shenggan/BCCD_Dataset/archive/{_BCCD_COMMIT}.zip"),
        ),
        licence="MIT",
        citation="Shenggan (2017). BCCD Dataset. https://github.com/Shenggan/BCCD_Dataset",
        doi="",
        # Its leukocyte boxes (WBC) have a kind but no class: see corpuscle.taxonomy.kind_of_box_name.
        classes=("erythrocyte", "platelet"),
        layout="voc",
        folder="bccd",
        must_have=("Annotations", "ImageSets", "JPEGImages"),
        manual="Download the repository https://github.com/Shenggan/BCCD_Dataset (Code, Download ZIP), put it into "
        "{root} under the name BCCD_Dataset.zip and run `corpuscle fetch bccd` again, or copy the content of its "
        "folder BCCD into {root}/bccd.",
    ),
    DatasetRow(
        name="wbcatt",
        title="WBCAtt: morphological attributes for leukocytes of PBC",
        page="https://github.com/apple2373/wbcatt",
        files=(
            RemoteFile(
                "pbc_attr_v1_train.csv",
                url=f"{_WBCATT}/pbc_attr_v1_train.csv",
                sha256="0ae43bc4e38740dd2d93859e3894af96cb570ebc709620fa41b5042c628ff9ec",
                size_bytes=913_486,
            ),
            RemoteFile(
                "pbc_attr_v1_val.csv",
                url=f"{_WBCATT}/pbc_attr_v1_val.csv",
                sha256="28a7c116c111e15652e995974770ceb91a1e123a9804d6a9c5e4a53d046be9a0",
                size_bytes=152_836,
            ),
            RemoteFile(
                "pbc_attr_v1_test.csv",
                url=f"{_WBCATT}/pbc_attr_v1_test.csv",
                sha256="f97100edd420a68d44fa15df11ef1f98a328813b9f5e9d49d67dbc20e89a73c5",
                size_bytes=459_041,
            ),
        ),
        licence="MIT",
        citation="Tsutsui S., Pang W., Wen B. (2023). WBCAtt: A White Blood Cell Dataset Annotated with Detailed "
        "Morphological Attributes. Advances in Neural Information Processing Systems 36, arXiv 2306.13531",
        doi="10.48550/arXiv.2306.13531",
        classes=LABEL_MAPS["wbcatt"],
        layout="csv",
        folder="wbcatt",
        must_have=("pbc_attr_v1_train.csv", "pbc_attr_v1_val.csv", "pbc_attr_v1_test.csv"),
        manual="Download the three files pbc_attr_v1_*.csv from https://github.com/apple2373/wbcatt (folder "
        "submission) and put them into {root}/wbcatt.",
    ),
    DatasetRow(
        name="txl-pbc",
        title="TXL-PBC: boxes on pictures of PBC and three other sources",
        page="https://github.com/lugan113/TXL-PBC_Dataset",
        # No hash, and no commit: the authors still correct boxes, and each change gives another archive.
        files=(RemoteFile("TXL-PBC_Dataset.zip", url="https://github.com/lugan113/TXL-PBC_Dataset/archive/HEAD.zip"),),
        licence="MIT (boxes); CC BY 4.0 (pictures from PBC); the other pictures: terms of their sources",
        citation="Gan L., Li X. et al. (2024). TXL-PBC: a freely accessible labeled peripheral blood cell dataset. "
        "arXiv 2407.13214. Pictures: " + _ACEVEDO,
        doi="10.48550/arXiv.2407.13214",
        classes=(*LABEL_MAPS["txl-pbc"], "platelet", "erythrocyte"),
        layout="yolo",
        folder="txl-pbc",
        must_have=("images", "labels"),
        manual="Download the repository https://github.com/lugan113/TXL-PBC_Dataset (Code, Download ZIP), put it into "
        "{root} under the name TXL-PBC_Dataset.zip and run `corpuscle fetch txl-pbc` again, or copy its folders "
        "images and labels into {root}/txl-pbc.",
    ),
)

DATASETS: Final[dict[str, DatasetRow]] = {row.name: row for row in _ROWS}


def dataset(name: str) -> DatasetRow:
    """Return the row of the data set `name`.

    Raises:
        UnknownNameError: The table has no such row.
    """
    try:
        return DATASETS[name]
    except KeyError:
        raise UnknownNameError("data set", name, tuple(DATASETS)) from None


def data_root(option: str | Path | None = None) -> Path:
    """Return the folder under which data sets lie; it need not exist.

    Args:
        option: What the user asked for. Without it the environment variable `CORPUSCLE_DATA` counts, and without
            that `datasets` in the user's cache folder.

    Raises:
        UsageError: The folder begins with `~` but this user has no home folder.
    """
    chosen = option or os.environ.get(ROOT_VARIABLE)
    if chosen:
        try:
            return Path(chosen).expanduser()
        except RuntimeError:
            raise UsageError(f"The home folder in {chosen} cannot be found; give the data root in full.") from None
    from platformdirs import user_cache_path

    return user_cache_path("corpuscle", appauthor=False) / "datasets"


def locate(name: str, root: Path | None = None) -> Path:
    """Return where the data set `name` lies on disk, without opening a connection.

    Args:
        name: A key of `DATASETS`.
        root: The data root; `data_root()` when not given.

    Returns:
        The file for layout `npz`, which may also lie directly under the root, and the folder for all others.

    Raises:
        UnknownNameError: There is no such data set.
        DatasetNotFoundError: It is not there, or the folder lacks a part; the text says what to do.
    """
    row = dataset(name)
    root = data_root() if root is None else root
    try:
        found, finding = _look(row, root)
    except PermissionError:
        raise DatasetNotFoundError(f"{root} may not be read by this user; change its permissions.") from None
    if found is None:
        raise DatasetNotFoundError(_not_there(row, root, finding))
    return found


def _look(row: DatasetRow, root: Path) -> tuple[Path | None, str]:
    """Return where the data set lies, or None and what was found instead."""
    folder = root / row.folder
    if row.layout == "npz":
        found = next((place for place in (folder / row.file_name, root / row.file_name) if place.is_file()), None)
        return found, f"there is no file {folder / row.file_name}"
    missing = [part for part in row.must_have if not (folder / part).exists()]
    if not missing:
        return folder, ""
    if folder.is_dir():
        return None, f"the folder {folder} lacks {', '.join(missing)}"
    return None, f"there is no folder {folder}"


def _not_there(row: DatasetRow, root: Path, finding: str) -> str:
    """Say that a data set was not found, what was found instead, and what to do next."""
    manual = row.manual.format(root=root)
    if not all(file.url for file in row.files):
        return f"The data set {row.name} was not found: {finding}. {manual}"
    return (
        f"The data set {row.name} was not found: {finding}. Run `corpuscle fetch {row.name}`, or name the folder of "
        f"your data sets with --data-root or {ROOT_VARIABLE}."
    )
