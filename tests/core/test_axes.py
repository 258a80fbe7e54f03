"""The axes of an image: the table of the README, labels, guesses and refusals."""

import pytest

from napari_sam3_assistant.core.axes import axis_kind, guess_axes, make_axes, order_as
from napari_sam3_assistant.errors import ImageError


def found(axes):
    return (axes.leading, axes.y, axes.x, axes.channel, axes.rgb)


@pytest.mark.parametrize(
    ("shape", "channel_axis", "expected"),
    [
        # README, "Channel axis"
        ((64, 48), -1, ((), 0, 1, None, False)),
        ((64, 48, 3), -1, ((), 0, 1, 2, True)),
        ((64, 48, 4), -1, ((), 0, 1, 2, True)),
        ((9, 64, 48), -1, ((0,), 1, 2, None, False)),
        ((2, 64, 48), 0, ((), 1, 2, 0, False)),
        ((9, 2, 64, 48), 1, ((0,), 2, 3, 1, False)),
        ((9, 64, 48, 2), 3, ((0,), 1, 2, 3, False)),
        # beyond it
        ((5, 9, 2, 64, 48), 2, ((0, 1), 3, 4, 2, False)),
        ((5, 9, 64, 48), -1, ((0, 1), 2, 3, None, False)),
        ((9, 64, 48, 3), -1, ((0,), 1, 2, 3, True)),
        ((6, 7, 5), 2, ((), 0, 1, 2, False)),
        ((64, 48, 3), 2, ((), 0, 1, 2, True)),
        ((64, 48, 4), 2, ((), 0, 1, 2, False)),  # four channels: none is dropped as alpha
        ((64, 2, 48), 1, ((), 0, 2, 1, False)),
        ((1, 1), -1, ((), 0, 1, None, False)),
        ((1, 1, 3), -1, ((), 0, 1, 2, True)),
        ((100, 3, 3), -1, ((0,), 1, 2, None, False)),
        ((100, 2, 4), -1, ((0,), 1, 2, None, False)),
        # Channels that nobody has named: planes of two columns are no images.
        ((64, 48, 2), -1, ((), 0, 1, 2, False)),
        ((9, 64, 48, 5), -1, ((0,), 1, 2, 3, False)),
        ((64, 48, 9), -1, ((0,), 1, 2, None, False)),
        ((64, 7, 2), -1, ((0,), 1, 2, None, False)),
        ((64, 48, 1), -1, ((), 0, 1, 2, False)),
        ((9, 64, 48, 1), -1, ((0,), 1, 2, 3, False)),
        ((64, 1, 1), -1, ((0,), 1, 2, None, False)),
    ],
)
def test_by_shape_and_channel_axis(shape, channel_axis, expected):
    assert found(guess_axes(shape, channel_axis=channel_axis)) == expected


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("t", "t T time Times timepoint Time-Points time_points frame Frames"),
        ("z", "z depth slice Slices z-slice plane Planes section sections pln"),
        ("c", "c channel Channels ch"),
        ("y", "y row rows"),
        ("x", "x col columns"),
        ("", "-3 axis-3 q i angle position"),
    ],
)
def test_what_an_axis_is_by_the_names_that_people_give_it(kind, names):
    assert {axis_kind(name) for name in names.split()} == {kind}
    assert axis_kind(" time point ") == "t"
    assert axis_kind("axis -3") == ""


def test_no_channel_axis_and_minus_one_are_the_same():
    assert guess_axes((64, 48, 3)) == guess_axes((64, 48, 3), channel_axis=-1)


@pytest.mark.parametrize(
    ("shape", "rgb", "expected"),
    [
        ((9, 64, 3), False, ((0,), 1, 2, None, False)),
        ((9, 64, 4), False, ((0,), 1, 2, None, False)),
        ((100, 3, 3), True, ((), 0, 1, 2, True)),
        ((5, 64, 48, 4), True, ((0,), 1, 2, 3, True)),
    ],
)
def test_what_napari_says_of_rgb_comes_before_the_guess(shape, rgb, expected):
    assert found(guess_axes(shape, rgb=rgb)) == expected


def test_a_channel_axis_that_is_set_stays_separate_channels_where_napari_says_not_rgb():
    axes = guess_axes((9, 64, 48, 3), channel_axis=3, rgb=False)

    assert found(axes) == ((0,), 1, 2, 3, False)


@pytest.mark.parametrize(
    ("shape", "labels", "rgb", "expected"),
    [
        ((2, 64, 48), ("c", "y", "x"), None, ((), 1, 2, 0, False)),
        ((2, 64, 48), ("Channel", "Y", "X"), None, ((), 1, 2, 0, False)),
        ((2, 64, 48), ("c", "y", "x"), False, ((), 1, 2, 0, False)),
        ((64, 48, 5), ("y", "x", "ch"), None, ((), 0, 1, 2, False)),
        ((64, 48, 4), ("y", "x", "s"), None, ((), 0, 1, 2, True)),
        ((64, 48, 4), ("y", "x", "c"), None, ((), 0, 1, 2, False)),
        ((64, 48, 2), ("y", "x", "s"), None, ((), 0, 1, 2, False)),
        ((5, 2, 64, 48, 3), ("t", "c", "y", "x", "s"), None, ((0, 1), 2, 3, 4, True)),
        ((9, 64, 3), ("z", "y", "x"), None, ((0,), 1, 2, None, False)),
        ((64, 48, 9), ("y", "x", "z"), None, ((2,), 0, 1, None, False)),
        ((48, 64), ("x", "y"), None, ((), 0, 1, None, False)),  # the order of the array stays
        ((64, 48, 3), ("axis -3", "axis -2", "axis -1"), None, ((), 0, 1, 2, True)),
        ((5, 64, 48, 3), ("t", "y", "x"), True, ((0,), 1, 2, 3, True)),  # as napari labels RGB
    ],
)
def test_by_labels(shape, labels, rgb, expected):
    assert found(guess_axes(shape, axis_labels=labels, rgb=rgb)) == expected


def test_the_channel_axis_that_is_set_comes_before_labels():
    axes = guess_axes((2, 3, 64, 48), channel_axis=1, axis_labels=("c", "z", "y", "x"))

    assert found(axes) == ((0,), 2, 3, 1, False)


def test_the_plane_that_the_viewer_shows_comes_before_labels():
    axes = guess_axes((9, 64, 48), axis_labels=("z", "y", "x"), plane_axes=(2, 0))

    assert found(axes) == ((1,), 2, 0, None, False)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"channel_axis": 0}, "channel axis 0, as set"),
        ({"rgb": True}, "RGB, as the image says"),
        ({"axis_labels": ("c", "y", "x")}, "channel axis 0, by its label"),
        ({}, "RGB, guessed from the last axis of size 3"),
        ({"rgb": False}, "no channel axis"),
    ],
)
def test_the_user_is_told_how_it_was_found(arguments, reason):
    axes = guess_axes((5, 64, 3), **arguments)

    assert axes.reason == reason
    assert axes.guessed == ("guessed" in reason)


@pytest.mark.parametrize(
    ("shape", "arguments", "said"),
    [
        ((), {}, "at least two axes"),
        ((5,), {}, r"at least two axes.*\(5,\)"),
        ((0, 5), {}, "empty"),
        ((3, 5, 0), {"channel_axis": 0}, "empty"),
        ((2, 64, 48), {"channel_axis": 3}, r"no channel axis 3 .*\(2, 64, 48\).*0 to 2"),
        ((2, 64, 48), {"channel_axis": -2}, "no channel axis -2"),
        ((64, 48), {"channel_axis": 0}, "no axis left"),
        ((5, 64, 48, 3), {"channel_axis": 0, "rgb": True}, "axis 0 can't be"),
        ((64, 48), {"rgb": True}, "not RGB"),
        ((9, 64, 48), {"rgb": True}, "not RGB"),
        ((9, 64, 48), {"axis_labels": ("y", "x")}, "2 axis labels for an image of 3 axes"),
        ((9, 64, 48), {"plane_axes": (1, 1)}, "not an image plane"),
        ((9, 64, 48), {"plane_axes": (1, 3)}, "not an image plane"),
        ((9, 64, 48), {"plane_axes": (0, 1), "channel_axis": 0}, "not an image plane"),
    ],
)
def test_refused_with_a_remedy(shape, arguments, said):
    with pytest.raises(ImageError, match=said) as caught:
        guess_axes(shape, **arguments)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("names", "others", "expected"),
    [
        ("zyx", "yxz", "yxz"),
        ("zyx", "zyx", "zyx"),
        ("tzyx", "yzxtc", "yzxt"),
        ("qyx", "yzx", "yqx"),
        ("yxt", "zyx", "tyx"),
        ("yx", "zy", "yx"),  # a slice across: only one of its sides is named as the image's
        ("zyx", "", "zyx"),
        ("yyx", "xy", "yyx"),
    ],
)
def test_axes_in_the_order_of_others(names, others, expected):
    axes = make_axes((3,) * len(names), names=names)
    order = order_as(axes, make_axes((3,) * len(others), names=others))

    assert sorted(order) == list(range(len(names)))
    assert "".join(axes[number].name for number in order) == expected
