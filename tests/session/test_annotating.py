"""A folder is annotated in a viewer without a window."""

from __future__ import annotations

import gc
import json
import warnings

import numpy as np
import pytest
import tifffile
import zarr
from napari.components import ViewerModel
from napari.layers import Image

from napari_sam3_assistant import api
from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.session.values import EncodeAhead
from napari_sam3_assistant.viewer.accepted_objects import read_parents
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.viewer.roles import key_of

BOX = [[10, 15], [10, 45], [40, 45], [40, 15]]


class Annotator:
    """A viewer, and somebody who knows the session's verbs."""

    def __init__(self, desk):
        self.desk, self.viewer = desk, ViewerModel()
        self.open()

    def open(self):
        self.binding = binding_for(self.viewer, self.desk, MemorySettings())
        self.model, self.session = self.binding.model, self.binding.session
        self.annotation = self.session.annotation

    def close(self):
        self.binding.close()

    def wait(self, condition=lambda: True):
        self.desk.until(lambda: condition() and not self.model.running)

    def start(self, folder):
        self.annotation.start(str(folder))
        self.wait(lambda: self.annotation.model.name)

    def go(self, step):
        name = self.annotation.model.images[self.annotation.model.place + step].name
        self.annotation.go(step)
        self.wait(lambda: self.annotation.model.name == name)

    def click(self, y, x):
        self.binding.prompts.arm()
        self.viewer.layers["SAM3 points"].add((y, x))

    def run(self):
        job = self.session.run()
        self.desk.until(lambda: job.state.is_over)
        assert job.error is None


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(1, 5):
        image = rng.integers(0, 2000, (60, 80)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"image_{number}.tif", image)
    return tmp_path


@pytest.fixture
def annotator(desk):
    one = Annotator(desk)
    one.model.task, one.model.tool = Task.SEGMENT, Tool.POINTS
    yield one
    one.close()
    gc.collect()


@pytest.fixture
def with_model(annotator, tiny_checkpoint):
    annotator.model.engine = "sam3-transformers"
    annotator.model.model_folder = str(tiny_checkpoint)
    annotator.model.encode_ahead = EncodeAhead.ON
    return annotator


def settle(annotator):
    """Wait until nothing is read or encoded ahead any more."""
    prefetch, annotation = annotator.session.prefetch, annotator.annotation
    annotator.wait(
        lambda: (
            prefetch._job is None  # noqa: SLF001 - nobody's business but the test's
            and (annotation._ahead is None or annotation._ahead[1].done())  # noqa: SLF001
            and annotator.desk.waiting == 0
        )
    )


def test_the_next_image_is_encoded_while_one_looks_at_this_one(with_model, source, model_calls):
    user = with_model
    user.start(source)
    assert model_calls["encode"] == 0  # weights are never loaded unasked
    user.click(20, 30)
    user.run()
    user.desk.until(lambda: model_calls["encode"] == 2)
    settle(user)
    user.go(1)
    user.click(20, 30)
    user.run()
    user.desk.until(lambda: model_calls["encode"] == 3)
    settle(user)
    assert model_calls["encode"] == 3

    # Who goes elsewhere has nothing of it, and the next one of there is encoded.
    user.annotation.go_to("image_4.tif")
    user.wait(lambda: user.annotation.model.name == "image_4.tif")
    user.click(20, 30)
    user.run()
    settle(user)
    assert model_calls["encode"] == 4


@pytest.mark.parametrize("kind", ["pyramid", "ome-zarr"])
def test_images_that_are_read_piece_by_piece_are_encoded_ahead(
    with_model, tmp_path, model_calls, kind
):
    user, rng = with_model, np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ome-zarr warns of parts of itself
        from ome_zarr.writer import write_image
    for number in (1, 2):
        pixels = rng.integers(0, 2000, (3, 128, 160)).astype(np.uint16)
        if kind == "pyramid":
            with tifffile.TiffWriter(tmp_path / f"image_{number}.ome.tif") as file:
                file.write(pixels, subifds=1, tile=(64, 64), metadata={"axes": "ZYX"})
                file.write(pixels[:, ::2, ::2], subfiletype=1, tile=(64, 64))
        else:
            place = str(tmp_path / f"image_{number}.ome.zarr")
            write_image(pixels, zarr.open_group(place, mode="w"), axes="zyx")
    user.start(tmp_path)
    for step in (1, 0):
        image = next(one for one in user.viewer.layers if isinstance(one, Image))
        assert not isinstance(image.data, np.ndarray)
        user.binding.prompts.arm()
        user.viewer.layers["SAM3 points"].add((1, 20, 30))
        user.run()
        user.desk.until(lambda: model_calls["encode"] == 2)
        settle(user)
        if step:
            user.go(step)
    assert model_calls["encode"] == 2


def test_what_was_encoded_ahead_is_not_used_with_another_contrast(with_model, source, model_calls):
    user = with_model
    user.start(source)
    user.click(20, 30)
    user.run()
    user.desk.until(lambda: model_calls["encode"] == 2)
    settle(user)
    user.viewer.layers["image_1"].contrast_limits = (100, 900)
    user.go(1)
    assert tuple(user.viewer.layers["image_2"].contrast_limits) == (100, 900)
    settle(user)
    user.click(20, 30)
    user.run()
    settle(user)
    assert model_calls["encode"] > 3


def test_prompts_that_were_not_run_come_back(annotator, source):
    user = annotator
    user.start(source)
    user.click(20, 30)
    user.model.next_positive = False
    user.click(41, 52)
    user.model.tool = Tool.BOX
    user.binding.prompts.arm()
    user.viewer.layers["SAM3 boxes"].add([np.array(BOX)], shape_type="rectangle")
    user.model.tool = Tool.MASK
    user.binding.prompts.arm()
    user.viewer.layers["SAM3 mask prompt"].data[5:9, 7:12] = 1
    user.viewer.layers["SAM3 mask prompt"].refresh()
    user.go(1)
    assert "prompts that were not run will be there again" in user.model.message.text
    assert len(user.viewer.layers["SAM3 points"].data) == 0
    assert len(user.viewer.layers["SAM3 boxes"].data) == 0
    user.go(-1)
    points = user.viewer.layers["SAM3 points"]
    assert points.data.tolist() == [[20, 30], [41, 52]]
    assert points.features["polarity"].tolist() == ["positive", "negative"]
    np.testing.assert_array_equal(user.viewer.layers["SAM3 boxes"].data, [BOX])
    painted = np.argwhere(user.viewer.layers["SAM3 mask prompt"].data)
    assert (painted.min(0).tolist(), painted.max(0).tolist()) == ([5, 7], [8, 11])
    assert user.model.prompts.painted
    assert not user.model.previews

    # They are a step that can be taken back, and not part of what comes next.
    user.model.tool = Tool.POINTS
    user.click(1, 1)
    user.session.undo()
    assert len(user.viewer.layers["SAM3 points"].data) == 2
    user.session.undo()
    assert len(user.viewer.layers["SAM3 points"].data) == 0
    user.session.redo()
    assert len(user.viewer.layers["SAM3 points"].data) == 2


def test_who_closes_the_dock_and_opens_it_again_finds_the_folder_open(annotator, source):
    user = annotator
    user.start(source)
    user.click(20, 30)
    user.go(1)
    user.close()
    user.open()
    assert user.annotation.model.name == "image_2.tif"
    assert len(user.annotation.model.images) == 4
    user.go(-1)
    assert [one.name for one in user.viewer.layers if "SAM3" not in one.name] == ["image_1"]
    assert len(user.viewer.layers["SAM3 points"].data) == 1
    user.annotation.finish()
    user.wait(lambda: not user.annotation.model.images)
    user.close()
    user.open()
    assert not user.annotation.model.images


def test_an_image_that_was_removed_meanwhile_is_read_again(annotator, source):
    user = annotator
    user.start(source)
    user.close()
    user.viewer.layers.clear()
    user.open()
    user.wait(lambda: user.annotation.model.name == "image_1.tif")
    assert [one.name for one in user.viewer.layers] == ["image_1"]


def test_what_descends_from_what_is_saved_and_there_again(annotator, tmp_path):
    for number in (1, 2):
        movie = np.full((4, 40, 50), 20, np.uint8)
        path = tmp_path / f"movie_{number}.tif"
        tifffile.imwrite(path, movie, photometric="minisblack", metadata={"axes": "TYX"})
    user = annotator
    user.start(tmp_path)
    labels = np.zeros((4, 40, 50), np.uint32)
    labels[0, 5:20, 5:20], labels[1:, 5:20, 5:11], labels[1:, 5:20, 14:20] = 4, 5, 6
    layer = user.viewer.add_labels(labels, features={"index": [4, 5, 6], "parent": [0, 4, 4]})
    user.session.use_labels.accept(key_of(layer))
    user.wait()
    user.viewer.layers.remove(layer)
    user.go(1)
    saved = tmp_path / "sam3_labels" / "movie_1_labels.tif"
    made = api.export(saved, tmp_path / "RES", format="ctc")
    table = np.loadtxt(made / "res_track.txt", int)
    assert {row[0]: row[3] for row in table.tolist()} == {1: 0, 2: 1, 3: 1}
    user.go(-1)
    kept = user.viewer.layers["SAM3 live accepted labels"]
    assert read_parents(kept) == {2: 1, 3: 1}


def test_positions_of_one_file_come_one_by_one(annotator, tmp_path):
    """Notes say which one, so that the labels can be made again."""
    rng = np.random.default_rng(0)
    positions = rng.integers(0, 2000, (3, 60, 80)).astype(np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        for number, pixels in enumerate(positions):
            writer.write(pixels, metadata={"axes": "YX", "Name": f"Pos {number}"})
    tifffile.imwrite(tmp_path / "b.tif", positions[0])
    user = annotator
    user.start(tmp_path)
    for number in range(3):
        assert user.annotation.model.name == f"a.ome.tif [{number}: Pos {number}]"
        (image,) = (layer for layer in user.viewer.layers if isinstance(layer, Image))
        np.testing.assert_array_equal(image.data, positions[number])
        assert "holds 3 images" not in user.model.message.text
        user.click(20, 30)
        user.run()
        user.session.accept()
        user.wait()
        user.go(1)
    assert user.annotation.model.name == "b.tif"
    states = [str(one.state) for one in user.annotation.model.images]
    assert states == ["done"] * 3 + ["untouched"]
    saved = sorted((tmp_path / "sam3_labels").glob("*.tif"))
    assert [path.name for path in saved] == [f"a_Pos_{n}_labels.tif" for n in range(3)]
    for number, path in enumerate(saved):
        note = json.loads(path.with_name(f"{path.name}.json").read_text())
        assert [channel["series"] for channel in note["channels"]] == [number]
    user.go(-1)
    assert user.annotation.model.name == "a.ome.tif [2: Pos 2]"
    assert user.viewer.layers["SAM3 live accepted labels"].data.any()


def test_whatever_saves_it_the_labels_have_one_place(annotator, source):
    """Save, and Save at Accept, wrote other files beside the images."""
    user = annotator
    user.model.save_at_accept = True
    user.start(source)
    before = set(source.rglob("*"))
    user.click(20, 30)
    user.run()
    user.session.accept()
    user.wait()

    user.session.save()
    user.wait(lambda: "Saved 1 object" in user.model.message.text)

    assert "no other image" not in user.model.message.text
    assert user.annotation.model.name == "image_1.tif"
    user.go(1)
    new = {path.name for path in set(source.rglob("*")) - before}
    assert new == {"image_1_labels.tif", "image_1_labels.tif.json"}
    user.annotation.finish()
    user.wait(lambda: not user.annotation.model.images)
    user.click(20, 30)
    user.run()
    user.session.accept()  # of an image as any other again
    user.wait((source / "image_2_labels.tif").exists)
