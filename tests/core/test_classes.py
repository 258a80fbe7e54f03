"""A tree of classes, and the class of an object through all that is done to it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.classes import ClassList, ObjectClass
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import (
    ObjectRecord,
    Provenance,
    Segmentation,
    apply_edit,
    merge_objects,
    paint_labels,
    replace_object,
    set_class,
    split_object,
)
from napari_sam3_assistant.core.tracks import FrameResult, TrackTable, measure_frame
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.io.class_list import read_classes, write_classes

WHOLE = Region(0, 0, 20, 30)
MADE = Provenance("builtin", "Built-in", "1", "cpu", 0.35)


def found(*boxes):
    masks = []
    for y0, x0, y1, x1 in boxes:
        mask = np.zeros(WHOLE.shape, bool)
        mask[y0:y1, x0:x1] = True
        masks.append(mask)
    objects = tuple(ObjectRecord.from_mask(id_, mask) for id_, mask in enumerate(masks, 1))
    return Segmentation(paint_labels(objects, WHOLE), objects, WHOLE, MADE)


def classes_of(result):
    return {one.id: one.class_name for one in result.objects}


def test_what_has_no_class_gets_it_and_shares_its_mask():
    result = set_class(found((1, 1, 5, 5), (8, 8, 12, 12)), "tumour", [2])
    all_of_them = set_class(result, "stroma")

    assert classes_of(all_of_them) == {1: "stroma", 2: "tumour"}
    before = [one.mask for one in result.objects]
    assert all(one.mask is mask for one, mask in zip(all_of_them.objects, before, strict=True))


def test_the_class_stays_when_an_object_is_painted_split_merged_or_chosen_anew():
    result = set_class(found((1, 1, 9, 9), (12, 12, 18, 18)), "nucleus", [1])
    shown = result.labels.copy()
    shown[2:5, 2:20] = 1
    shown[12:18, 12:18] = 3  # all pixels of 2, which has no class
    painted = apply_edit(result, shown, (slice(0, 20), slice(0, 30)))
    assert classes_of(painted) == {1: "nucleus", 3: ""}

    parts = np.zeros(result.objects[0].region.shape, int)
    parts[:4], parts[4:] = 1, 7
    split = split_object(result, 1, parts)
    assert classes_of(split) == {1: "nucleus", 2: "", 7: "nucleus"}
    assert classes_of(merge_objects(split, 7, split.objects[1])) == {1: "nucleus", 7: "nucleus"}

    other = found((1, 1, 4, 4)).objects[0]
    candidates = (other, result.objects[0])
    chosen = replace_object(
        Segmentation(result.labels, result.objects, WHOLE, MADE, (), candidates), 1, other
    )
    assert classes_of(chosen) == {1: "nucleus", 2: ""}


def test_the_class_of_a_tracked_object_is_the_same_on_all_frames_also_of_painted_ones():
    table, result = TrackTable(), found((1, 1, 5, 5), (8, 8, 12, 12))
    for frame in range(3):
        table.add(FrameResult(frame, result.labels, result.objects, frozenset({1, 2}), MADE))
    table.set_class(2, "daughter")
    table.put(1, measure_frame(1, result.labels))
    table.add(FrameResult(3, result.labels, result.objects, frozenset({1, 2}), MADE))

    told = {(row.frame, row.object_id): row.class_name for row in table.copy().rows()}
    assert told == {(at, id_): ("", "daughter")[id_ - 1] for at in range(4) for id_ in (1, 2)}


TREE = ClassList(
    (
        ObjectClass(3, "tumour", parent="nucleus"),
        ObjectClass(1, "nucleus"),
        ObjectClass(2, "axon", (1, 2, 3), parent="fibre"),
        ObjectClass(5, "mitosis", parent="tumour"),
    )
)


def test_a_tree_from_its_top_with_headings_that_are_no_class():
    told = [(depth, name, one is not None) for depth, name, one in TREE.in_tree()]

    assert told == [
        (0, "nucleus", True),
        (1, "tumour", True),
        (2, "mitosis", True),
        (0, "fibre", False),
        (1, "axon", True),
    ]
    assert TREE.path("mitosis") == ("nucleus", "tumour", "mitosis")


def test_a_class_is_no_kind_of_itself():
    with pytest.raises(MaskError, match="a kind of itself"):
        ClassList((ObjectClass(1, "a", parent="b"), ObjectClass(2, "b", parent="a")))


PATHS = ClassList(
    (
        ObjectClass(1, "tumour"),
        ObjectClass(2, "tumour: positive"),
        ObjectClass(3, "immune: CD8: active"),
        ObjectClass(4, "nucleus", parent="tumour"),
    )
)


def test_a_name_that_is_a_path_is_a_kind_of_what_it_begins_with():
    assert [(depth, name, one is not None) for depth, name, one in PATHS.in_tree()] == [
        (0, "tumour", True),
        (1, "tumour: positive", True),
        (1, "nucleus", True),
        (0, "immune", False),
        (1, "immune: CD8", False),
        (2, "immune: CD8: active", True),
    ]
    assert PATHS.path_names("immune: CD8: active") == ["immune", "CD8", "active"]
    assert PATHS.path_names("nucleus") == ["tumour", "nucleus"]
    assert PATHS.parent("tumour: positive") == PATHS.parent("nucleus") == "tumour"
    # Who names a class by its path means that class, and no new one.
    assert PATHS.resolve("tumour: nucleus") == "nucleus"
    assert PATHS.extend(ClassList.of_names(["tumour: nucleus"])) == PATHS
    assert PATHS.resolve("stroma: nucleus") == "stroma: nucleus"


def test_what_is_named_by_the_path_of_a_renamed_class_follows_it():
    typed = [replace(one, name="cancer") if one.id == 1 else one for one in PATHS]
    after, names = ClassList.after_renaming(typed, {"tumour": "cancer"})
    assert [one.name for one in after] == [
        "cancer",
        "cancer: positive",
        "immune: CD8: active",
        "nucleus",
    ]
    assert after.path("nucleus") == ("cancer", "nucleus")
    assert names == {"tumour": "cancer", "tumour: positive": "cancer: positive"}


@pytest.mark.parametrize("name", ["tree.csv", "tree.json"])
def test_a_tree_comes_back_from_its_file_in_its_order(name, tmp_path):
    back = read_classes(write_classes(TREE, tmp_path / name))

    assert [(one.id, one.name, one.parent) for one in back] == [
        (one.id, one.name, one.parent) for one in TREE
    ]


def test_a_coco_category_may_be_its_own_heading_or_of_none(tmp_path):
    (tmp_path / "coco.json").write_text(
        '{"categories": [{"id": 1, "name": "person", "supercategory": "person"},'
        ' {"id": 2, "name": "cell", "supercategory": "none"},'
        ' {"id": 3, "name": "car", "supercategory": "vehicle"}]}'
    )
    assert [one.parent for one in read_classes(tmp_path / "coco.json")] == ["", "", "vehicle"]


@given(data=st.data())
def test_any_tree_is_walked_once_and_comes_back(data, tmp_path_factory):
    count = data.draw(st.integers(1, 12))
    names = [f"class {number}" for number in range(count)]
    made = [
        ObjectClass(
            number + 1,
            name,
            parent=data.draw(st.sampled_from(["", "heading", *names[:number]])),
        )
        for number, name in enumerate(names)
    ]
    tree = ClassList(tuple(data.draw(st.permutations(made))))

    walked = [one.name for _, _, one in tree.in_tree() if one is not None]
    assert sorted(walked) == sorted(names)
    for depth, name, _ in tree.in_tree():
        assert depth == len(tree.path(name)) - 1
    file = tmp_path_factory.mktemp("tree") / data.draw(st.sampled_from(["a.csv", "a.json"]))
    back = read_classes(write_classes(tree, file))
    assert [one.name for one in back] == [one.name for one in tree]
    assert [one.parent for one in back] == [one.parent for one in tree]


@st.composite
def class_lists(draw):
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=5))
    ids = draw(st.lists(st.sampled_from([0, 1, 2, 3, 65534]), unique=True, min_size=5, max_size=5))
    made = []
    for id_, name in zip(ids, names, strict=False):
        one = ObjectClass(id_, name, None, draw(st.sampled_from(["", *"abcdef"])))
        try:
            ClassList((*made, one))
        except MaskError:
            one = replace(one, parent="")
        made.append(one)
    return ClassList(tuple(made))


@given(class_lists(), class_lists())
def test_a_list_that_another_one_extends_keeps_its_classes_and_their_values(mine, theirs):
    both = mine.extend(theirs)
    assert both.classes[: len(mine)] == mine.classes
    assert {one.name for one in both} == {one.name for one in (*mine, *theirs)}
    assert {value: both.names[value] for value in mine.names} == mine.names
    assert mine or both == theirs
    assert both.extend(theirs) == both
