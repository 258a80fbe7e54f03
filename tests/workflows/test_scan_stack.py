"""Scans of every plane of a stack, and of every image of a folder."""

import json

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.options import PredictOptions, TileOptions
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ExportError, JobCancelled, PromptError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.provenance import read_provenance
from napari_sam3_assistant.workflows.batch import FolderRequest, segment_folder
from napari_sam3_assistant.workflows.rerun import RerunRequest, rerun
from napari_sam3_assistant.workflows.scan import ScanRequest, ScanResult, scan

TEXT, TILES = PromptSet(text="bright"), TileOptions(256, 0.25)


class Stopping(NullReporter):
    """Lets nothing go on once it was stopped."""

    def __init__(self):
        self.token = CancelToken()

    def check(self):
        self.token.check()


@pytest.fixture
def stack(plane_of_squares):
    """Return two planes, of which one tile and its neighbours hold the same squares, and truth."""
    image, truth = plane_of_squares
    return np.stack([image, image[::-1]]), np.stack([truth, truth[::-1]])


def labels_at(path):
    return zarr.open_group(str(path), mode="r")["0"][...]


def same_partition(one, other):
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def request_of(image, output, names="zyx", **changes):
    shape = image.shape
    view = view_of_array(image, plane=(0,) * (len(shape) - 2), axis_labels=names)
    axes = make_axes(shape, names=names)
    return ScanRequest(view, TEXT, output, tiles=TILES, axes=axes, all_planes=True, **changes)


def run(engine, request, reporter=None):
    *steps, result = scan(engine, request, reporter or NullReporter())
    return steps, result


def check_planes(result, truth):
    """Check each plane of the labels, and what is said of each object."""
    labels = labels_at(result.path)
    seen = set()
    for plane in np.ndindex(*truth.shape[:-2]):
        assert same_partition(labels[plane], truth[plane])
        ids = set(np.unique(labels[plane]).tolist()) - {0}
        assert not ids & seen
        seen |= ids
        assert all(result.plane_of(id_) == plane for id_ in ids)
    assert seen == {record.id for record in result.objects}
    for record in result.objects[:: len(result.objects) // 20]:
        piece = labels[result.plane_of(record.id)][record.region.slices]
        assert np.count_nonzero(piece == record.id) == record.area


def test_every_plane_of_a_stack(engine, stack, tmp_path):
    image, truth = stack

    steps, result = run(engine, request_of(image, tmp_path / "labels.zarr"))

    check_planes(result, truth)
    assert result.shape == truth.shape
    assert [step.done for step in steps] == list(range(25))
    note = read_provenance(tmp_path / "labels.zarr.json")
    assert note.all_planes
    assert note.tiles == TILES
    written = json.loads((tmp_path / "labels.zarr.json").read_text())["objects"]
    assert {tuple(entry["plane"]) for entry in written} == {(0,), (1,)}


def test_planes_without_anything_keep_the_numbers_of_the_others_right(engine, stack, tmp_path):
    """Also where none of the first planes has an object."""
    image, truth = stack
    empty = np.zeros_like(image[0])
    many = np.stack([empty, empty, image[0], empty, image[1], empty])
    none = np.zeros_like(truth[0])

    _, result = run(engine, request_of(many, tmp_path / "labels.zarr"))

    check_planes(result, np.stack([none, none, truth[0], none, truth[1], none]))


def test_axes_are_stored_in_the_order_of_ome_zarr(engine, stack, tmp_path):
    image, truth = stack
    many = np.stack([image, image[:, :, ::-1]])  # z, t, y, x
    other = np.stack([truth, truth[:, :, ::-1]])

    _, result = run(engine, request_of(many, tmp_path / "labels.zarr", "ztyx"))

    stored = read_image(result.path)
    assert "".join(axis.name for axis in stored.axes) == "tzyx"
    for z, t in np.ndindex(2, 2):
        assert same_partition(np.asarray(stored.data[t, z]), other[z, t])
        found = set(np.unique(stored.data[t, z]).tolist()) - {0}
        assert {result.plane_of(id_) for id_ in found} == {(z, t)}
    for step, level in enumerate(stored.levels):
        np.testing.assert_array_equal(level[1, 0], stored.data[1, 0][:: 2**step, :: 2**step])


def test_one_plane_is_read_at_a_time(engine, stack, tmp_path):
    image, truth = stack
    read = []

    def block(block_info=None):
        place = block_info[None]["chunk-location"]
        read.append(place)
        y0, y1 = block_info[None]["array-location"][1]
        x0, x1 = block_info[None]["array-location"][2]
        return image[place[0] : place[0] + 1, y0:y1, x0:x1]

    chunks = ((1, 1), (256, 256, 88), (256, 256, 188))
    lazy = da.map_blocks(block, chunks=chunks, dtype=np.uint8, meta=np.zeros((0, 0, 0), np.uint8))
    steps = scan(engine, request_of(lazy, tmp_path / "labels.zarr"), NullReporter())
    next(steps)
    read.clear()
    for _ in range(6):
        next(steps)

    assert {place[0] for place in read} == {0}
    *_, result = steps
    check_planes(result, truth)


def test_a_stopped_scan_goes_on_in_the_plane_where_it_was(engine, bright, stack, tmp_path):
    image, truth = stack
    reporter = Stopping()
    steps = scan(engine, request_of(image, tmp_path / "labels.zarr"), reporter)
    while next(steps).done < 15:
        pass
    reporter.token.cancel()
    with pytest.raises(JobCancelled):
        next(steps)
    encoded = len(bright.encoded)

    after, result = run(engine, request_of(image, tmp_path / "labels.zarr"))

    check_planes(result, truth)
    assert after[0].kept >= 15
    assert len(bright.encoded) - encoded == 24 - after[0].kept


def test_one_plane_is_another_scan_than_all(engine, stack, tmp_path):
    image, _ = stack
    steps = scan(engine, request_of(image, tmp_path / "labels.zarr"), NullReporter())
    for _ in range(3):
        next(steps)
    steps.close()
    single = ScanRequest(view_of_array(image, plane=0), TEXT, tmp_path / "labels.zarr", tiles=TILES)

    with pytest.raises(ExportError, match="holds another scan"):
        run(engine, single)


def test_a_stack_again_from_its_note(engine, stack, tmp_path):
    image, truth = stack
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, image, imagej=True, metadata={"axes": "ZYX"})
    view = view_of_array(read_image(path).data, plane=0)
    token = view.channels[0].source.token
    axes = make_axes(truth.shape, names="zyx")
    request = ScanRequest(
        view,
        TEXT,
        tmp_path / "a.zarr",
        tiles=TILES,
        axes=axes,
        all_planes=True,
        paths={token: path},
    )
    _, first = run(engine, request)

    note = RerunRequest(
        read_provenance(tmp_path / "a.zarr.json"), tmp_path, output=tmp_path / "b.zarr"
    )
    (again,) = rerun(engine, note, NullReporter())

    assert isinstance(again, ScanResult)
    np.testing.assert_array_equal(labels_at(again.path), labels_at(first.path))


@pytest.fixture
def folder_of(stack, tmp_path):
    """Return what makes requests for a folder with a plane and a stack."""
    image, _ = stack
    source = tmp_path / "in"
    source.mkdir()
    tifffile.imwrite(source / "slide.tif", image[0])
    tifffile.imwrite(source / "stack.tif", image, imagej=True, metadata={"axes": "ZYX"})

    def make(**changes):
        settings = {
            "prompts": PromptSet(), "options": PredictOptions(), "phrases": ("cat",),
            "ending": ".zarr", "tiles": TILES, **changes,
        }  # fmt: skip
        return FolderRequest(source, tmp_path / "out", **settings)

    return make


def batch(engine, request, reporter=None):
    return list(segment_folder(engine, request, reporter or NullReporter()))


def test_every_image_of_a_folder_tile_by_tile(engine, bright, folder_of, stack, tmp_path):
    _, truth = stack

    rows = batch(engine, folder_of())

    assert [(row.image, row.status, row.objects, row.labels) for row in rows] == [
        ("slide.tif", "done", truth[0].max(), "slide_cat_mask.zarr"),
        ("stack.tif", "done", 2 * truth[0].max(), "stack_cat_mask.zarr"),
    ]
    assert same_partition(labels_at(tmp_path / "out/slide_cat_mask.zarr"), truth[0])
    found = read_image(tmp_path / "out/stack_cat_mask.zarr")
    assert [axis.name for axis in found.axes] == ["z", "y", "x"]
    for plane, expected in zip(found.data, truth, strict=True):
        assert same_partition(np.asarray(plane), expected)
    assert {image.shape for image in bright.encoded} == {(256, 256, 3)}


def test_a_second_start_skips_what_was_scanned_so(engine, bright, folder_of):
    batch(engine, folder_of())
    encoded = len(bright.encoded)

    rows = batch(engine, folder_of())
    assert [row.status for row in rows] == ["skipped", "skipped"]
    assert len(bright.encoded) == encoded

    rows = batch(engine, folder_of(tiles=TileOptions(512, 0.25)))
    assert [row.labels for row in rows] == ["slide_cat_mask_02.zarr", "stack_cat_mask_02.zarr"]
    rows = batch(engine, folder_of(tiles=None))
    assert [row.labels for row in rows] == ["slide_cat_mask_03.zarr", "stack_cat_mask_03.zarr"]


def test_a_stopped_batch_goes_on_within_the_image(engine, bright, folder_of, stack, tmp_path):
    reporter = Stopping()
    told = []

    def report(progress):
        told.append(progress.message)
        if "Tile 20 of 24" in progress.message:
            reporter.token.cancel()

    reporter.report = report
    with pytest.raises(JobCancelled):
        batch(engine, folder_of(), reporter)
    assert any(
        message.startswith("stack.tif (2 of 2") and "Tile 20 of 24" in message for message in told
    )
    encoded = len(bright.encoded)

    rows = batch(engine, folder_of())

    assert [row.status for row in rows] == ["skipped", "done"]
    assert len(bright.encoded) - encoded <= 4
    labels = labels_at(tmp_path / "out/stack_cat_mask.zarr")
    assert all(map(same_partition, labels, stack[1]))
    assert sorted(path.name for path in (tmp_path / "out").glob("*.zarr*")) == [
        "slide_cat_mask.zarr",
        "slide_cat_mask.zarr.json",
        "stack_cat_mask.zarr",
        "stack_cat_mask.zarr.json",
    ]


def test_what_tiles_can_not_take_is_said(engine, folder_of):
    with pytest.raises(ExportError, match=r"written as OME-Zarr, not as \.tif"):
        batch(engine, folder_of(ending=".tif"))

    boxes = PromptSet(boxes=(BoxPrompt(Region(1, 1, 5, 5)),))
    with pytest.raises(PromptError, match="A scan can't use boxes"):
        batch(engine, folder_of(prompts=boxes, phrases=()))
