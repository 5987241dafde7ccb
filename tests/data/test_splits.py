import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpuscle.data.groups import group_codes
from corpuscle.data.splits import (
    VGG19_STUDY,
    SplitRow,
    group_folds,
    random_split,
    read_split_table,
    stratified_group_split,
)
from corpuscle.errors import DataError, DatasetNotFoundError, UsageError

HEADER = "file,class,subtype,split,duplicate_group\n"
FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}
SOME = settings(max_examples=40, deadline=None)


def write_table(tmp_path, text):
    path = tmp_path / "splits.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def cut_groups(groups, parts):
    """Groups whose rows are in more than one part."""
    where = {}
    for group, part in zip(groups, parts, strict=True):
        if group:
            where.setdefault(group, set()).add(part)
    return {group for group, parts_of in where.items() if len(parts_of) > 1}


@st.composite
def grouped_rows(draw):
    """Classes and groups, some groups of several classes, each class with 10 rows on their own at least."""
    names = ["basophil", "monocyte", "platelet"][: draw(st.integers(1, 3))]
    rows = draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(["", "a", "b", "c", "d"])), max_size=60))
    rows += [(name, "") for name in names for _ in range(10)]
    rows = draw(st.permutations(rows))
    return [row[0] for row in rows], [row[1] for row in rows]


def test_a_table_is_read_row_by_row(tmp_path):
    text = HEADER + "ig/MY_1.jpg,ig,MY,train,\n\nbasophil/BA_2.jpg,basophil,BA,test,dup00\n"
    assert read_split_table(write_table(tmp_path, text)) == [
        SplitRow("ig/MY_1.jpg", "ig", "MY", "train", ""),
        SplitRow("basophil/BA_2.jpg", "basophil", "BA", "test", "dup00"),
    ]


def test_a_table_may_have_columns_in_any_order_more_of_them_and_a_byte_order_mark(tmp_path):
    text = "\ufeffsplit,note,file,class,duplicate_group,subtype\r\nval,blurred,a.jpg,platelet,,\r\n"
    assert read_split_table(write_table(tmp_path, text)) == [SplitRow("a.jpg", "platelet", "", "val", "")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: the header must name the column 'file'"),
        ("file,class,split,duplicate_group\n", "line 1: .* 'subtype'"),
        (HEADER.replace("subtype", "split"), "line 1: .* 'subtype'"),
        (HEADER, "lists no picture"),
        (HEADER + "a.jpg,platelet,,train,\nb.jpg,platelet,,train\n", "line 3: 4 values for 5 columns"),
        (HEADER + "a.jpg,platelet,,train,,\n", "line 2: 6 values for 5 columns"),
        (HEADER + "a.jpg,platelet,,dev,\n", "line 2: The split 'dev'"),
        (HEADER + "a.jpg, ,,train,\n", "line 2: The class of 'a.jpg' is blank"),
        (HEADER + ",platelet,,train,\n", "line 2: The file ''"),
        (HEADER + "../a.jpg,platelet,,train,\n", "line 2: The file '../a.jpg'"),
        (HEADER + "/a.jpg,platelet,,train,\n", "line 2: The file '/a.jpg'"),
        (HEADER + "C:/a.jpg,platelet,,train,\n", "line 2: The file 'C:/a.jpg'"),
        (HEADER + "b\\a.jpg,platelet,,train,\n", "line 2: The file"),
        (HEADER + "a.jpg,platelet,,train,\n\na.jpg,platelet,,val,\n", "line 4: 'a.jpg' is listed already in line 2"),
        (HEADER + "a.jpg,platelet,,train,x\nb.jpg,platelet,,val,x\n", "line 3: the duplicate group 'x'"),
        (HEADER + '"a.jpg,platelet,,train,\n', "no valid CSV"),
        (HEADER.encode() + b"\xff.jpg,platelet,,train,\n", "UTF-8"),
    ],
)
def test_a_wrong_table_is_refused_with_file_and_line(tmp_path, text, words):
    path = write_table(tmp_path, text)
    with pytest.raises(DataError, match=words) as caught:
        read_split_table(path)
    assert str(path) in str(caught.value)


def test_a_missing_table_is_said_to_be_missing(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"splits\.csv"):
        read_split_table(tmp_path / "splits.csv")
    with pytest.raises(DatasetNotFoundError):
        read_split_table(tmp_path)


def test_codes_number_named_groups_first_and_blank_ones_each():
    assert group_codes(["b", "", "a", "b", ""]).tolist() == [1, 2, 0, 1, 3]
    assert group_codes([]).tolist() == []


@SOME
@given(grouped_rows(), st.integers(0, 5))
def test_splits_share_no_group_miss_no_row_and_repeat(case, seed):
    classes, groups = case
    splits = stratified_group_split(classes, groups, fractions=FRACTIONS, seed=seed)
    assert len(splits) == len(classes)
    assert not cut_groups(groups, splits)
    for class_name in set(classes):
        assert {split for split, name in zip(splits, classes, strict=True) if name == class_name} == set(FRACTIONS)
    assert splits == stratified_group_split(classes, groups, fractions=FRACTIONS, seed=seed)


@SOME
@given(grouped_rows(), st.integers(2, 8), st.integers(0, 5))
def test_folds_share_no_group_miss_no_row_and_repeat(case, folds, seed):
    classes, groups = case
    found = group_folds(groups, classes, folds=folds, seed=seed)
    assert found.shape == (len(classes),)
    assert found.dtype == np.int64
    assert not cut_groups(groups, found.tolist())
    for class_name in set(classes):
        assert set(found[np.array(classes) == class_name].tolist()) == set(range(folds))
    assert (found == group_folds(groups, classes, folds=folds, seed=seed)).all()


@SOME
@given(st.sets(st.text(min_size=1, max_size=4), min_size=12, max_size=40), st.booleans(), st.randoms())
def test_random_splits_share_no_group_miss_no_row_and_ignore_the_order(names, with_groups, random):
    files = sorted(names)
    groups = [f"group {place % 12}" for place in range(len(files))] if with_groups else None
    fractions = {"train": 0.5, "test": 0.5}
    splits = random_split(files, fractions=fractions, seed=3, groups=groups)
    assert set(splits) == {"train", "test"}
    assert not cut_groups(groups or files, splits)
    order = random.sample(range(len(files)), len(files))
    moved = None if groups is None else [groups[row] for row in order]
    again = random_split([files[row] for row in order], fractions=fractions, seed=3, groups=moved)
    assert again == [splits[row] for row in order]


def test_without_groups_each_class_misses_its_fraction_by_less_than_a_row():
    classes = ["basophil"] * 137 + ["monocyte"] * 41 + ["platelet"] * 999
    splits = stratified_group_split(classes, [""] * len(classes), fractions=FRACTIONS, seed=0)
    for (class_name, split), rows in Counter(zip(classes, splits, strict=True)).items():
        assert abs(rows - FRACTIONS[split] * classes.count(class_name)) < 1


def test_groups_of_a_few_rows_keep_the_proportions_of_each_class():
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 8, size=200)
    groups = [f"photograph {group}" for group, size in enumerate(sizes) for _ in range(size)]
    classes = rng.choice(["basophil", "monocyte", "platelet"], size=len(groups), p=[0.2, 0.3, 0.5]).tolist()
    splits = stratified_group_split(classes, groups, fractions=FRACTIONS, seed=0)
    assert not cut_groups(groups, splits)
    for (class_name, split), rows in Counter(zip(classes, splits, strict=True)).items():
        assert abs(rows - FRACTIONS[split] * classes.count(class_name)) <= 4


def test_a_rare_class_is_in_every_split_even_where_its_fraction_is_below_one_row():
    classes = ["platelet"] * 100 + ["basophil"] * 4
    splits = stratified_group_split(classes, [""] * 104, fractions=FRACTIONS, seed=0)
    assert Counter(splits[100:]) == {"train": 2, "val": 1, "test": 1}


def test_groups_are_moved_until_each_class_is_in_every_split():
    # The three groups with basophils are so large that proportion alone puts them all into train.
    classes = (["basophil"] * 1 + ["platelet"] * 40) * 3 + ["platelet"] * 30
    groups = [f"smear {row // 41}" for row in range(123)] + [""] * 30
    for seed in range(5):
        splits = stratified_group_split(classes, groups, fractions=FRACTIONS, seed=seed)
        assert {splits[0], splits[41], splits[82]} == set(FRACTIONS)


def test_another_seed_gives_another_split_with_large_groups_too():
    groups = [f"smear {row // 20}" for row in range(200)] + [""] * 100
    found = [stratified_group_split(["platelet"] * 300, groups, fractions=FRACTIONS, seed=seed) for seed in range(8)]
    assert len({tuple(splits) for splits in found}) == 8
    # A large group is not always in the largest split.
    assert any(split != "train" for splits in found for split in splits[:200])


def test_folds_are_even_in_each_class():
    classes = ["basophil"] * 23 + ["platelet"] * 52
    folds = group_folds([""] * 75, classes, folds=5, seed=0).tolist()
    counts = Counter(zip(classes, folds, strict=True))
    assert {counts["basophil", fold] for fold in range(5)} == {4, 5}
    assert {counts["platelet", fold] for fold in range(5)} == {10, 11}


def test_a_class_of_few_groups_is_in_as_many_folds_as_it_has_groups():
    classes = ["platelet"] * 30 + ["monocyte"] * 6
    groups = [""] * 30 + ["x", "x", "y", "y", "z", "z"]
    folds = group_folds(groups, classes, folds=5, seed=0)
    assert len(set(folds[30:].tolist())) == 3
    assert set(folds.tolist()) == set(range(5))


def test_the_study_of_vgg19_is_a_plain_random_split_by_picture():
    files = [f"{class_name}/{number:04}.jpg" for class_name in ("ig", "platelet") for number in range(500)]
    splits = random_split(files, **VGG19_STUDY)
    assert Counter(splits) == {"train": 800, "val": 100, "test": 100}
    assert VGG19_STUDY == {"fractions": FRACTIONS, "seed": 42}
    # Random, not stratified: with seed 42 the classes are not exactly even in each part.
    assert Counter(splits[:500]) != {"train": 400, "val": 50, "test": 50}
    assert random_split(files, fractions=FRACTIONS, seed=43) != splits
    # It cuts groups unless it is told of them.
    groups = [f"pair {place // 2}" for place in range(1000)]
    assert cut_groups(groups, splits)
    whole = random_split(files, **VGG19_STUDY, groups=groups)
    assert not cut_groups(groups, whole)
    assert Counter(whole) == {"train": 800, "val": 100, "test": 100}


def test_folds_are_made_where_not_every_class_can_be_in_every_fold():
    # The seven smears of the Fano plane: in three folds, some class is in two of them only.
    rows = [((line + step) % 7, line) for line in range(7) for step in (0, 1, 3)]
    names = ["basophil", "eosinophil", "erythroblast", "lymphocyte", "monocyte", "neutrophil", "platelet"]
    groups = [f"smear {line}" for _, line in rows]
    folds = group_folds(groups, [names[place] for place, _ in rows], folds=3, seed=0)
    assert not cut_groups(groups, folds.tolist())
    assert set(folds.tolist()) == {0, 1, 2}
    reached = [{int(fold) for fold, (place, _) in zip(folds, rows, strict=True) if place == k} for k in range(7)]
    assert min(len(parts) for parts in reached) == 2


@pytest.mark.parametrize(
    ("fractions", "words"),
    [
        ({}, "2 parts"),
        ({"train": 1.0}, "2 parts"),
        ({"train": 0.8, "test": 0.1}, "add up to 0.9"),
        ({"train": 1.0, "test": 0.0}, "'test' is 0"),
        ({"train": 1.5, "test": -0.5}, "'test' is -0.5"),
        ({"train": float("nan"), "test": 0.5}, "'train' is nan"),
        ({"": 0.5, "test": 0.5}, "''"),
    ],
)
def test_wrong_fractions_are_refused(fractions, words):
    with pytest.raises(UsageError, match=words):
        stratified_group_split(["platelet"] * 9, [""] * 9, fractions=fractions, seed=0)
    with pytest.raises(UsageError, match=words):
        random_split([str(number) for number in range(9)], fractions=fractions, seed=0)


def test_impossible_splits_are_refused():
    with pytest.raises(UsageError, match=r"'basophil' cannot be in each of the 3 splits.*2 groups"):
        stratified_group_split(
            ["platelet"] * 9 + ["basophil"] * 4, [""] * 9 + ["x", "x", "y", "y"], fractions=FRACTIONS, seed=0
        )
    with pytest.raises(UsageError, match="9 classes and 8 groups"):
        stratified_group_split(["platelet"] * 9, [""] * 8, fractions=FRACTIONS, seed=0)
    with pytest.raises(UsageError, match="nothing to split"):
        stratified_group_split([], [], fractions=FRACTIONS, seed=0)
    with pytest.raises(UsageError, match="seed"):
        stratified_group_split(["platelet"] * 9, [""] * 9, fractions=FRACTIONS, seed=-1)


def test_a_request_that_only_a_search_finds_impossible_is_refused():
    # Seven smears hold seven classes like the lines of the Fano plane: two splits never have all of them.
    names = ["basophil", "eosinophil", "erythroblast", "lymphocyte", "monocyte", "neutrophil", "platelet"]
    rows = [(names[(line + step) % 7], f"smear {line}") for line in range(7) for step in (0, 1, 3)]
    with pytest.raises(UsageError, match="No way was found to put the class"):
        stratified_group_split(
            [row[0] for row in rows], [row[1] for row in rows], fractions={"train": 0.5, "test": 0.5}, seed=0
        )


def test_impossible_random_splits_are_refused():
    with pytest.raises(UsageError, match="would stay empty"):
        random_split(["a", "b", "c"], fractions=FRACTIONS, seed=0)
    with pytest.raises(UsageError, match="named twice"):
        random_split(["a", "b", "a"], fractions=FRACTIONS, seed=0)
    with pytest.raises(UsageError, match="3 files and 1 groups"):
        random_split(["a", "b", "c"], fractions=FRACTIONS, seed=0, groups=["x"])
    with pytest.raises(UsageError, match="nothing to split"):
        random_split([], fractions=FRACTIONS, seed=0)


def test_impossible_folds_are_refused():
    with pytest.raises(UsageError, match="2 folds or more"):
        group_folds([""] * 9, ["platelet"] * 9, folds=1, seed=0)
    with pytest.raises(UsageError, match="4 groups cannot fill 5 folds"):
        group_folds(["a", "b", "c", "d"] * 2, ["platelet"] * 8, folds=5, seed=0)
    with pytest.raises(UsageError, match="'basophil' is in one group only"):
        group_folds(["x", "x", "", ""], ["basophil", "basophil", "platelet", "platelet"], folds=2, seed=0)


@pytest.mark.real_data
def test_the_published_table_of_pbc_is_read_and_can_be_split_anew():
    root = os.environ.get("CORPUSCLE_DATA")
    if not root:
        pytest.skip("CORPUSCLE_DATA is not set")
    rows = read_split_table(Path(root) / "pbc" / "splits.csv")
    assert Counter(row.split for row in rows) == {"train": 11_966, "val": 1_707, "test": 1_709}
    groups = [row.duplicate_group for row in rows]
    splits = stratified_group_split([row.class_name for row in rows], groups, fractions=FRACTIONS, seed=0)
    assert not cut_groups(groups, splits)
