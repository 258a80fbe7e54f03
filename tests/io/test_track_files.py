"""Tracks as other programs read them: the Cell Tracking Challenge's files, and GEFF."""

import geff
import networkx as nx
import numpy as np
import pytest
import tifffile
from geff.convert import from_ctc_to_geff
from geff.core_io import read_to_memory
from geff.validate.data import ValidationConfig, validate_data
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from amounts import FEW
from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.core.axes import axis_kind, make_axes
from napari_sam3_assistant.core.masks.objects import ExportFormat
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.errors import ExportError, NameTaken
from napari_sam3_assistant.io.tracks import save_ctc, save_geff
from napari_sam3_assistant.workflows.save import export_tracks

MOVIES = arrays(
    np.uint32, st.tuples(st.integers(1, 5), st.just(4), st.just(5)), elements=st.integers(0, 3)
)


def read_ctc(folder):
    """Return frames and table as the challenge's own description has them."""
    (table,) = folder.glob("*_track.txt")
    rows = np.array([line.split() for line in table.read_text().splitlines()], int).reshape(-1, 4)
    return np.stack([tifffile.imread(one) for one in sorted(folder.glob("*.tif"))]), rows


@given(MOVIES, st.sampled_from([1, 70_000]))
def test_every_track_is_there_without_gaps(tmp_path_factory, movie, factor):
    movie = movie * np.uint32(factor)
    folder = save_ctc(
        movie, tmp_path_factory.mktemp("a") / "01_RES", make_axes(movie.shape), NullReporter()
    )

    frames, rows = read_ctc(folder)

    assert frames.dtype == np.uint16
    np.testing.assert_array_equal(frames > 0, movie > 0)
    assert len(set(rows[:, 0])) == len(rows)
    for number, begin, end, parent in rows:
        there = np.flatnonzero((frames == number).any((1, 2)))
        assert there.tolist() == list(range(begin, end + 1))
        (label,) = np.unique(movie[frames == number])
        if parent:
            (before,) = rows[rows[:, 0] == parent]
            assert before[2] < begin - 1
            assert (np.unique(movie[frames == parent]) == label).all()
    assert set(np.unique(frames)) - {0} == set(rows[:, 0])
    if factor == 1:
        firsts = frames[frames == movie]
        assert set(np.unique(firsts)) == set(np.unique(movie))


# Numbers that no signed type holds, alone, and beside one.
@example(np.full((2, 4, 5), 3, np.uint32), np.uint64, True)
@example(np.array([[[1, 3]]] * 2, np.uint32), np.uint64, True)
@FEW
@given(MOVIES, st.sampled_from([bool, np.int8, np.uint32, np.int64, np.uint64]), st.booleans())
def test_labels_of_any_type_are_tracks_and_so_are_the_highest_numbers(
    tmp_path_factory, movie, dtype, high
):
    if dtype is not bool:
        highest = np.iinfo(dtype).max
        values = [0, 1, highest - 1, highest] if high else [0, 1, 2, highest]
        movie = np.array(values, dtype)[movie]
    movie = movie.astype(dtype)
    folder = tmp_path_factory.mktemp("a")

    frames, rows = read_ctc(
        save_ctc(movie, folder / "01_RES", make_axes(movie.shape), NullReporter())
    )
    save_geff(movie, folder / "a.geff", make_axes(movie.shape), NullReporter())
    graph, _ = geff.read(folder / "a.geff")

    np.testing.assert_array_equal(frames > 0, movie > 0)
    assert set(np.unique(frames)) - {0} == set(rows[:, 0])
    seen = {(one["t"], one["seg_id"]) for _, one in graph.nodes(data=True)}
    assert seen == {(t, int(v)) for t, one in enumerate(movie) for v in np.unique(one[one > 0])}


@FEW
@given(MOVIES)
def test_a_graph_has_each_object_of_each_frame(tmp_path_factory, movie):
    folder = tmp_path_factory.mktemp("a") / "a.geff"
    axes = make_axes(movie.shape, names="tyx", scale=(60, 0.5, 0.25), units=("s", "um", "um"))

    save_geff(movie, folder, axes, NullReporter())
    graph, metadata = geff.read(folder, structure_validation=True)

    geff.validate_structure(folder)
    seen = {(one["t"], one["seg_id"]): one for _, one in graph.nodes(data=True)}
    assert set(seen) == {(t, v) for t, one in enumerate(movie) for v in np.unique(one[one > 0])}
    for (t, value), one in seen.items():
        where = np.argwhere(movie[t] == value)
        np.testing.assert_allclose((one["y"], one["x"]), where.mean(0))
        assert one["area"] == len(where)
    tracks = list(nx.weakly_connected_components(graph))
    assert len(tracks) == len(np.unique(movie[movie > 0]))
    for first, second in graph.edges:
        one, other = graph.nodes[first], graph.nodes[second]
        assert one["seg_id"] == other["seg_id"]
        assert one["t"] < other["t"]
    assert [axis.scale for axis in metadata.axes] == [60, 0.5, 0.25]


PARENTS = st.dictionaries(st.integers(1, 3), st.integers(1, 3), max_size=3)


def ancestry(movie, parents):
    """Return the links that can be: the parent is there on a frame before its daughter."""
    first = {
        int(v): min(t for t, one in enumerate(movie) if (one == v).any())
        for v in np.unique(movie[movie > 0])
    }
    return {
        child: parent
        for child, parent in parents.items()
        if child in first and parent in first and first[parent] < first[child]
    }, first


@given(MOVIES, PARENTS)
def test_a_division_is_in_the_table_of_the_challenge(tmp_path_factory, movie, parents):
    folder = save_ctc(
        movie,
        tmp_path_factory.mktemp("a") / "01_RES",
        make_axes(movie.shape),
        NullReporter(),
        parents,
    )

    frames, rows = read_ctc(folder)

    links, first = ancestry(movie, parents)
    by_number = {row[0]: row for row in rows}
    seen = {}
    for number, begin, end, parent in rows:
        (label,) = np.unique(movie[frames == number])
        assert np.flatnonzero((frames == number).any((1, 2))).tolist() == [*range(begin, end + 1)]
        if parent:
            assert by_number[parent][2] < begin  # as the challenge's own check asks
            (origin,) = np.unique(movie[frames == parent])
            seen[int(label)] = seen.get(int(label), set()) | {(int(begin), int(origin))}
    for child, parent in links.items():
        assert (first[child], parent) in seen[child]
    for label, found in seen.items():
        assert {one for _, one in found} <= {label, links.get(label, label)}


@FEW
@given(MOVIES, PARENTS)
def test_a_division_is_an_edge_of_the_graph(tmp_path_factory, movie, parents):
    folder = tmp_path_factory.mktemp("a") / "a.geff"
    save_geff(movie, folder, make_axes(movie.shape, names="tyx"), NullReporter(), parents)

    graph, metadata = geff.read(folder, structure_validation=True)
    validate_data(read_to_memory(folder), ValidationConfig(tracklet=True, lineage=True, graph=True))

    links, first = ancestry(movie, parents)
    nodes = graph.nodes
    across = {
        (nodes[b]["seg_id"], nodes[a]["seg_id"], nodes[b]["t"])
        for a, b in graph.edges
        if nodes[a]["seg_id"] != nodes[b]["seg_id"]
    }
    assert across == {(child, parent, first[child]) for child, parent in links.items()}
    assert metadata.track_node_props == {"tracklet": "track_id", "lineage": "lineage_id"}
    assert all(nodes[a]["t"] < nodes[b]["t"] for a, b in graph.edges)


def test_the_truth_has_names_of_its_own_and_geff_reads_the_challenge(tmp_path):
    movie = np.zeros((12, 9, 9), np.uint8)
    movie[2:5, 1:4, 1:4] = movie[8:, 1:4, 1:4] = 7
    movie[:, 6:8, 6:8] = 3
    (tmp_path / "01_GT").mkdir()

    api.export(movie, tmp_path / "01_GT" / "TRA", format="ctc")
    from_ctc_to_geff(tmp_path / "01_GT" / "TRA", tmp_path / "theirs.geff")

    names = sorted(one.name for one in (tmp_path / "01_GT" / "TRA").iterdir())
    assert names == ["man_track.txt", *(f"man_track{at:03d}.tif" for at in range(12))]
    _, rows = read_ctc(tmp_path / "01_GT" / "TRA")
    assert rows.tolist() == [[3, 0, 11, 0], [7, 2, 4, 0], [8, 8, 11, 7]]
    graph, _ = geff.read(tmp_path / "theirs.geff")
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (19, 17)


def test_on_the_command_line_in_three_dimensions_and_never_replaced(tmp_path, capsys):
    movie = np.zeros((3, 4, 9, 9), np.uint16)
    movie[:, 1:3, 1:4, 1:4] = 5
    np.save(tmp_path / "a.npy", movie)
    for name in ("a.ctc", "a.geff"):
        line = ["export", str(tmp_path / "a.npy"), "-o", str(tmp_path / name)]
        assert main(line) == 0
        assert main(line) == 2
        assert "exists already" in capsys.readouterr().err

    frames, rows = read_ctc(tmp_path / "a.ctc")
    np.testing.assert_array_equal(frames, movie)
    assert rows.tolist() == [[5, 0, 2, 0]]
    graph, _ = geff.read(tmp_path / "a.geff")
    assert [one["z"] for _, one in graph.nodes(data=True)] == [1.5] * 3
    with pytest.raises(NameTaken):
        save_ctc(movie, tmp_path / "a.ctc", make_axes(movie.shape), NullReporter())
    with pytest.raises(ExportError, match="go through frames"):
        api.export(movie[0, 0], tmp_path / "b.ctc")
    many = np.arange(70_000, dtype=np.uint32).reshape(2, 350, 100)
    with pytest.raises(ExportError, match="69999 tracks"):
        api.export(many, tmp_path / "b.ctc")
    assert not (tmp_path / "b.ctc").exists()


STACKS = st.lists(
    st.tuples(st.sampled_from(["t", "Time", "z", "c", "Channel", "s", ""]), st.integers(1, 3)),
    min_size=1,
    max_size=3,
    unique_by=lambda axis: axis_kind(axis[0]) or object(),
)


@given(STACKS, st.sampled_from([".ctc", ".geff"]))
def test_tracks_go_through_what_the_axes_say_and_never_through_channels(
    tmp_path_factory, stack, ending
):
    names, lengths = zip(*stack, strict=True)
    axes = make_axes((*lengths, 4, 4), names=(*names, "y", "x"), units="um")
    labels = np.ones([axis.length for axis in axes], np.uint8)
    path = tmp_path_factory.mktemp("a") / f"a{ending}"
    kinds = [axis_kind(name) for name in names]
    left = [
        kind
        for kind, length in zip(kinds, lengths, strict=True)
        if length > 1 or kind not in ("c", "s")
    ]
    write = export_tracks(labels, path, ExportFormat(ending[1:]), axes, NullReporter())

    if left not in (["t"], ["z"], [""], ["t", "z"], ["t", ""], ["", "z"], ["", ""]):
        several = {"c", "s"} & set(left)
        with pytest.raises(
            ExportError, match="channels besides" if several else "the axes"
        ) as told:
            list(write)
        assert told.value.hint
        assert not path.exists()
        return
    list(write)
    if ending == ".ctc":
        frames, _ = read_ctc(path)
        assert frames.size == labels.size
        return
    graph, metadata = geff.read(path, structure_validation=True)
    validate_data(read_to_memory(path), ValidationConfig(tracklet=True, lineage=True, graph=True))
    first = "z" if left == ["z"] else "t"
    assert [axis.name for axis in metadata.axes] == [first, *"zyx"[-len(left) - 1 :]]
    assert [axis.type for axis in metadata.axes] == [
        "time" if axis.name == "t" else "space" for axis in metadata.axes
    ]
    assert all(axis.scaled_unit == "micrometer" for axis in metadata.axes if axis.name == "z")
    frames = lengths[next(at for at, kind in enumerate(kinds) if kind not in ("c", "s"))]
    assert sorted(one[first] for _, one in graph.nodes(data=True)) == list(range(frames))
