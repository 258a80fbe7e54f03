"""The tracks of a propagation in the viewer, and as a file."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Tracks

from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.session.settings import MemorySettings

sys.path.insert(0, str(Path(__file__).parent))
from layouts import shown_vertices

TRACKS = "SAM3 propagated tracks"
LABELS = "SAM3 propagated preview labels"
CENTRES = ((20, 16), (20, 46))


def stack(frames=5):
    """Two bright discs that move right by two columns a frame."""
    rows, columns = np.mgrid[:40, :64]
    movie = np.full((frames, 40, 64), 30, np.uint8)
    for frame in range(frames):
        for y, x in CENTRES:
            movie[frame][(rows - y) ** 2 + (columns - x - 2 * frame) ** 2 <= 64] = 200
    return movie


@pytest.fixture
def begin(viewer, binding):
    """Return a function that shows a movie and gets the task ready."""

    def go(data=None, **layer):
        image = viewer.add_image(stack() if data is None else data, name="movie", **layer)
        model = binding.model
        model.task, model.tool = Task.VIDEO, Tool.POINTS
        viewer.dims.set_point(range(image.ndim), [0.0] * image.ndim)
        return image

    return go


@pytest.fixture
def click(viewer, binding):
    """Return a function that clicks on objects of the slice on show."""

    def go(*objects):
        binding.prompts.arm()
        points = next(one for one in viewer.layers if one.name == "SAM3 points")
        for number in objects:
            binding.model.object_id = number
            position = [0.0] * (points.ndim - 2) + list(CENTRES[number - 1])
            points.add(position)

    return go


def run(job):
    assert job.wait(240)
    assert job.error is None


def expected(labels):
    """Return object, frame, centroid of what the labels show, measured another way."""
    rows = []
    for id_ in np.unique(labels[labels > 0]):
        for frame, plane in enumerate(labels):
            y, x = np.nonzero(plane == id_)
            if y.size:
                rows.append((id_, frame, y.mean(), x.mean()))
    return np.array(rows)


def test_one_track_an_object_through_the_centroids_of_its_labels(viewer, binding, begin, click):
    begin()
    click(1, 2)
    binding.model.tracks_layer = True
    assert TRACKS not in viewer.layers
    active, point = viewer.layers.selection.active, viewer.dims.point

    run(binding.session.propagation.start())

    tracks = viewer.layers[TRACKS]
    assert isinstance(tracks, Tracks)
    np.testing.assert_allclose(tracks.data, expected(viewer.layers[LABELS].data))
    assert len(tracks.data) == 10
    assert (viewer.layers.selection.active, viewer.dims.point) == (active, point)


def test_they_lie_where_the_labels_lie(viewer, binding, begin, click):
    begin(
        scale=(0.5, 0.2, 0.4),
        translate=(3, -4, 7),
        units=("second", "micrometer", "micrometer"),
        axis_labels=("t", "y", "x"),
    )
    points = binding.prompts.arm() and viewer.layers["SAM3 points"]
    points.add(points.world_to_data((3, -4 + 20 * 0.2, 7 + 16 * 0.4)))
    binding.model.tracks_layer = True

    run(binding.session.propagation.start())

    labels, tracks = viewer.layers[LABELS], viewer.layers[TRACKS]
    for name in ("scale", "translate", "rotate", "shear", "units", "axis_labels"):
        np.testing.assert_array_equal(getattr(tracks, name), getattr(labels, name))
    np.testing.assert_allclose(
        tracks.data_to_world(tracks.data[0][1:]), labels.data_to_world(tracks.data[0][1:])
    )


def test_the_box_shows_and_hides_them_and_keeps_their_look(viewer, binding, begin, click):
    begin()
    click(1)
    run(binding.session.propagation.start())
    assert TRACKS not in viewer.layers

    binding.model.tracks_layer = True
    viewer.layers[TRACKS].tail_width = 7
    run(binding.session.propagation.go_on())

    assert viewer.layers[TRACKS].tail_width == 7
    binding.model.tracks_layer = False
    assert TRACKS not in viewer.layers


def test_a_later_propagation_and_a_removed_object_are_followed(viewer, binding, begin, click):
    begin()
    click(1, 2)
    binding.model.tracks_layer = True
    run(binding.session.propagation.start())

    run(binding.session.propagation.remove(1))
    assert set(viewer.layers[TRACKS].data[:, 0]) == {2}

    binding.session.propagation.clear()
    assert TRACKS not in viewer.layers


@pytest.mark.parametrize("frames", [1, 2])
def test_an_object_on_one_frame_has_no_track(viewer, binding, begin, click, frames):
    movie = stack()
    movie[frames:] = 30
    begin(movie)
    click(1)
    binding.model.tracks_layer = True

    run(binding.session.propagation.start())

    assert (TRACKS in viewer.layers) is (frames == 2)


def test_a_division_is_in_the_graph_of_the_layer(viewer, binding, begin, click):
    begin()
    click(1, 2)
    binding.model.tracks_layer = True
    session = binding.session
    run(session.propagation.start())
    table = session.propagation.tracks
    table.remove(2, frames=[0, 1])
    table.parents = {2: 1, 1: 9}

    for _ in range(2):  # into a layer that is there, and into a new one
        binding.adapter.tracks.show(binding.model.propagated, table)
        layer = viewer.layers[TRACKS]
        assert layer.graph == {2: [1]}
        del viewer.layers[TRACKS]


def test_tracks_along_z_of_one_time(viewer, binding, begin, click):
    empty = np.full_like(stack(), 30)
    begin(np.stack([empty, stack(), empty]))
    viewer.dims.set_point(0, 1)
    binding.model.frame_axis = 1
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((1, 0, *CENTRES[0]))
    binding.model.tracks_layer = True

    run(binding.session.propagation.start())

    data = viewer.layers[TRACKS].data
    np.testing.assert_array_equal(data[:, 1], [1] * 5)
    np.testing.assert_array_equal(data[:, 2], range(5))
    for time, z in np.ndindex(3, 5):
        viewer.dims.set_point((0, 1), (time, z))
        assert (shown_vertices(viewer.layers[TRACKS]) == (time == 1)).all()


def test_more_axes_than_a_tracks_layer_has_are_told(viewer, binding, begin):
    begin(stack()[None, None])
    binding.model.frame_axis = 2
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((0, 0, 0, *CENTRES[0]))
    binding.model.tracks_layer = True

    run(binding.session.propagation.start())

    assert "A Tracks layer has up to 4 axes" in binding.model.message.text
    assert LABELS in viewer.layers


def test_a_tracks_layer_that_was_deleted_comes_back(viewer, binding, begin, click):
    begin()
    click(1)
    binding.model.tracks_layer = True
    run(binding.session.propagation.start())

    del viewer.layers[TRACKS]
    run(binding.session.propagation.go_on())

    assert TRACKS in viewer.layers


def test_all_rows_are_exported_with_lengths(viewer, binding, begin, click, tmp_path):
    begin(scale=(30, 0.5, 0.25), units=("second", "micrometer", "micrometer"))
    points = binding.prompts.arm() and viewer.layers["SAM3 points"]
    points.add(points.world_to_data((0, 10, 4)))
    run(binding.session.propagation.start())

    run(binding.session.tracks.export(tmp_path / "a.csv"))

    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels = viewer.layers[LABELS].data
    assert [(int(row["frame"]), int(row["area_px"])) for row in rows] == [
        (frame, np.count_nonzero(labels[frame])) for frame in range(5)
    ]
    assert (rows[2]["position"], rows[2]["position_unit"], rows[2]["unit"]) == (
        *("60", "second"),
        "micrometer",
    )
    np.testing.assert_allclose(
        [float(row["y"]) for row in rows], expected(labels)[:, 2] * 0.5, rtol=1e-6
    )
    assert binding.model.message.text == f"Exported 5 rows of tracks to {tmp_path / 'a.csv'}."


def test_nothing_to_export_is_told(binding, begin, tmp_path):
    begin()
    with pytest.raises(PromptError, match="nothing propagated yet"):
        binding.session.tracks.export(tmp_path / "a.csv")


def test_the_choice_is_remembered(viewer):
    from napari_sam3_assistant.core.progress import deliver_inline
    from napari_sam3_assistant.viewer.binding import Binding

    settings = MemorySettings()
    for kept in (False, True):
        bound = Binding(viewer, deliver_inline, settings)
        assert bound.model.tracks_layer is kept
        bound.model.tracks_layer = True
        bound.close()
