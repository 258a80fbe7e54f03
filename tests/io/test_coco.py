"""COCO files of others as labels: what pycocotools reads and writes, and what is damaged."""

import json
import unicodedata

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.core.masks.labels import ImagePlace
from napari_sam3_assistant.core.masks.objects import Classes
from napari_sam3_assistant.errors import MaskError, Sam3AssistantError
from napari_sam3_assistant.io.annotations import paint_annotations
from napari_sam3_assistant.io.exports import save_coco

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LABELS = arrays(np.uint16, st.tuples(*[st.integers(1, 24)] * 2), elements=st.integers(0, 4))


def write(path, annotations, shape=(20, 30), categories=({"id": 1, "name": "cell"},), **image):
    image = {"id": 1, "file_name": "a.png", "height": shape[0], "width": shape[1]} | image
    told = {"images": [image], "categories": list(categories), "annotations": annotations}
    path.write_text(json.dumps(told))
    return path


def paint_only(path):
    file = api.read_coco(path)
    return file.paint(file.find(""))


def annotation(segmentation, **more):
    return {"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation} | more


@given(LABELS, st.booleans())
def test_what_we_export_comes_back(tmp_path_factory, labels, as_polygons):
    path = tmp_path_factory.mktemp("coco") / "a.json"
    classes = Classes({1: "cell", 4: "dirt"}, {1: 1, 2: 4, 3: 1, 4: 4})
    place = ImagePlace("x", (40, 50), 7, 9)

    save_coco(labels, path, classes, place, as_polygons=as_polygons)
    file = api.read_coco(path)
    found = file.paint(file.find("x"))

    part = found.labels[7 : 7 + labels.shape[0], 9 : 9 + labels.shape[1]]
    assert np.count_nonzero(found.labels) == np.count_nonzero(part)
    known = np.unique(labels[labels > 0])
    for new, old in enumerate(known, 1):
        np.testing.assert_array_equal(part == new, labels == old)
    assert list(found.object_classes.values()) == [classes.value(old) for old in known]
    assert (found.classes.names, found.notes) == ({1: "cell", 4: "dirt"}, ())


@given(arrays(np.bool_, st.tuples(st.integers(1, 60), st.integers(1, 60)), fill=st.nothing()))
def test_run_lengths_of_pycocotools_compressed_and_not(tmp_path_factory, mask):
    packed = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    path = write(
        tmp_path_factory.mktemp("coco") / "a.json",
        [annotation({"size": list(mask.shape), "counts": packed["counts"].decode()})],
        mask.shape,
    )

    file = api.read_coco(path)

    np.testing.assert_array_equal(file.paint(file.images[0]).labels > 0, mask)


def test_polygons_of_others_cover_nearly_what_pycocotools_paints(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radii = rng.uniform(20, 40, 12)
        corners = np.stack([50 + radii * np.cos(angles), 60 + radii * np.sin(angles)], 1)
        path = write(tmp_path / "a.json", [annotation([corners.reshape(-1).tolist()])], (120, 100))
        (one,) = COCO(str(path)).anns.values()
        theirs = COCO(str(path)).annToMask(one) > 0

        file = api.read_coco(path)
        ours = file.paint(file.find("")).labels > 0

        # They differ in pixels on the outline alone.
        assert np.count_nonzero(ours ^ theirs) < 0.1 * np.count_nonzero(theirs)


def test_what_is_left_out_is_said_and_later_ones_are_on_top(tmp_path):
    square = [2, 2, 8, 2, 8, 8, 2, 8]
    path = write(
        tmp_path / "a.json",
        [
            annotation([square]),
            annotation([square]),
            annotation([], category_id=7),
            annotation([[100, 100, 200, 100, 200, 200]]),
            annotation({"size": [20, 30], "counts": [0, 600]}, iscrowd=1),
            annotation([[4, 4, 6, 4, 6, 6, 4, 6], [20, 10, 22, 10, 22, 12, 20, 12]], category_id=7),
        ],
        categories=({"id": 7, "name": "dirt", "color": [1, 2, 3]}, {"id": 1, "name": "cell"}),
        file_name="C:\\data\\..\\a.png",
    )

    file = api.read_coco(path)
    found = file.paint(file.find("a.tif"))

    assert found.image == "a.png"
    assert np.bincount(found.labels.ravel()).tolist() == [0, 0, 32, 560, 8]
    assert found.object_classes == {1: 1, 2: 1, 3: 1, 4: 7}
    assert found.classes.colour(7) == (1, 2, 3)
    assert found.notes == (
        "2 annotations without pixels left out.",
        "1 annotation marked as a crowd taken as one object each.",
        "1 annotation wholly below others.",
    )
    with pytest.raises(MaskError, match=r"has no image “b\.png”.*a\.png"):
        file.find("b.png")


@given(LABELS)
def test_masks_that_cvat_marks_as_crowds_are_objects(tmp_path_factory, labels):
    """Each that was painted by a brush; all of them were lost."""
    path = tmp_path_factory.mktemp("coco") / "a.json"
    masks = [labels == value for value in np.unique(labels[labels > 0])]
    packed = [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    told = [
        annotation({**one, "counts": one["counts"].decode()}, id=number, iscrowd=1)
        for number, one in enumerate(packed, 1)
    ]
    found = paint_only(write(path, told, shape=labels.shape))
    assert len(found.object_classes) == len(masks)
    for label, mask in enumerate(masks, 1):
        np.testing.assert_array_equal(found.labels == label, mask)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [20, 30], "counts": [1, 2]},
        {"size": [20, 30], "counts": [-1, 601]},
        {"size": [20, 30], "counts": [1e400]},
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": [20, 30], "counts": "x"},
        {"size": [20, 30], "counts": "~~~~~~~~~~~~~~~~~~~~~~~~~~"},
        {"size": [20, 30], "counts": "\udcff"},
        {"size": [20, 30]},
        {"counts": [600]},
        [[1, 2, 3]],
        [["a", "b"]],
        [[1, float("nan"), 3, 4, 5, 6]],
        [1, 2, 3, 4, 5, 6],
        "x",
        7,
    ],
)
def test_damaged_masks_are_one_sentence(segmentation, tmp_path):
    path = write(tmp_path / "a.json", [annotation(segmentation)])
    file = api.read_coco(path)

    with pytest.raises(MaskError, match=r"Annotation 1 of a\.png in a\.json can't be used"):
        file.paint(file.images[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told["images"][0].update(height=10**9, width=10**9), "of memory are free"),
        (lambda told: told["images"][0].update(height=0), "0 x 30"),
        (lambda told: told["images"][0].update(height=True), "not a COCO file"),
        (lambda told: told["images"][0].pop("file_name"), "not a COCO file"),
        (lambda told: told.update(images=3), "not a COCO file"),
        (lambda told: told.pop("categories"), "not a COCO file: it has no “categories”"),
        (lambda told: told["categories"].append(told["categories"][0]), "Two classes"),
        (lambda told: told["annotations"][0].update(category_id=9), "its category 9 is not in"),
        (lambda told: told["annotations"].append(None), "not a COCO file"),
        (lambda told: told["images"].clear(), "not a COCO file: it lists no image"),
    ],
)
def test_what_does_not_fit_is_one_sentence(change, said, tmp_path):
    path = write(tmp_path / "a.json", [annotation([[1, 1, 9, 1, 9, 9]])])
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))

    with pytest.raises(Sam3AssistantError, match=said):
        paint_only(path)


def test_annotations_of_images_that_are_not_listed_are_left_out(tmp_path):
    square = annotation([[1, 1, 9, 1, 9, 9, 1, 9]])
    file = api.read_coco(write(tmp_path / "a.json", [square, {**square, "image_id": 9}]))

    found = file.paint(file.images[0])

    assert found.object_classes == {1: 1}
    assert found.notes == ("1 annotation of images that the file does not list left out.",)


def with_points(value):
    """Return JSON whose whole numbers have a decimal point, as MATLAB and pandas write them."""
    if isinstance(value, dict):
        return {key: with_points(one) for key, one in value.items()}
    if isinstance(value, list):
        return [with_points(one) for one in value]
    return float(value) if type(value) is int else value


@given(
    LABELS,
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"]),
    st.sets(st.sampled_from([with_points, "by number", "decomposed"])),
)
def test_the_same_written_by_any_program_is_the_same(
    tmp_path_factory, labels, as_polygons, encoding, ways
):
    """Other Unicode, 10 as 10.0, annotations by number as LIVECell has them, names of macOS."""
    path = tmp_path_factory.mktemp("coco") / "a.json"
    place = ImagePlace("é.tif", labels.shape)
    classes = Classes({1: "é"}, dict.fromkeys(range(1, 5), 1))
    save_coco(labels, path, classes, place, as_polygons=as_polygons)
    before = paint_annotations(path, labels.shape, ["é.tif"])
    told = json.loads(path.read_text("utf8"))
    told["images"].append({**told["images"][0], "id": 7, "file_name": "other.tif"})
    if "by number" in ways:
        told["annotations"] = {str(one["id"]): one for one in told["annotations"]}
    if with_points in ways:
        told = with_points(told)
    text = json.dumps(told, ensure_ascii=False)
    if "decomposed" in ways:
        text = unicodedata.normalize("NFD", text)
    path.write_bytes(text.encode(encoding))

    found = paint_annotations(path, labels.shape, ["é.tif"])

    np.testing.assert_array_equal(found.labels, before.labels)
    assert found.object_classes == before.object_classes


def test_an_image_that_is_listed_twice_is_told_of(tmp_path):
    """LIVECell lists images twice that two people have annotated."""
    path = write(tmp_path / "a.json", [])
    told = json.loads(path.read_text())
    told["images"].append({**told["images"][0], "id": 2})
    path.write_text(json.dumps(told))
    with pytest.raises(MaskError, match=r"several images “a\.png”") as caught:
        api.read_coco(path).find("a.png")
    assert "napari-sam3 import" in caught.value.hint
    assert main(["import", str(path), "-o", str(tmp_path / "out")]) == 0
    assert len(list(tmp_path.glob("out/*_labels.tif"))) == 2


def test_corners_far_outside_take_no_memory(tmp_path):
    far = [annotation([[-1e308, -1e308, 1e308, -1e308, 1e308, 1e308, -1e308, 1e308]])]
    file = api.read_coco(write(tmp_path / "a.json", far))

    assert file.paint(file.images[0]).labels.all()


def test_images_of_any_name_are_imported_each_to_files_of_its_own(tmp_path):
    names = ["A.tif", "a.tif", "a.png", "a_3.tif", "CON.tif", "aux", "x" * 300 + ".tif", "ä?*.tif"]
    names += ["..", "../a.tif", "é.tif", "e\u0301.tif"]
    told = json.loads(write(tmp_path / "a.json", []).read_text())
    square = annotation([[2, 2, 8, 2, 8, 8, 2, 8]])
    told["images"] = [
        {**told["images"][0], "id": id_, "file_name": name} for id_, name in enumerate(names, 1)
    ]
    told["annotations"] = [
        {**square, "id": one["id"], "image_id": one["id"]} for one in told["images"]
    ]
    (tmp_path / "a.json").write_text(json.dumps(told))

    assert main(["import", str(tmp_path / "a.json"), "-o", str(tmp_path / "out")]) == 0

    made = [unicodedata.normalize("NFC", one.name.casefold()) for one in tmp_path.glob("out/*")]
    assert len(set(made)) == 2 * len(names) + 1


def test_import_and_export_on_the_command_line(tmp_path, capsys):
    square, categories = (
        [[2, 2, 8, 2, 8, 8, 2, 8]],
        ({"id": 3, "name": "a, b"}, {"id": 1, "name": "c"}),
    )
    path = write(tmp_path / "a.json", [annotation(square, category_id=3)], categories=categories,
                 file_name="../../x y.png")  # fmt: skip
    out = tmp_path / "out"

    assert main(["import", str(path), "-o", str(out)]) == 0

    names = ["classes.csv", "x_y_labels.tif", "x_y_objects.csv"]
    assert sorted(one.name for one in out.iterdir()) == names
    assert np.count_nonzero(tifffile.imread(out / "x_y_labels.tif")) == 36
    again = ["export", str(out / "x_y_labels.tif"), "-o", str(tmp_path / "b.json")]
    again += ["--classes", str(out / "classes.csv"), "--objects", str(out / "x_y_objects.csv")]
    assert main(again) == 0
    told = json.loads((tmp_path / "b.json").read_text())
    assert [one["category_id"] for one in told["annotations"]] == [3]
    capsys.readouterr()
    assert main(["import", str(path), "-o", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["import", str(path), "-o", str(out), "--overwrite", "--image", "none"]) == 2
    assert main(["import", str(path), "-o", str(out), "--overwrite", "--json"]) == 0
