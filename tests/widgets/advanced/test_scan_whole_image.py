"""Scan whole image in the window: tile by tile into a layer over a file."""

import json
import re

import dask.array as da
import numpy as np
import pytest
import zarr
from qtpy.QtWidgets import QFileDialog, QLineEdit, QPlainTextEdit, QPushButton, QSpinBox
from skimage.draw import disk

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.viewer.roles import Role, with_role

SHAPE = (300, 500)
TILES = 6
TEXT = "bright spots"
TILE, OVERLAP = 256, 25


@pytest.fixture(scope="module")
def spots():
    """Discs of radius 10, some of them on seams of tiles: uint8 of SHAPE."""
    image = np.random.default_rng(0).normal(50, 4, SHAPE)
    for y in range(30, SHAPE[0] - 10, 60):
        for x in range(30, SHAPE[1] - 10, 55):
            image[disk((y, x), 10, shape=SHAPE)] += 140
    return image.clip(0, 255).astype(np.uint8)


def set_up(user, folder, *, task="Text segmentation", tile=TILE):
    user.choose_in("task", task)
    user.widget.findChild(QSpinBox, "scan_tile").setValue(tile)
    user.widget.findChild(QSpinBox, "scan_overlap").setValue(OVERLAP)
    user.widget.findChild(QLineEdit, "scan_folder").setText(str(folder))
    if task == "Text segmentation":
        user.type_phrase(TEXT, enter=False)


def scan_layers(user):
    return list(with_role(user.viewer.layers, Role.SCAN))


def log(user):
    lines = user.widget.findChild(QPlainTextEdit, "log").toPlainText().splitlines()
    return [line[10:] for line in lines]


def same_objects(one, other):
    pairs = np.unique(np.stack([np.ravel(one), np.ravel(other)]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def test_the_result_is_that_of_the_api_lies_on_the_image_and_can_be_made_again(
    advanced, plugin_manager, spots, tmp_path
):
    user = advanced.user
    np.save(tmp_path / "slide.npy", spots)
    placed = {
        "scale": (0.5, 0.25),
        "translate": (10, 20),
        "units": ("um", "um"),
        "axis_labels": ("y", "x"),
    }
    with plugin_manager.tmp_plugin(name="npyreader") as plugin:

        @plugin.contribute.reader(filename_patterns=["*.npy"])
        def get_reader(path):
            return lambda path: [(np.load(path), placed)]

        (image,) = user.viewer.open(tmp_path / "slide.npy", plugin="npyreader")
    set_up(user, tmp_path / "scans")

    user.click("scan")
    user.wait_for_end()

    (layer,) = scan_layers(user)
    assert layer.name == "SAM3 scan labels [slide_bright_spots_scan]"
    assert layer.multiscale
    assert all(isinstance(level, zarr.Array) and not level.read_only for level in layer.data)
    path = tmp_path / "scans" / "slide_bright_spots_scan.zarr"
    expected = api.scan(
        spots, output=tmp_path / "api.zarr", text=TEXT, tile=TILE, overlap=OVERLAP / 100
    )
    labels = np.asarray(layer.data[0])
    np.testing.assert_array_equal(labels, zarr.open_group(str(expected.path), mode="r")["0"][...])
    np.testing.assert_array_equal(layer.data[1], labels[::2, ::2])
    np.testing.assert_array_equal(layer.data[2], labels[::4, ::4])
    for name in ("scale", "translate", "units", "axis_labels"):
        np.testing.assert_array_equal(getattr(layer, name), getattr(image, name))
    assert list(layer.features["area"]) == [one.area for one in expected.objects]
    assert list(layer.features["index"]) == [one.id for one in expected.objects]
    found = f"{len(expected.objects)} objects in {TILES} tiles"
    assert user.status.startswith(f"✓ Scan complete: {found}, ")
    assert user.status.endswith(f"Labels: {path}")
    note = json.loads((tmp_path / "scans" / f"{path.name}.json").read_text())
    assert note["tiles"] == {"size": TILE, "overlap": OVERLAP / 100}
    assert note["axes"]["scale"] == [0.5, 0.25]
    assert note["axes"]["units"] == ["micrometer", "micrometer"]
    told = zarr.open_group(str(path), mode="r").attrs["multiscales"][0]["datasets"][0]
    assert told["coordinateTransformations"] == [
        {"type": "scale", "scale": [0.5, 0.25]},
        {"type": "translation", "translation": [10.0, 20.0]},
    ]

    # The note makes them again, and the next scan of the same gets another name than both.
    assert main(["rerun", str(tmp_path / "scans" / f"{path.name}.json")]) == 0
    again = tmp_path / "scans" / "slide_bright_spots_scan_02.zarr"
    np.testing.assert_array_equal(zarr.open_group(str(again), mode="r")["0"][...], labels)
    user.click("scan")
    user.wait_for_end()
    assert [layer.name for layer in scan_layers(user)] == [
        "SAM3 scan labels [slide_bright_spots_scan]",
        "SAM3 scan labels [slide_bright_spots_scan_03]",
    ]
    np.testing.assert_array_equal(*(layer.data[0] for layer in scan_layers(user)))


def test_labels_fill_in_and_only_what_is_in_view_is_drawn_again(advanced, spots, tmp_path, gate):
    user = advanced.user
    user.viewer.add_image(np.tile(spots, (2, 1)), name="slide")
    set_up(user, tmp_path)
    user.click("scan")
    user.wait(lambda: bool(scan_layers(user)))
    (layer,) = scan_layers(user)
    drawn = []
    layer.events.set_data.connect(lambda: drawn.append(layer.data_level))
    assert not np.asarray(layer.data[0]).any()
    assert layer.data[0].read_only

    def let_pass(tile):
        gate.passes.release()
        user.wait(lambda: user.status.startswith(f"Tile {tile} of 9"))

    let_pass(1)
    user.wait(lambda: np.asarray(layer.data[0])[:200, :200].any())
    assert not np.asarray(layer.data[0])[260:, 260:].any()
    tile = 2
    let_pass(tile)
    while not drawn:  # what is written late is drawn with a later tile
        tile += 1
        let_pass(tile)

    # As napari does when the user looks at the lower right corner.
    layer.corner_pixels = np.array([[560, 450], [599, 499]]) // 2**layer.data_level
    before = len(drawn)
    let_pass(tile + 1)
    assert re.fullmatch(rf"Tile {tile + 1} of 9, \d+ objects, .+ left …", user.status)
    user.wait(lambda: np.asarray(layer.data[0])[:200, 440:490].any())
    let_pass(tile + 2)
    assert len(drawn) == before

    gate.opened.set()
    user.wait_for_end()
    assert user.status.startswith("✓ Scan complete")


def test_a_scan_that_was_cancelled_goes_on(advanced, spots, tmp_path, gate):
    user = advanced.user
    user.viewer.add_image(spots, name="slide")
    set_up(user, tmp_path)
    assert user.button("scan").text() == "Scan whole image"
    user.click("scan")
    for done in range(1, 4):
        gate.passes.release()
        user.wait(lambda done=done: user.status.startswith(f"Tile {done} of {TILES}"))
    user.click("cancel")
    user.wait_for_end()
    gate.opened.set()

    folder = tmp_path / "slide_bright_spots_scan.zarr.scan"
    assert user.status.startswith(f"Scan stopped: 3 of {TILES} tiles are kept in {folder}.")
    assert user.button("scan").text() == "Continue scan"
    assert np.asarray(scan_layers(user)[0].data[0]).any()
    user.widget.findChild(QSpinBox, "scan_overlap").setValue(30)
    assert user.button("scan").text() == "Scan whole image"
    user.widget.findChild(QSpinBox, "scan_overlap").setValue(OVERLAP)
    before = gate.runs

    user.click("scan")
    user.wait_for_end()

    # The tile that was under way when the user pressed Cancel may have been finished.
    assert gate.runs - before <= TILES - 3
    finished = TILES - (gate.runs - before)
    said = f"✓ Going on with a scan: {finished} of {TILES} tiles were finished before"
    assert f"{said} (slide_bright_spots_scan.zarr)." in log(user)
    assert f" in {TILES} tiles ({finished} by an earlier start), " in user.status
    assert user.button("scan").text() == "Scan whole image"
    assert not folder.exists()
    (layer,) = scan_layers(user)
    whole = api.scan(
        spots, output=tmp_path / "api.zarr", text=TEXT, tile=TILE, overlap=OVERLAP / 100
    )
    np.testing.assert_array_equal(
        layer.data[0], zarr.open_group(str(whole.path), mode="r")["0"][...]
    )


@pytest.mark.thorough
def test_an_example_serves_all_tiles(advanced, spots, tmp_path):
    user = advanced.user
    user.viewer.add_image(spots, name="slide")
    set_up(user, tmp_path, task="Exemplar segmentation")
    user.click("create_prompt_layer")
    assert not user.button("scan").isEnabled()
    user.viewer.layers["SAM3 boxes"].add_rectangles(np.array([(19, 19), (41, 41)]))

    user.click("scan")
    user.wait_for_end()

    (layer,) = scan_layers(user)
    assert layer.name == "SAM3 scan labels [slide_examples_scan]"
    expected = api.scan(
        spots,
        output=tmp_path / "api.zarr",
        exemplars=[(19, 19, 42, 42)],
        tile=TILE,
        overlap=OVERLAP / 100,
    )
    np.testing.assert_array_equal(
        layer.data[0], zarr.open_group(str(expected.path), mode="r")["0"][...]
    )
    right = layer.data[0][:, 250:]
    assert np.count_nonzero(right) > 0


def test_one_plane_of_a_stack_read_tile_by_tile(advanced, spots, tmp_path):
    user = advanced.user
    read = []

    def block(block_id):
        read.append(block_id)
        plane = spots if block_id[0] == 2 else np.zeros_like(spots)
        y, x = block_id[1] * 150, block_id[2] * 250
        return plane[None, y : y + 150, x : x + 250]

    stack = da.map_blocks(block, dtype=np.uint8, chunks=((1,) * 4, (150, 150), (250, 250)))
    user.viewer.add_image(
        stack, name="stack", contrast_limits=(0, 255), scale=(4, 0.5, 0.5), cache=False
    )
    user.viewer.dims.set_current_step(0, 2)
    set_up(user, tmp_path)
    read.clear()

    user.click("scan")
    user.wait_for_end()

    (layer,) = scan_layers(user)
    assert layer.name == "SAM3 scan labels [stack_2_bright_spots_scan]"
    assert layer.ndim == 3
    assert [level.shape for level in layer.data] == [(1, 300, 500), (1, 150, 250), (1, 75, 125)]
    np.testing.assert_array_equal(layer.translate, (8, 0, 0))
    np.testing.assert_array_equal(layer.scale, (4, 0.5, 0.5))
    expected = api.segment(spots, text=TEXT, contrast=(0, 255)).labels
    assert same_objects(layer.data[0][0], expected)
    assert read
    assert {block_id[0] for block_id in read} == {2}


# napari before 0.7 draws large images smaller, and says so.
@pytest.mark.filterwarnings("ignore:data shape .* exceeds GL_MAX_TEXTURE_SIZE:UserWarning")
def test_nothing_is_read_as_a_whole(advanced, tmp_path, monkeypatch):
    user = advanced.user
    store = zarr.create_array(
        tmp_path / "huge.zarr", shape=(1536, 1536), chunks=(256, 256), dtype="uint8"
    )
    around = np.full((600, 600), 50, np.uint8)
    around[disk((300, 300), 40)] = 200
    store[...] = 50
    store[600:1200, 600:1200] = around
    small = np.asarray(store[::8, ::8])
    user.viewer.add_image([store, small], name="huge", contrast_limits=(0, 255))
    largest = []
    real = zarr.Array.__getitem__

    def getitem(array, key):
        piece = real(array, key)
        largest.append(np.size(piece))
        return piece

    set_up(user, tmp_path, tile=512)
    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__getitem__", getitem)
        user.click("scan")
        user.wait_for_end()

    (layer,) = scan_layers(user)
    assert layer.data[0][900, 900] > 0
    assert len(layer.features) == 1
    # A tile, or what the window shows of the labels.
    assert max(largest) < 1536 * 1536 / 2


def test_the_form_proposes_a_folder_says_what_keeps_a_scan_from_starting_and_is_remembered(
    advanced, spots, tmp_path, gate, monkeypatch
):
    user = advanced.user
    line = user.widget.findChild(QLineEdit, "scan_folder")
    assert line.placeholderText().endswith("napari-sam3-labels")
    user.widget.findChild(QLineEdit, "output_folder").setText(str(tmp_path / "masks"))
    assert line.placeholderText() == str(tmp_path / "masks")

    def reason():
        assert not user.button("scan").isEnabled()
        return user.button("scan").toolTip()

    assert reason() == "Open an image first."
    user.viewer.add_image(spots[:200, :300], name="slide")
    assert "Choose the task Text, Exemplar or Everything" in reason()
    set_up(user, tmp_path)
    user.type_phrase("", enter=False)
    assert reason() == "Type a phrase first."
    user.type_phrase(TEXT, enter=False)
    user.click("scan")
    user.wait(lambda: gate.reached.acquire(blocking=False))
    assert "Wait for the run to end" in reason()
    gate.opened.set()
    user.wait_for_end()
    assert user.button("scan").isEnabled()

    # A phrase that the engine does not know leaves nothing.
    before = scan_layers(user)
    user.type_phrase("mitochondria", enter=False)
    user.click("scan")
    user.wait_for_end()
    assert "bright ..." in user.status
    assert list(tmp_path.glob("*mitochondria*")) == []
    assert scan_layers(user) == before

    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "scans"))
    user.widget.findChild(QPushButton, "choose_scan_folder").click()
    user.widget.findChild(QSpinBox, "scan_tile").setValue(512)
    user.close_dock()
    user.open()
    assert user.widget.findChild(QLineEdit, "scan_folder").text() == str(tmp_path / "scans")
    assert user.widget.findChild(QSpinBox, "scan_tile").value() == 512


def test_sam3_scans_with_a_phrase(
    advanced, spots, tmp_path, tiny_checkpoint, model_calls, monkeypatch
):
    user = advanced.user
    user.viewer.add_image(spots, name="slide")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tiny_checkpoint))
    user.click("choose_model_folder")
    user.wait_for_end()
    set_up(user, tmp_path)
    user.type_phrase("cell", enter=False)

    user.click("scan")
    user.wait_for_end()

    assert model_calls["encode"] == TILES
    (layer,) = scan_layers(user)
    assert layer.name == "SAM3 scan labels [slide_cell_scan]"
    note = json.loads((tmp_path / "slide_cell_scan.zarr.json").read_text())
    assert note["engine"]["engine"] == "sam3-transformers"
    assert note["engine"]["sha256"]


def test_a_narrow_image_of_one_size_is_painted_on_when_it_is_complete(advanced, spots, tmp_path):
    user = advanced.user
    user.viewer.add_image(spots[None, :100, :600], name="strip")
    set_up(user, tmp_path)

    user.click("scan")
    user.wait_for_end()

    (layer,) = scan_layers(user)
    assert not layer.multiscale
    assert layer.editable
    layer.paint((0, 50, 5), 77)
    stored = zarr.open_group(str(tmp_path / "strip_0_bright_spots_scan.zarr"), mode="r")["0"]
    assert stored[50, 5] == 77
    assert layer.data[0, 50, 5] == 77
