"""Runs side by side: the same files are paired, what cannot be tested is said, and leaks never hide."""

from __future__ import annotations

import json
import shutil

import pytest

from corpuscle.errors import DataError, NoInputError, UsageError
from corpuscle.evaluation import comparison as comparison_module
from corpuscle.evaluation.comparison import AgainstReference, compare
from corpuscle.evaluation.paired import holm
from corpuscle.models.bundle import load_bundle


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Do not time networks: the rates are 100, 200, 300 ..."""

    def rates(bundles, *, progress=None):
        if progress:
            progress(5, 5)
        return tuple(100.0 * (number + 1) for number in range(len(bundles)))

    monkeypatch.setattr(comparison_module, "network_rates", rates)


def line_of(text: str, start: str) -> str:
    """The line of a run in the first table."""
    return next(line for line in text.splitlines() if line.startswith(f"{start} "))


def test_runs_are_tested_on_the_files_in_common(make_run):
    a, b, c = make_run("a", "11111111"), make_run("b", "00000011"), make_run("c", "11110111")
    result = compare([a, b, c])
    first, second, third = result.runs
    assert first.against is None
    assert second.against == AgainstReference(8, 6, 0, second.against.p, second.against.holm_p)
    assert second.against.p == pytest.approx(2 / 64)
    assert third.against.p == 1.0
    assert (second.against.holm_p, third.against.holm_p) == holm([second.against.p, third.against.p])
    assert [row.cells_per_second for row in result.runs] == [100.0, 200.0, 300.0]
    assert (result.reference, result.split, result.notes) == ("a", "test", ())


def test_files_are_paired_by_name_not_by_line(make_run):
    a, b = make_run("a", "1000"), make_run("b", "1000")
    table = b / "evaluation" / "test" / "predictions.csv"
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([head, *reversed(rows)]) + "\n")
    against = compare([a, b]).runs[1].against
    assert (against.common, against.only_reference, against.only_run) == (4, 0, 0)


@pytest.mark.parametrize("by", ["folder", "name"])
def test_the_reference_can_be_chosen(make_run, by):
    a, b = make_run("a", "1111"), make_run("b", "0111")
    result = compare([a, b], reference=b if by == "folder" else "b")
    assert result.reference == "b"
    assert result.runs[1].against is None
    assert (result.runs[0].against.only_reference, result.runs[0].against.only_run) == (0, 1)
    with pytest.raises(UsageError, match=r"The reference c is none of the runs\. Choose one of: a, b\."):
        compare([a, b], reference="c")


def test_partly_common_files_are_said_with_their_number(make_run):
    a, b, c = make_run("a", "1111"), make_run("b", "0011", first=2), make_run("c", "01")
    result = compare([a, b, c])
    against = result.runs[1].against
    assert (against.common, against.only_reference, against.only_run, against.p) == (2, 2, 0, 0.5)
    assert "b and a have 2 files in common, of 4 and 4" in result.notes[0]
    assert "c and a have 2 files in common, of 2 and 4" in result.notes[1]


@pytest.mark.parametrize("changes", [{"first": 4}, {"tested": {"dataset": "bccd-leukocytes"}}])
def test_without_common_files_there_is_no_p_value(make_run, changes):
    a, b, c = make_run("a", "1111"), make_run("b", "0011", **changes), make_run("c", "0000")
    result = compare([a, b, c])
    assert result.runs[1].against == AgainstReference(0, None, None, None, None)
    assert "have no file in common: they cannot be tested" in result.notes[0]
    assert "not tested" in line_of(result.text(), "b")
    assert result.runs[2].against.holm_p == result.runs[2].against.p == pytest.approx(0.125)


def test_one_run_alone_is_shown_and_not_tested(make_run):
    result = compare([make_run("a", "10")])
    assert result.runs[0].against is None
    assert result.notes == ("One run alone is no comparison, so nothing was tested.",)
    assert "0.5000" in result.text()


def test_a_leak_stands_in_every_line_of_its_run(make_run):
    a, b = make_run("a", "1101"), make_run("b", "1111", leak="duplicates across splits")
    result = compare([a, b])
    rows = [line for line in result.text().splitlines() if line.startswith("b ")]
    assert len(rows) == 2
    assert all(row.endswith("leaks") for row in rows)
    assert not any(line.endswith("leaks") for line in result.text().splitlines() if line.startswith("a "))
    assert result.notes == ("b leaks: duplicates across splits. Its figures flatter.",)
    assert result.to_dict()["runs"][1]["leak"] == "leaks: duplicates across splits"


def test_the_tables_show_the_figures(make_run):
    a = make_run("a", "1110", tested={"balanced_accuracy": 0.625})
    text = compare([a, make_run("b", "1111")]).text()
    row = line_of(text, "a").split()
    assert row == ["a", "pbc", "test", "4", "0.7500", "0.3006-0.9544", "0.6250", "reference"]
    assert line_of(text, "b").split()[7:] == ["4", "0", "1", "1.0000", "1.0000"]
    cost = next(line for line in text.splitlines() if line.startswith("a ") and "corpuscle_s" in line)
    size = f"{(load_bundle().folder / load_bundle().graph).stat().st_size / 1e6:.2f}"
    assert cost.split() == ["a", "corpuscle_s", "1.52", "M", "310", "M", size, "100", "1", "h", "02", "min"]
    assert text.endswith("Preliminary. Not a medical device.")


def test_runs_of_one_name_are_told_apart(make_run):
    a, b = make_run("a", "11", name="same"), make_run("b", "11", name="same")
    result = compare([a, b])
    assert [row.label for row in result.runs] == [f"same ({a})", f"same ({b})"]


def test_what_makes_figures_hard_to_compare_is_said(make_run):
    a = make_run("a", "11", tested={"group_count": 1})
    b = make_run("b", "11", machine="another machine")
    groups, machines = compare([a, b]).notes
    assert "share groups (1 groups of 2 pictures)" in groups
    assert "trained on different machines" in machines


def test_different_classes_are_said(make_run, monkeypatch):
    import dataclasses

    a, b = make_run("a", "11"), make_run("b", "11")
    read = comparison_module.read_run

    def fewer(folder, *, split):
        run = read(folder, split=split)
        bundle = dataclasses.replace(run.bundle)
        object.__setattr__(bundle, "classes", bundle.classes[:-1])
        return dataclasses.replace(run, bundle=bundle) if folder == b else run

    monkeypatch.setattr(comparison_module, "read_run", fewer)
    assert compare([a, b]).notes == ("b and a know different classes, so being right is not equally hard.",)


def test_the_result_can_be_written_as_json(make_run):
    result = compare([make_run("a", "10"), make_run("b", "11")])
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert [row["run"] for row in values["runs"]] == ["a", "b"]
    assert values["runs"][0]["mcnemar_p"] is None
    assert values["runs"][1]["mcnemar_holm_p"] == 1.0
    assert values["runs"][1]["graph_bytes"] < values["runs"][1]["bundle_bytes"]


def test_progress_is_passed_on(make_run):
    seen = []
    compare([make_run("a", "10")], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(5, 5)]


def test_different_labels_of_one_file_are_refused(make_run):
    a, b = make_run("a", "11"), make_run("b", "11")
    table = b / "evaluation" / "test" / "predictions.csv"
    table.write_text(table.read_text().replace("0.png,basophil,basophil", "0.png,monocyte,monocyte"))
    with pytest.raises(DataError, match=r"different labels of pbc: '0\.png' is basophil in one and monocyte in the"):
        compare([a, b])


@pytest.mark.parametrize("runs", [[], "runs/a"])
def test_no_list_of_runs_is_refused(runs):
    with pytest.raises(UsageError, match="no run to compare"):
        compare(runs)


def test_the_same_run_twice_is_refused(make_run, monkeypatch):
    a = make_run("a", "11")
    with pytest.raises(UsageError, match=r"is given twice\. Give each run once"):
        compare([a, a])
    monkeypatch.chdir(a.parent)
    with pytest.raises(UsageError, match="is given twice"):
        compare([a, "a"])


def test_a_copy_of_a_run_is_another_run(make_run):
    a = make_run("a", "11")
    copy = shutil.copytree(a, a.parent / "copy")
    assert [row.against for row in compare([a, copy]).runs] == [None, AgainstReference(2, 0, 0, 1.0, 1.0)]


def test_one_bad_folder_among_good_ones_is_told(make_run, tmp_path):
    with pytest.raises(NoInputError, match="is no run"):
        compare([make_run("a", "11"), tmp_path])
    with pytest.raises(NoInputError, match="for the split 'val'"):
        compare([tmp_path / "a"], split="val")
