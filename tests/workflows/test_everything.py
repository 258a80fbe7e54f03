"""Everything without words or examples: points, filters, which masks are one, crops, seeds."""

from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

from amounts import FEWEST
from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import Everything, Joining, PromptSet, Seeds
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import Span, TrackRow
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.registry import create
from napari_sam3_assistant.errors import ImageError, JobCancelled, PromptError
from napari_sam3_assistant.io.json_values import prompts_from_json, prompts_to_json
from napari_sam3_assistant.io.scan_folder import ScanFolder, TileResult
from napari_sam3_assistant.workflows import everything, segment
from napari_sam3_assistant.workflows.everything import box_nms, label_seeds
from napari_sam3_assistant.workflows.track import Tracking

# What random weights pass.
LOOSE = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "points_per_side": 4}


def discs(shape=(96, 128), places=((24, 30, 12), (60, 80, 15), (30, 100, 9)), ground=40):
    """Return a grey image of bright discs, and its truth."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    image, truth = np.full(shape, ground, np.uint8), np.zeros(shape, np.uint8)
    for number, (y, x, radius) in enumerate(places, 1):
        inside = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        image[inside], truth[inside] = 190, number
    return image, truth


def overlap(labels, truth):
    """Return of each true object the best IoU of a label."""
    best = []
    for number in range(1, truth.max() + 1):
        one = truth == number
        there = np.unique(labels[one])
        best.append(max(np.sum(one & (labels == n)) / np.sum(one | (labels == n)) for n in there))
    return best


class Told:
    """A reporter that keeps what it is told, and stops the work at a number of messages."""

    def __init__(self, stop=10**6):
        self.steps, self.stop = [], stop

    def report(self, progress):
        self.steps.append(progress)
        self.check()

    def check(self):
        if len(self.steps) >= self.stop:
            raise JobCancelled


@pytest.mark.parametrize("dark", [False, True])
def test_the_built_in_engine_finds_bright_objects_and_dark_ones(dark):
    image, truth = discs()
    found = api.segment(255 - image if dark else image, everything=True)
    assert len(found.objects) == 3
    assert min(overlap(found.labels, truth)) > 0.8


def test_the_built_in_engine_finds_bright_and_dark_objects_of_one_image():
    image, truth = discs(ground=110)
    rows, columns = np.ogrid[:96, :128]
    dark = (rows - 75) ** 2 + (columns - 25) ** 2 <= 12**2
    image[dark], truth[dark] = 20, 4
    found = api.segment(image, everything=True)
    assert min(overlap(found.labels, truth)) > 0.8


@pytest.fixture(scope="module")
def sam(sam_folder):
    with api.open_engine("sam-transformers", model_folder=sam_folder("sam2"), device="cpu") as one:
        yield one


def test_objects_are_painted_from_the_lowest_score_to_the_highest(sam):
    image, _ = discs()
    asked = Everything(**LOOSE, box_nms_thresh=1.0)
    found = api.segment(image, everything=asked, engine=sam)
    scores = [record.score for record in found.objects]
    assert len(scores) > 1
    assert scores == sorted(scores)
    assert [record.id for record in found.objects] == list(range(1, len(scores) + 1))
    top = found.objects[-1]
    assert (found.labels[top.region.slices][top.mask] == top.id).all()
    assert all(0 <= record.stability <= 1 for record in found.objects)


def test_progress_tells_points_objects_and_the_time_left(sam, monkeypatch):
    monkeypatch.setattr(everything, "_POINTS", 4)
    told = Told()
    api.segment(discs()[0], everything=Everything(**LOOSE), engine=sam, reporter=told)
    said = [step for step in told.steps if "points" in step.message]
    assert [(step.done, step.total) for step in said] == [(0, 16), (4, 16), (8, 16), (12, 16)]
    assert said[-1].message.startswith("12 of 16 points, ")
    assert said[-1].message.endswith(" left")


def test_cancel_stops_between_two_batches(sam, monkeypatch):
    monkeypatch.setattr(everything, "_POINTS", 4)
    with pytest.raises(JobCancelled):
        api.segment(discs()[0], everything=Everything(**LOOSE), engine=sam, reporter=Told(5))


@pytest.mark.parametrize(("crops", "after"), [(0, 8), (1, 20)])
def test_cancel_keeps_what_was_found(sam, monkeypatch, crops, after):
    """As much as the same run shows when it has looked at as many points."""
    monkeypatch.setattr(everything, "_POINTS", 4)
    monkeypatch.setattr(everything, "_PARTIAL_S", -1.0)
    asked = Everything(**LOOSE, box_nms_thresh=1.0, crop_n_layers=crops)
    request = segment.SegmentRequest(
        view_of_array(discs()[0]), PromptSet(everything=asked), in_steps=True
    )
    steps = segment.segment(sam, request, NullReporter())
    expected = next(one for one in steps if any(f"Only {after} of" in note for note in one.notes))

    told = Told()
    told.check = lambda: None if f"{after} of" not in told.steps[-1].message else stop()
    with pytest.raises(JobCancelled) as stopped:
        api.segment(discs()[0], everything=asked, engine=sam, reporter=told)

    partial = stopped.value.partial
    assert partial.objects
    assert partial.notes == expected.notes
    np.testing.assert_array_equal(partial.labels, expected.labels)
    assert [one.score for one in partial.objects] == [one.score for one in expected.objects]


def stop():
    raise JobCancelled


def test_cancel_before_the_first_point_and_in_a_stack_keeps_nothing(sam, monkeypatch):
    monkeypatch.setattr(everything, "_POINTS", 4)
    image, asked = discs()[0], Everything(**LOOSE)
    with pytest.raises(JobCancelled) as stopped:
        api.segment(image, everything=asked, engine=sam, reporter=Told(1))
    assert stopped.value.partial is None
    told = Told()
    told.check = lambda: stop() if told.steps else None
    slices = api.track(np.stack([image] * 2), everything=asked, engine=sam, reporter=told)
    with pytest.raises(JobCancelled) as stopped:
        list(slices)
    assert stopped.value.partial is None


def test_what_passes_no_filter_is_said_with_a_remedy(sam):
    asked = Everything(points_per_side=2, pred_iou_thresh=1.0)
    found = api.segment(discs()[0], everything=asked, engine=sam)
    assert not found.objects
    assert "At 4 points no mask had a predicted IoU above 1" in found.notes[0]
    assert "lower these, or take more points" in found.notes[0]


def test_crops_find_nothing_that_their_edge_cuts(sam):
    image, _ = discs((160, 200))
    asked = Everything(**LOOSE, box_nms_thresh=1.0, crop_nms_thresh=1.0, crop_n_layers=1)
    whole = api.segment(image, everything=Everything(**LOOSE, box_nms_thresh=1.0), engine=sam)
    found = api.segment(image, everything=asked, engine=sam)
    assert len(found.objects) >= len(whole.objects)
    edges = [crop for crop, layer in asked.crops(image.shape) if layer]
    assert len(edges) == 4
    assert Region(0, 0, 160, 200) == edges[0].union(edges[-1])


def test_an_engine_is_asked_at_the_middles_of_what_the_built_in_one_finds(sam):
    image, _ = discs()
    found = api.segment(image, everything=Everything(**LOOSE, seeds=Seeds.BUILTIN), engine=sam)
    at = everything.builtin_seeds(np.repeat(image[..., None], 3, 2), PredictOptions(), Told())
    assert sorted((round(y / 5), round(x / 5)) for y, x in at) == [(5, 6), (6, 20), (12, 16)]
    given = api.segment(image, everything=Everything(**LOOSE, points=at), engine=sam)
    np.testing.assert_array_equal(found.labels, given.labels)


def test_labels_of_another_tool_give_the_point_deepest_in_each():
    _, truth = discs()
    truth[truth == 2] = 200
    assert label_seeds(truth) == ((24, 30), (30, 100), (60, 80))
    assert label_seeds(np.zeros((5, 5), int)) == ()
    assert label_seeds(np.ones((3, 3), int)) == ((1, 1),)
    with pytest.raises(PromptError, match="outside the image"):
        api.segment(truth[:50], everything=Everything(points=((60, 80),)))


def test_small_holes_and_pieces_go_and_the_largest_piece_stays():
    mask = np.zeros((12, 14), bool)
    mask[1:8, 1:9] = True
    mask[3, 3] = mask[0, 13] = mask[5, 4:8] = False
    mask[10, 12] = True
    mended = everything.without_small(mask, 3)
    assert mended[3, 3]
    assert not mended[10, 12]
    assert not mended[5, 5]
    assert everything.without_small(mask, 10**6).sum() == 56
    assert everything.without_small(np.ones((2, 2), bool), 9).all()


def test_everything_goes_with_no_other_prompt_and_no_number_beyond_its_limits():
    with pytest.raises(PromptError, match="without other prompts"):
        api.segment(discs()[0], everything=True, text="bright")
    for wrong in ({"points_per_side": 0}, {"pred_iou_thresh": 2}, {"box_nms_thresh": float("nan")}):
        with pytest.raises(PromptError, match=f"{next(iter(wrong))} "):
            Everything(**wrong)


@given(
    st.lists(st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 20)] * 2), max_size=25),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_suppression_keeps_what_torchvision_keeps(sides, most, seed):
    torch = pytest.importorskip("torch")
    nms = pytest.importorskip("torchvision.ops").nms
    boxes = np.array([(y, x, y + h, x + w) for y, x, h, w in sides], float).reshape(-1, 4)
    scores = np.random.default_rng(seed).permutation(len(boxes)) / max(1, len(boxes))
    corners = torch.from_numpy(boxes[:, [1, 0, 3, 2]] - (0, 0, 1, 1))
    assert box_nms(boxes, scores, most) == nms(corners, torch.from_numpy(scores), most).tolist()


@given(
    st.builds(
        Everything,
        points_per_side=st.integers(1, 256),
        pred_iou_thresh=st.floats(0, 1),
        crop_n_layers=st.integers(0, 4),
        seeds=st.sampled_from(list(Seeds)),
        points=st.none() | st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9))).map(tuple),
        polarity=st.integers(-1, 1),
    )
)
def test_a_note_keeps_how_everything_was_looked_for(asked):
    written = json.loads(json.dumps(prompts_to_json(PromptSet(everything=asked))))
    assert prompts_from_json(written).everything == asked


def test_folders_scans_and_their_notes_take_everything(tmp_path):
    image, truth = discs((300, 420), [(y, x, 14) for y in (40, 150, 250) for x in (50, 210, 380)])
    api_image = tmp_path / "in" / "a.npy"
    api_image.parent.mkdir()
    np.save(api_image, image)
    scanned = api.scan(image, output=tmp_path / "l.zarr", everything=True, tile=256, overlap=0.2)
    assert len(scanned.objects) == 9
    (row,) = api.segment_folder(api_image.parent, tmp_path / "out", everything=True, ending=".npy")
    assert (row.status, row.objects) == ("done", 9)
    written = tmp_path / "out" / row.labels
    labels = np.load(written)
    assert min(overlap(labels, truth)) > 0.8
    again = api.rerun(f"{written}.json")
    np.testing.assert_array_equal(np.load(again.path), labels)


def test_the_command_line_finds_everything_at_a_grid_and_at_labels(tmp_path, sam_folder, capsys):
    image, truth = discs()
    np.save(tmp_path / "a.npy", image)
    np.save(tmp_path / "seeds.npy", truth)
    few = ["--points-per-side", "4", "--pred-iou-thresh", "0", "--stability-score-thresh", "0"]
    paths = [str(tmp_path / "a.npy"), "-o", str(tmp_path / "labels.npy")]
    assert main(["segment", *paths, "--everything"]) == 0
    assert min(overlap(np.load(tmp_path / "labels.npy"), truth)) > 0.8
    model = ["--model-folder", str(sam_folder("sam2")), "--device", "cpu", "--overwrite"]
    seeds = ["--seeds", str(tmp_path / "seeds.npy")]
    assert main(["segment", *paths, "--everything", *few, *seeds, *model]) == 0
    assert np.load(tmp_path / "labels.npy").any()
    assert main(["segment", *paths, "--everything", "--points-per-side", "0", *model]) == 2
    assert "points_per_side 0 can't be used" in capsys.readouterr().err


def tubes():
    """Return a stack of three tubes: one goes through, one ends, one begins; and its truth."""
    planes = [
        discs(
            (96, 128), [(24 + 2 * z, 30, 12)] + [(60, 80, 15)] * (z < 4) + [(30, 100, 9)] * (z > 2)
        )
        for z in range(6)
    ]
    stack, truth = map(np.stack, zip(*planes, strict=True))
    truth[4:][truth[4:] == 2] = 3
    truth[3, 25:45, 90:110][truth[3, 25:45, 90:110] > 0] = 3
    return stack, truth


def volumes(results, truth):
    """Return of each true object the best IoU of one that was found, and how many were."""
    labels = np.zeros(truth.shape, int)
    for result in results:
        labels[result.frame] = result.labels
    return overlap(labels, truth), len(np.unique(labels)) - 1


@pytest.mark.parametrize(("frame", "direction"), [(0, "forward"), (3, "both"), (5, "backward")])
def test_slices_are_joined_through_a_stack_by_overlap(frame, direction):
    stack, truth = tubes()
    found = list(api.track(stack, everything=True, frame=frame, direction=direction))
    assert sorted(result.frame for result in found) == list(range(6))
    ious, count = volumes(found, truth)
    assert count == 3
    assert min(ious) > 0.8


def test_an_object_that_is_missed_on_one_slice_is_the_same_behind_it():
    stack, truth = tubes()
    stack[2, :50, :60] = 40
    truth[2, :50, :60] = 0
    ious, count = volumes(api.track(stack, everything=True), truth)
    assert count == 3
    assert min(ious) > 0.8


def test_faint_objects_of_a_noisy_volume_are_found_each_as_one():
    rng = np.random.default_rng(0)
    z, y, x = np.ogrid[:12, :90, :90]
    truth = np.zeros((12, 90, 90), np.uint8)
    for number, (cz, cy, cx) in enumerate([(5, 22, 22), (5, 22, 66), (6, 66, 22), (6, 66, 66)], 1):
        truth[((z - cz) * 2.2) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= 12**2] = number
    levels = ndi.gaussian_filter(40.0 + 40 * (truth > 0), (0, 1, 1)) + rng.normal(
        0, 30, truth.shape
    )
    stack = levels.clip(0, 255).astype(np.uint8)
    ious, count = volumes(api.track(stack, everything=True, frame=6, direction="both"), truth)
    assert count == 4
    assert min(ious) > 0.75


@given(st.integers(0, 1000), st.floats(5, 25))
@FEWEST
def test_each_time_of_a_movie_is_found_by_itself(seed, noise):
    rng = np.random.default_rng(seed)
    movie = np.stack(
        [
            discs((64, 80), [(20 + 2 * t, 20, 9), (44, 55 - t, 12)])[0]
            + rng.normal(0, noise, (64, 80))
            for t in range(4)
        ]
    )
    movie = movie.clip(0, 255).astype(np.uint8)
    names = ("Time", "y", "x")
    for result in api.track(movie, everything=True, axis_labels=names, axis="time"):
        alone = api.segment(movie[result.frame], everything=Everything(polarity=1))
        np.testing.assert_array_equal(result.labels > 0, alone.labels > 0)
        assert len(result.objects) == len(alone.objects)


def test_a_file_says_that_it_is_a_movie_and_the_note_keeps_it(tmp_path):
    stack, _ = tubes()
    file, output = tmp_path / "movie.ome.tif", tmp_path / "labels.tif"
    tifffile.imwrite(file, stack[:3], ome=True, metadata={"axes": "TYX"})
    assert main(["track", str(file), "--everything", "-o", str(output)]) == 0
    note = json.loads((tmp_path / "labels.tif.json").read_text("utf-8"))
    assert note["extra"]["propagation"]["axis_name"] == "t"
    assert main(["rerun", str(tmp_path / "labels.tif.json")]) == 0
    again = next(one for one in tmp_path.glob("*.tif") if one not in (file, output))
    np.testing.assert_array_equal(tifffile.imread(again), tifffile.imread(output))


@given(st.integers(0, 1000), st.sampled_from([1, -1]), st.floats(6, 9))
@FEWEST
def test_objects_are_bright_or_dark_on_all_slices_though_most_are_nearly_empty(seed, sign, depth):
    rng = np.random.default_rng(seed)
    levels = np.full((6, 96, 128), 128.0)
    levels[[0, 5]] += sign * (discs()[1] > 0) * 70
    # Between them one small thing, and much that stands out a little on the other side.
    thing = discs(places=((30, 100, 5),))[1] > 0
    shades = discs(places=((20, 64, 14), (75, 40, 14), (75, 110, 14)))[1] > 0
    levels[1:5] += sign * (55.0 * thing - depth * shades)
    levels = ndi.gaussian_filter(levels, (0, 1, 1)) + rng.normal(0, 6, levels.shape)
    stack = levels.clip(0, 255).astype(np.uint8)
    for result in api.track(stack, everything=Everything(joining="time")):
        assert result.objects
        for record in result.objects:
            grey = levels[result.frame][record.region.slices][record.mask].mean()
            assert (grey - 128) * sign > 0


def test_a_slice_that_cannot_be_read_keeps_those_before_it():
    stack, _ = tubes()

    def read(block, block_info=None):
        if block_info[0]["array-location"][0][0] == 3:
            raise OSError("the disk is gone")
        return block

    lazy = da.from_array(stack, (1, *stack.shape[1:])).map_blocks(read, dtype=stack.dtype)
    results = api.track(lazy, everything=True, direction="forward")
    found = [next(results) for _ in range(3)]
    with pytest.raises(ImageError, match="the disk is gone"):
        next(results)
    assert [one.frame for one in found] == [0, 1, 2]
    assert all(one.objects for one in found)


def test_a_stack_that_was_stopped_goes_on_with_the_same_objects():
    stack, truth = tubes()
    whole = {one.frame: one.labels for one in api.track(stack, everything=True, frame=3)}
    frames = FrameSource(view_of_array(stack, plane=(0,)), 0)
    with CachingEngine(create("builtin")) as engine, Tracking(engine, frames) as tracking:
        tracking.add({3: PromptSet(everything=Everything())}, Told())
        passes = tracking.passes(Span())
        found = [next(tracking.follow(passes, Told()))]
        for left in ([passes[0][1:], passes[1]], passes):
            found += tracking.follow(left, Told())
    assert [one.frame for one in found] == [3, 4, 5, 2, 1, 0]
    for one in found:
        np.testing.assert_array_equal(one.labels, whole[one.frame])
    assert volumes(found, truth)[1] == 3


def test_the_video_head_follows_what_was_found_on_one_slice_if_asked():
    stack, truth = tubes()
    asked = Everything(joining=Joining.VIDEO)
    found = list(api.track(stack, everything=asked, frame=1))
    ious, count = volumes(found, truth)
    assert count == 2
    assert min(ious[:2]) > 0.8
    assert "segmented on frame 1 first" in found[0].notes[0]


def test_slices_that_are_looked_at_by_themselves_take_no_other_prompt():
    stack, _ = tubes()
    with pytest.raises(PromptError, match="by itself, without other prompts"):
        api.track(stack, everything=True, points={3: [(60, 80)]})


def test_a_model_that_follows_nothing_joins_slices(sam_folder):
    stack, _ = tubes()
    asked = Everything(**LOOSE | {"points_per_side": 2})
    one = sam_folder("sam")
    found = list(api.track(stack[:2], everything=asked, model_folder=one, device="cpu"))
    assert [result.frame for result in found] == [0, 1]
    assert all(result.objects for result in found)


def test_tracks_and_tiles_keep_how_firm_outlines_are(sam, tmp_path):
    image, asked = discs()[0], Everything(**LOOSE, box_nms_thresh=1.0)
    plane = api.segment(image, everything=asked, engine=sam)
    expected = sorted(one.stability for one in plane.objects)

    with Tracking(sam, FrameSource(view_of_array(image[None], plane=0), 0), PredictOptions()) as it:
        it.add({0: PromptSet(everything=asked)}, NullReporter())
        (frame,) = it.propagate(Span(), NullReporter())
    rows = [TrackRow.of(0, record) for record in frame.objects]
    assert sorted(row.stability for row in rows) == expected

    parts = TileResult(plane.objects, plane.engine)
    folder = ScanFolder(tmp_path / "scan.zarr", {})
    folder.save(3, parts)
    loaded = folder.load(3)
    folder.leave()
    assert [one.stability for one in loaded.records] == [one.stability for one in plane.objects]
