"""Following objects headless."""

import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.errors import ImageError, MaskError, PromptError


def ball(shape=(9, 40, 60)):
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside = (2.2 * (z - 4)) ** 2 + (y - 20) ** 2 + (x - 30) ** 2 <= 144
    return np.where(inside, 200, 30).astype(np.uint8), inside


@pytest.mark.parametrize(
    "prompts",
    [
        {"points": [(20, 30), (2, 2, False)]},
        {"boxes": [(8, 18, 33, 43)]},
        {"exemplars": [(8, 18, 33, 43)]},
        {"text": "bright objects"},
        {"mask": ball()[1][4]},
        {"mask": {4: ball()[1][4].astype(np.uint8)}},
        {"points": {4: [(20, 30, True, 1)]}, "frame": 0},
    ],
    ids=lambda prompts: "-".join(prompts),
)
def test_every_kind_of_prompt_spreads_through_the_stack(prompts):
    stack, truth = ball()

    results = list(api.track(stack, **{"frame": 4, **prompts}))

    assert sorted(result.frame for result in results) == list(range(9))
    for result in results:
        found, true = result.labels == 1, truth[result.frame]
        assert (found & true).sum() >= 0.8 * (found | true).sum(), result.frame


def test_labels_that_are_no_whole_numbers_do_not_become_one_object():
    stack, inside = ball()
    mask = inside[4].astype(np.float32)
    assert {
        one.id for result in api.track(stack, frame=4, mask=mask) for one in result.objects
    } == {1}
    mask[:, 30:] *= 2.5
    with pytest.raises(MaskError, match="Labels are whole numbers"):
        api.track(stack, frame=4, mask=mask)


def test_a_mask_with_minus_one_for_background_has_the_other_objects():
    stack, inside = ball()
    mask = np.where(inside[4], 7, -1)
    assert {
        one.id for result in api.track(stack, frame=4, mask=mask) for one in result.objects
    } == {7}


def test_each_label_of_a_mask_is_an_object():
    stack = np.concatenate([ball()[0], ball()[0]], 2)
    mask = np.zeros(stack.shape[1:], int)
    mask[10:30, 20:40], mask[10:30, 80:100] = 9, 4

    results = list(api.track(stack, frame=4, mask=mask, frames=(4, 5)))

    assert [[record.id for record in result.objects] for result in results] == [[4, 9], [4, 9]]
    assert results[0].labels[20, 30] == 9


@pytest.mark.parametrize(
    ("layout", "request_"),
    [
        ("zyx", {"axis": 0}),
        ("zyx", {"axis": "z", "axis_labels": ("z", "y", "x")}),
        ("zyx", {"axis": -3}),
        ("yxz", {"axis": 2, "axis_labels": ("y", "x", "z")}),
        ("tzyx", {"axis": 1, "plane": (1,)}),
        ("zcyx", {"axis": 0, "channel_axis": 1, "channel": 1}),
        ("zyxc", {"axis": 0}),
    ],
)
def test_any_layout(layout, request_):
    stack, _ = ball()
    expected = [result.labels for result in api.track(stack, frame=4, points=[(20, 30)])]
    empty = np.full_like(stack, 30)
    laid_out = {
        "zyx": stack,
        "yxz": np.moveaxis(stack, 0, -1),
        "tzyx": np.stack([empty, stack]),
        "zcyx": np.stack([empty, stack], 1),
        "zyxc": np.stack([stack] * 3, -1),
    }[layout]

    results = list(api.track(laid_out, frame=4, points=[(20, 30)], **request_))

    np.testing.assert_array_equal([result.labels for result in results], expected)


def test_an_open_engine_is_left_open():
    stack, _ = ball()
    with api.open_engine("builtin") as engine:
        first = list(api.track(stack, frame=4, points=[(20, 30)], engine=engine))
        again = list(api.track(stack, frame=4, points=[(20, 30)], engine=engine))
    assert len(first) == len(again) == 9


@pytest.mark.parametrize(
    ("request_", "error", "said"),
    [
        ({}, PromptError, "No prompts found"),
        ({"points": [(20, 30)], "axis": 1}, ImageError, "Axis 1 .* is not an axis of frames"),
        ({"points": [(20, 30)], "axis": 3}, ImageError, "There is no axis 3"),
        ({"points": [(20, 30)], "axis": "t"}, ImageError, "There is no axis 't'"),
        ({"points": [(20, 30)], "frame": 9}, PromptError, "no frame 9 in a stack of 9"),
        ({"points": [(20, 30)], "frames": (3, 9)}, PromptError, "no frames 3 to 9"),
        ({"points": [(20, 30)], "direction": "up"}, PromptError, "no direction 'up'"),
        ({"points": [(20, 30)], "plane": (1,)}, ImageError, "has 1 indices, and 0 are needed"),
        ({"points": [(20,)]}, PromptError, "2 to 4 numbers, this one has 1"),
        ({"boxes": [(1, 2, 3)]}, PromptError, "4 to 5 numbers"),
        ({"mask": np.zeros((40, 60), int)}, PromptError, "labels are empty"),
        ({"mask": np.ones((4, 6), int)}, PromptError, r"the shape \(4, 6\), the frames"),
    ],
)
def test_mistakes_are_told_at_the_call(request_, error, said):
    with pytest.raises(error, match=said):
        api.track(ball()[0], **request_)


def test_other_axes_need_an_index():
    with pytest.raises(ImageError, match=r"Say which plane with plane=\(0,\)"):
        api.track(np.stack([ball()[0]] * 2), axis=1, points=[(20, 30)])
