"""Propagated objects corrected slice by slice, with undo, and their rows."""

from collections import Counter

import numpy as np
import pytest
from skimage.measure import regionprops_table

from napari_sam3_assistant.core.measurements import VOLUME, VOLUME_MORE
from napari_sam3_assistant.session.values import FramePlace, ResultRow

LABELS = "SAM3 propagated preview labels"
ACCEPTED = "SAM3 live accepted labels"


@pytest.fixture
def found(open_bench):
    """Both balls, followed through all slices."""
    user = open_bench()
    user.viewer.dims.set_point(0, 6)
    user.click(6, 20, 20, on=1)
    user.click(6, 40, 50, on=2)
    user.start()
    return user


def row_of(user, frame, id_):
    stack = user.model.propagated
    place = FramePlace(stack.at(frame))
    (one,) = (one for one in user.propagation.objects_on(place) if one.id == id_)
    return ResultRow(place, one)


def settle(user):
    user.desk.until(lambda: not user.propagation.edited.waiting)


def check(user):
    """The rows are what the labels hold, and the tracks what the rows say."""
    settle(user)
    if user.model.tracks_layer:
        told = [(row.record.id, row.preview.target.plane.leading[0]) for row in user.model.results]
        count = Counter(id_ for id_, _ in told)
        drawn = user.viewer.layers["SAM3 propagated tracks"].data[:, :2].astype(int)
        assert sorted(map(tuple, drawn.tolist())) == sorted(
            one for one in told if count[one[0]] > 1
        )
    labels = np.asarray(user.viewer.layers[LABELS].data)
    listed = {
        (row.preview.target.plane.leading[0], row.record.id): row.record.area
        for row in user.model.results
    }
    wanted = {
        (frame, int(id_)): int((plane == id_).sum())
        for frame, plane in enumerate(labels)
        for id_ in np.unique(plane[plane > 0])
    }
    assert listed == wanted
    return labels.copy()


def test_delete_merge_and_split_on_one_slice(found):
    found.model.tracks_layer = True
    before = check(found)
    correct = found.session.correcting

    correct.delete(row_of(found, 5, 1))
    deleted = check(found)
    assert 1 not in deleted[5]
    np.testing.assert_array_equal(np.delete(deleted, 5, 0), np.delete(before, 5, 0))

    correct.merge(row_of(found, 6, 1), row_of(found, 6, 2))
    merged = check(found)
    np.testing.assert_array_equal(merged[6] > 0, before[6] > 0)
    assert set(np.unique(merged[6])) == {0, 1}

    line = np.array([(10.0, 50.0), (60.0, 50.0)])
    correct.split([(FramePlace(found.model.propagated.at(7)), line)])
    split = check(found)
    assert set(np.unique(split[7])) == {0, 1, 2, 3}
    assert (split[7] == 2).sum() >= (split[7] == 3).sum() > 0
    assert found.model.propagated_ids == (1, 2, 3)

    for state in (merged, deleted, before):
        found.binding.actions.undo()
        np.testing.assert_array_equal(check(found), state)
    for state in (deleted, merged, split):
        found.binding.actions.redo()
        np.testing.assert_array_equal(check(found), state)


def test_objects_are_measured_on_their_slices_and_as_volumes(open_bench, balls):
    user = open_bench(balls, scale=(2.0, 0.5, 0.5), units=("um", "um", "um"))
    user.viewer.dims.set_point(0, 12)
    user.click(6, 20, 20, on=1)
    user.start()
    user.finish(user.session.measuring.measure())

    labels = np.asarray(user.viewer.layers[LABELS].data)
    told = regionprops_table(
        labels.astype(int),
        balls.astype(float),
        ("area", "equivalent_diameter_area", "intensity_mean"),
        spacing=(2.0, 0.5, 0.5),
    )
    for row in user.model.results:
        plane = labels[row.preview.target.plane.leading[0]]
        assert row.measured.area == (plane == 1).sum() * 0.25
        assert row.measured.unit in ("µm", "micrometer")
        volume = [row.measured.more[title] for title in VOLUME]
        np.testing.assert_allclose(volume, [values[0] for values in told.values()])

    user.model.columns += ", " + ", ".join(VOLUME_MORE)
    user.finish(user.session.measuring.measure())
    told = regionprops_table(
        labels.astype(int), properties=tuple(VOLUME_MORE.values()), spacing=(2.0, 0.5, 0.5)
    )
    for row in user.model.results:
        shape = [row.measured.more[title] for title in VOLUME_MORE]
        np.testing.assert_allclose(shape, [values[0] for values in told.values()])

    text = user.session.results.copy_text(user.model.results)
    assert all(title in text.splitlines()[0].split("\t") for title in VOLUME)
    user.session.correcting.delete(row_of(user, 6, 1))
    settle(user)
    assert not any("Volume" in row.measured.more for row in user.model.results if row.measured)


@pytest.mark.parametrize("layout", ["zyx", "tzyx", "zyx on disk", "tyx"])
def test_accepted_objects_are_measured_on_their_slices_and_as_volumes(open_bench, balls, layout):
    names = layout.split()[0]
    image = np.stack([balls, balls[::-1]]) if "t" in names and "z" in names else balls
    size = {"t": 3.0, "z": 2.0, "y": 0.5, "x": 0.5}
    spacing = tuple(size[one] for one in names)
    units = tuple("second" if one == "t" else "um" for one in names)
    user = open_bench(image, axis_labels=tuple(names), scale=spacing, units=units)
    if "disk" in layout:
        user.binding.adapter.accepted.in_memory = 1000
        user.binding.adapter.stacks.in_memory = 1000
    user.model.columns += ", " + ", ".join(VOLUME_MORE)
    user.model.frame_axis = image.ndim - 3
    lead = (1,) * (image.ndim - 3)
    for spot, on in (((20, 20), 1), ((40, 50), 2)):
        user.viewer.dims.set_current_step(range(len(lead) + 1), (*lead, 6))
        user.click(*lead, 6, *spot, on=on)
    user.start()
    user.binding.actions.accept()
    user.desk.until(lambda: user.model.kept == 2 and not user.model.running)
    user.propagation.clear()

    user.finish(user.session.measuring.measure())

    layer = user.viewer.layers[ACCEPTED]
    stack = np.asarray(layer.data)[lead].astype(int)
    rows = user.model.results
    features = layer.features.set_index("index")
    assert {row.record.id for row in rows} == {1, 2}
    if "z" not in names:  # frames in time have no distance in space
        assert not any("Volume" in row.measured.more for row in rows)
        assert not {"measured_area", "volume"} & set(features)
        return
    pixels = image[lead].astype(float)
    basic = ("area", "equivalent_diameter_area", "intensity_mean")
    wanted = regionprops_table(stack, pixels, (*basic, *VOLUME_MORE.values()), spacing=spacing[-3:])
    for at, id_ in enumerate((1, 2)):
        numbers = [values[at] for values in wanted.values()]
        titles = (*VOLUME, *VOLUME_MORE)
        for row in rows:
            if row.record.id == id_:
                told = [row.measured.more[title] for title in titles]
                np.testing.assert_allclose(told, numbers)
        columns = [title.lower().replace(" ", "_") for title in titles]
        np.testing.assert_allclose(features.loc[id_, columns].astype(float), numbers)
        assert features.loc[id_, "unit"] in ("µm", "micrometer")

    row = next(one for one in rows if one.record.id == 1)
    on_six = next(one for one in row.parts if one.preview.target.plane.leading[-1] == 6)
    user.session.correcting.delete(on_six)

    def changed():
        return next(one for one in user.model.results if one.record.id == 1)

    user.desk.until(lambda: len(changed().parts) < len(row.parts))
    assert "Volume" not in (changed().measured.more if changed().measured else {})
    other = next(one for one in user.model.results if one.record.id == 2)
    assert "Volume" in other.measured.more
