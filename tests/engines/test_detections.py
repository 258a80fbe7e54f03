"""Which of the detector's answers the user gets, and what is said about it."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.engines.sam3.grounding import pick_objects, retry_thresholds


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (0.35, (0.35, 0.20, 0.175, 0.10)),
        (0.90, (0.90, 0.20, 0.175, 0.10)),
        (0.30, (0.30, 0.20, 0.15, 0.10)),
        (0.16, (0.16, 0.10, 0.08)),
        (0.15, (0.15, 0.10, 0.075)),
        (0.1, (0.1, 0.05)),
        (0.0, (0.0,)),
    ],
)
def test_thresholds_fall(first, expected):
    assert retry_thresholds(first) == pytest.approx(expected)


def _pick(scores, threshold, phrase="cell", empty=()):
    def records_of(kept):
        masks = [np.full((2, 2), number not in empty) for number in kept]
        records = [ObjectRecord.from_mask(n, m) for n, m in zip(kept, masks, strict=True)]
        return [record for record in records if record is not None]

    return pick_objects(np.array(scores, np.float32), threshold, phrase, records_of)


def _ids(prediction):
    return [record.id for record in prediction.objects]


def test_what_scores_above_the_threshold_is_taken_without_a_note():
    answer = _pick([0.5, 0.1, 0.6, 0.4], 0.4)

    # 0.4 itself is not above.
    assert _ids(answer) == [0, 2]
    assert (answer.threshold, answer.phrase, answer.notes) == (0.4, "cell", ())


def test_a_phrase_goes_on_to_the_first_threshold_with_objects():
    answer = _pick([0.19, 0.12, 0.01], 0.35)

    assert _ids(answer) == [0]
    assert answer.threshold == pytest.approx(0.175)
    assert answer.notes == ("Nothing scored above 0.35; shown is what scored above 0.175.",)


def test_an_empty_mask_is_no_object():
    answer = _pick([0.9, 0.15, 0.0], 0.35, empty=(0,))

    assert _ids(answer) == [1]
    assert answer.threshold == pytest.approx(0.10)


def test_examples_have_one_threshold():
    answer = _pick([0.3, 0.2], 0.35, phrase="")

    assert answer.objects == ()
    assert answer.threshold == 0.35
    assert "the best score was 0.30" in answer.notes[0]


def test_nothing_at_all():
    answer = _pick([0.05, 0.01], 0.35)

    assert answer.objects == ()
    assert "Nothing scored above 0.1; the best score was 0.05" in answer.notes[0]


def test_a_full_answer_is_noted():
    answer = _pick([0.9] * 9 + [0.1], 0.35)

    assert len(answer.objects) == 9
    assert "SAM 3 finds 10 at most" in answer.notes[0]
