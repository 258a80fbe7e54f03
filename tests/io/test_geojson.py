"""Objects of QuPath, as it writes GeoJSON, become labels."""

import json

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.errors import ImageError, MaskError
from napari_sam3_assistant.io.annotations import GeoJsonFile, paint_annotations

SHAPE = (40, 60)


def square(x, y, size):
    """A closed ring, as QuPath writes them: x before y."""
    return [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]


def feature(geometry, classification=None, plane=None, **properties):
    """An object as QuPath 0.5 and 0.6 write it."""
    if plane is not None:
        geometry = {**geometry, "plane": plane}
    told = {"objectType": "annotation", "isLocked": False, **properties}
    if classification is not None:
        told["classification"] = classification
    id_ = "b1a6d5a2-7b52-4b79-8b36-5f0d4d2f2c7e"
    return {"type": "Feature", "id": id_, "geometry": geometry, "properties": told}


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


def write(path, told):
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


def collection(*features):
    return {"type": "FeatureCollection", "features": list(features)}


OF_QUPATH = collection(
    feature(
        polygon(square(5, 5, 20), square(10, 10, 4)),
        {"name": "Tumor", "color": [200, 0, 0]},
        measurements={"Area µm^2": 12.5, "Nothing": "NaN"},
        name="A",
    ),
    feature(
        {"type": "MultiPolygon", "coordinates": [[square(30, 2, 4)], [square(40, 2, 6)]]},
        {"names": ["Immune", "CD8"], "color": [0, 100, 200]},
        objectType="detection",
    ),
    feature(polygon(square(30, 20, 5)), {"name": "Stroma", "colorRGB": -6895466}),
    feature(polygon(square(45, 20, 5)), objectType="cell"),
    feature({"type": "MultiPoint", "coordinates": [[3, 4], [5, 6]]}, {"name": "Tumor"}),
    feature({"type": "LineString", "coordinates": [[3, 4], [5, 6]]}),
    feature(polygon(square(0, 0, 60)), objectType="root"),
)


@pytest.fixture
def qupath(tmp_path):
    return write(tmp_path / "slide.geojson", OF_QUPATH)


def test_areas_with_holes_and_parts_are_objects_with_classes(qupath):
    file = api.read_geojson(qupath)
    assert file.shape is None
    found = file.paint(SHAPE)
    expected = np.zeros(SHAPE, np.uint32)
    expected[5:25, 5:25] = 1
    expected[10:14, 10:14] = 0
    expected[2:6, 30:34] = expected[2:8, 40:46] = 2
    expected[20:25, 30:35] = 3
    expected[20:25, 45:50] = 4
    np.testing.assert_array_equal(found.labels, expected)
    assert found.names == {1: "Tumor", 2: "Immune: CD8", 3: "Stroma", 4: ""}
    assert {one.name: one.colour for one in found.classes} == {
        "Tumor": (200, 0, 0),
        "Immune: CD8": (0, 100, 200),
        "Stroma": (150, 200, 150),
        "object": None,
    }
    assert found.measurements[1] == {"Area µm^2": 12.5}
    assert found.notes == (
        "2 annotations without an area (points, lines) left out.",
        "1 annotation of the whole image or of tissue cores left out.",
    )


def test_without_the_size_of_the_image_it_is_asked_for(qupath):
    with pytest.raises(MaskError, match="how large"):
        api.read_geojson(qupath).paint()


@pytest.mark.parametrize(
    "told",
    [
        OF_QUPATH["features"],  # QuPath 0.2 writes a list
        OF_QUPATH["features"][0],
        collection(feature(polygon(square(5, 5, 20)), "Tumor", measurements=[])),
        collection(
            feature(
                polygon(square(5, 5, 20)),
                {"name": "Tumor", "color": "a colour of tomorrow"},
                measurements=[{"name": "Area", "value": 4}],
            )
        ),
    ],
)
def test_other_ways_to_write_it(tmp_path, told):
    # By its content, too: not every program calls it so.
    found = paint_annotations(write(tmp_path / "a.json", told), SHAPE)
    assert found.labels[6, 6] == 1
    assert found.names[1] == "Tumor"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-be"])
@pytest.mark.parametrize("ending", [".json", ".geojson"])
def test_its_kind_may_be_told_late_and_in_any_unicode(tmp_path, ending, encoding, capsys):
    """Keys of JSON have no order, and what PowerShell writes is UTF-16."""
    area = feature(polygon(square(5, 5, 20)), "Tumor")
    told = collection({**dict(reversed(area.items())), "name": "x" * 9000})
    path = tmp_path / f"a{ending}"
    text = json.dumps({"about": "x" * 9000, **dict(reversed(told.items()))})
    path.write_bytes(text.encode(encoding))
    found = paint_annotations(path, SHAPE)
    assert found.names == {1: "Tumor"}
    assert found.labels[6, 6] == 1
    image = tmp_path / "image.npy"
    np.save(image, np.zeros(SHAPE, np.uint8))
    assert main(["import", str(path), "--image", str(image), "-o", str(tmp_path / "out")]) == 0
    assert "1 object" in capsys.readouterr().out


@pytest.mark.parametrize("within", ["feature", "properties"])
def test_objects_within_others_are_objects_too(tmp_path, within):
    """A region holds a cell, which holds a spot; and a second region holds nothing."""

    def square(y, x, size, *inside):
        corners = [(x, y), (x + size, y), (x + size, y + size), (x, y + size), (x, y)]
        geometry = {"type": "Polygon", "coordinates": [corners]}
        made = {"type": "Feature", "geometry": geometry, "properties": {}}
        (made if within == "feature" else made["properties"])["childObjects"] = list(inside)
        return made

    told = [square(0, 0, 20, square(4, 4, 8, square(6, 6, 2))), square(25, 25, 4)]
    path = tmp_path / "nested.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": told}))
    labels = GeoJsonFile(path).paint((30, 30)).labels
    expected = np.zeros((30, 30), int)
    for value, (at, size) in enumerate([(0, 20), (4, 8), (6, 2), (25, 4)], 1):
        expected[at : at + size, at : at + size] = value
    np.testing.assert_array_equal(labels, expected)


def test_kinds_of_classes_are_those_that_qupath_derives(tmp_path):
    labels = np.zeros(SHAPE, np.uint16)
    labels[5:9, 5:9], labels[20:25, 30:35], labels[20:25, 10:15] = 1, 2, 3
    tree = api.ClassList(
        (
            api.ObjectClass(1, "cell"),
            api.ObjectClass(2, "nucleus", (1, 2, 3), parent="cell"),
            api.ObjectClass(3, "tumour: positive"),
        )
    )
    of_objects = {1: 1, 2: 2, 3: 3}
    file = api.export(labels, tmp_path / "out.geojson", classes=tree, object_classes=of_objects)
    told = [one["properties"]["classification"] for one in json.loads(file.read_text())["features"]]
    assert told[0]["name"] == "cell"
    assert told[1] == {"names": ["cell", "nucleus"], "color": [1, 2, 3]}
    assert told[2]["names"] == ["tumour", "positive"]
    back = api.read_geojson(file).paint()
    assert [back.classes.path_names(name) for name in back.names.values()] == [
        ["cell"],
        ["cell", "nucleus"],
        ["tumour", "positive"],
    ]
    coco = api.export(labels, tmp_path / "c.json", classes=tree, object_classes=of_objects)
    told = [one["supercategory"] for one in json.loads(coco.read_text())["categories"]]
    assert told == ["", "cell", "tumour"]


def test_derived_classes_of_older_versions_of_qupath(tmp_path):
    above = {"name": "Tumor", "colorRGB": -3670016}
    told = {"name": "Positive", "colorRGB": -377282, "parentClass": above}
    found = paint_annotations(
        write(tmp_path / "a.json", collection(feature(polygon(square(5, 5, 20)), told))), SHAPE
    )
    assert found.names == {1: "Tumor: Positive"}
    assert next(iter(found.classes)).colour == (250, 62, 62)
    assert found.classes.parent("Tumor: Positive") == "Tumor"


def test_objects_of_other_planes_are_left_out(tmp_path):
    planes = [{"c": -1, "z": z, "t": t} for z, t in ((0, 0), (3, 0), (3, 2))]
    told = [feature(polygon(square(4 * n, 4, 4)), plane=at) for n, at in enumerate(planes)]
    path = write(tmp_path / "a.geojson", collection(*told))
    for at, x in (({"z": 3}, 4), ({"z": 3, "t": 2}, 8), ({}, 0), ({"z": 1}, None)):
        found = paint_annotations(path, SHAPE, plane=at)
        assert np.unique(np.nonzero(found.labels)[1]).tolist() == (
            [] if x is None else list(range(x, x + 4))
        )
        assert found.notes == (
            f"{2 if x is not None else 3} annotations on other planes left out.",
        )
    # A program for planes knows the first one alone: its objects are for the plane on show.
    path = write(tmp_path / "b.geojson", collection(told[0]))
    assert paint_annotations(path, SHAPE, plane={"z": 7}).labels.any()
    path = write(tmp_path / "c.geojson", collection(told[1]))
    assert paint_annotations(path, SHAPE).labels.any()
    assert not paint_annotations(path, SHAPE, plane={"z": 7}).labels.any()


@given(st.integers(0, 2**32 - 1))
def test_what_we_export_comes_back(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (9, 11)).repeat(3, 0).repeat(3, 1).astype(np.uint32)
    names = {1: "a", 2: "b: c", 3: "ü"}
    folder = tmp_path_factory.mktemp("out")
    path = api.export(
        labels,
        folder / "a.geojson",
        classes=api.ClassList.of_names(names.values()),
        object_classes={one: one for one in names},
    )
    file = api.read_geojson(path)
    found = file.paint()
    assert file.shape == labels.shape
    for new, name in found.names.items():
        mine = found.labels == new
        old = set(labels[mine].tolist())
        assert len(old) == 1
        (value,) = old
        assert names[value] == name
        np.testing.assert_array_equal(mine, labels == value)


def test_the_wrong_image_is_refused(tmp_path):
    path = write(
        tmp_path / "a.geojson",
        {**collection(), "image": {"name": "a.tif", "height": 30, "width": 30}},
    )
    with pytest.raises(ImageError, match="30 x 30"):
        paint_annotations(path, SHAPE)


@pytest.mark.parametrize(
    "told",
    [
        3,
        [3],
        {"type": "Feature"},
        collection({"type": "Thing"}),
        collection(feature(polygon([[0]]))),
        collection(feature(polygon([["a", "b"]]))),
        collection(feature({"type": "Polygon"})),
        collection(feature(polygon(square(1, 1, 1)), {"name": 4})),
        collection(feature(polygon(square(1, 1, 1)), plane={"z": 0.5})),
        {**collection(), "image": {"height": -1, "width": 3}},
        {**collection(), "image": {"height": 10**12, "width": 10**12}},
    ],
)
def test_what_is_none_is_refused_in_a_sentence(tmp_path, told):
    path = write(tmp_path / "a.geojson", told)
    if told == {"type": "Feature"}:
        assert not paint_annotations(path, SHAPE).labels.any()
        return
    with pytest.raises((MaskError, ImageError)):
        api.read_geojson(path).paint()


def test_damaged_and_far_and_endless(tmp_path):
    path = tmp_path / "a.geojson"
    whole = json.dumps(OF_QUPATH).encode()
    for content in (b"", whole[:200], b"\xff\xfe", b"[" * 100_000, b'{"features": NaN}'):
        path.write_bytes(content)
        with pytest.raises(MaskError):
            api.read_geojson(path)
    far = [[-1e300, 2], [1e300, 2], [1e300, 1e300], [2, 1e300]]
    found = paint_annotations(write(path, collection(feature(polygon(far)))), SHAPE)
    assert found.labels.shape == SHAPE
    outside = collection(feature(polygon(square(400, 400, 5))), feature(polygon([])))
    found = paint_annotations(write(path, outside), SHAPE)
    assert found.notes == ("2 annotations without pixels left out.",)


def test_the_command_line_takes_it(tmp_path, qupath, capsys):
    image = tmp_path / "slide.tif"
    tifffile.imwrite(image, np.zeros(SHAPE, np.uint8))
    out = tmp_path / "out"
    assert main(["import", str(qupath), "--image", str(image), "-o", str(out)]) == 0
    np.testing.assert_array_equal(
        tifffile.imread(out / "slide_labels.tif"), api.read_geojson(qupath).paint(SHAPE).labels
    )
    assert "Immune: CD8" in (out / "slide_objects.csv").read_text(encoding="utf-8")
    assert "points" in capsys.readouterr().out
    assert main(["import", str(qupath), "-o", str(out), "--overwrite"]) != 0
    assert "how large" in capsys.readouterr().err


def test_objects_of_qupath_are_prompts(tmp_path, qupath):
    image = np.full(SHAPE, 30, np.uint8)
    image[5:25, 5:25] = 200
    found = api.segment(image, labels=qupath)
    assert [one.id for one in found.objects] == [1, 2, 3, 4]
    stack = np.stack([image, image])
    told = collection(feature(polygon(square(5, 5, 20)), plane={"c": -1, "z": 0, "t": 1}))
    path = write(tmp_path / "t.geojson", told)
    found = api.segment(stack, labels=path, plane=1, axis_labels=["t", "y", "x"])
    assert len(found.objects) == 1
