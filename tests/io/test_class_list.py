"""Lists of classes as people have them, and the same number of a class in every file."""

import csv
import io
import json

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.core.classes import ClassList, ObjectClass
from napari_sam3_assistant.core.masks.objects import Classes
from napari_sam3_assistant.errors import ExportError, MaskError
from napari_sam3_assistant.io.class_list import (
    read_classes,
    read_object_names,
    read_object_parents,
    write_classes,
    write_object_classes,
)

AXONS = ClassList((ObjectClass(1, "axon", (255, 0, 0)), ObjectClass(4, "myelin", (0, 128, 255))))
FILES = {
    "a.csv": 'id,name,color\n1,axon,#ff0000\n4,myelin,"0,128,255"\n',
    "b.csv": "\ufeffname,colour,id\r\nmyelin,#0080ff,4\r\naxon,red,1\r\n",
    "c.csv": "1,axon,#f00\n4,myelin,#0080ff\n",
    "coco.json": json.dumps(
        {
            "images": [],
            "annotations": [],
            "categories": [
                {"id": 4, "name": "myelin", "color": [0, 128, 255], "supercategory": ""},
                {"id": 1, "name": "axon", "color": [255, 0, 0]},
            ],
        }
    ),
    "own.yaml": (
        "classes:\n- {id: 1, name: axon, color: '#ff0000'}\n"
        "- {id: 4, name: myelin, color: [0, 128, 255]}\n"
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_one_list_in_the_files_that_people_have(name, tmp_path):
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")

    found = read_classes(tmp_path / name)
    assert ClassList(tuple(sorted(found, key=lambda one: one.id))) == AXONS
    first = "myelin" if name in ("b.csv", "coco.json") else "axon"
    assert next(iter(found)).name == first, "the order of the file is that of the keys"


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("name", ["a.csv", "b.csv", "c.csv"])
def test_cells_are_separated_as_spreadsheets_of_any_country_do_it(name, delimiter, tmp_path):
    path = tmp_path / name
    rows = csv.reader(io.StringIO(FILES[name].removeprefix("\ufeff"), newline=""))
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)

    assert ClassList(tuple(sorted(read_classes(path), key=lambda one: one.id))) == AXONS


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_objects_too(delimiter, tmp_path):
    path = tmp_path / "objects.csv"
    rows = (("id", "class", "parent"), ("3", "axon", ""), ("7", "myelin, old", "3"))
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)

    assert read_object_names(path) == {3: "axon", 7: "myelin, old"}
    assert read_object_parents(path) == {7: 3}


def test_a_semicolon_in_a_name_separates_nothing(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("axon; thick\nmyelin\n", encoding="utf-8")
    assert [one.name for one in read_classes(path)] == ["axon; thick", "myelin"]


@pytest.mark.parametrize(
    ("name", "text", "first"),
    [
        ("data.yaml", "path: x\nnc: 2\nnames: ['axon', 'myelin']\n", 0),
        ("data.yml", "names:\n  0: axon\n  1: myelin\n", 0),
        ("classes.txt", "axon\n\nmyelin\n", 1),
        ("names.csv", "axon\nmyelin\n", 1),
        ("list.json", '["axon", "myelin"]', 1),
        ("map.json", '{"names": {"0": "axon", "1": "myelin"}}', 0),
        (
            "classes.json",
            '{"pathClasses": [{"name": "axon", "colorRGB": -65536}, {"name": "myelin"}]}',
            1,
        ),
    ],
)
def test_names_without_numbers_count_on(name, text, first, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")

    read = read_classes(tmp_path / name)

    assert [(one.id, one.name) for one in read] == [(first, "axon"), (first + 1, "myelin")]
    # In labels 0 is background.
    assert read.names == {1: "axon", 2: "myelin"}
    assert read.colour(1) == ((255, 0, 0) if "pathClasses" in text else (86, 180, 233))


NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
    .map(str.strip)
    .filter(bool),
    min_size=1,
    max_size=6,
    unique=True,
)


@given(NAMES, st.integers(0, 9000), st.data())
def test_what_was_written_is_read(tmp_path_factory, names, first, data):
    step = st.integers(1, 3)
    ids = np.cumsum([first, *(data.draw(step) for _ in names[1:])]).tolist()
    colour = st.tuples(*[st.integers(0, 255)] * 3)
    listed = ClassList(
        tuple(ObjectClass(*one, data.draw(colour)) for one in zip(ids, names, strict=True))
    )
    folder = tmp_path_factory.mktemp("lists")

    for ending in (".csv", ".json"):
        assert read_classes(write_classes(listed, folder / f"a{ending}")) == listed
    of_objects = dict(enumerate(names, 1))
    assert read_object_names(write_object_classes(of_objects, folder / "of.csv")) == of_objects
    told = yaml.safe_load(write_classes(listed, folder / "data.yaml").read_text("utf-8"))
    assert list(told["names"].values()) == names
    assert list(told["names"]) == list(listed.yolo_numbers.values())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"id,name\n1,a\n1,b\n"),
        ("a.csv", b"id,name\n1,a\n2,a\n"),
        ("a.csv", b"id,name\n-1,a\n"),
        ("a.csv", b"id,name\n999999,a\n"),
        ("a.csv", b"id,name\n1,\n"),
        ("a.csv", b"id,name,color\n1,a,nocolour\n"),
        ("a.csv", b"id,name\n" + b"9" * 5000 + b",a\n"),
        ("a.txt", b"\xff\xfe\x00"),
        ("a.txt", b"x" * (1 << 21)),
        ("a.json", b"[" * 100_000),
        ("a.json", b'{"categories": [{"id": NaN, "name": "a"}]}'),
        ("a.json", b'{"categories": [{"id": true, "name": "a"}]}'),
        ("a.json", b'{"categories": [{"id": 1}]}'),
        ("a.json", b'{"categories": 7}'),
        ("a.json", b"{}"),
        ("a.json", b'{"classes": [{"name": "a", "color": [1, 2]}]}'),
        ("a.json", b'{"classes": [{"name": "a", "color": [1, 2, 999]}]}'),
        ("a.yaml", b"names: [1, 2]"),
        ("a.yaml", b"names: !!python/object/apply:os.system ['true']"),
        ("a.yaml", b"a: &a [x,x]\nnames: [*a, *a]"),
    ],
)
def test_what_is_no_list_is_one_sentence(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(MaskError):
        read_classes(tmp_path / name)
    with pytest.raises(MaskError, match="can't be read"):
        read_classes(tmp_path / "none" / name)
    with pytest.raises(MaskError, match="can't be read"):
        read_classes(tmp_path)


@pytest.fixture
def masks():
    """A semantic mask of another numbering, (12, 20): 2 is axon, 1 is myelin."""
    labels = np.zeros((12, 20), np.uint8)
    labels[1:4, 1:5], labels[6:9, 3:9], labels[6:9, 12:15] = 2, 1, 2
    return labels


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_a_class_has_one_number_in_every_file(masks, tmp_path):
    own = {2: "axon", 1: "myelin"}

    coco = COCO(str(api.export(masks, tmp_path / "a.json", classes=AXONS, class_names=own)))
    yolo = api.export(masks, tmp_path / "a.txt", classes=AXONS, class_names=own)
    qupath = api.export(masks, tmp_path / "a.geojson", classes=AXONS, class_names=own)

    assert {one["id"]: one["name"] for one in coco.cats.values()} == {1: "axon", 4: "myelin"}
    for one in coco.anns.values():
        value = {1: 2, 4: 1}[one["category_id"]]
        assert (masks[coco.annToMask(one) > 0] == value).all()
    numbers = [int(line.split()[0]) for line in yolo.read_text().splitlines()]
    assert sorted(numbers) == [0, 0, 1]
    assert yaml.safe_load((tmp_path / "a.yaml").read_text())["names"] == {0: "axon", 1: "myelin"}
    # A file with one class only has the same numbers.
    one = api.export(masks == 1, tmp_path / "b.txt", classes=AXONS, object_class="myelin")
    assert one.read_text().startswith("1 ")
    told = [
        one["properties"]["classification"] for one in json.loads(qupath.read_text())["features"]
    ]
    assert {(one["name"], tuple(one["color"])) for one in told} == {
        ("axon", (255, 0, 0)), ("myelin", (0, 128, 255)),
    }  # fmt: skip


def test_a_list_that_counts_from_0_keeps_its_numbers_in_files(masks, tmp_path):
    (tmp_path / "data.yaml").write_text("names: {0: myelin, 3: axon}")

    listed = api.read_classes(tmp_path / "data.yaml")
    coco = api.export(masks * 2 - (masks == 1), tmp_path / "a.json", classes=tmp_path / "data.yaml")
    yolo = api.export(masks * 2 - (masks == 1), tmp_path / "a.txt", classes=listed)

    assert listed.names == {1: "myelin", 4: "axon"}
    found = json.loads(coco.read_text())
    assert [one["id"] for one in found["categories"]] == [0, 3]
    assert sorted(one["category_id"] for one in found["annotations"]) == [0, 3, 3]
    assert sorted(line[0] for line in yolo.read_text().splitlines()) == ["0", "3", "3"]


def test_what_the_list_has_not_is_refused_and_nothing_is_written(masks, tmp_path):
    with pytest.raises(MaskError, match=r"no “glia”.*axon, myelin"):
        api.export(masks, tmp_path / "a.json", classes=AXONS, class_names={2: "glia"})
    with pytest.raises(MaskError, match="no class for the value 2"):
        api.export(masks, tmp_path / "a.json", classes=AXONS)
    with pytest.raises(MaskError, match="no “glia”"):
        api.export(masks, tmp_path / "a.json", classes=AXONS, object_class="glia")
    with pytest.raises(MaskError, match="is not known"):
        Classes().number_by(AXONS)
    assert Classes().number_by(ClassList.of_names(["cell"])).name(1) == "cell"
    (tmp_path / "a.yaml").write_text("names: [myelin, axon]")
    with pytest.raises(ExportError, match="“axon” is number 1, which is 0 by the class list"):
        api.export(masks, tmp_path / "a.txt", classes=AXONS, object_class="axon")
    assert [one.name for one in tmp_path.iterdir()] == ["a.yaml"]


def test_on_the_command_line(masks, tmp_path, capsys):
    np.save(tmp_path / "m.npy", masks)
    write_classes(AXONS, tmp_path / "classes.csv")
    line = ["export", str(tmp_path / "m.npy"), "--classes", str(tmp_path / "classes.csv")]

    assert main([*line, "-o", str(tmp_path / "a.json"), "--object-class", "myelin"]) == 0
    assert main([*line, "-o", str(tmp_path / "b.json")]) == 2
    assert (
        main([*line, "-o", str(tmp_path / "c.json"), "--class", "1=axon", "--class", "2=myelin"])
        == 0
    )

    assert "no class for the value 2" in capsys.readouterr().err
    assert {
        one["category_id"] for one in json.loads((tmp_path / "a.json").read_text())["annotations"]
    } == {4}
