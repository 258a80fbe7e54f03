"""Axes and pixel size that a file knows, of images that napari's own reader opened."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers._source import layer_source

from napari_sam3_assistant.core.prompts import PromptKind, Tool
from napari_sam3_assistant.session.values import AxesUse
from napari_sam3_assistant.viewer.geometry import World, is_aligned
from viewer_bench import ViewerBench

sys.path.insert(0, str(Path(__file__).parent.parent))
import saved_sessions as saved

SIZE = {"PhysicalSizeX": 0.325, "PhysicalSizeY": 0.325}
TIME = {"TimeIncrement": 30.0, "TimeIncrementUnit": "s"}


def write(path, axes="TYX", shape=(5, 48, 64), **metadata):
    y, x = np.ogrid[:48, :64]
    disc = np.where((y - 20) ** 2 + (x - 30) ** 2 <= 100, 200, 30).astype(np.uint8)
    data = np.broadcast_to(disc, shape)
    metadata = {"axes": axes, **SIZE, **metadata}
    tifffile.imwrite(path, data, photometric="minisblack", metadata=metadata)
    return path


class Bench(ViewerBench):
    """A viewer without a window; what a worker has to say waits until it is asked for."""

    def __init__(self):
        super().__init__()
        self.verbs = self.session.axes_from_file

    def open(self, path, read=True, **options):
        layers = self.viewer.open(str(path), plugin="napari", **options)
        if read:
            self.read()
        return layers

    def read(self):
        """Wait for what the file has to say."""
        self.wait(self.verbs.job)

    def wait(self, job):
        while job is not None and not job.state.is_over:
            self._calls.get(timeout=60)()
        assert job is None or job.error is None

    def click(self, z, y, x):
        self.model.tool = Tool.POINTS
        self.binding.prompts.arm()
        self.viewer.layers["SAM3 points"].add((z, y, x))
        self.wait(self.session.run())

    @property
    def told(self):
        return self.model.axes_from_file

    @property
    def place(self):
        return self.binding.adapter.displayed(self.model.image).plane


@pytest.fixture
def bench(napari_reads):
    made = Bench()
    yield made
    made.binding.close()


def known(layer):
    units = tuple("" if str(unit) == "pixel" else str(unit) for unit in layer.units)
    return tuple(layer.axis_labels), tuple(np.round(layer.scale, 6).tolist()), units


MICRO = ("second", "micrometer", "micrometer")
UNNAMED = ViewerModel().add_image(np.zeros((2, 3, 4))).axis_labels


def test_a_movie_is_one_unasked_and_its_pixels_wait_for_a_click(bench, tmp_path):
    (image,) = bench.open(write(tmp_path / "a.ome.tif", **TIME))
    assert known(image) == (("t", "y", "x"), (1, 1, 1), ("", "", ""))
    assert bench.model.frames_are_times
    assert bench.told.text == "By its file: t 30 s, y and x 0.325 µm."
    assert bench.told.offered is AxesUse.SIZES

    bench.verbs.take()
    assert known(image) == (("t", "y", "x"), (30, 0.325, 0.325), MICRO)
    assert not bench.told.offered
    assert bench.told.taken

    bench.verbs.take_back()
    assert known(image) == (UNNAMED, (1, 1, 1), ("", "", ""))
    assert bench.told.offered is AxesUse.ALL
    assert not bench.told.taken
    assert not bench.model.frames_are_times


def test_what_is_on_the_image_goes_with_it_and_the_same_pixels_are_on_show(bench, tmp_path):
    (image,) = bench.open(write(tmp_path / "a.ome.tif", **TIME))
    viewer = bench.viewer
    viewer.dims.set_point(0, 3)
    bench.click(3, 20, 30)
    bench.session.accept()
    bench.click(3, 21, 31)
    mine = viewer.add_points([(3, 5, 6)], name="mine")
    truth = viewer.add_labels(np.zeros((5, 48, 64), int), name="truth")
    flat = viewer.add_labels(np.zeros((48, 64), int), name="flat")
    camera = getattr(viewer, "scene", viewer).camera
    camera.center, camera.zoom = (0, 10, 20), 4
    before = {layer.name: known(layer)[1:] for layer in viewer.layers}
    preview = bench.model.preview

    bench.verbs.take()

    assert bench.place.leading == (3,)
    assert viewer.dims.point[0] == 90
    np.testing.assert_allclose(camera.center, (0, 3.25, 6.5))
    assert camera.zoom == pytest.approx(4 / 0.325)
    world = World.of(viewer)
    ours = ("SAM3 points", "SAM3 live accepted labels", "SAM3 preview labels")
    for layer in (truth, *(viewer.layers[name] for name in ours[:2])):
        assert is_aligned(image, layer, world)
    assert known(mine)[1:] == known(image)[1:]
    assert known(flat)[1:] == ((0.325, 0.325), MICRO[1:])
    for name in ours:
        assert known(viewer.layers[name])[1:] == known(image)[1:]
    # A click lies where it was, and what is found is measured and saved in micrometers.
    assert bench.model.preview is preview
    snapshot = bench.binding.adapter.take_snapshot(bench.model.image, PromptKind.POINTS)
    assert [(round(at.y, 6), round(at.x, 6)) for at in snapshot.prompts.points] == [(21, 31)]
    sizes = [(axis.scale, axis.unit) for axis in bench.binding.adapter.plane_axes(preview.target)]
    assert sizes == [(0.325, "micrometer")] * 2

    bench.verbs.take_back()
    assert {layer.name: known(layer)[1:] for layer in viewer.layers} == before
    assert bench.place.leading == (3,)
    np.testing.assert_allclose(camera.center, (0, 10, 20))


def test_the_channels_of_a_file_stay_together(bench, tmp_path):
    path = write(tmp_path / "a.ome.tif", "CZYX", (2, 5, 48, 64), PhysicalSizeZ=2.0)
    first, second = bench.open(path, channel_axis=0)
    assert bench.told.text == "By its file: z 2 µm, y and x 0.325 µm."
    bench.verbs.take()
    expected = (("z", "y", "x"), (2, 0.325, 0.325), ("micrometer",) * 3)
    assert known(first) == known(second) == expected
    bench.verbs.take_back()
    assert known(first) == known(second) == (UNNAMED, (1, 1, 1), ("", "", ""))


def test_channels_are_no_times(bench, tmp_path):
    (image,) = bench.open(write(tmp_path / "a.ome.tif", "CZYX", (2, 5, 48, 64)))
    assert image.axis_labels == ("c", "z", "y", "x")
    assert [axis.name for axis in bench.model.frame_axes] == ["z"]
    bench.click(2, 20, 30)
    assert bench.model.preview.segmentation.objects


def test_layers_of_other_images_stay_where_they_are(bench, tmp_path):
    bench.open(write(tmp_path / "a.ome.tif", **TIME))
    other = bench.viewer.add_image(np.zeros((5, 20, 20)), name="other")
    points = bench.viewer.add_points([(3, 5, 6)], name="of either")
    truth = bench.viewer.add_labels(np.zeros((5, 48, 64), int), name="truth")
    raw = bench.viewer.add_image(np.zeros((5, 48, 64)), name="as large")
    bench.model.image = str(bench.viewer.layers["a.ome"].unique_id)
    bench.read()
    bench.verbs.take()
    assert known(other)[1:] == known(points)[1:] == ((1, 1, 1), ("", "", ""))
    assert known(truth)[1:] == known(raw)[1:] == ((30, 0.325, 0.325), MICRO)


def test_what_somebody_has_set_is_kept(bench, tmp_path):
    path = write(tmp_path / "a.ome.tif", **TIME)
    (named,) = bench.open(path, axis_labels=("z", "y", "x"))
    assert named.axis_labels == ("z", "y", "x")
    assert bench.told.offered is AxesUse.SIZES
    (scaled,) = bench.open(path, scale=(1, 0.5, 0.5))
    assert known(scaled) == (("t", "y", "x"), (1, 0.5, 0.5), ("", "", ""))
    assert not bench.told.offered
    # As plugins set it that know of no units.
    (half,) = bench.open(path, scale=(1, 0.325, 0.325))
    bench.verbs.take()
    assert known(half)[1:] == ((30, 0.325, 0.325), MICRO)
    (turned,) = bench.open(path, rotate=45)
    assert not bench.told.offered
    assert turned.axis_labels == ("t", "y", "x")


def test_an_image_with_prompts_on_it_is_named_by_a_click_alone(bench, tmp_path):
    (image,) = bench.open(write(tmp_path / "a.ome.tif", **TIME), read=False)
    bench.binding.prompts.arm()
    bench.viewer.layers["SAM3 points"].add((2, 20, 30))
    bench.read()
    assert image.axis_labels == UNNAMED
    assert bench.told.offered is AxesUse.ALL
    bench.verbs.take()
    assert image.axis_labels == ("t", "y", "x")


def test_a_preview_of_another_image_keeps_no_image_from_its_names(bench, tmp_path):
    bench.open(write(tmp_path / "a.ome.tif", "ZYX"))
    bench.click(2, 20, 30)
    (image,) = bench.open(write(tmp_path / "b.ome.tif", **TIME))
    assert bench.model.previews
    assert image.axis_labels == ("t", "y", "x")


def test_names_that_were_taken_back_do_not_come_again(bench, tmp_path):
    (image,) = bench.open(write(tmp_path / "a.ome.tif", **TIME))
    bench.verbs.take_back()
    bench.open(write(tmp_path / "b.ome.tif", "ZYX"))
    assert bench.told.text == "By its file: z, y and x 0.325 µm."
    bench.model.image = str(image.unique_id)
    bench.read()
    assert image.axis_labels == UNNAMED
    assert bench.told.offered is AxesUse.ALL


def test_what_one_image_has_taken_stays_when_another_gives_its_own_back(bench, tmp_path):
    (first,) = bench.open(write(tmp_path / "a.ome.tif", **TIME))
    bench.verbs.take()
    (second,) = bench.open(write(tmp_path / "b.ome.tif", **TIME))
    bench.verbs.take()
    bench.verbs.take_back()
    assert known(first) == (("t", "y", "x"), (30, 0.325, 0.325), MICRO)
    assert known(second) == (UNNAMED, (1, 1, 1), ("", "", ""))


def test_who_went_along_goes_back_with_the_one_that_was_asked(bench, tmp_path):
    (raw,) = bench.open(write(tmp_path / "raw.ome.tif", **TIME))
    (clean,) = bench.open(write(tmp_path / "clean.ome.tif", **TIME))
    bench.verbs.take()
    assert known(raw) == known(clean) == (("t", "y", "x"), (30, 0.325, 0.325), MICRO)
    bench.verbs.take_back()
    assert known(raw) == (("t", "y", "x"), (1, 1, 1), ("", "", ""))  # its names are its own
    bench.verbs.take()
    bench.model.image = str(raw.unique_id)
    bench.read()
    assert not bench.told.offered
    assert bench.told.taken
    bench.verbs.take_back()
    assert known(clean) == (("t", "y", "x"), (30, 0.325, 0.325), MICRO)
    assert known(raw) == (UNNAMED, (1, 1, 1), ("", "", ""))


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colours_in_time(bench, tmp_path, planar):
    path = tmp_path / "a.ome.tif"
    shape, axes = ((5, 48, 64, 3), "TYXS") if planar == "contig" else ((5, 3, 48, 64), "TSYX")
    metadata = {"axes": axes, **SIZE, **TIME}
    tifffile.imwrite(
        path, np.zeros(shape, np.uint8), photometric="rgb", planarconfig=planar, metadata=metadata
    )
    (image,) = bench.open(path)
    names = ("t", "y", "x") if planar == "contig" else ("t", "s", "y", "x")
    assert image.axis_labels == names
    assert [axis.name for axis in bench.model.frame_axes] == ["t"]
    bench.verbs.take()
    assert tuple(image.scale[[0, -1]]) == (30, 0.325)


def test_what_may_be_either_is_said_and_not_done(bench, tmp_path):
    path = write(tmp_path / "a.ome.tif", "TZYX", (5, 5, 48, 64))
    image = bench.open(path, channel_axis=0)[-1]
    assert known(image) == (UNNAMED, (1, 1, 1), ("", "", ""))
    assert "t, y, x or z, y, x" in bench.told.text
    assert not bench.told.offered
    image.axis_labels, image.units = ("z", "y", "x"), ("um",) * 3
    assert bench.told is None


@pytest.mark.parametrize("source", ["gone.tif", "https://example.org/a.ome.tif", ""])
def test_nothing_is_said_where_no_file_can_be_asked(bench, source):
    with layer_source(path=source, reader_plugin="napari"):
        bench.viewer.add_image(np.zeros((5, 48, 64)))
    bench.read()
    assert bench.told is None


def test_pixels_that_were_replaced_are_another_image(bench, tmp_path):
    (image,) = bench.open(write(tmp_path / "a.ome.tif", **TIME))
    image.data = np.zeros((5, 30, 30))
    bench.read()
    assert not bench.told.offered
    assert bench.told.text == "Its axes are those that its file told."
    bench.verbs.take_back()
    assert image.axis_labels == UNNAMED
    assert bench.told is None


def test_rows_and_columns_that_come_first_are_shown_by_a_click(bench, tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((48, 64, 5), np.uint16), metadata={"axes": "YXC"})
    (image,) = bench.open(path)
    assert image.axis_labels == UNNAMED  # what is on show stays, until it is asked for
    assert (bench.told.text, bench.told.offered) == ("By its file: y, x, c.", AxesUse.NAMES)
    bench.verbs.take()
    assert image.axis_labels == ("y", "x", "c")
    assert tuple(bench.viewer.dims.order) == (2, 0, 1)
    assert bench.model.chosen_image.shape == (48, 64)


def test_a_saved_session_has_what_was_taken(bench, tmp_path):
    bench.open(write(tmp_path / "a.ome.tif", **TIME))
    bench.verbs.take()
    job = bench.session.storing.save(tmp_path / "work.sam3session")
    bench.wait(job)
    again = saved.open_in_new(tmp_path / "work.sam3session")
    image = again.adapter.find(again.model.image)
    assert known(image) == (("t", "y", "x"), (30, 0.325, 0.325), MICRO)
    assert again.model.axes_from_file is None
    again.close()
