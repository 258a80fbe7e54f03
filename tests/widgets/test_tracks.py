"""Tracks of a propagation, by the box and the button of the panel."""

import csv

import geff
import numpy as np
import pytest
import tifffile
from napari.layers import Tracks
from qtpy.QtWidgets import QFileDialog, QSpinBox

from napari_sam3_assistant.core.prompts import MOST_ID

TRACKS = "SAM3 propagated tracks"
LABELS = "SAM3 propagated preview labels"
CENTRES = ((30, 40), (85, 110))
SIZE = {"scale": (30, 0.5, 0.5), "units": ("second", "micrometer", "micrometer")}


@pytest.fixture
def movie():
    """Two bright discs that move right by three columns a frame: (6, 120, 150) uint8."""
    rows, columns = np.mgrid[:120, :150]
    frames = np.full((6, 120, 150), 50, np.uint8)
    for number, frame in enumerate(frames):
        for y, x in CENTRES:
            frame[(rows - y) ** 2 + (columns - x - 3 * number) ** 2 <= 196] = 190
    return frames


@pytest.fixture
def begin(open_window, movie):
    """Return a function that opens a window with the movie on its first frame."""

    def go():
        user = open_window(movie, **SIZE)
        user.viewer.dims.set_current_step(0, 0)
        user.look_at_all()
        user.choose("3d_video_propagation", "points")
        return user

    return go


def click_both(user):
    user.click_at(user.viewer.layers["image"], (0, *CENTRES[0]))
    user.click("new_object")
    user.click_at(user.viewer.layers["image"], (0, *CENTRES[1]))


def paths(user):
    """Return the columns of each track, as its object goes through the frames."""
    data = user.viewer.layers[TRACKS].data
    return {int(id_): data[data[:, 0] == id_][:, 3].round().tolist() for id_ in set(data[:, 0])}


@pytest.fixture
def export_as(monkeypatch):
    """Return a function that exports under a name and a kind of file, which the dialog gives."""

    def export(user, path, kind="csv"):
        def answer(_parent, _title, start="", filters=""):
            (chosen,) = (one for one in filters.split(";;") if f"(*.{kind})" in one)
            return str(path or start), chosen

        monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
        user.click("export_tracks")
        user.wait_for_end()

    return export


def test_the_tracks_follow_the_objects_are_hidden_exported_and_remembered(
    begin, tmp_path, export_as
):
    user = begin()
    assert user.button("run_preview").text() == "Start 3D Propagation"
    assert user.button("export_tracks").isVisible()
    assert not user.button("export_tracks").isEnabled()
    assert user.button("export_tracks").toolTip() == "There is nothing propagated yet"
    click_both(user)
    assert user.viewer.layers["SAM3 points"].text.visible
    user.click("tracks_layer")

    user.run()

    assert user.button("propagate_existing").isEnabled()
    assert user.button("propagate_existing").isVisible()
    layer = user.viewer.layers[TRACKS]
    assert isinstance(layer, Tracks)
    assert paths(user) == {
        1: [40, 43, 46, 49, 52, 55],
        2: [110, 113, 116, 119, 122, 125],
    }
    np.testing.assert_array_equal(layer.scale, user.viewer.layers[LABELS].scale)
    assert user.viewer.dims.current_step[0] == 0
    user.viewer.dims.set_current_step(0, 4)
    user.settle()
    user.viewer.dims.ndisplay = 3
    user.settle()
    user.viewer.dims.ndisplay = 2

    user.click("tracks_layer")
    assert not user.has(TRACKS)
    user.click("tracks_layer")
    assert user.has(TRACKS)

    all_rows_are_exported(user, tmp_path, export_as)

    user.choose("2d_segmentation")
    assert not user.button("export_tracks").isVisible()
    assert not user.button("propagate_existing").isVisible()
    assert not user.viewer.layers["SAM3 points"].text.visible
    user.close_dock()
    user.open()
    assert user.button("tracks_layer").isChecked()


def all_rows_are_exported(user, tmp_path, export_as):
    export_as(user, tmp_path / "way")
    with (tmp_path / "way.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["object"]) for row in rows] == [
        (str(frame), str(id_)) for frame in range(6) for id_ in (1, 2)
    ]
    assert (rows[-1]["position"], rows[-1]["position_unit"]) == ("150", "second")
    assert float(rows[-1]["x"]) == pytest.approx(125 / 2, abs=0.5)
    assert "Exported 12 rows of tracks" in user.status

    # The folder is proposed from now on, and another kind than the proposed name has is written.
    export_as(user, None, "geff")
    (made,) = tmp_path.glob("*.geff")
    assert made.name == "image_tracks.geff"
    assert [one.name for one in tmp_path.glob("*.csv")] == ["way.csv"]


def test_removed_objects_and_later_propagations_are_followed(begin):
    user = begin()
    click_both(user)
    user.click("tracks_layer")
    user.run()

    user.choose_in("tracked_objects", "Followed: 1")
    user.click("remove_object")
    user.wait_for_end()
    assert list(paths(user)) == [2]
    user.click("remove_object")  # once more: nobody has chosen the other one
    user.wait_for_end()
    assert "No object is chosen." in user.status
    assert list(paths(user)) == [2]

    user.click("clear_preview")
    assert not user.has(TRACKS)

    # A new propagation leaves no old track.
    user.run()
    assert list(paths(user)) == [1, 2]
    points = user.viewer.layers["SAM3 points"]
    points.selected_data = {0}
    points.remove_selected()
    user.run()
    assert list(paths(user)) == [2]


def read_ctc(folder):
    (table,) = folder.glob("*_track.txt")
    frames = np.stack([tifffile.imread(one) for one in sorted(folder.glob("*.tif"))])
    return frames, np.loadtxt(table, int, ndmin=2).tolist()


@pytest.mark.thorough
def test_tracks_are_written_for_the_cell_tracking_challenge(begin, tmp_path, export_as):
    user = begin()
    click_both(user)
    user.run()
    shown = np.asarray(user.viewer.layers[LABELS].data)

    export_as(user, tmp_path / "01_RES", "ctc")
    export_as(user, tmp_path / "b.ctc")
    export_as(user, tmp_path / "TRA", "ctc")

    for name in ("01_RES", "b.ctc", "TRA"):
        frames, rows = read_ctc(tmp_path / name)
        np.testing.assert_array_equal(frames, shown)
        assert rows == [[1, 0, 5, 0], [2, 0, 5, 0]]
    assert (tmp_path / "TRA" / "man_track000.tif").exists()
    assert "Exported the tracks of 2 objects to" in user.status
    before = sorted(tmp_path.rglob("*"))
    export_as(user, tmp_path / "TRA", "ctc")
    assert "exists already. Choose another name." in user.status
    assert sorted(tmp_path.rglob("*")) == before


def test_labels_of_another_tool_keep_their_numbers_in_clicks_and_in_files(
    begin, movie, tmp_path, export_as
):
    user = begin()
    image = user.viewer.layers["image"]
    numbers = (100_000, MOST_ID)
    labels = np.zeros(movie.shape, np.uint32)
    for number, (y, x) in zip(numbers, CENTRES, strict=True):
        labels[0, y - 12 : y + 13, x - 12 : x + 13] = number
    user.viewer.add_labels(labels, **SIZE)
    user.click("use_labels")
    user.click("follow_labels")
    user.wait_for_end()
    user.choose("3d_video_propagation", "points")

    user.click_at(image, (0, *CENTRES[0]))
    assert user.find(QSpinBox, "object_id").value() == numbers[0]
    user.click_at(image, (0, 60, 10))  # off all objects: on the latest one
    user.click("new_object")
    user.click_at(image, (0, 110, 10))
    points = user.viewer.layers["SAM3 points"]
    assert points.features["object_id"].tolist() == [numbers[0], numbers[0], 1]
    points.selected_data = {0, 1, 2}
    points.remove_selected()
    user.click_at(image, (0, *CENTRES[1]))
    user.click("propagate_existing")
    user.wait_for_end()
    shown = np.asarray(user.viewer.layers[LABELS].data)

    for kind in ("geff", "ctc"):
        export_as(user, tmp_path / f"2026.{kind}", kind)
        export_as(user, tmp_path / "2026.11", kind)
    graph, metadata = geff.read(tmp_path / "2026.geff", structure_validation=True)
    nodes = graph.nodes(data=True)
    for _, one in nodes:
        y, x = round(one["y"]), round(one["x"])
        assert one["seg_id"] == shown[one["t"], y, x]
    last = [one for _, one in nodes if one["t"] == 5]
    ends = sorted((one["seg_id"], round(one["y"]), round(one["x"])) for one in last)
    assert ends == [(numbers[0], 30, 55), (numbers[1], 85, 125)]
    assert graph.number_of_edges() == 10
    assert [(axis.name, axis.scale, axis.scaled_unit) for axis in metadata.axes] == [
        ("t", 30, "second"),
        ("y", 0.5, "micrometer"),
        ("x", 0.5, "micrometer"),
    ]
    assert (tmp_path / "2026.11.geff").is_dir()
    frames, rows = read_ctc(tmp_path / "2026.ctc")  # its labels have 16 bits
    assert rows == [[1, 0, 5, 0], [2, 0, 5, 0]]
    np.testing.assert_array_equal(frames, np.searchsorted([0, *numbers], shown))
