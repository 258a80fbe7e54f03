"""Objects of tiles put together: literal seams, and a known truth cut into tiles and back."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.options import TileOptions
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, paint_labels
from napari_sam3_assistant.core.stitching import StitchedObject, Stitcher
from napari_sam3_assistant.core.tiling import TileGrid

# Two tiles side by side, columns 0 to 11 and 8 to 19: the band is columns 8 to 11.
PAIR = TileGrid(((0, 12),), ((0, 12), (8, 20)))
# The band is columns 8 to 15.
WIDE = TileGrid(((0, 12),), ((0, 16), (8, 24)))


def seen(truth, tile):
    """Return the objects of the truth as a perfect engine finds them in a tile."""
    crop = truth[tile.slices]
    return [
        ObjectRecord.from_mask(
            place, crop == value, offset=(tile.y0, tile.x0), score=float(value) / 100
        )
        for place, value in enumerate(np.unique(crop[crop > 0]).tolist(), 1)
    ]


def stitch(grid, shape, objects_of):
    labels = np.zeros(shape, np.uint32)
    stitcher = Stitcher(labels, grid)
    for number in range(len(grid)):
        stitcher.add(number, objects_of(grid[number]))
    return labels, stitcher.objects()


def same_partition(one, other):
    """Return whether two labels are the same up to their numbers."""
    pairs = {(a, b) for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)}
    return (
        len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) and (0, 0) in pairs
    )


def plane(*boxes):
    truth = np.zeros((12, 20), np.uint32)
    for value, box in enumerate(boxes, 1):
        truth[Region(*box).slices] = value
    return truth


@pytest.mark.parametrize(
    "boxes",
    [
        [(2, 2, 5, 5), (2, 14, 5, 18)],  # one in each tile
        [(2, 8, 5, 12)],  # whole in both
        [(2, 9, 5, 11)],
        [(2, 6, 5, 10)],  # cut by the second tile only
        [(2, 10, 5, 15)],  # cut by the first tile only
        [(2, 2, 5, 18)],  # cut by both
        [(2, 2, 5, 18), (5, 2, 8, 18)],  # two that touch along their whole length
        [(2, 2, 5, 12), (2, 12, 5, 18)],  # they touch where the first tile ends
        [(2, 2, 5, 8), (2, 8, 5, 18)],  # they touch where the second tile begins
        [(2, 2, 5, 10), (2, 10, 5, 18)],  # they touch in the middle of the band
    ],
)
def test_a_perfect_engine_gives_the_truth(boxes):
    truth = plane(*boxes)

    labels, objects = stitch(PAIR, truth.shape, lambda tile: seen(truth, tile))

    assert same_partition(labels, truth)
    assert [one.area for one in objects] == [int((labels == one.id).sum()) for one in objects]
    assert len(objects) == len(boxes)


def test_two_prongs_are_joined_by_the_tile_that_sees_their_root():
    # The second tile shows them as one, the first as two that are cut.
    truth = plane()
    truth[2:4, 2:18] = truth[7:9, 2:18] = truth[2:9, 15:18] = 1
    two = truth.copy()
    two[7:9] *= 2

    def objects_of(tile):
        return seen(two if tile.x0 == 0 else truth, tile)

    labels, objects = stitch(PAIR, truth.shape, objects_of)

    assert same_partition(labels, truth)
    assert len(objects) == 1
    assert objects[0].area == int(truth.sum())


def test_the_prongs_in_the_order_in_which_an_id_is_given_back():
    # The root comes first, and its two prongs belong to two objects in the tile that follows.
    truth = plane()
    truth[2:4, 2:18] = truth[7:9, 2:18] = truth[2:9, 2:5] = 1
    two = truth.copy()
    two[7:9] *= 2

    labels, objects = stitch(
        PAIR, truth.shape, lambda tile: seen(truth if tile.x0 == 0 else two, tile)
    )

    assert same_partition(labels, truth)
    assert len(objects) == 1


def record(box, id_=1, score=None):
    region = Region(*box)
    return ObjectRecord(id_, np.ones(region.shape, bool), region, score)


def test_the_whole_view_replaces_a_ragged_cut_one():
    # The first tile's view is too high; the object is whole in the second tile.
    answers = {0: [record((1, 11, 7, 16), score=0.5)], 8: [record((2, 11, 6, 20), score=0.9)]}

    labels, objects = stitch(WIDE, (12, 24), lambda tile: answers[tile.x0])

    expected = np.zeros((12, 24), np.uint32)
    expected[2:6, 11:20] = 1
    np.testing.assert_array_equal(labels, expected)
    assert objects[0].area == 36
    assert objects[0].score == 0.9


def test_a_cut_piece_inside_a_whole_object_is_dropped():
    # The second tile sees a sliver and outlines it badly.
    answers = {0: [record((2, 2, 10, 10))], 8: [record((4, 8, 6, 10))]}

    labels, objects = stitch(PAIR, (12, 20), lambda tile: answers[tile.x0])

    assert [one.id for one in objects] == [1]
    assert int((labels > 0).sum()) == 64


def test_cut_pieces_that_came_first_give_way_to_the_whole():
    # One of them becomes it, the other goes.
    answers = {
        0: [record((3, 13, 5, 16)), record((6, 13, 8, 16), 2)],
        8: [record((2, 11, 10, 20))],
    }

    labels, objects = stitch(WIDE, (12, 24), lambda tile: answers[tile.x0])

    expected = np.zeros((12, 24), np.uint32)
    expected[2:10, 11:20] = 1
    np.testing.assert_array_equal(labels, expected)
    assert [(one.id, one.area) for one in objects] == [(1, 72)]


def test_a_cut_piece_that_lies_half_in_the_whole_goes():
    answers = {0: [record((2, 13, 5, 16))], 8: [record((2, 14, 10, 22))]}

    labels, objects = stitch(WIDE, (12, 24), lambda tile: answers[tile.x0])

    assert [(one.id, one.area) for one in objects] == [(2, 64)]
    assert int((labels == 2).sum()) == np.count_nonzero(labels) == 64


def test_two_rough_views_of_one_small_object_are_one():
    answers = {0: [record((2, 11, 5, 14))], 8: [record((1, 10, 7, 15))]}

    labels, objects = stitch(WIDE, (12, 24), lambda tile: answers[tile.x0])

    assert len(objects) == 1
    assert np.count_nonzero(labels) == 9


def test_an_object_in_another_one_stays_itself():
    # A cell with its nucleus on the seam; both tiles see both.
    def objects_of(tile):
        inside = [record((2, 2, 10, 18)), record((4, 7, 8, 13), 2)]
        kept = [(one, one.region.intersect(tile)) for one in inside]
        return [record(region.box, one.id) for one, region in kept]

    labels, objects = stitch(PAIR, (12, 20), objects_of)

    expected = np.zeros((12, 20), np.uint32)
    expected[2:10, 2:18] = 1
    expected[4:8, 7:13] = 2
    np.testing.assert_array_equal(labels, expected)
    assert len(objects) == 2


def test_a_stray_pixel_at_the_same_place_joins_nothing():
    def with_stray(box):
        mask = np.zeros((12, 24), bool)
        mask[Region(*box).slices] = True
        mask[9, 11] = True
        return [ObjectRecord.from_mask(1, mask)]

    answers = {0: with_stray((1, 1, 5, 5)), 8: with_stray((1, 18, 5, 22))}

    _, objects = stitch(WIDE, (12, 24), lambda tile: answers[tile.x0])

    assert len(objects) == 2


def test_one_tile_is_painted_as_a_run_paints_it():
    records = [record((1, 1, 6, 6), 1, 0.9), record((4, 4, 9, 9), 2, 0.8)]

    labels, objects = stitch(TileGrid(((0, 12),), ((0, 20),)), (12, 20), lambda tile: records)

    np.testing.assert_array_equal(labels, paint_labels(records, Region(0, 0, 12, 20)))
    assert objects == (
        StitchedObject(1, 25, Region(1, 1, 6, 6), 0.9),
        StitchedObject(2, 25, Region(4, 4, 9, 9), 0.8),
    )
    assert objects[-1:] == [objects[1]]
    assert objects != objects[:1]


def test_without_overlap_nothing_is_joined():
    grid = TileGrid(((0, 12),), ((0, 10), (10, 20)))
    truth = plane((2, 2, 5, 18))

    labels, objects = stitch(grid, truth.shape, lambda tile: seen(truth, tile))

    assert len(objects) == 2
    assert set(np.unique(labels[2:5, 2:10])) == {1}
    assert set(np.unique(labels[2:5, 10:18])) == {2}


@given(data=st.data(), size=st.integers(30, 60), overlap=st.sampled_from([0.2, 0.3, 0.5]))
def test_a_known_truth_comes_back_from_any_grid(data, size, overlap):
    shape = data.draw(st.tuples(st.integers(20, 130), st.integers(20, 130)))
    band = round(size * overlap)
    truth = np.zeros(shape, np.uint32)
    for value in range(1, data.draw(st.integers(1, 25)) + 1):
        y = data.draw(st.integers(0, shape[0] - 1))
        x = data.draw(st.integers(0, shape[1] - 1))
        height, width = data.draw(st.tuples(*[st.integers(1, max(1, band - 2))] * 2))
        piece = truth[y : y + height, x : x + width]
        # Rectangles only: what is left of one that another one covers may be in two pieces.
        if not piece.any():
            piece[...] = value
    options = TileOptions(256, overlap)
    object.__setattr__(options, "size", size)  # smaller than a user may choose
    grid = TileGrid.cover(shape, options)

    labels, objects = stitch(grid, shape, lambda tile: seen(truth, tile))

    assert same_partition(np.append(labels, 0), np.append(truth, 0))
    assert len(objects) == len(np.unique(truth[truth > 0]))


def test_objects_over_many_tiles_are_one():
    truth = np.zeros((200, 200), np.uint32)
    rows, columns = np.ogrid[:200, :200]
    away = np.hypot(rows - 100, columns - 100)
    truth[(away < 95) & (away > 85)] = 1
    truth[away < 70] = 2
    truth[:, 98:101][away[:, 98:101] < 70] = 0
    truth[(away < 70) & (columns > 100)] = 3
    options = TileOptions(256, 0.2)
    object.__setattr__(options, "size", 50)
    grid = TileGrid.cover(truth.shape, options)

    labels, objects = stitch(grid, truth.shape, lambda tile: seen(truth, tile))

    assert [one.area for one in objects] == [int((labels == one.id).sum()) for one in objects]
    # A perfect engine still shows the ring's pieces of one tile as one object.
    assert same_partition(labels, truth)
    assert [one.region for one in objects if one.area == int((truth == 1).sum())] == [
        Region(6, 6, 195, 195)
    ]


def test_an_object_that_no_tile_still_sees_takes_a_row_of_numbers():
    # As Python objects they took 500 bytes each, to the end of the scan.
    options = TileOptions(256, 0.2)
    object.__setattr__(options, "size", 40)
    grid = TileGrid.cover((40 + 32 * 249, 40), options)
    labels = np.zeros((40 + 32 * 249, 40), np.uint32)
    stitcher = Stitcher(labels, grid)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(len(grid)):
            top = grid[number].y0
            inner = [record((top + y, x, top + y + 6, x + 6)) for y in (9, 19) for x in (3, 13, 23)]
            stitcher.add(number, [*inner, record((top + 34, 5, top + 40, 15))])
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(stitcher) == 250 * 7
    assert held < 110 * len(stitcher)
    objects = stitcher.objects()
    assert [one.id for one in objects] == np.unique(labels[labels > 0]).tolist()
    assert [one.area for one in objects] == np.bincount(labels.ravel())[1:].tolist()


def test_an_object_is_as_firm_as_the_firmest_of_its_parts():
    truth = plane((2, 2, 5, 18), (7, 2, 9, 6))
    firm = {0: 0.5, 8: 0.75}

    def objects_of(tile):
        return [replace(one, stability=firm[tile.x0]) for one in seen(truth, tile)]

    _, objects = stitch(PAIR, truth.shape, objects_of)

    assert sorted(one.stability for one in objects) == [0.5, 0.75]
