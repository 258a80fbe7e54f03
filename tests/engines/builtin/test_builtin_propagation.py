"""The built-in engine follows masks through stacks with known truth."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

from amounts import FEW
from contracts import video as video_contract
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, MaskPrompt
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import paint_labels
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.builtin.propagation import BuiltinTrack
from napari_sam3_assistant.errors import JobCancelled, PromptError

start, movie = video_contract.start, video_contract.movie

MIDDLE = 11
SHAPE = (23, 72, 96)


class TestBuiltinTrack(video_contract.VideoEngineContract):
    @pytest.fixture
    def video_engine(self):
        return registry.create("builtin")


def ellipsoid(centre, half, radii, tilt=(0.0, 0.0)):
    """Return the pixels of an ellipsoid whose centre moves by ``tilt`` each slice."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    dz = z - centre[0]
    dy, dx = y - centre[1] - tilt[0] * dz, x - centre[2] - tilt[1] * dz
    return (dz / half) ** 2 + (dy / radii[0]) ** 2 + (dx / radii[1]) ** 2 <= 1


def photographed(signal, noise=8.0):
    """Return the stack that a microscope sees of a signal of 0 to 1."""
    random = np.random.default_rng(0)
    blurred = ndi.gaussian_filter(signal.astype(float), (0.7, 1.2, 1.2))
    return np.clip(50 + 130 * blurred + random.normal(0, noise, SHAPE), 0, 255).astype(np.uint8)


def solid():
    truth = ellipsoid((11, 36, 48), 9, (16, 13)).astype(int)
    return photographed(truth), truth


def hollow():
    truth = ellipsoid((11, 36, 48), 9, (16, 13))
    depth = ndi.distance_transform_edt(truth, sampling=(1.6, 1, 1))
    return photographed(np.where(depth <= 3, truth, 0.15 * truth)), truth.astype(int)


def tilted():
    truth = ellipsoid((11, 36, 48), 9, (12, 12), tilt=(1.0, -2.0)).astype(int)
    return photographed(truth), truth


def fading():
    truth = ellipsoid((11, 36, 48), 9, (16, 13)).astype(int)
    return photographed(truth * np.linspace(1, 0.3, SHAPE[0])[:, None, None], 5), truth


def touching():
    one = ellipsoid((11, 36, 34), 9, (15, 14))
    other = ellipsoid((10, 36, 61), 9, (15, 14)) & ~one
    return photographed(one | other), one + 2 * other


CASES = {case.__name__: case for case in (solid, hollow, tilted, fading, touching)}


def follow(track, orders, reporter=None):
    labels = np.zeros(SHAPE, np.uint32)
    for order in orders:
        for found in track.propagate(order, reporter or NullReporter()):
            labels[found.frame] = paint_labels(found.objects, Region.whole(SHAPE[1:]))
    return labels


BOTH = (range(MIDDLE, SHAPE[0]), range(MIDDLE - 1, -1, -1))


def begin(image, masks, frame=MIDDLE):
    track = BuiltinTrack(FrameSource(view_of_array(image, plane=0), 0), lambda: 99)
    for id_, mask in masks.items():
        track.add(TrackSeed(frame, id_, mask=MaskPrompt.from_plane(mask)))
    return track


def agreement(labels, truth, id_):
    """Return the mean intersection over union of the slices where the object is or is found."""
    values = []
    for found, true in zip(labels == id_, truth == id_, strict=True):
        if found.any() or true.any():
            values.append(np.count_nonzero(found & true) / np.count_nonzero(found | true))
    return np.mean(values)


@pytest.mark.parametrize("case", CASES)
def test_one_prompted_slice_is_enough(case):
    image, truth = CASES[case]()

    labels = follow(begin(image, {1: truth[MIDDLE] == 1}), BOTH)

    # The caps of a hollow object are walls that lie in the slice.
    assert agreement(labels, truth, 1) >= (0.78 if case == "hollow" else 0.8)
    assert set(np.unique(labels)) == {0, 1}


def test_objects_that_touch_keep_apart():
    image, truth = touching()

    labels = follow(begin(image, {id_: truth[MIDDLE] == id_ for id_ in (1, 2)}), BOTH)

    assert min(agreement(labels, truth, 1), agreement(labels, truth, 2)) >= 0.8


def test_an_object_that_ends_is_lost_and_stays_lost():
    image, truth = solid()

    labels = follow(begin(image, {1: truth[MIDDLE] == 1}), BOTH)

    there = np.flatnonzero(truth.any((1, 2)))
    found = np.flatnonzero(labels.any((1, 2)))
    assert abs(found[0] - there[0]) <= 1
    assert abs(found[-1] - there[-1]) <= 1
    assert len(found) == found[-1] - found[0] + 1


def test_a_dark_slice_does_not_end_an_object():
    image, truth = solid()
    image[14] = 50

    labels = follow(begin(image, {1: truth[MIDDLE] == 1}), BOTH)

    assert not labels[14].any()
    assert agreement(labels[15:19], truth[15:19], 1) >= 0.8


def test_an_object_that_fills_the_prompted_slice_is_followed():
    """There is no background beside it, with which others could be compared."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    radius = np.where(z == MIDDLE, 99, 30 - abs(z - MIDDLE))
    truth = ((y - 36) ** 2 + (x - 48) ** 2 < radius**2).astype(int)
    noise = np.random.default_rng(0).normal(0, 4, SHAPE)
    image = ndi.gaussian_filter(np.where(truth, 150, 40) + noise, (0, 1, 1)).astype(np.uint8)

    labels = follow(begin(image, {1: truth[MIDDLE] == 1}), BOTH)

    assert agreement(labels, truth, 1) >= 0.9


def test_it_goes_on_where_it_was_stopped():
    image, truth = solid()
    whole = follow(begin(image, {1: truth[MIDDLE] == 1}), BOTH[:1])
    track = begin(image, {1: truth[MIDDLE] == 1})
    token, frames = CancelToken(), []

    class Reporter:
        def report(self, progress):
            token.check()

        def check(self):
            token.check()

    def until_stopped():
        for found in track.propagate(BOTH[0], Reporter()):
            frames.append(found.frame)
            if found.frame == 14:
                token.cancel()

    with pytest.raises(JobCancelled):
        until_stopped()
    assert frames == [11, 12, 13, 14]

    rest = follow(track, (range(15, SHAPE[0]),))
    np.testing.assert_array_equal(rest[15:], whole[15:])
    assert not rest[:15].any()


@pytest.mark.parametrize("stop", [12, 15, 8])
@pytest.mark.parametrize("case", ["fading", "touching"])
def test_a_new_track_goes_on_from_masks_that_were_followed(case, stop):
    """What is told of an object is how it looks on its prompted slice, and where it was last."""
    image, truth = CASES[case]()
    prompted = {id_: truth[MIDDLE] == id_ for id_ in np.unique(truth)[1:]}
    order = range(MIDDLE, SHAPE[0]) if stop > MIDDLE else range(MIDDLE, -1, -1)
    whole = follow(begin(image, prompted), (order,))
    again = begin(image, prompted)
    for id_ in prompted:
        mask = MaskPrompt.from_plane(whole[stop] == id_)
        again.add(TrackSeed(stop, id_, mask=replace(mask, is_followed=True)))

    rest = range(stop + order.step, order.stop, order.step)
    np.testing.assert_array_equal(follow(again, (rest,))[rest], whole[rest])


def test_it_can_begin_far_from_the_prompt():
    image, truth = solid()
    whole = follow(begin(image, {1: truth[MIDDLE] == 1}), BOTH)

    forward = follow(begin(image, {1: truth[MIDDLE] == 1}), (range(15, 18),))
    np.testing.assert_array_equal(forward[15:18], whole[15:18])


def test_a_correction_holds_from_its_slice_on():
    image, truth = touching()
    wrong = ellipsoid((11, 36, 34), 9, (15, 14))[MIDDLE] | (truth[MIDDLE] == 2)
    track = begin(image, {1: wrong})
    before = follow(track, BOTH[:1])

    track.add(TrackSeed(14, 1, mask=MaskPrompt.from_plane(truth[14] == 1)))
    after = follow(track, (range(14, SHAPE[0]),))

    np.testing.assert_array_equal(after[14] == 1, truth[14] == 1)
    assert agreement(after[14:18], truth[14:18], 1) >= 0.8
    assert agreement(after[14:18], truth[14:18], 1) > agreement(before[14:18], truth[14:18], 1)


def test_a_seed_without_a_mask_is_refused():
    track = begin(np.zeros(SHAPE, np.uint8), {})
    with pytest.raises(PromptError, match="Object 3 has no mask on frame 1"):
        track.add(TrackSeed(1, 3, box=BoxPrompt(Region(1, 1, 5, 5))))


@pytest.mark.parametrize("seed", range(12))
def test_any_masks_on_any_stack_give_every_frame(seed):
    random = np.random.default_rng(seed)
    shape = tuple(int(size) for size in (random.integers(1, 6), *random.integers(1, 40, 2)))
    stack = random.integers(0, 256, shape).astype(np.uint8) if seed % 3 else np.zeros(shape)
    frame = int(random.integers(shape[0]))
    painted = np.zeros(shape[1:], np.uint32)
    track = BuiltinTrack(FrameSource(view_of_array(stack, plane=0, rgb=False), 0), lambda: 99)
    for id_ in range(1, 4):
        y, x = random.integers(0, shape[1]), random.integers(0, shape[2])
        height, width = random.integers(1, 20, 2)
        painted[y : y + height, x : x + width] = id_
    for id_ in np.unique(painted[painted > 0]):
        track.add(TrackSeed(frame, int(id_), mask=MaskPrompt.from_plane(painted == id_)))

    found = list(track.propagate(range(frame, shape[0]), NullReporter()))

    assert [result.frame for result in found] == list(range(frame, shape[0]))
    np.testing.assert_array_equal(paint_labels(found[0].objects, Region.whole(shape[1:])), painted)
    for result in found:
        for record in result.objects:
            assert record.region.intersect(Region.whole(shape[1:])) == record.region


@pytest.mark.parametrize("seed", [0, 1])
def test_a_noisy_blurred_object_ends_near_its_true_end(seed):
    """Light of an object reaches far beyond it along z, and fades slowly there."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:40, :72, :72]
    truth = ((z - 20) / 7) ** 2 + ((y - 34) / 14) ** 2 + ((x - 38) / 14) ** 2 <= 1
    light = ndi.gaussian_filter(90.0 * truth, (4, 1.5, 1.5))
    image = np.clip(30 + light + rng.normal(0, 8, truth.shape), 0, 255).astype(np.uint8)

    track = begin(image, {1: truth[20]}, 20)
    there = [
        found.frame
        for order in (range(20, 40), range(19, -1, -1))
        for found in track.propagate(order, NullReporter())
        if found.objects
    ]

    assert abs(min(there) - 13) <= 3
    assert abs(max(there) - 27) <= 3


@given(st.floats(0, 6.28), st.floats(9, 14), st.floats(9.5, 12.5), st.integers(0, 99))
@FEW
def test_an_object_ends_where_another_begins_behind_it(angle, aside, behind, seed):
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:34, :72, :72]
    aside_y, aside_x = aside * np.sin(angle), aside * np.cos(angle)
    first = ((z - 9) / 6) ** 2 + ((y - 36) / 12) ** 2 + ((x - 36) / 12) ** 2 <= 1
    second = ((z - 9 - behind) / 6) ** 2 + ((y - 36 - aside_y) / 12) ** 2 + (
        (x - 36 - aside_x) / 12
    ) ** 2 <= 1
    light = ndi.gaussian_filter(90.0 * (first | second), (2, 1.5, 1.5))
    image = np.clip(30 + light + rng.normal(0, 8, light.shape), 0, 255).astype(np.uint8)
    track = begin(image, {1: first[9]}, 9)
    there = [one.frame for one in track.propagate(range(9, 34), NullReporter()) if one.objects]
    assert 9 + 3 <= max(there) < 9 + behind


def volume_agreement(image, truth, frame):
    """Return the IoU over all slices of an object that is followed from its mask on one."""
    track, found = begin(image, {1: truth[frame]}, frame), np.zeros(truth.shape, bool)
    for order in (range(frame, len(truth)), range(frame - 1, -1, -1)):
        for answer in track.propagate(order, NullReporter()):
            for one in answer.objects:
                found[answer.frame][one.region.slices] = one.mask
    return np.count_nonzero(found & truth) / np.count_nonzero(found | truth)


@given(st.integers(0, 99))
@FEW
def test_a_cell_among_others_is_followed_between_its_membranes(seed):
    """On no side of it is there background, and slice by slice its outline is another."""
    rng = np.random.default_rng(seed)
    middles = rng.uniform(-8, (26, 72, 72), (120, 3))
    middles = middles[np.linalg.norm(middles - (9, 32, 32), axis=1) > 14]
    grid = np.moveaxis(np.mgrid[:18, :64, :64], 0, -1)
    distances = np.stack([np.linalg.norm(grid - one, axis=-1) for one in [(9, 32, 32), *middles]])
    nearest, second = np.sort(distances, 0)[:2]
    membranes = ndi.gaussian_filter(120.0 * (second - nearest < 2.5), 1)
    image = np.clip(40 + membranes + rng.normal(0, 6, nearest.shape), 0, 255).astype(np.uint8)
    assert volume_agreement(image, distances.argmin(0) == 0, 9) > 0.7


@pytest.mark.parametrize("bright", [150, 20])
@pytest.mark.parametrize("hole", [5, 9])
def test_a_ring_keeps_its_hole(hole, bright):
    """Myelin, walls, tubes: what was left out of the painted mask is not the object's."""
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[:9, :72, :72]
    away = np.hypot(y - 36 - (z - 4), x - 36 + (z - 4))
    truth = (away <= 16 + 0.3 * (z - 4)) & (away >= hole + 0.2 * (z - 4))
    light = ndi.gaussian_filter(np.where(truth, bright, 80.0), (0, 1.2, 1.2))
    image = np.clip(light + rng.normal(0, 6, truth.shape), 0, 255).astype(np.uint8)
    assert volume_agreement(image, truth, 4) > 0.9


@given(st.floats(0, 6.28), st.floats(13, 16), st.integers(0, 99))
@FEW
def test_a_cell_that_only_its_halo_shows_is_followed(angle, radius, seed):
    """Phase contrast: a dark rim in a bright halo; inside it is brighter or darker by turns."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:10, :80, :80]
    y0, x0 = 40 + (z - 5) * np.sin(angle), 40 + (z - 5) * np.cos(angle)
    beyond = np.hypot(y - y0, x - x0) - radius - 0.3 * (z - 5)
    light = 60 * np.exp(-((beyond - 2) ** 2) / 4) - 60 * np.exp(-((beyond + 1) ** 2) / 3)
    inside = np.where(beyond < -2, 40 - 10.0 * z, 0)
    image = np.clip(110 + light + inside + rng.normal(0, 6, z.shape), 0, 255).astype(np.uint8)
    assert volume_agreement(image, beyond <= 0, 0) > 0.8


def dividing(radius, seed=0):
    """Return a movie of a cell that becomes two at its fourth time, and its masks by number."""
    side = 8 * radius
    y, x = np.ogrid[:side, :side]

    def disc(away, size):
        return (y - side / 2) ** 2 + (x - side / 2 - away) ** 2 <= size**2

    times = [[disc(0, radius)]] * 3
    times += [[disc(-far * radius, 0.7 * radius), disc(far * radius, 0.7 * radius)]
              for far in (0.9, 1.0, 1.1)]  # fmt: skip
    random = np.random.default_rng(seed)
    blurred = [ndi.gaussian_filter(sum(masks) * 110.0, 0.1 * radius) + 40 for masks in times]
    image = np.clip(blurred + random.normal(0, 6, (len(times), side, side)), 0, 255)
    return image.astype(np.uint8), times


@pytest.mark.parametrize("radius", [10, 40, 80])
def test_a_cell_divides_at_any_size(radius):
    """Large ones are looked at more coarsely."""
    image, times = dividing(radius)
    ids = iter((8, 9))
    track = BuiltinTrack(FrameSource(view_of_array(image, plane=0), 0, "t"), lambda: next(ids))
    track.add(TrackSeed(0, 1, mask=MaskPrompt.from_plane(times[0][0])))
    found = list(track.propagate(range(len(times)), NullReporter()))
    assert [frame.parents for frame in found if frame.parents] == [{8: 1, 9: 1}]
    for frame, masks in zip(found, times, strict=True):
        labels = paint_labels(frame.objects, Region.whole(image.shape[1:]))
        assert len(frame.objects) == len(masks)
        for mask in masks:
            one = labels == np.bincount(labels[mask]).argmax()
            assert np.count_nonzero(one & mask) > 0.8 * np.count_nonzero(one | mask)


@given(st.tuples(*[st.integers(0, 40)] * 4))
@FEW
def test_empty_rows_and_columns_of_a_mask_change_nothing(more):
    """Masks of other programs may come in the box of the whole plane."""
    image, truth = solid()
    cropped = MaskPrompt.from_plane(truth[MIDDLE])
    box = cropped.region
    larger = Region(box.y0 - more[0], box.x0 - more[1], box.y1 + more[2], box.x1 + more[3])
    padded = np.pad(cropped.mask, ((more[0], more[2]), (more[1], more[3])))
    results = []
    for mask in (cropped, MaskPrompt(padded, larger)):
        track = begin(image, {})
        track.add(TrackSeed(MIDDLE, 1, mask=mask))
        results.append(follow(track, [range(MIDDLE, MIDDLE + 4)]))
    assert np.array_equal(*results)


def test_a_mask_without_a_pixel_is_refused():
    with pytest.raises(PromptError, match="has no mask on frame"):
        begin(solid()[0], {}).add(
            TrackSeed(0, 1, mask=MaskPrompt(np.zeros((3, 3), bool), Region(1, 1, 4, 4)))
        )
