"""Scans: the whole plane, stopped, resumed, refused."""

import itertools
import json
import shutil
from time import monotonic

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.options import PredictOptions, TileOptions
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, ExemplarPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tiling import TileGrid
from napari_sam3_assistant.errors import ExportError, JobCancelled, PromptError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.workflows.scan import EXPERIMENTAL, ScanRequest, ScanStep, scan
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment

TEXT = PromptSet(text="bright")
TILES = TileOptions(256, 0.25)


def request_of(image, tmp_path, **changes):
    settings = {"prompts": TEXT, "tiles": TILES, "output": tmp_path / "labels.zarr", **changes}
    return ScanRequest(view_of_array(image), **settings)


def run(engine, request, reporter=None):
    """Return the steps and the result."""
    *steps, result = scan(engine, request, reporter or NullReporter())
    return steps, result


def labels_at(path):
    return zarr.open_group(str(path), mode="r")["0"][...]


def same_partition(one, other):
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def test_all_of_a_plane_is_found_and_no_object_is_cut(engine, plane_of_squares, tmp_path):
    image, truth = plane_of_squares

    steps, result = run(engine, request_of(image, tmp_path))

    labels = labels_at(result.path)
    assert same_partition(labels, truth)
    assert len(result.objects) == truth.max()
    for one in result.objects[:20]:
        assert one.area == np.count_nonzero(labels == one.id)
        assert np.count_nonzero(labels[one.region.slices] == one.id) == one.area
    assert result.tiles == 12
    assert [step.done for step in steps] == list(range(13))
    assert steps[0] == ScanStep(tmp_path / "labels.zarr.scan" / "labels.zarr", 0, 12, 0)
    assert steps[-1].objects == len(result.objects)
    assert not (tmp_path / "labels.zarr.scan").exists()


@pytest.mark.parametrize("changed", [False, True])
def test_pixels_that_are_written_meanwhile_are_told(engine, plane_of_squares, tmp_path, changed):
    image = plane_of_squares[0].copy()
    steps = scan(engine, request_of(image, tmp_path), NullReporter())
    next(steps)
    next(steps)
    if changed:
        image[:] = np.roll(image, 30, 0)

    *_, result = steps

    assert ("was changed while it was scanned" in " ".join(result.notes)) == changed


def test_a_plane_of_one_tile_is_as_the_direct_run(engine, plane_of_squares, tmp_path):
    image, _ = plane_of_squares
    request = request_of(image, tmp_path, tiles=TileOptions(1024))

    _, result = run(engine, request)

    direct = next(segment(engine, SegmentRequest(request.view, TEXT), NullReporter()))
    np.testing.assert_array_equal(labels_at(result.path), direct.labels)
    assert [(one.id, one.area, one.region, one.score, one.text) for one in result.objects] == [
        (one.id, one.area, one.region, one.score, one.text) for one in direct.objects
    ]
    assert result.engine == direct.engine


def test_labels_fill_in_while_the_scan_goes_on(engine, plane_of_squares, tmp_path):
    image, truth = plane_of_squares
    found = []

    for step in scan(engine, request_of(image, tmp_path), NullReporter()):
        labels = step.labels if isinstance(step, ScanStep) else step.path
        found.append(np.count_nonzero(labels_at(labels)))
        until = monotonic() + 240  # a thread writes them, by itself
        while len(found) == 2 and not found[-1] and monotonic() < until:
            found[-1] = np.count_nonzero(labels_at(labels))

    assert found[0] == 0
    assert 0 < found[1] < found[-1]
    assert all(before <= after for before, after in itertools.pairwise(found))
    assert found[-1] == np.count_nonzero(truth)


def test_a_tile_is_told_of_when_its_step_has_come(engine, plane_of_squares, tmp_path):
    image, _ = plane_of_squares
    came, told = [], []

    class Told(NullReporter):
        def report(self, progress):
            told.append((progress.done, len(came)))

    for _ in range(2):  # the second one goes on with the first
        came.clear()
        told.clear()
        for step in itertools.islice(scan(engine, request_of(image, tmp_path), Told()), 6):
            came.append(step)
        assert told == [(0, 0), *((done, 1 + done) for done in range(5))]


def test_two_scans_do_not_write_to_the_same_labels_at_once(engine, plane_of_squares, tmp_path):
    image, truth = plane_of_squares
    first = scan(engine, request_of(image, tmp_path), NullReporter())
    for _ in range(4):
        next(first)

    for changes in ({}, {"overwrite": True}):
        with pytest.raises(ExportError, match=r"Another scan is writing .* now"):
            run(engine, request_of(image, tmp_path, **changes))

    *_, result = first
    assert same_partition(labels_at(result.path), truth)
    assert not (tmp_path / "labels.zarr.scan").exists()


def test_the_image_itself_is_never_replaced(engine, plane_of_squares, tmp_path):
    image, _ = plane_of_squares
    zarr.save_array(str(tmp_path / "labels.zarr"), image)
    request = request_of(image, tmp_path, overwrite=True, paths={0: tmp_path / "labels.zarr"})

    with pytest.raises(ExportError, match="would replace"):
        run(engine, request)

    np.testing.assert_array_equal(zarr.load(str(tmp_path / "labels.zarr")), image)


def test_each_tile_is_read_once_and_the_next_one_ahead(engine, bright, plane_of_squares, tmp_path):
    image, _ = plane_of_squares
    read_when = []

    class Watched:
        shape, dtype = image.shape, image.dtype

        def __getitem__(self, key):
            rows = key[0]
            if rows.stop - rows.start == 256 and key[1].stop - key[1].start == 256:
                read_when.append(len(bright.encoded))
            return image[key]

    run(engine, request_of(Watched(), tmp_path))

    assert len(read_when) == len(bright.encoded) == 12
    # The second tile is asked for before the first one is encoded or while it is.
    assert all(done <= number for number, done in enumerate(read_when))


def test_a_cancelled_scan_goes_on_where_it_was(engine, bright, plane_of_squares, tmp_path):
    image, truth = plane_of_squares
    request = request_of(image, tmp_path)
    token = CancelToken()

    class Reporter(NullReporter):
        def check(self):
            token.check()

    steps = scan(engine, request, Reporter())
    for step in itertools.islice(steps, 6):
        last = step
    token.cancel()
    with pytest.raises(JobCancelled):
        next(steps)

    assert last.done == 5
    kept = labels_at(last.labels) > 0
    grid = TileGrid.cover(truth.shape, request.tiles)
    done = np.zeros_like(kept)
    for number in range(5):
        done[grid[number].slices] = True
    np.testing.assert_array_equal(kept, done & (truth > 0))
    assert not request.output.exists()
    encoded = len(bright.encoded)

    _, result = run(engine, request)

    assert len(bright.encoded) - encoded == 12 - 5
    assert same_partition(labels_at(result.path), truth)


def test_a_damaged_file_of_a_tile_is_made_again(engine, bright, plane_of_squares, tmp_path):
    image, truth = plane_of_squares
    request = request_of(image, tmp_path)
    steps = scan(engine, request, NullReporter())
    list(itertools.islice(steps, 6))
    steps.close()
    folder = tmp_path / "labels.zarr.scan" / "tiles"
    (folder / "00001.npz").write_bytes(b"half")
    (folder / "00002.npz").unlink()
    encoded = len(bright.encoded)

    _, result = run(engine, request)

    assert len(bright.encoded) - encoded == 12 - 5 + 2
    assert same_partition(labels_at(result.path), truth)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompts": PromptSet(text="other")},
        {"tiles": TileOptions(256, 0.3)},
        {"options": PredictOptions(0.9)},
    ],
)
def test_another_scan_of_the_same_name_is_refused(engine, plane_of_squares, tmp_path, changes):
    image, _ = plane_of_squares
    steps = scan(engine, request_of(image, tmp_path), NullReporter())
    list(itertools.islice(steps, 3))
    steps.close()

    with pytest.raises(ExportError, match="another scan"):
        run(engine, request_of(image, tmp_path, **changes))
    _, result = run(engine, request_of(image, tmp_path, **changes, overwrite=True))

    assert result.path.exists()


def test_another_image_is_another_scan(engine, plane_of_squares, tmp_path):
    image, _ = plane_of_squares
    steps = scan(engine, request_of(image, tmp_path), NullReporter())
    list(itertools.islice(steps, 3))
    steps.close()
    other = image.copy()
    other[:, ::2] = 0

    with pytest.raises(ExportError, match="another scan"):
        run(engine, request_of(other, tmp_path))


def test_existing_labels_are_not_replaced_unasked(engine, plane_of_squares, tmp_path):
    image, _ = plane_of_squares
    small = request_of(image[:300, :300], tmp_path)
    run(engine, small)

    with pytest.raises(ExportError, match="exists already"):
        run(engine, request_of(image, tmp_path))
    assert labels_at(small.output).shape == (300, 300)
    run(engine, request_of(image, tmp_path, overwrite=True))

    assert labels_at(small.output).shape == (600, 700)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.zarr", "labels.zarr.json"]


def test_what_a_killed_process_left_after_the_end_is_removed(engine, plane_of_squares, tmp_path):
    image, _ = plane_of_squares
    request = request_of(image[:300, :300], tmp_path)
    run(engine, request)
    left = tmp_path / "labels.zarr.scan"
    (left / "tiles").mkdir(parents=True)
    (left / "scan.json").write_text("{}")

    with pytest.raises(ExportError, match="exists already"):
        run(engine, request)

    assert not left.exists()


def test_weak_objects_of_a_single_tile_are_left_out(engine, tmp_path):
    image = np.zeros((256, 500), np.uint8)
    image[10:20, 10:20] = 250
    image[10:20, 400:410] = 130

    _, result = run(engine, request_of(image, tmp_path, options=PredictOptions(0.8)))

    assert [one.region for one in result.objects] == [Region(10, 10, 20, 20)]


def test_an_example_serves_every_tile(engine, bright, tmp_path):
    image = np.full((256, 700), 20, np.uint8)
    for x in (30, 300, 500, 640):
        image[50:80, x : x + 30] = 200
    example = ExemplarPrompt(Region(48, 28, 82, 62))

    _, result = run(engine, request_of(image, tmp_path, prompts=PromptSet(exemplars=(example,))))

    assert same_partition(
        labels_at(result.path),
        np.where(
            image > 127, np.cumsum(np.diff((image > 127).any(0).astype(int), prepend=0) == 1), 0
        ),
    )
    assert result.notes == (f"{EXPERIMENTAL} (3 tiles)",)
    # The example's pixels lie under its box in each picture that the engine was shown.
    for picture, prompts in zip(bright.encoded, bright.asked, strict=True):
        (shown,) = prompts.exemplars
        np.testing.assert_array_equal(
            picture[shown.region.slices][..., 0], image[example.region.slices]
        )


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        (PromptSet(boxes=(BoxPrompt(Region(1, 1, 5, 5)),)), "can't use boxes"),
        (PromptSet(), "No prompts found"),
        (PromptSet(exemplars=(ExemplarPrompt(Region(900, 900, 910, 910)),)), "outside the image"),
    ],
)
def test_prompts_that_a_scan_can_not_use(engine, plane_of_squares, tmp_path, prompts, said):
    with pytest.raises(PromptError, match=said):
        run(engine, request_of(plane_of_squares[0], tmp_path, prompts=prompts))
    assert list(tmp_path.iterdir()) == []


def test_the_output_is_a_zarr_folder(engine, plane_of_squares, tmp_path):
    with pytest.raises(ExportError, match=r"not as labels\.tif"):
        run(engine, request_of(plane_of_squares[0], tmp_path, output=tmp_path / "labels.tif"))


def test_a_folder_that_vanishes_ends_with_a_sentence(engine, plane_of_squares, tmp_path):
    place = tmp_path / "share"
    place.mkdir()
    steps = scan(engine, request_of(plane_of_squares[0], place), NullReporter())
    next(steps)
    shutil.rmtree(place)
    place.write_text("in the way")

    with pytest.raises(ExportError) as caught:
        list(steps)

    assert "share" in caught.value.message
    assert caught.value.hint


def test_the_result_opens_as_an_image_with_its_scale(engine, tmp_path):
    image = da.zeros((1500, 600), dtype=np.uint8, chunks=256)

    _, result = run(
        engine,
        request_of(
            image, tmp_path, tiles=TileOptions(1024), axes=make_axes((1500, 600), scale=(0.5, 0.25))
        ),
    )

    loaded = read_image(result.path)
    assert loaded.axes == make_axes((1500, 600), scale=(0.5, 0.25))
    metadata = json.loads((result.path / ".zattrs").read_text())
    assert [level["path"] for level in metadata["multiscales"][0]["datasets"]] == list("0123")
