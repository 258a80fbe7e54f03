"""Accepted objects of a stack have a Tracks layer, which follows what is accepted."""

import numpy as np
import pytest
from skimage.draw import disk

from napari_sam3_assistant.core.prompts import Tool
from napari_sam3_assistant.core.tracks import Direction
from napari_sam3_assistant.viewer.accepted_objects import read_parents

ACCEPTED, TRACKS = "SAM3 live accepted labels", "SAM3 accepted tracks"


def movie():
    """A cell that moves, and one that ends at frame 4, where two others begin: (8, 70, 90)."""
    frames = np.full((8, 70, 90), 30, np.uint8)
    for t, frame in enumerate(frames):
        others = [(50, 25)] if t < 4 else [(50, 50), (50, 75)]
        for y, x in [(15, 20 + t), *others]:
            frame[disk((y, x), 8)] = 200
    return frames


def expected(labels, axis=0):
    """Return object, and centroid on each frame, of what labels show, measured another way."""
    rows = []
    for id_ in np.unique(labels[labels > 0]):
        places = np.stack(np.nonzero(labels == id_), 1)
        frames = np.unique(places[:, axis])
        for frame in frames if len(frames) > 1 else ():
            rows.append((id_, *places[places[:, axis] == frame].mean(0)))
    return np.array(rows)


@pytest.fixture
def accept_all(open_bench):
    """Return a function that follows and accepts everything in the movie; gives the bench."""

    def go(*links, **layer):
        bench = open_bench(movie(), **layer)
        bench.viewer.dims.set_current_step(0, 0)
        bench.model.direction = Direction.FORWARD
        bench.arm(Tool.EVERYTHING)
        assert bench.start().error is None
        for mother, daughter in links:
            ids = (int(bench.labels.data[place]) for place in (mother, daughter))
            bench.session.corrections.divide(*ids)
        bench.session.accept()
        bench.desk.until(lambda: not bench.model.running)
        return bench

    return go


def settled(bench):
    """Wait until the tracks are those of the labels as they are now; return their layer."""
    bench.desk.until(lambda: bench.session.accepted_tracks.job.state.is_over)
    assert bench.session.accepted_tracks.job.error is None
    return bench.viewer.layers[TRACKS]


def test_they_go_through_the_centroids_of_the_labels(accept_all):
    bench = accept_all(scale=(0.5, 0.2, 0.4), translate=(3, -4, 7), axis_labels=("t", "y", "x"))
    layers, labels = bench.viewer.layers, bench.viewer.layers[ACCEPTED]
    assert TRACKS not in layers
    active = layers.selection.active

    bench.model.tracks_layer = True

    tracks = settled(bench)
    np.testing.assert_allclose(tracks.data, expected(np.asarray(labels.data)))
    assert len(tracks.data) == 8 + 4 + 4 + 4
    for name in ("scale", "translate", "axis_labels", "units"):
        np.testing.assert_array_equal(getattr(tracks, name), getattr(labels, name))
    assert layers.selection.active is active
    bench.model.tracks_layer = False
    assert TRACKS not in layers


def test_divisions_are_in_their_graph(accept_all):
    mother, daughters = (0, 50, 25), ((7, 50, 50), (7, 50, 75))
    bench = accept_all(*((mother, one) for one in daughters))
    bench.model.tracks_layer = True

    graph = settled(bench).graph

    labels = bench.viewer.layers[ACCEPTED]
    ids = [int(labels.data[place]) for place in daughters]
    assert graph == {one: [int(labels.data[mother])] for one in ids}
    assert set(graph) == set(read_parents(labels))


def test_they_follow_undo_and_painted_labels(accept_all):
    bench = accept_all()
    bench.model.tracks_layer = True
    before = settled(bench).data.copy()
    labels = bench.viewer.layers[ACCEPTED]
    id_ = int(labels.data[2, 15, 22])

    labels.data_setitem(tuple(np.array([[2] * 4, range(15, 19), [22] * 4])), 0)

    after = settled(bench).data
    np.testing.assert_allclose(after, expected(np.asarray(labels.data)))
    changed = (after != before).any(1)
    assert after[changed][:, :2].tolist() == [[id_, 2]]

    while ACCEPTED in bench.viewer.layers and bench.viewer.layers[ACCEPTED].data.any():
        bench.session.undo()
        bench.desk.until(lambda: not bench.model.running)
    assert TRACKS not in bench.viewer.layers


def test_another_image_has_none_of_them(accept_all):
    bench = accept_all()
    bench.model.tracks_layer = True
    settled(bench)
    first = bench.model.image

    bench.viewer.add_image(movie(), name="other")

    assert bench.model.image != first
    assert TRACKS not in bench.viewer.layers
    bench.model.image = first
    assert len(settled(bench).data) == 20
