"""3D/video in a viewer without a window, on the built-in engine: what comes out."""

import threading

import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.core.prompts import PromptKind

LENGTH, HEIGHT, WIDTH = 12, 60, 70


@pytest.fixture
def bench(open_bench):
    """A viewer with the stack of two balls."""
    return open_bench()


def test_points_on_two_objects_fill_a_layer_of_the_images_axes(open_bench, balls):
    place = {
        "scale": (0.5, 0.2, 0.2),
        "translate": (3, 1, 2),
        "units": ("micrometer",) * 3,
        "axis_labels": ("z", "y", "x"),
    }
    bench = open_bench(**place)
    bench.click(6, 20, 20, on=1)
    bench.click(6, 40, 50, on=2)
    point = bench.viewer.dims.point

    job = bench.start()

    assert job.error is None
    labels = bench.labels
    assert labels.data.shape == (LENGTH, HEIGHT, WIDTH)
    assert labels.data.dtype == np.uint32
    assert bench.values(labels.data) == [[]] + [[1, 2]] * 11
    truth = balls > 100
    found = labels.data > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.9
    assert np.allclose(labels.scale, place["scale"])
    assert np.allclose(labels.translate, place["translate"])
    assert labels.units == bench.image.units
    assert labels.axis_labels == ("z", "y", "x")
    assert bench.viewer.dims.point == point
    assert bench.model.tracked == (1, 2)
    assert bench.model.can_continue
    assert "2 objects on 12 frames" in bench.message
    assert [len(bench.model.results), bench.model.frame_axes[0].name] == [22, "z"]


def test_who_says_that_frames_are_times_has_a_movie_in_labels_and_tracks(open_bench, balls):
    bench = open_bench(balls, axis_labels=None)
    assert not bench.model.frames_are_times
    bench.model.frames_are_times = True
    assert bench.image.axis_labels[0] == bench.model.frame_axes[0].name == "t"
    assert ", t = " in bench.model.chosen_image.summary
    bench.click(6, 20, 20)
    bench.start()
    stacks, stack = bench.binding.adapter.stacks, bench.model.propagated
    assert stacks.take_snapshot(bench.model.image, PromptKind.POINTS, 0).frames.is_movie
    assert [axis.name for axis in stacks.pixels(stack).axes] == ["t", "y", "x"]
    # Another image tells of its own frames; back there it is as it was said.
    other = bench.viewer.add_image(balls, name="other", axis_labels=("z", "y", "x"))
    bench.viewer.layers.selection.active = other
    assert not bench.model.frames_are_times
    bench.viewer.layers.selection.active = bench.image
    assert bench.model.frames_are_times
    bench.model.frames_are_times = False
    assert bench.image.axis_labels[0] == "z"


def test_results_that_are_there_have_the_axes_that_the_image_is_given_later(open_bench, balls):
    """Also those of a movie that its file calls a volume."""
    bench = open_bench(balls, axis_labels=("z", "y", "x"))
    bench.click(6, 20, 20)
    bench.start()
    labels = bench.viewer.layers["SAM3 propagated preview labels"]
    bench.model.frames_are_times = True
    assert bench.image.axis_labels == labels.axis_labels == ("t", "y", "x")
    bench.session.accept()
    kept = bench.viewer.layers["SAM3 live accepted labels"]
    bench.model.frames_are_times = False
    assert bench.image.axis_labels == kept.axis_labels == ("z", "y", "x")


def test_of_two_axes_of_frames_one_is_time(open_bench, balls):
    movie = np.stack([np.full_like(balls, 30), balls, balls])
    bench = open_bench(movie, axis_labels=("t", "z", "y", "x"))
    assert (bench.model.frame_axis, bench.model.frames_are_times) == (1, False)
    bench.model.frame_axis = 0
    assert bench.model.frames_are_times
    bench.model.frames_are_times = False
    assert bench.image.axis_labels[:2] == ("z", "t")
    bench.model.frame_axis = 1
    assert bench.model.frames_are_times


def test_the_rows_say_frame_and_object_and_lead_to_the_slice(bench):
    bench.click(6, 20, 20)
    bench.start()
    row = next(r for r in bench.model.results if r.preview.target.plane.leading == (3,))

    bench.binding.actions.reveal(row)

    assert row.record.area == int((bench.labels.data[3] == 1).sum())
    assert bench.viewer.dims.current_step[0] == 3
    assert bench.viewer.layers.selection.active is bench.labels


def test_a_stack_of_volumes_stays_at_its_time_and_follows_the_chosen_axis(open_bench, balls):
    movie = np.stack([np.full_like(balls, 30), balls, balls])
    bench = open_bench(movie, axis_labels=("t", "z", "y", "x"))
    assert [(axis.name, axis.length) for axis in bench.model.frame_axes] == [("t", 3), ("z", 12)]
    assert bench.model.frame_axis == 1
    bench.viewer.dims.set_current_step(0, 1)
    bench.click(1, 6, 20, 20)

    bench.start()
    assert bench.labels.data.shape == movie.shape
    assert bench.labels.data[[0, 2]].max() == 0
    assert bench.values(bench.labels.data[1]) == [[]] + [[1]] * 11

    bench.model.frame_axis = 0
    bench.viewer.dims.set_current_step(1, 6)
    bench.start()
    assert bench.values(bench.labels.data[:, 6]) == [[], [1], [1]]
    assert bench.labels.data[:, [*range(6), *range(7, 12)]].max() == 0


def test_a_movie_in_colours(open_bench, balls):
    movie = np.stack([balls] * 3, axis=-1)
    bench = open_bench(movie, rgb=True, axis_labels=("t", "y", "x"))
    bench.click(6, 40, 50)

    bench.start()

    assert bench.labels.data.shape == (LENGTH, HEIGHT, WIDTH)
    assert bench.values(bench.labels.data) == [[]] + [[1]] * 11


def test_a_channel_axis_in_the_middle_has_one_position(open_bench, balls):
    stack = np.stack([balls, np.full_like(balls, 7)], axis=1)
    bench = open_bench(stack, axis_labels=("z", "c", "y", "x"))
    bench.click(6, 0, 20, 20)

    bench.start()

    assert bench.labels.data.shape == (LENGTH, 1, HEIGHT, WIDTH)
    assert bench.values(bench.labels.data[:, 0]) == [[]] + [[1]] * 11


def test_a_transposed_view_is_followed_along_what_is_the_slider_then(open_bench):
    bench = open_bench()
    bench.viewer.dims.order = (2, 0, 1)
    bench.viewer.dims.set_current_step(2, 20)
    assert bench.model.frame_axis == 2
    bench.click(6, 20, 20)

    bench.start()

    assert bench.labels.data.shape == (LENGTH, HEIGHT, WIDTH)
    assert bench.labels.data[6, 20, 20] == 1
    assert np.unique(np.flatnonzero(bench.labels.data.any((0, 1)))).max() < 35


def test_the_same_labels_as_the_api(bench, balls):
    bench.click(6, 20, 20)
    bench.start()
    expected = np.zeros((LENGTH, HEIGHT, WIDTH), np.uint32)
    for result in api.track(balls, frame=6, points=[(20, 20)]):
        expected[result.frame] = result.labels
    assert np.array_equal(bench.labels.data, expected)


def test_sam3_on_a_small_checkpoint(open_bench, tiny_checkpoint):
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    earlier = set(threading.enumerate())
    movie = np.random.default_rng(0).integers(0, 256, (5, 60, 80), np.uint8)
    movie[:, 20:40, 20:45] //= 4
    bench = open_bench(movie, contrast_limits=(0, 255))
    bench.model.engine, bench.model.model_folder = "sam3-transformers", str(tiny_checkpoint)
    bench.click(2, 30, 30, on=1)
    bench.click(2, 10, 60, on=2)

    job = bench.start()

    assert job.error is None
    expected = np.zeros(movie.shape, np.uint32)
    points = [(30, 30, True, 1), (10, 60, True, 2)]
    for result in api.track(
        movie, frame=2, points=points, engine="sam3-transformers", model_folder=tiny_checkpoint
    ):
        expected[result.frame] = result.labels
    assert np.array_equal(bench.labels.data, expected)
    assert bench.model.tracked == (1, 2)
    bench.click(4, 30, 30, on=1)
    bench.go_on()
    assert np.array_equal(bench.labels.data[:4], expected[:4])
    bench.binding.close()
    for worker in set(threading.enumerate()) - earlier:
        if worker.name == "sam3-jobs":
            worker.join(240)
    torch.set_num_threads(threads)
