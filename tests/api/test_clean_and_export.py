"""Labels of files, cleaned up and written for other programs without a window."""

import json
import re

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from skimage.data import coins
from skimage.measure import label

from amounts import FEW
from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.core.axes import Axis, make_axes
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.results import Provenance
from napari_sam3_assistant.core.tracks import TrackScale
from napari_sam3_assistant.errors import ExportError, ImageError, MaskError
from napari_sam3_assistant.io.labels import save_labels
from napari_sam3_assistant.io.provenance import write_provenance
from napari_sam3_assistant.workflows.provenance import RunProvenance, make_record


@pytest.fixture
def cells(tmp_path):
    """A file of labels with specks, pixels of 0.5 um: (303, 384), and its labels."""
    labels = label(coins() > 120, connectivity=1).astype(np.uint16)
    path = tmp_path / "cells.tif"
    tifffile.imwrite(
        path,
        labels,
        ome=True,
        metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
    )
    return path, labels


def test_steps_follow_each_other_and_the_file_stays(cells, tmp_path):
    path, labels = cells
    before = path.read_bytes()

    made = api.clean(path, [api.RemoveSmall(50), api.Renumber()], output=tmp_path / "clean.ome.tif")

    expected = np.where((np.bincount(labels.ravel()) >= 50)[labels], labels, 0)
    np.testing.assert_array_equal(made != 0, expected != 0)
    assert set(np.unique(made)) == set(range(len(np.unique(expected))))
    assert path.read_bytes() == before
    with tifffile.TiffFile(tmp_path / "clean.ome.tif") as file:
        np.testing.assert_array_equal(file.asarray(), made)
        assert 'PhysicalSizeX="0.5"' in file.ome_metadata


def test_distances_count_in_pixels_or_in_the_unit_of_the_file(cells):
    path, labels = cells

    in_pixels = api.clean(path, [api.Expand(2)])
    in_um = api.clean(path, [api.Expand(1)], physical=True)

    np.testing.assert_array_equal(in_pixels, in_um)
    assert (in_pixels != 0).sum() > (labels != 0).sum()
    np.testing.assert_array_equal(api.clean(labels, [api.Expand(2)]), in_pixels)


def write_floats(path, labels):
    """Write what MorphoLibJ and CLIJ do: ImageJ has no whole numbers of 32 bits."""
    tifffile.imwrite(path, labels.astype(np.float32), imagej=True)


def write_nan(path, labels):
    tifffile.imwrite(path, np.where(labels == 0, np.nan, labels))


def write_palette(path, labels):
    """Write what VOC, DAVIS and Labelme do: numbers, and their colours in a palette."""
    picture = Image.fromarray(labels.astype(np.uint8), "P")
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    picture.save(path)


def write_ilastik(path, labels, names="tzyxc"):
    """Write what ilastik exports of a plane: a channel behind its columns."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        shape = [dict(zip("yx", labels.shape, strict=True)).get(name, 1) for name in names]
        data = file.create_dataset("exported_data", data=labels.reshape(shape))
        data.attrs["axistags"] = json.dumps({"axes": [{"key": name} for name in names]})


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("floats.tif", write_floats),
        ("nan.tif", write_nan),
        ("palette.png", write_palette),
        ("ilastik.h5", write_ilastik),
        ("plane.h5", lambda path, labels: write_ilastik(path, labels, "yxc")),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_labels_of_other_programs_are_labels(tmp_path, name, write):
    """Floats and palettes were refused; of ilastik each row was a plane, or nothing fitted."""
    labels = label(coins() > 120, connectivity=1).astype(np.uint16)[:100, :90]
    write(tmp_path / name, labels)
    steps = [api.FillHoles(9), api.RemoveSmall(20)]

    made = api.clean(tmp_path / name, steps)
    np.testing.assert_array_equal(np.squeeze(made), api.clean(labels, steps))
    image = coins()[:100, :90]
    measured = api.measure(tmp_path / name, image)
    assert [*map(dict, measured)] == [*map(dict, api.measure(labels, image))]
    shown = api.segment(image, labels=tmp_path / name, as_painted=True)
    np.testing.assert_array_equal(shown.labels, labels)
    for source, file in ((tmp_path / name, "theirs.json"), (labels, "ours.json")):
        api.export(source, tmp_path / file)
    theirs, ours = (
        json.loads((tmp_path / file).read_text()) for file in ("theirs.json", "ours.json")
    )
    assert theirs["annotations"] == ours["annotations"]


def test_numbers_that_are_not_whole_are_no_labels(tmp_path):
    for wrong in (0.7, -1.0, np.inf, 2.0**33):
        with pytest.raises(MaskError, match="Labels are whole numbers from 0 on"):
            api.clean(np.array([[0.0, wrong], [1.0, 2.0]]), [api.Renumber()])


# Of a micrometre.
UNITS = {"micrometer": 1.0, "nanometer": 1e3, "millimeter": 1e-3}


@FEW
@given(
    size=st.tuples(*[st.sampled_from([0.25, 0.5, 1.0, 1.5])] * 3),
    units=st.tuples(*[st.sampled_from(sorted(UNITS))] * 2),
    ways=st.tuples(*[st.sampled_from([1, -1])] * 3),
    seed=st.integers(0, 99),
)
def test_units_and_directions_of_axes_change_no_distance(tmp_path_factory, size, units, ways, seed):
    labels = np.zeros((5, 12, 14), np.uint16)
    for number, spot in enumerate(np.random.default_rng(seed).integers(0, (4, 10, 12), (3, 3)), 1):
        labels[tuple(slice(at, at + 2) for at in spot)] = number

    def answers(units, ways):
        path = tmp_path_factory.mktemp("written") / "labels.zarr"
        axes = [
            Axis(name, length, way * length_of * UNITS[unit], unit)
            for name, length, length_of, unit, way in zip(
                "zyx", labels.shape, size, units, ways, strict=True
            )
        ]
        save_labels(labels, path, tuple(axes))
        grown = api.clean(path, [api.Expand(1.5)], physical=True)
        rows = [api.measure(path), api.measure(path, volumes=True, more=["Volume major axis"])]
        scale = TrackScale.of(tuple(axes))
        return grown, rows, (scale.y, scale.x, scale.unit)

    grown, rows, scale = answers((*units, "micrometer"), ways)

    expected_grown, expected_rows, expected_scale = answers(("micrometer",) * 3, (1, 1, 1))
    np.testing.assert_array_equal(grown, expected_grown)
    for found, expected in zip(rows, expected_rows, strict=True):
        assert [row.pop("unit") for row in found] == [row.pop("unit") for row in expected]
        assert list(found) == [pytest.approx(row, rel=1e-9) for row in expected]
    assert scale == expected_scale


def test_between_times_there_are_no_distances(tmp_path):
    movie = tmp_path / "movie.tif"
    axes = (Axis("t", 3, 2.0, "second"), Axis("y", 9, 0.5, "micrometer"))
    labels = np.zeros((3, 9, 9), np.uint16)
    labels[1, 4, 4] = 1
    save_labels(labels, movie, (*axes, Axis("x", 9, 0.5, "micrometer")))

    with pytest.raises(MaskError, match=r"second, micrometer, micrometer.*slices apart"):
        api.clean(movie, [api.Expand(2)], physical=True, apart="nothing")

    grown = api.clean(movie, [api.Expand(0.5)], physical=True)
    assert np.unique(np.nonzero(grown)[0]).tolist() == [1]
    assert np.count_nonzero(grown) == 5


def test_nothing_that_is_read_is_replaced(cells, tmp_path):
    path, _ = cells
    image, classes, objects = (tmp_path / name for name in ("image.tif", "c.json", "o.geojson"))
    iio.imwrite(image, np.asarray(iio.imread(path), np.uint8))
    classes.write_text(json.dumps({"categories": [{"id": 1, "name": "cell"}]}))
    objects.write_text("id,class\n1,cell\n")
    before = {file: file.read_bytes() for file in (path, image, classes, objects)}
    for write in (
        lambda: api.measure(path, image, output=image, overwrite=True),
        lambda: api.segment(image, labels=path, output=path, overwrite=True),
        lambda: api.export(path, classes, classes=classes, overwrite=True),
        lambda: api.export(path, objects, classes=classes, object_classes=objects, overwrite=True),
    ):
        with pytest.raises(ExportError, match="would replace"):
            write()
    assert {file: file.read_bytes() for file in before} == before


def test_labels_are_whatever_an_image_may_be(tmp_path):
    rows = [[1, 1, 0, 0], [0, 0, 9, 9]]
    for labels in (rows, [np.array(rows), np.array(rows)[:, ::2]]):
        assert api.clean(labels, [api.Renumber()]).tolist() == [[1, 1, 0, 0], [0, 0, 2, 2]]
        assert [row["id"] for row in api.measure(labels)] == [1, 9]
        api.export(labels, tmp_path / "a.tif", overwrite=True)
        assert iio.imread(tmp_path / "a.tif").tolist() == rows


def test_what_can_not_be_done_is_said(cells, tmp_path):
    path, _ = cells
    with pytest.raises(MaskError, match="whole numbers"):
        api.clean(np.zeros((3, 3), complex), [api.Renumber()])
    with pytest.raises(ExportError, match="exists already"):
        api.clean(path, [api.Renumber()], output=path)
    with pytest.raises(ExportError):
        api.clean(path, [api.Renumber()], output=path, overwrite=True)
    with pytest.raises(ExportError, match=r"can't be saved as '\.csv'"):
        api.clean(path, [api.Renumber()], output=tmp_path / "a.csv")
    with pytest.raises(ImageError):
        api.export(tmp_path / "none.tif", tmp_path / "a.json")
    with pytest.raises(ExportError, match=r"exported as '\.doc'"):
        api.export(path, tmp_path / "a.doc")
    with pytest.raises(ExportError, match=r"no format 'xls'.*coco_rle"):
        api.export(path, tmp_path / "a.doc", format="xls")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["cells.tif"]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_coordinates_are_those_of_the_image_where_the_note_lies_beside(tmp_path):
    stack = np.zeros((5, 60, 80), np.uint8)
    labels = np.zeros((20, 30), np.uint16)
    labels[5:9, 7:12] = 3
    file, image = tmp_path / "part.tif", tmp_path / "cells of one.tif"
    tifffile.imwrite(file, labels)
    view = view_of_array(stack, plane=(4,))
    run = RunProvenance(
        view,
        api.PromptSet(),
        api.PredictOptions(),
        Provenance("builtin", "Built-in", "5", "cpu", 0.5),
        paths={view.channels[0].source.token: image},
        region=api.Region(10, 40, 30, 70),
    )
    write_provenance(file, make_record(run, tmp_path))

    read = COCO(str(api.export(file, tmp_path / "a.json")))
    regions = json.loads(api.export(file, tmp_path / "a.geojson").read_text())

    assert read.imgs[1]["file_name"] == "cells of one_4.tif"
    assert (read.imgs[1]["height"], read.imgs[1]["width"]) == (60, 80)
    mask = np.zeros((60, 80), bool)
    mask[15:19, 47:52] = True
    np.testing.assert_array_equal(read.annToMask(read.anns[1]), mask)
    assert regions["features"][0]["geometry"]["plane"]["z"] == 4
    # Other labels than those of the note are an image of their own.
    tifffile.imwrite(file, labels[:10])
    alone = json.loads(api.export(file, tmp_path / "b.json").read_text())
    assert alone["images"][0] == {"id": 1, "file_name": "part.tif", "height": 10, "width": 30}


@pytest.mark.parametrize("name", ["a.tif", "a.zarr"])
@pytest.mark.parametrize("names", ["tyx", "zyx", "ctyx", "tzyx", "tczyx"])
def test_planes_are_called_as_the_file_of_the_labels_calls_them(tmp_path, names, name):
    shape = (*range(2, len(names)), 8, 9)
    labels = np.ones(shape, np.uint16)
    save_labels(labels, tmp_path / name, make_axes(shape, names=names))

    told = json.loads(api.export(tmp_path / name, tmp_path / "a.geojson").read_text())
    coco = json.loads(api.export(tmp_path / name, tmp_path / "a.json").read_text())
    rows = api.measure(tmp_path / name)

    called = {one["file_name"] for one in coco["images"]}
    assert len(called) == np.prod(shape[:-2])
    assert all(re.fullmatch(rf"a(_\d+){{{len(names) - 2}}}\{name[1:]}", one) for one in called)
    lengths = dict(zip(names, shape, strict=True))
    for axis, absent in (("z", 0), ("t", 0), ("c", -1)):
        at = {one["geometry"]["plane"][axis] for one in told["features"]}
        assert at == (set(range(lengths[axis])) if axis in names else {absent})
        assert all((axis in row) == (axis in names) for row in rows)
    if "z" not in names:
        with pytest.raises(MaskError, match="no z axis"):
            api.measure(tmp_path / name, volumes=True)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(
    "line", ["export {} -o a.json", "measure {}", "clean {} fill-holes -o a.tif"]
)
def test_a_colour_picture_is_no_labels(tmp_path, line, channels, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    iio.imwrite(tmp_path / "a.png", np.full((8, 9, channels), 7, np.uint8))

    assert main(line.format("a.png").split()) == 2

    assert "is a colour picture" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["a.tif", "a.npy", "a.zarr"])
@pytest.mark.parametrize("shape", [(3, 8, 9), (2, 3, 8, 9), (1, 2, 8, 9), (1, 8, 9)])
def test_all_planes_of_a_stack_whose_axes_have_no_names_are_written(tmp_path, shape, name):
    labels = np.random.default_rng(0).integers(0, 9, shape).astype(np.uint16)
    np.save(tmp_path / "in.npy", labels)

    for folder, source in (("array", labels), ("file", tmp_path / "in.npy")):
        (tmp_path / folder).mkdir()
        made = api.imread(api.export(source, tmp_path / folder / name))
        np.testing.assert_array_equal(np.squeeze(made.data[...]), np.squeeze(labels))


def test_a_damaged_chunk_is_one_sentence(tmp_path):
    path = tmp_path / "labels.zarr"
    zarr.save_array(str(path), np.ones((4, 30, 30), np.uint8), zarr_format=2)
    next(path.glob("[0-9]*")).write_bytes(b"no chunk")

    with pytest.raises(ImageError, match="labels could not be read"):
        api.export(path, tmp_path / "a.zip")
    with pytest.raises(ImageError, match="labels could not be read"):
        api.clean(path, [api.Renumber()])

    assert [one.name for one in tmp_path.iterdir()] == ["labels.zarr"]


def test_commands(cells, tmp_path, capsys):
    path, labels = cells
    clean, coco = tmp_path / "clean.tif", tmp_path / "clean.json"

    assert main(["clean", str(path), "remove-small=50", "fill-holes", "-o", str(clean)]) == 0
    assert main(["export", str(clean), "-o", str(coco), "--image", "coins.png"]) == 0

    assert capsys.readouterr().out.splitlines() == [str(clean), str(coco)]
    expected = api.clean(labels, [api.RemoveSmall(50), api.FillHoles()])
    np.testing.assert_array_equal(tifffile.imread(clean), expected)
    content = json.loads(coco.read_text())
    assert content["images"][0]["file_name"] == "coins.png"
    assert [one["name"] for one in content["categories"]] == ["object"]
    assert len(content["annotations"]) == len(np.unique(expected)) - 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("clean {} tidy -o x.tif", "no step 'tidy'"),
        ("clean {} smooth=-1 -o x.tif", "not a number that this step takes"),
        ("clean {} remove-small=nan -o x.tif", "not a number that this step takes"),
        ("clean {} renumber=2 -o x.tif", "not a number that this step takes"),
        ("export {} -o x.json --class axon", "--class axon"),
        ("export {} -o x.json --class 0=axon", "--class 0=axon"),
        ("export {} -o x.nothing", "can't be exported"),
    ],
)
def test_odd_lines_are_one_sentence(cells, line, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert main(line.format(cells[0]).split()) == 2

    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_a_mask_of_0_and_255_has_its_components_numbered_and_cut(tmp_path, capsys):
    """As Fiji writes it: more than 255 objects, and no number left for a part that is cut off."""
    mask = np.zeros((64, 64), np.uint8)
    mask[::3, ::3] = 255
    path, numbered = tmp_path / "mask.tif", tmp_path / "labels.tif"
    tifffile.imwrite(path, mask)

    assert main(["measure", str(path)]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 2
    assert "clean MASK number-components -o LABELS" in told.err

    assert main(["clean", str(path), "number-components", "-o", str(numbered)]) == 0
    assert tifffile.imread(numbered).max() == (mask > 0).sum() == 22 * 22
    capsys.readouterr()
    assert main(["measure", str(numbered)]) == 0
    told = capsys.readouterr()
    assert (len(told.out.splitlines()), told.err) == (1 + 22 * 22, "")

    discs = np.zeros((40, 70), np.uint8)
    rows, columns = np.mgrid[:40, :70]
    for middle in (22, 46):
        discs[np.hypot(rows - 20, columns - middle) < 14] = 255
    parts = api.clean(discs, [api.Split(10.0)])
    assert np.unique(parts).size == 3
    assert np.array_equal(parts > 0, discs > 0)
    # What fits stays as it was.
    assert api.clean(discs, [api.RemoveSmall(5)]).dtype == np.uint8
