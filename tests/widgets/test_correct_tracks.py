"""Tracks that are corrected in the docked window, by the mouse and the keys, and taken back."""

import geff
import numpy as np
from qtpy.QtWidgets import QComboBox, QFileDialog, QPushButton
from skimage.draw import disk

LABELS = "SAM3 propagated preview labels"
TRACKS = "SAM3 propagated tracks"
BEFORE, AFTER, OTHER, STAYS = (85, 40), (85, 75), (85, 110), (30, 40)


def movie():
    """A cell that stays; another jumps right at frame 3, where a third begins: (6, 120, 150)."""
    frames = np.full((6, 120, 150), 50, np.uint8)
    for t, frame in enumerate(frames):
        for y, x in (STAYS, BEFORE) if t < 3 else (STAYS, AFTER, OTHER):
            frame[disk((y, x), 13)] = 190
    return frames


def follow_all(user):
    """Look at the first frame, and follow everything."""
    user.viewer.dims.set_current_step(0, 0)
    user.look_at_all()
    user.choose("3d_video_propagation", "everything")
    user.click("tracks_layer")
    user.run()


def name_at(user, frame, spot):
    return int(user.viewer.layers[LABELS].data[(frame, *spot)])


def pick(user, frame, spot):
    """Go to a frame, and click on an object with the labels' own picker."""
    layer = user.viewer.layers[LABELS]
    user.viewer.dims.set_current_step(0, frame)
    user.viewer.layers.selection.active = layer
    layer.mode = "pick"
    user.settle()
    user.click_at(layer, (frame, *spot))
    layer.mode = "pan_zoom"


def open_fold(user):
    (fold,) = (
        one
        for one in user.widget.findChildren(QPushButton, "fold")
        if "Correct Tracks" in one.text() and one.isVisible()
    )
    fold.click()
    user.settle()


def graph(user):
    return user.viewer.layers[TRACKS].graph


def frames_of(user, id_):
    data = user.viewer.layers[TRACKS].data
    return data[data[:, 0] == id_][:, 1].tolist()


def is_exported(user):
    """Press Export Tracks, once more where it says that changes are still counted."""
    user.click("export_tracks")
    user.wait_for_end()
    return "Exported" in user.status


def test_no_track_is_corrected_that_nobody_clicked_on(open_window):
    user = open_window(movie())
    follow_all(user)
    before, after = name_at(user, 0, BEFORE), name_at(user, 4, AFTER)
    chosen = [user.find(QComboBox, name).currentText for name in ("track", "other_track")]
    open_fold(user)
    assert [text() for text in chosen] == ["No track", "No other"]
    user.click("split_track")
    assert "No track is chosen." in user.status
    pick(user, 0, BEFORE)
    user.click("join_tracks")
    assert "This takes two tracks." in user.status
    pick(user, 4, AFTER)
    assert [text() for text in chosen] == [f"Track {after}", f"Track {before}"]

    user.click("join_tracks")
    user.wait(lambda: frames_of(user, before) == list(range(6)))
    assert [text() for text in chosen] == [f"Track {before}", "No other"]


def test_clicked_objects_are_joined_divided_split_and_unlinked_with_undo(
    open_window, tmp_path, monkeypatch
):
    user = open_window(movie())
    user.choose("3d_video_propagation")
    user.click("frames_are_times")
    follow_all(user)
    first = np.asarray(user.viewer.layers[LABELS].data).copy()
    before = name_at(user, 0, BEFORE)
    after, other = name_at(user, 4, AFTER), name_at(user, 4, OTHER)
    open_fold(user)
    pick(user, 0, BEFORE)
    pick(user, 4, AFTER)
    assert user.find(QComboBox, "track").currentText() == f"Track {after}"
    assert user.find(QComboBox, "other_track").currentText() == f"Track {before}"

    user.click("join_tracks")
    user.wait(lambda: frames_of(user, before) == list(range(6)))
    assert name_at(user, 4, AFTER) == before

    pick(user, 4, OTHER)
    pick(user, 2, BEFORE)
    user.click("divide_track")
    rest = name_at(user, 4, AFTER)
    assert rest not in (before, after, other)
    user.wait(lambda: graph(user) == {rest: [before], other: [before]})
    stays = name_at(user, 4, STAYS)
    for name, kind in (("TRA", "*.ctc"), ("a.geff", "*.geff")):

        def answer(*told, name=name, kind=kind):
            return str(tmp_path / name), next(one for one in told[-1].split(";;") if kind in one)

        monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
        user.wait(lambda: is_exported(user))
    table = np.loadtxt(tmp_path / "TRA/man_track.txt", int)
    daughters = [[one, 3, 5, before] for one in (rest, other)]
    assert table.tolist() == sorted([[before, 0, 2, 0], [stays, 0, 5, 0], *daughters])
    written, _ = geff.read(tmp_path / "a.geff", structure_validation=True)
    frame = dict(written.nodes(data="t"))
    (mother,) = (node for node, edges in written.out_degree() if edges == 2)
    assert frame[mother] == 2
    found = {written.nodes[node]["seg_id"] for node in written.successors(mother)}
    assert found == {rest, other}

    pick(user, 4, STAYS)
    user.click("split_track")
    tail = name_at(user, 4, STAYS)
    user.wait(lambda: frames_of(user, tail) == [4, 5])
    pick(user, 4, OTHER)
    pick(user, 1, BEFORE)
    user.click("unlink_track")
    user.wait(lambda: graph(user) == {rest: [before]})

    for _ in range(4):
        user.undo()
    user.wait(lambda: graph(user) == {} and frames_of(user, after) == [3, 4, 5])
    np.testing.assert_array_equal(user.viewer.layers[LABELS].data, first)
