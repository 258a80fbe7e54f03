"""Lineages: links between tracks, corrections of tracks, and where tracks are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.lineage import Lineage, Relabel, cut_runs, valid_links
from napari_sam3_assistant.errors import PromptError

FRAMES = st.dictionaries(
    st.integers(1, 6), st.sets(st.integers(0, 9), min_size=1).map(sorted), max_size=6
)
PARENTS = st.dictionaries(st.integers(1, 7), st.integers(1, 7), max_size=6)


def test_links_are_made_and_taken_away():
    lineage = Lineage().link({2: 1, 3: 1}).link({4: 3})
    assert lineage.daughters(1) == (2, 3)
    assert lineage.links_of(3) == ((3, 1), (4, 3))
    assert lineage.unlink((3, 1)).parents == {2: 1, 4: 3}
    assert lineage.unlink((3, 2)).parents == lineage.parents
    for child, parent in ((1, 1), (1, 4), (3, 4)):
        with pytest.raises(PromptError, match="descend from itself"):
            lineage.link({child: parent})


def test_daughters_follow_the_rest_of_a_track_that_gets_another_number():
    first = {1: 0, 2: 5, 3: 5, 4: 9}
    lineage = Lineage().link({2: 1, 3: 1, 4: 3})

    split = lineage.relabel(Relabel(1, 7, 3), first.__getitem__)
    assert split.parents == {2: 7, 3: 7, 4: 3}
    cut_after = lineage.relabel(Relabel(1, 7, 5), first.__getitem__)
    assert cut_after.parents == {2: 1, 3: 1, 4: 3}
    # All of 3 goes on in 2: its own parent is forgotten, its daughter is that of 2.
    joined = lineage.relabel(Relabel(3, 2, 5), first.__getitem__)
    assert joined.parents == {2: 1, 4: 2}


def test_what_is_on_show_is_found_by_the_number_of_the_engine():
    lineage = Lineage(relabelled=(Relabel(5, 2, 10), Relabel(2, 8, 12)))
    assert [lineage.shown_as(5, frame) for frame in (9, 10, 11, 12)] == [5, 2, 2, 8]
    assert [lineage.found_as(2, frame) for frame in (9, 10, 11)] == [2, 5, 5]
    assert lineage.found_as(8, 12) == 5
    assert lineage.followed_as(8) == {8, 2, 5}
    assert lineage.followed_as(2) == lineage.followed_as(5) == frozenset()
    back = Lineage(relabelled=(Relabel(5, 2, 10), Relabel(1, 9, 0)))
    assert list(lineage.changes_to(back)) == [Relabel(8, 2, 12), Relabel(1, 9, 0)]


@given(FRAMES, PARENTS)
def test_stretches_have_no_gaps_and_end_where_a_daughter_begins(frames, parents):
    links = valid_links(parents, lambda one: frames[one][0] if one in frames else None)
    for child, parent in links.items():
        assert parents[child] == parent
        assert frames[parent][0] < frames[child][0]

    runs = list(cut_runs(frames, parents))

    assert sorted((track, at) for track, run, _ in runs for at in run) == sorted(
        (track, at) for track, own in frames.items() for at in own
    )
    for track, run, before in runs:
        assert run == tuple(range(run[0], run[-1] + 1))
        for child, parent in links.items():
            if parent == track:
                assert not run[0] < frames[child][0] <= run[-1]
        if before < 0:
            assert run[0] == frames[track][0]
            assert track not in links
        else:
            origin, earlier, _ = runs[before]
            begins = run[0] == frames[track][0]
            assert origin == (links[track] if begins else track)
            assert earlier[-1] < run[0]
