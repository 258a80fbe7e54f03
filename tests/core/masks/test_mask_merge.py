import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import measure

from napari_sam3_assistant.core.masks.merge import (
    MergeMode,
    MergeSource,
    OverlapRule,
    count_overlap,
    merge,
    merge_by_class,
    overlap_map,
)
from napari_sam3_assistant.core.masks.objects import Classes
from napari_sam3_assistant.errors import MaskError

AXON, MYELIN = Classes({5: "axon"}, every=5), Classes({3: "myelin"}, every=3)
A = MergeSource("a", np.array([[1, 1, 2, 2, 0, 0]]), AXON)
B = MergeSource("b", np.array([[0, 0, 1, 1, 1, 0]]), MYELIN)
SEMANTIC = {
    OverlapRule.PRIORITY: [5, 5, 5, 5, 3, 0],
    OverlapRule.EARLIER: [5, 5, 5, 5, 3, 0],
    OverlapRule.LARGER: [5, 5, 3, 3, 3, 0],
    OverlapRule.SMALLER: [5, 5, 5, 5, 3, 0],
    OverlapRule.BACKGROUND: [5, 5, 0, 0, 3, 0],
}


@pytest.mark.parametrize("rule", OverlapRule)
def test_semantic_masks_hold_class_values(rule):
    merged = merge([A, B], MergeMode.SEMANTIC, rule)

    assert merged.labels.tolist() == [SEMANTIC[rule]]
    assert merged.labels.dtype == np.uint32
    assert merged.classes == {5: "axon", 3: "myelin"}
    assert merged.overlap == 2


@pytest.mark.parametrize("dtype", [bool, ">u2", "<i8"])
@pytest.mark.parametrize("mode", MergeMode)
def test_labels_of_any_type_merge_alike(mode, dtype):
    one, other = (np.array([row], np.uint8) for row in ([1, 1, 0, 1], [0, 1, 1, 0]))

    def merged(kind):
        sources = MergeSource("a", zarr.array(one.astype(kind))), MergeSource("b", other, MYELIN)
        return merge(sources, mode, OverlapRule.LARGER).labels.tolist()

    assert merged(dtype) == merged(np.uint8)


def test_the_first_source_has_priority():
    merged = merge([B, A], MergeMode.SEMANTIC, OverlapRule.PRIORITY)

    assert merged.labels.tolist() == [[5, 5, 3, 3, 3, 0]]


def test_a_source_without_class_value_keeps_its_own():
    plain = MergeSource("plain", np.array([[7, 0, 9]]))

    merged = merge([plain], MergeMode.SEMANTIC, OverlapRule.EARLIER)

    assert merged.labels.tolist() == [[7, 0, 9]]
    assert merged.classes == {7: "class 7", 9: "class 9"}


def test_touching_instances_stay_apart_and_know_their_class():
    merged = merge([A, B], MergeMode.INSTANCE, OverlapRule.EARLIER)

    assert merged.labels.tolist() == [[1, 1, 2, 2, 3, 0]]
    assert merged.class_of == {1: 5, 2: 5, 3: 3}


def test_objects_of_which_no_class_is_known_are_of_one_class_that_is_theirs():
    found = MergeSource("found", np.array([[1, 2, 3, 4, 0, 9]]))

    alone = merge([found], MergeMode.INSTANCE, OverlapRule.EARLIER)
    assert alone.classes == {1: "object"}
    assert alone.class_of == dict.fromkeys(range(1, 6), 1)

    one = MergeSource("one", np.array([[8, 0, 0, 0, 0, 0]]), Classes({1: "axon"}, every=1))
    beside = merge([one, found], MergeMode.INSTANCE, OverlapRule.EARLIER)
    assert beside.classes == {1: "axon", 2: "object"}
    assert beside.class_of == {1: 1, 2: 2, 3: 2, 4: 2, 5: 2}


@pytest.mark.parametrize("mode", [MergeMode.SEMANTIC, MergeMode.INSTANCE])
def test_objects_of_classes_keep_them_when_they_are_merged_again(mode):
    once = merge([A, B], MergeMode.INSTANCE, OverlapRule.EARLIER)

    again = merge(
        [MergeSource("once", once.labels, Classes(once.classes, once.class_of))],
        mode,
        OverlapRule.EARLIER,
    )

    assert again.classes == {5: "axon", 3: "myelin"}
    if mode is MergeMode.INSTANCE:
        assert again.class_of == once.class_of
    else:
        assert again.labels.tolist() == [[5, 5, 5, 5, 3, 0]]


def test_an_instance_that_lost_all_its_pixels_leaves_no_gap_in_the_numbers():
    merged = merge([A, B], MergeMode.INSTANCE, OverlapRule.LARGER)

    assert merged.labels.tolist() == [[1, 1, 2, 2, 2, 0]]
    assert merged.class_of == {1: 5, 2: 3}


def test_binary():
    merged = merge([A, B], MergeMode.BINARY, OverlapRule.BACKGROUND)

    assert merged.labels.tolist() == [[1, 1, 0, 0, 1, 0]]
    assert merged.labels.dtype == np.uint8


def slow(sources, rule):
    """Pixel by pixel, with the area of each pixel's component."""
    areas = []
    for source in sources:
        numbers = measure.label(source.labels, connectivity=1)
        areas.append(np.bincount(numbers.ravel())[numbers])
    result = np.zeros(sources[0].labels.shape, np.uint32)
    for pixel in np.ndindex(result.shape):
        here = [index for index, source in enumerate(sources) if source.labels[pixel]]
        if not here or (rule is OverlapRule.BACKGROUND and len(here) > 1):
            continue
        winner = here[0]
        if rule is OverlapRule.LARGER:
            winner = max(here, key=lambda index: areas[index][pixel])
        if rule is OverlapRule.SMALLER:
            winner = min(here, key=lambda index: areas[index][pixel])
        result[pixel] = sources[winner].classes.every
    return result


@given(hnp.arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 2)), st.sampled_from(OverlapRule))
def test_like_pixel_by_pixel(planes, rule):
    sources = [
        MergeSource(str(at), plane, Classes({at + 1: "x"}, every=at + 1))
        for at, plane in enumerate(planes)
    ]

    merged = merge(sources, MergeMode.SEMANTIC, rule)

    np.testing.assert_array_equal(merged.labels, slow(sources, rule))


def test_accepted_objects_of_classes_become_a_class_mask():
    odd = MergeSource("c", np.array([[9, 0, 0, 0, 0, 0]]), Classes({1: "odd"}, every=1))

    merged = merge_by_class([A, B, odd])

    assert merged.labels.tolist() == [[1, 5, 3, 3, 3, 0]]
    assert merged.overlap == 3
    assert merged.classes == {5: "axon", 3: "myelin", 1: "odd"}


def test_the_overlap_map_counts_layers_where_there_are_several():
    assert count_overlap([A, B]) == 2
    assert overlap_map([A, B]).tolist() == [[0, 0, 2, 2, 0, 0]]
    assert overlap_map([A, B]).dtype == np.uint16


class Asked:
    """Labels on a disk that note how much is read of them at once."""

    def __init__(self, labels):
        self.labels, self.most = labels, 0
        self.shape, self.dtype, self.ndim = labels.shape, labels.dtype, labels.ndim
        self.chunks = (512, 512)

    def __getitem__(self, box):
        part = self.labels[box]
        self.most = max(self.most, part.size)
        return part


def test_large_layers_are_merged_piece_by_piece_as_whole_ones_are():
    large, small = np.zeros((2, 2300, 2050), np.uint8)
    large[5:2295, 5:2045] = 1  # through all pieces
    small[500:2100, 1000:1100], small[:3] = 1, 2
    asked = Asked(large), Asked(small)
    sources = MergeSource("large", asked[0], AXON), MergeSource("small", asked[1], MYELIN)

    smaller = merge(sources, MergeMode.INSTANCE, OverlapRule.SMALLER)
    assert smaller.class_of == {1: 5, 2: 3, 3: 3}
    np.testing.assert_array_equal(smaller.labels, np.where(small, small + 1, large))

    larger = merge(sources, MergeMode.SEMANTIC, OverlapRule.LARGER)
    np.testing.assert_array_equal(larger.labels, np.where(large, 5, 3 * (small > 0)))

    by_class = merge_by_class(sources)
    np.testing.assert_array_equal(by_class.labels, np.where(small, 3, 5 * large))

    overlap = overlap_map(sources)
    np.testing.assert_array_equal(overlap, np.where((large > 0) & (small > 0), 2, 0))
    shared = {one.overlap for one in (smaller, larger, by_class)}
    assert shared == {count_overlap(sources)} == {np.count_nonzero(overlap)}
    assert max(one.most for one in asked) <= 1 << 22


def test_what_can_not_be_merged_is_said():
    other = MergeSource("other", np.zeros((2, 2), np.uint8))
    with pytest.raises(MaskError, match=r"“other” has \(2, 2\), “a” has \(1, 6\)"):
        merge([A, other], MergeMode.BINARY, OverlapRule.EARLIER)
    with pytest.raises(MaskError, match="at least 2 layers"):
        overlap_map([A])
    with pytest.raises(MaskError, match="No overlap found"):
        overlap_map([A, MergeSource("b", np.zeros((1, 6), np.uint8))])
    with pytest.raises(MaskError, match="at least one layer"):
        merge_by_class([])


def test_a_class_value_beyond_32_bits_is_refused():
    with pytest.raises(MaskError, match="does not fit"):
        merge(
            [MergeSource("a", np.ones((1, 1), np.uint8), Classes({2**32: "x"}, every=2**32))],
            MergeMode.SEMANTIC,
            OverlapRule.EARLIER,
        )


@given(
    hnp.arrays(np.uint8, (2, 3, 5, 6), elements=st.integers(0, 2)),
    st.sampled_from(list(MergeMode)),
    st.sampled_from(list(OverlapRule)),
    st.booleans(),
)
def test_each_frame_of_a_movie_is_merged_as_if_it_were_alone(movies, mode, rule, semantic):
    classes = Classes({1: "axon", 2: "myelin"}, {} if semantic else {1: 1, 2: 2})

    def merged(arrays, apart=()):
        sources = [MergeSource("a", array, classes) for array in arrays]
        return merge(sources, mode, rule, apart=apart)

    movie = merged(movies, (0,))
    frames = [merged(frame) for frame in np.swapaxes(movies, 0, 1)]
    assert movie.overlap == sum(frame.overlap for frame in frames)
    for after, alone in zip(movie.labels, frames, strict=True):
        if mode is not MergeMode.INSTANCE:
            np.testing.assert_array_equal(after, alone.labels)
            continue
        pairs = np.unique(np.stack([after, alone.labels]).reshape(2, -1), axis=1)
        assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
        classed = {new: alone.class_of.get(int(old)) for new, old in pairs.T if new}
        assert classed == {new: movie.class_of[int(new)] for new in classed}


def test_tracks_stay_tracks_and_classes_are_none():
    movie = np.zeros((4, 5, 9), np.uint16)
    movie[0, :2, :2] = movie[1, :2, 5:7] = movie[3, 3:, :2] = 7  # jumps, and is gone for a while
    movie[1, 4, 8] = 7  # a fragment of it
    movie[:, 2, 8] = 2

    tracks = merge([MergeSource("a", movie)], MergeMode.INSTANCE, OverlapRule.EARLIER, apart=(0,))
    known = Classes({2: "axon", 7: "myelin"})
    cells = merge(
        [MergeSource("a", movie, known)], MergeMode.INSTANCE, OverlapRule.EARLIER, apart=(0,)
    )

    assert np.unique(tracks.labels[movie == 2]).size == 1
    assert [np.unique(frame[movie[at] == 7]).size for at, frame in enumerate(tracks.labels)] == [
        1,
        2,
        0,
        1,
    ]
    assert tracks.labels.max() == 3
    assert tracks.labels[0, 0, 0] == tracks.labels[1, 0, 5] == tracks.labels[3, 4, 0]
    assert cells.labels.max() == 8
