"""What the window does on a server, each by real events on one that is shared: as it is here."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QComboBox, QDialog, QLineEdit, QSpinBox

from napari_sam3_assistant import api

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tests are not a package
Server = import_module("server_process").Server
pytest.importorskip("distributed")
TEXT = "bright objects"
WHERE = "on 127.0.0.1"


@pytest.fixture(scope="module")
def address():
    """A server on this computer that needs no keys."""
    made = Server("--port", "0")
    said = next(line for line in made.said if "--compute" in line)
    yield said.split()[-1]
    made.stop()


def use_server(user, address):
    user.pick("other_server")
    dialog = user.window.findChild(QDialog, "server_dialog")
    typed = dialog.findChild(QComboBox, "server_address").lineEdit()
    typed.selectAll()
    QTest.keyClicks(typed, address)
    use = dialog.findChild(QAbstractButton, "use_server")
    QTest.mouseClick(use, Qt.MouseButton.LeftButton)
    user.wait(lambda: WHERE in user.text_of("engine_badge"))


def line(user, name):
    return user.widget.findChild(QLineEdit, name)


def test_everything_live_scans_and_batches(open_advanced, discs, address, tmp_path):
    user = open_advanced(discs).user
    use_server(user, address)

    user.choose_in("task", "Everything, without a prompt")
    user.run()
    assert WHERE in user.status
    np.testing.assert_array_equal(user.preview, api.segment(discs, everything=True).labels)

    user.choose_in("task", "Live Points (positive/negative)")
    user.click("create_prompt_layer")
    user.look_at_all()
    user.click_at(user.viewer.layers["image"], (30, 40))
    (click,) = user.viewer.layers["SAM3 points"].data
    wanted = api.segment(discs, points=[tuple(click)]).labels > 0
    user.wait(lambda: "from 1 point" in user.status)
    assert WHERE in user.status
    shown = user.preview
    (id_,) = np.unique(shown[wanted])
    np.testing.assert_array_equal(shown == id_, wanted)

    user.choose_in("task", "Text segmentation")
    user.type_phrase(TEXT, enter=False)
    user.widget.findChild(QSpinBox, "scan_tile").setValue(256)
    line(user, "scan_folder").setText(str(tmp_path / "scans"))
    user.click("scan")
    user.wait_for_end()
    assert user.status.startswith("✓ Scan complete: ")
    assert f" tile {WHERE}, " in user.status
    (path,) = (tmp_path / "scans").glob("*.zarr")
    expected = api.scan(discs, output=tmp_path / "api.zarr", text=TEXT, tile=256)
    np.testing.assert_array_equal(
        *(zarr.open_group(str(one), mode="r")["0"][...] for one in (path, expected.path))
    )

    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    tifffile.imwrite(source / "a.tif", discs)
    tifffile.imwrite(source / "b.tif", discs[::-1])
    for name, folder in (("folder_source", source), ("folder_output", output)):
        line(user, name).setText(str(folder))
    user.click("batch_folder")
    user.wait_for_end()
    assert user.status.startswith(f"✓ Folder batch ready: 2 done {WHERE} (8 objects). Summary: ")
    made = sorted(output.glob("*.tif"))
    for image, labels in zip((discs, discs[::-1]), made, strict=True):
        wanted = api.segment(np.ascontiguousarray(image), text=TEXT)
        np.testing.assert_array_equal(tifffile.imread(labels), wanted.labels)

    stacks, tracks = tmp_path / "stacks", tmp_path / "tracks"
    stacks.mkdir()
    movie = np.stack([discs, np.roll(discs, 3, axis=1)])
    tifffile.imwrite(stacks / "a.ome.tif", movie, metadata={"axes": "TYX"})
    user.choose_in("task", "3D/video propagation")
    user.choose_in("tool", "Text only")
    user.type_phrase(TEXT, enter=False)
    for name, folder in (("folder_source", stacks), ("folder_output", tracks)):
        line(user, name).setText(str(folder))
    user.click("batch_folder")
    user.wait_for_end()
    assert user.status.startswith(f"✓ Folder batch ready: 1 done {WHERE} (4 objects). Summary: ")
    found = tifffile.imread(tracks / "a_tracks.tif")
    for frame in api.track(stacks / "a.ome.tif", text=TEXT):
        np.testing.assert_array_equal(found[frame.frame], frame.labels)
    user.viewer.close()


# tests/compute/test_spread.py has workers encode, and the batch above says where it was done.
@pytest.mark.thorough
def test_a_folder_is_encoded(open_advanced, discs, tiny_checkpoint, tmp_path):
    made = Server("--model-folder", str(tiny_checkpoint), "--device", "cpu", "--port", "0")
    try:
        user = open_advanced(discs).user
        use_server(user, next(one for one in made.said if "--compute" in one).split()[-1])
        source, kept = tmp_path / "in", tmp_path / "kept"
        source.mkdir()
        for name in ("a.tif", "b.tif"):
            tifffile.imwrite(source / name, np.roll(discs, ord(name[0]), axis=1))
        line(user, "folder_source").setText(str(source))
        line(user, "encodings_folder").setText(str(kept))
        user.click("encode_folder")
        user.wait_for_end()
        assert user.status.startswith(f"✓ Encodings ready: 2 done {WHERE} (2 planes)"), user.status
    finally:
        made.stop()
    # They serve this computer, too: none is made anew.
    again = api.precompute(source, kept, model_folder=tiny_checkpoint)
    assert [one.status for one in again] == ["skipped", "skipped"]
    user.viewer.close()
