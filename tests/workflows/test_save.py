"""Saving results with their notes: all or a sentence, and never over what is there."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amounts import FEW
from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.masks.merge import AcceptRequest, find_free, find_new
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PromptSet
from napari_sam3_assistant.errors import ExportError, ImageError, NothingNew
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.provenance import provenance_path, read_provenance
from napari_sam3_assistant.workflows.provenance import RunProvenance, StackProvenance, object_entry
from napari_sam3_assistant.workflows.rerun import RerunRequest, rerun
from napari_sam3_assistant.workflows.save import LabelsExport, export_labels
from napari_sam3_assistant.workflows.scan import ScanRequest, scan
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment


@pytest.fixture
def result(engine, plane_of_squares, tmp_path):
    """A segmentation and its recipe; the image is a file."""
    image, _ = plane_of_squares
    np.save(tmp_path / "image.npy", image)
    view = view_of_array(read_image(tmp_path / "image.npy").data)
    prompts = PromptSet(text="cat")
    made = next(segment(engine, SegmentRequest(view, prompts), NullReporter()))
    paths = {view.channels[0].source.token: tmp_path / "image.npy"}
    axes = make_axes(view.shape, scale=(0.5, 0.25))
    provenance = RunProvenance(view, prompts, PredictOptions(), made.engine, paths=paths, axes=axes)
    return made, provenance


def request_of(result, path):
    made, provenance = result
    objects = tuple(map(object_entry, made.objects))
    return LabelsExport(made.labels, path, provenance.axes, objects=objects, provenance=provenance)


def save(*requests):
    return [path for one in requests for path in export_labels(one, NullReporter())]


def test_labels_and_note_are_there(result, tmp_path):
    made, provenance = result

    (path,) = save(request_of(result, tmp_path / "exp1.0_A_mask_01.tif"))

    loaded = read_image(path)
    np.testing.assert_array_equal(loaded.data, made.labels)
    assert tuple(axis.scale for axis in loaded.axes) == (0.5, 0.25)
    note = read_provenance(provenance_path(path))
    assert note.prompts.text == "cat"
    assert note.engine == provenance.engine
    assert [one["area"] for one in note.objects] == [one.area for one in made.objects]


def test_the_note_gives_the_same_labels_again_also_elsewhere(result, engine, tmp_path):
    made, _ = result
    folder = tmp_path / "first"
    folder.mkdir()
    (path,) = save(request_of(result, folder / "a.tif"))
    moved = tmp_path / "moved"
    (moved / "first").mkdir(parents=True)
    provenance_path(path).rename(moved / "first" / "a.tif.json")
    (tmp_path / "image.npy").rename(moved / "image.npy")

    note = read_provenance(moved / "first" / "a.tif.json")
    again = next(rerun(engine, RerunRequest(note, moved / "first"), NullReporter()))

    np.testing.assert_array_equal(again.labels, made.labels)


def test_an_image_that_is_gone_or_another(result, engine, tmp_path):
    (path,) = save(request_of(result, tmp_path / "a.tif"))
    note = read_provenance(provenance_path(path))
    (tmp_path / "image.npy").unlink()
    np.save(tmp_path / "other.npy", np.zeros((5, 6), np.uint8))

    with pytest.raises(ImageError, match="is gone"):
        list(rerun(engine, RerunRequest(note, tmp_path), NullReporter()))
    with pytest.raises(ImageError, match="labels were made from an image of shape"):
        list(rerun(engine, RerunRequest(note, tmp_path, tmp_path / "other.npy"), NullReporter()))


def test_the_scan_of_a_note_is_made_again(result, engine, tmp_path):
    _, provenance = result
    *_, scanned = scan(
        engine,
        ScanRequest(provenance.view, provenance.prompts, tmp_path / "a.zarr"),
        NullReporter(),
    )
    request = ScanRequest(provenance.view, provenance.prompts, tmp_path / "a.zarr")
    tiled = RunProvenance(
        provenance.view, provenance.prompts, provenance.options, scanned.engine,
        paths=provenance.paths, tiles=request.tiles, axes=request.axes,
    )  # fmt: skip
    zeros = np.zeros((4, 4), np.uint32)
    (path,) = save(LabelsExport(zeros, tmp_path / "a.tif", make_axes((4, 4)), provenance=tiled))
    note = read_provenance(provenance_path(path))

    again = next(
        rerun(engine, RerunRequest(note, tmp_path, output=tmp_path / "b.zarr"), NullReporter())
    )

    assert again.objects == scanned.objects
    np.testing.assert_array_equal(
        read_image(again.path).data[...], read_image(scanned.path).data[...]
    )
    with pytest.raises(ExportError, match="zarr folder"):
        list(rerun(engine, RerunRequest(note, tmp_path), NullReporter()))


def test_what_exists_stays_and_the_next_name_is_taken(result, tmp_path):
    (tmp_path / "b.tif").write_text("mine")
    provenance_path(tmp_path / "c.tif").write_text('{"mine": 1}')
    requests = [request_of(result, tmp_path / name) for name in ("a.tif", "b.tif", "c.tif")]

    saved = save(*requests)

    assert [path.name for path in saved] == ["a.tif", "b_02.tif", "c_02.tif"]
    assert all(provenance_path(path).exists() for path in saved)
    assert (tmp_path / "b.tif").read_text() == "mine"
    assert provenance_path(tmp_path / "c.tif").read_text() == '{"mine": 1}'


@pytest.mark.parametrize("ending", [".tif", ".npy", ".png", ".zarr"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(result, tmp_path, ending):
    resource = pytest.importorskip("resource")
    rng = np.random.default_rng(0)
    request = LabelsExport(
        rng.integers(0, 60000, (600, 700)).astype(np.uint32), tmp_path / f"a{ending}",
        make_axes((600, 700)),
        provenance=result[1],
    )  # fmt: skip
    before = sorted(path.name for path in tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        with pytest.raises(ExportError, match="can't be written") as caught:
            save(request)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("of_stack", [False, True])
def test_what_was_found_is_saved_when_the_weights_are_gone(result, tmp_path, of_stack):
    made, provenance = result
    gone = tmp_path / "no model"
    run = replace(provenance, model_folder=gone)
    if of_stack:
        frames = FrameSource(view_of_array(np.zeros((2, *made.labels.shape)), plane=0), 0)
        told = StackProvenance(frames, {0: run.prompts}, run.options, gone, {})
        told.note_run({0: run.prompts}, {}, stop_after_lost=None, goes_on=False)
        told.note_frame(run.engine)
        run = told.to_run(provenance.axes)

    (path,) = save(LabelsExport(made.labels, tmp_path / "a.tif", provenance.axes, provenance=run))

    np.testing.assert_array_equal(read_image(path).data, made.labels)
    note = read_provenance(provenance_path(path))
    assert (note.model_folder, note.sha256) == ("", "")
    assert note.notes[-1] == f"The weights were gone from {gone} when this was saved."


SIDES = st.tuples(*[st.integers(0, 9)] * 4).map(
    lambda four: (slice(min(four[:2]), max(four[:2]) + 1), slice(min(four[2:]), max(four[2:]) + 1))
)


@FEW
@given(st.lists(SIDES, max_size=3), st.lists(SIDES, min_size=1, max_size=5))
def test_what_is_saved_with_accepted_labels_is_what_accepting_it_makes(before, boxes):
    labels = np.zeros((10, 10), np.uint32)
    for value, box in enumerate(before, 1):
        labels[box] = value
    parts = tuple((box, np.ones(labels[box].shape, bool)) for box in boxes)
    places = find_new(labels, parts, NullReporter())
    try:
        found = find_free(AcceptRequest(labels, (), parts, np.max), NullReporter())
    except NothingNew:
        assert not places
        return
    accepted = labels.copy()
    found.edit.write(accepted)

    with TemporaryDirectory() as folder:
        request = LabelsExport(
            labels, Path(folder, "a.npy"), make_axes(labels.shape),
            tuple(parts[place] for place in places), int(labels.max()) + 1,
            of_parts=tuple({"id": place + 1} for place in places),
        )  # fmt: skip
        (path,) = save(request)
        saved = np.load(path)
        noted = read_provenance(provenance_path(path)).objects

    np.testing.assert_array_equal(saved, accepted)
    there = set(saved[labels == 0].tolist()) - {0}
    assert {one["id"]: one["area"] for one in noted} == {
        value: int((saved == value).sum()) for value in there
    }
