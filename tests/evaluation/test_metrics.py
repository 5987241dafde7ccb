import json

import numpy as np
import pytest
from sklearn import metrics as reference

from corpuscle.errors import DataError, UnknownNameError, UsageError
from corpuscle.evaluation.metrics import (
    accuracy,
    balanced_accuracy,
    brier_score,
    calibration_error,
    confusion_matrix,
    evaluate_predictions,
    negative_log_likelihood,
    one_vs_rest_auc,
    roc_auc,
)
from corpuscle.evaluation.mistakes import most_confident_mistakes

CLASSES = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")


def drawn_predictions(seed, n=400, k=5, skill=1.5):
    """Random labels of unequal frequency and probabilities that lean towards them."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(k, size=n, p=np.arange(1, k + 1) / (k * (k + 1) / 2))
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), labels] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, probabilities


def one_hot(labels, k):
    return np.eye(k)[labels]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rates_and_averages_equal_scikit_learn(seed):
    labels, probabilities = drawn_predictions(seed)
    predictions = probabilities.argmax(axis=1)
    found = evaluate_predictions(labels, probabilities, CLASSES, resamples=100)
    precision, recall, f1, support = reference.precision_recall_fscore_support(labels, predictions)
    assert [entry.precision for entry in found.per_class] == pytest.approx(precision)
    assert [entry.recall for entry in found.per_class] == pytest.approx(recall)
    assert [entry.f1 for entry in found.per_class] == pytest.approx(f1)
    assert [entry.support for entry in found.per_class] == support.tolist()
    for averages, average in ((found.macro, "macro"), (found.weighted, "weighted")):
        expected = reference.precision_recall_fscore_support(labels, predictions, average=average)[:3]
        assert (averages.precision, averages.recall, averages.f1) == pytest.approx(expected)
    assert found.accuracy == pytest.approx(reference.accuracy_score(labels, predictions))
    assert found.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(labels, predictions))
    assert found.confusion.tolist() == reference.confusion_matrix(labels, predictions).tolist()
    assert found.notes == ()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_probability_metrics_equal_scikit_learn(seed):
    labels, probabilities = drawn_predictions(seed)
    found = evaluate_predictions(labels, probabilities, CLASSES, resamples=100)
    brier = sum(reference.brier_score_loss(labels == k, probabilities[:, k]) for k in range(5))
    assert found.brier_score == pytest.approx(brier)
    assert found.negative_log_likelihood == pytest.approx(reference.log_loss(labels, probabilities))
    assert found.macro_auc == pytest.approx(
        reference.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    )


@pytest.mark.parametrize("decimals", [2, 1])
def test_auc_and_acc_follow_the_rules_of_medmnist(decimals):
    """Its evaluator: ACC is the share of right arg-maxima, AUC the plain mean over classes of class against rest."""
    labels, probabilities = drawn_predictions(3)
    scores = np.round(probabilities, decimals)  # many ties
    expected = 0.0
    for k in range(5):
        expected += reference.roc_auc_score((labels == k).astype(int), scores[:, k])
    assert np.mean([roc_auc(labels == k, scores[:, k]) for k in range(5)]) == pytest.approx(expected / 5)
    found = evaluate_predictions(labels, probabilities, CLASSES, resamples=100)
    expected = sum(reference.roc_auc_score(labels == k, probabilities[:, k]) for k in range(5)) / 5
    assert found.macro_auc == pytest.approx(expected)
    assert found.accuracy == reference.accuracy_score(labels, [row.argmax() for row in probabilities])


def test_auc_counts_a_tie_as_one_half():
    # Pairs positive-negative: 0.5-0.5 tie, 0.5-0.2 won, 0.9-0.5 won, 0.9-0.2 won.
    assert roc_auc([True, False, True, False], [0.5, 0.5, 0.9, 0.2]) == pytest.approx(3.5 / 4)
    assert roc_auc([True, False], [0.3, 0.3]) == pytest.approx(0.5)
    assert roc_auc([True, True], [0.3, 0.4]) is None
    assert roc_auc([False], [0.3]) is None


def test_calibration_error_of_a_worked_example():
    # Confidences 0.9 (right), 0.9 (wrong), 0.6 (right): bins hold a gap of |1.8 - 1| and of |0.6 - 1|, over 3 pictures.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    assert calibration_error([0, 1, 1], probabilities) == pytest.approx((0.8 + 0.4) / 3)


def test_calibration_error_equals_a_plain_loop_over_fifteen_bins():
    labels, probabilities = drawn_predictions(4, n=1000, skill=0.9)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert calibration_error(labels, probabilities) == pytest.approx(expected)
    assert calibration_error(labels, probabilities) != pytest.approx(calibration_error(labels, probabilities, bins=3))


def test_a_confidence_on_the_edge_of_a_bin_belongs_to_the_bin_below():
    # Two bins: 0.5 (right) is in the first, 0.8 (wrong) in the second; in one bin the gaps would cancel in part.
    probabilities = np.array([[0.5, 0.5], [0.8, 0.2]])
    assert calibration_error([0, 1], probabilities, bins=2) == pytest.approx((0.5 + 0.8) / 2)


def test_brier_score_and_likelihood_of_known_answers():
    sure_and_wrong = np.array([[1.0, 0.0]])
    assert brier_score([1], sure_and_wrong) == pytest.approx(2.0)
    assert brier_score([0], sure_and_wrong) == 0.0
    assert negative_log_likelihood([0], sure_and_wrong) == 0.0
    assert negative_log_likelihood([1], np.array([[0.75, 0.25]])) == pytest.approx(np.log(4))
    assert negative_log_likelihood([1], sure_and_wrong) == pytest.approx(-np.log(np.finfo(float).eps))


def test_metrics_leave_their_input_as_it_was():
    labels, probabilities = drawn_predictions(5)
    before = probabilities.copy()
    evaluate_predictions(labels, probabilities, CLASSES, resamples=100)
    assert (probabilities == before).all()


def test_accuracies_of_a_worked_example():
    labels, predictions = [0, 0, 0, 1], [0, 0, 1, 1]
    assert accuracy(labels, predictions) == 0.75
    assert balanced_accuracy(labels, predictions) == pytest.approx((2 / 3 + 1) / 2)
    assert confusion_matrix(labels, predictions, 3).tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert confusion_matrix(labels, predictions, 3).dtype == np.int64


def test_balanced_accuracy_takes_the_labeled_classes_only():
    assert balanced_accuracy([0, 0, 4, 4], [0, 2, 4, 4]) == pytest.approx(0.75)


def test_an_absent_class_is_not_measured_and_noted():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.1, 0.7, 0.2], [0.2, 0.6, 0.2]])
    found = evaluate_predictions([0, 0, 1, 1], probabilities, CLASSES[:3], resamples=100)
    absent = found.per_class[2]
    assert (absent.class_name, absent.support, absent.predicted) == ("lymphocyte", 0, 1)
    assert (absent.recall, absent.f1, absent.auc, absent.recall_interval) == (None, None, None, None)
    assert absent.precision == 0.0
    assert found.macro.recall == pytest.approx((0.5 + 1.0) / 2)
    assert found.balanced_accuracy == pytest.approx(0.75)
    assert found.macro.precision == pytest.approx(1.0)
    assert found.macro_auc == pytest.approx((found.per_class[0].auc + found.per_class[1].auc) / 2)
    [note] = [note for note in found.notes if "lymphocyte" in note]
    assert "not measured" in note
    assert "predicted as it: 1." in note
    assert "not measured" in found.report_text()


def test_a_class_never_predicted_counts_as_zero_precision_and_is_noted():
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.6, 0.4]])
    found = evaluate_predictions([0, 0, 1], probabilities, CLASSES[:2], resamples=100)
    assert found.per_class[1].precision == 0.0
    assert found.per_class[1].precision_interval is None
    expected = reference.precision_recall_fscore_support([0, 0, 1], [0, 0, 0], average="macro", zero_division=0)
    assert (found.macro.precision, found.macro.recall, found.macro.f1) == pytest.approx(expected[:3])
    assert any("predicted as eosinophil" in note for note in found.notes)


def test_one_picture_gives_an_evaluation_without_bootstrap():
    found = evaluate_predictions([1], np.array([[0.3, 0.7]]), CLASSES[:2])
    assert found.accuracy == 1.0
    assert found.macro_auc is None
    assert found.balanced_accuracy_interval is None
    assert any("bootstrap" in note for note in found.notes)
    assert any("no AUC" in note for note in found.notes)
    assert "not measured" in found.report_text()
    json.dumps(found.to_dict(), allow_nan=False)


def test_groups_widen_the_intervals_and_are_noted():
    rng = np.random.default_rng(0)
    group_labels, group_right = np.arange(40) % 2, rng.random(40) < 0.8
    labels, right = np.repeat(group_labels, 25), np.repeat(group_right, 25)
    probabilities = one_hot(np.where(right, labels, 1 - labels), 2)
    groups = [f"photograph {row // 25}" for row in range(1000)]
    grouped = evaluate_predictions(labels, probabilities, CLASSES[:2], groups=groups, resamples=500)
    loose = evaluate_predictions(labels, probabilities, CLASSES[:2], resamples=500)

    def width(interval):
        return interval.high - interval.low

    assert loose.accuracy_group_interval is None
    assert loose.group_count is None
    assert grouped.group_count == 40
    assert grouped.accuracy == loose.accuracy
    # Alike inside a group, 1000 pictures are worth 40: the interval is about sqrt(25) = 5 times as wide.
    assert width(grouped.accuracy_group_interval) > 3.5 * width(grouped.accuracy_interval)
    assert width(grouped.balanced_accuracy_interval) > 3.5 * width(loose.balanced_accuracy_interval)
    assert any("read the intervals of the bootstrap of groups" in note for note in grouped.notes)
    assert not any("groups" in note for note in loose.notes)
    assert "40 groups" in grouped.report_text()


def test_few_groups_and_one_group_are_noted():
    labels, probabilities = drawn_predictions(6, n=60)
    few = evaluate_predictions(labels, probabilities, CLASSES, groups=["a"] * 30 + ["b"] * 30, resamples=100)
    assert any("only 2 groups" in note for note in few.notes)
    one = evaluate_predictions(labels, probabilities, CLASSES, groups=["a"] * 60, resamples=100)
    assert one.accuracy_group_interval is None
    assert any("two groups" in note for note in one.notes)


def test_blank_groups_are_pictures_on_their_own():
    labels, probabilities = drawn_predictions(6, n=60)
    found = evaluate_predictions(labels, probabilities, CLASSES, groups=[""] * 58 + ["a"] * 2, resamples=100)
    assert found.group_count == 59


def test_perfect_predictions_say_that_the_bootstrap_has_no_width():
    labels = np.array([0, 1, 1, 0])
    found = evaluate_predictions(labels, one_hot(labels, 2), CLASSES[:2], resamples=100)
    assert found.balanced_accuracy_interval.low == found.balanced_accuracy_interval.high == 1.0
    assert found.accuracy_interval.low < 0.6
    assert any("no width" in note for note in found.notes)


def test_a_zero_probability_of_the_label_is_noted():
    found = evaluate_predictions([0, 1, 1], one_hot(np.array([0, 1, 0]), 2), CLASSES[:2], resamples=100)
    assert any(note.startswith("A label of probability 0") and "there are 1" in note for note in found.notes)


def test_dictionary_goes_through_json_unchanged():
    labels, probabilities = drawn_predictions(7)
    labels[labels == 4] = 3
    found = evaluate_predictions(labels, probabilities, CLASSES, groups=["a", "b"] * 200, resamples=100)
    told = found.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["per_class"][4]["recall"] is None
    assert told["accuracy_interval"]["confidence"] == 0.95
    assert np.array(told["confusion"]).sum() == told["n"] == 400
    assert set(told) == set(type(found).__dataclass_fields__)


def test_report_holds_a_line_a_class_with_its_support():
    labels, probabilities = drawn_predictions(8)
    found = evaluate_predictions(labels, probabilities, CLASSES, resamples=100)
    lines = found.report_text().splitlines()
    assert lines[0] == "n = 400 pictures, 5 classes"
    for entry in found.per_class:
        [line] = [line for line in lines if line.startswith(entry.class_name)]
        assert line.split() == [
            entry.class_name,
            f"{entry.precision:.4f}",
            f"{entry.recall:.4f}",
            f"{entry.recall_interval.low:.4f}-{entry.recall_interval.high:.4f}",
            f"{entry.f1:.4f}",
            f"{entry.auc:.4f}",
            str(entry.support),
        ]
    assert any(line.startswith("macro mean") and f"{found.macro_auc:.4f}" in line for line in lines)
    assert any(line.startswith("weighted mean") and line.endswith("400") for line in lines)
    assert lines[-1] == "Preliminary. Not a medical device."


def test_the_matrix_cannot_be_written_to():
    labels, probabilities = drawn_predictions(8)
    found = evaluate_predictions(labels, probabilities, CLASSES, resamples=100)
    with pytest.raises(ValueError, match="read-only"):
        found.confusion[0, 0] = 7


GOOD = np.array([[0.5, 0.5], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("labels", "probabilities", "classes", "error", "words"),
    [
        ([], np.empty((0, 2)), CLASSES[:2], DataError, "nothing to evaluate"),
        ([[0], [1]], GOOD, CLASSES[:2], UsageError, "shape"),
        ([0.0, 1.0], GOOD, CLASSES[:2], UsageError, "type float64"),
        ([0, 2], GOOD, CLASSES[:2], DataError, "Row 1 of the labels is 2"),
        ([-1, 0], GOOD, CLASSES[:2], DataError, "Row 0 of the labels is -1"),
        ([0, 1, 1], GOOD, CLASSES[:2], UsageError, "3 labels and 2 rows"),
        ([0, 1], GOOD[:, 0], CLASSES[:2], UsageError, "shape"),
        ([0, 1], GOOD.astype(int), CLASSES[:2], UsageError, "floating-point"),
        ([0, 1], GOOD, CLASSES[:3], UsageError, "2 columns for 3 classes"),
        ([0, 1], np.array([[0.5, 0.5], [0.2, 0.9]]), CLASSES[:2], DataError, "Row 1 .* adds up to 1.1"),
        ([0, 1], np.array([[0.5, 0.5], [-0.2, 1.2]]), CLASSES[:2], DataError, "Row 1 .* negative"),
        ([0, 1], np.array([[np.nan, 0.5], [0.2, 0.8]]), CLASSES[:2], DataError, "Row 0 .* not finite"),
        ([0, 1], np.array([[0.5, 0.5], [np.inf, 0.8]]), CLASSES[:2], DataError, "Row 1 .* not finite"),
        ([0, 0], np.ones((2, 1)), CLASSES[:1], UsageError, "two classes"),
        ([0, 1], GOOD, ("basophil", "basophil"), UsageError, "named twice"),
        ([0, 1], GOOD, ("basophil", "unicorn"), UnknownNameError, "unicorn"),
    ],
)
def test_wrong_input_is_refused_with_a_sentence(labels, probabilities, classes, error, words):
    with pytest.raises(error, match=words):
        evaluate_predictions(labels, probabilities, classes)
    with pytest.raises(error, match=words):
        most_confident_mistakes(["a"] * len(labels), labels, probabilities, classes)


def test_a_sum_within_the_tolerance_is_accepted():
    found = evaluate_predictions([0, 1], np.array([[1.0005, 0.0], [0.2, 0.8]]), CLASSES[:2], resamples=100)
    assert 0 <= found.calibration_error <= 1
    assert found.negative_log_likelihood >= 0


def test_other_wrong_arguments_are_refused():
    with pytest.raises(UsageError, match="2 pictures and 1 groups"):
        evaluate_predictions([0, 1], GOOD, CLASSES[:2], groups=["a"])
    with pytest.raises(UsageError, match="resamples"):
        evaluate_predictions([0, 1], GOOD, CLASSES[:2], resamples=1)
    with pytest.raises(UsageError, match="1 bin"):
        calibration_error([0, 1], GOOD, bins=0)
    with pytest.raises(UsageError, match="2 labels and 1 predictions"):
        accuracy([0, 1], [0])
    with pytest.raises(DataError, match="predictions is -1"):
        balanced_accuracy([0, 1], [0, -1])
    with pytest.raises(DataError, match="nothing to evaluate"):
        accuracy([], [])
    with pytest.raises(UsageError, match="finite"):
        roc_auc([True, False], [0.5, np.nan])
    with pytest.raises(UsageError, match="each of the 2"):
        roc_auc([True, False], [0.5])


def test_one_vs_rest_auc_has_one_entry_a_class():
    labels, probabilities = drawn_predictions(9)
    areas = one_vs_rest_auc(labels, probabilities)
    assert areas == pytest.approx([reference.roc_auc_score(labels == k, probabilities[:, k]) for k in range(5)])


def test_mistakes_come_most_confident_first():
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.8, 0.2], [0.8, 0.2], [0.6, 0.4]])
    labels = [0, 0, 1, 1, 1]
    found = most_confident_mistakes(["e", "d", "c", "b", "a"], labels, probabilities, CLASSES[:2])
    assert [(mistake.file, mistake.confidence) for mistake in found] == [("b", 0.8), ("c", 0.8), ("d", 0.7), ("a", 0.6)]
    assert (found[2].label, found[2].prediction) == ("basophil", "eosinophil")
    assert found[2].label_probability == pytest.approx(0.3)
    few = most_confident_mistakes(["e", "d", "c", "b", "a"], labels, probabilities, CLASSES[:2], most=2)
    assert few == found[:2]


def test_mistakes_refuse_wrong_requests():
    with pytest.raises(UsageError, match="1 or more"):
        most_confident_mistakes(["a", "b"], [0, 1], GOOD, CLASSES[:2], most=0)
    with pytest.raises(UsageError, match="2 labels and 1 files"):
        most_confident_mistakes(["a"], [0, 1], GOOD, CLASSES[:2])
