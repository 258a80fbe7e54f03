"""Frames of a movie, channels and slices count for themselves where that is asked for."""

import numpy as np
import pytest
from mask_cases import applied
from skimage.draw import disk

from napari_sam3_assistant.core.masks.labels import box_shape
from napari_sam3_assistant.core.masks.operations import (
    FillHoles,
    KeepLargest,
    LabelsPart,
    RemoveSmall,
    Shrink,
    Smooth,
    Split,
)
from napari_sam3_assistant.core.masks.pieces import Apart
from napari_sam3_assistant.core.progress import NullReporter

OPERATIONS = [RemoveSmall(4), FillHoles(), Smooth(1), KeepLargest(), Split(3), Shrink(1)]


@pytest.mark.parametrize(
    ("names", "frames", "slices", "said"),
    [
        ("", (), (), ["", "", ""]),
        ("z", (), (0,), ["All slices together.", "Each slice by itself.", "All slices together."]),
        ("t", (0,), (0,), ["Each time by itself."] * 2 + ["All times together."]),
        (
            "tz",
            (0,),
            (0, 1),
            [
                "Each time by itself, its slices together.",
                "Each slice of each time by itself.",
                "All times and slices together.",
            ],
        ),
        (
            "zc",
            (1,),
            (0, 1),
            [
                "Each channel by itself, its slices together.",
                "Each channel of each slice by itself.",
                "All slices and channels together.",
            ],
        ),
    ],
)
def test_a_frame_is_what_one_time_and_channel_have(names, frames, slices, said):
    assert [apart.axes(names) for apart in Apart] == [frames, slices, ()]
    assert [apart.explain(names) for apart in Apart] == said


class Stored:
    """Labels in chunks, as on a disk, that tell which of them are read."""

    def __init__(self, labels, chunks):
        self._labels, self.chunks = labels, chunks
        self.shape, self.dtype, self.ndim = labels.shape, labels.dtype, labels.ndim
        self.parts = []

    def __getitem__(self, box):
        self.parts.append(box)
        return self._labels[box]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("together", [1, 4])
def test_a_stored_movie_is_read_frame_by_frame_and_no_chunk_twice(operation, together):
    labels = np.random.default_rng(0).integers(0, 3, (8, 20, 20)).astype(np.uint8)
    stored = Stored(labels, (together, 20, 20))

    operation.edit(LabelsPart(stored, (1.0,) * 3, apart=(0,)), NullReporter())

    # Before it splits, it looks block by block for the highest label.
    read = stored.parts[isinstance(operation, Split) :]
    assert max(np.prod(box_shape(box)) for box in read) <= together * 400
    if together > 1:
        assert [box[0] for box in read] == [slice(0, 4), slice(4, 8)]


def test_of_a_region_on_one_frame_only_that_is_read():
    stored = Stored(np.ones((8, 50, 50), np.uint8), (1, 10, 10))
    box = (slice(3, 4), slice(10, 20), slice(20, 30))

    RemoveSmall(4).edit(LabelsPart(stored, (1.0,) * 3, box, apart=(0,)), NullReporter())

    assert stored.parts == [box]


class Told(NullReporter):
    """Keeps what is reported."""

    def __init__(self):
        self.progress = []

    def report(self, progress):
        self.progress.append(progress)


def test_progress_counts_the_frames():
    movie, told = np.ones((3, 9, 9), np.uint8), Told()

    FillHoles().edit(LabelsPart(movie, (1.0,) * 3, apart=(0,)), told)
    assert {(one.done, one.total) for one in told.progress} == {(0, 3), (1, 3), (2, 3)}
    assert told.progress[-1].message.startswith("3 of 3: ")

    plane = Told()
    FillHoles().edit(LabelsPart(movie[0], (1.0,) * 2), plane)
    assert plane.progress[0].message == "Looking for holes"


def pair(y, x):
    """Two discs under one label that touch."""
    labels = np.zeros((70, 90), np.uint16)
    labels[disk((y, x), 9)] = 3
    labels[disk((y, x + 14), 9)] = 3
    return labels


@pytest.mark.parametrize("shape", [(40,), (3, 7)], ids=["t", "t, z"])
@pytest.mark.parametrize("step", [0, 1])
def test_parts_of_an_object_keep_their_labels_through_a_stack(shape, step):
    moved = {index: step * at for at, index in enumerate(np.ndindex(shape))}
    labels = np.empty((*shape, 70, 90), np.uint16)
    for index, by in moved.items():
        labels[index] = pair(12 + by, 15 + by)
    part = LabelsPart(labels, (1.0,) * labels.ndim, apart=tuple(range(len(shape))))

    after = applied(Split(10).edit(part, NullReporter()), labels)

    left = {int(after[index][12 + by, 12 + by]) for index, by in moved.items()}
    right = {int(after[index][12 + by, 32 + by]) for index, by in moved.items()}
    assert sorted([left, right], key=min) == [{3}, {4}]


def test_what_is_cut_in_two_frames_but_not_beside_each_other_gets_labels_of_its_own():
    labels = np.stack([pair(20, 20), np.zeros((70, 90), np.uint16), pair(20, 20)])

    edit = Split(10).edit(LabelsPart(labels, (1.0,) * 3, apart=(0,)), NullReporter())

    assert [np.unique(frame).tolist() for frame in applied(edit, labels)] == [
        [0, 3, 4],
        [0],
        [0, 3, 5],
    ]
