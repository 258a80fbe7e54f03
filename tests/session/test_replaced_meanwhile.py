"""Images that are given other pixels, of the same shape, while something is made of them."""

import numpy as np
import pytest

from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.jobs import JobState

SAID = "Meanwhile “image” was given other pixels: this is of the earlier ones."
CANT_GO_ON = "“image” was given other pixels: its propagation, which is of the earlier ones, can't"


def _click(bench, tmp_path):
    bench.model.task = Task.SEGMENT
    bench.click(6, 20, 20)
    return bench.session.run()


def _phrase(bench, tmp_path):
    bench.model.task, bench.model.text = Task.TEXT, "bright objects"
    return bench.session.run()


def _batch(bench, tmp_path):
    bench.model.task, bench.model.batch_text = Task.TEXT, "bright objects\nbright spots"
    return bench.session.run()


def _scan(bench, tmp_path):
    bench.model.task, bench.model.text = Task.TEXT, "bright objects"
    bench.model.output_folder = str(tmp_path)
    return bench.session.scanning.run()


WORK = {"click": _click, "phrase": _phrase, "batch": _batch, "scan": _scan}


@pytest.fixture
def bench(open_bench):
    """A viewer with the stack of two balls on its middle slice."""
    bench = open_bench()
    bench.viewer.dims.set_current_step(0, 6)
    return bench


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("replaced", [False, True])
def test_what_comes_of_pixels_that_are_gone_says_so(bench, tmp_path, work, replaced):
    job = WORK[work](bench, tmp_path)
    if replaced:
        bench.image.data = bench.image.data[::-1, :, ::-1].copy()

    bench.finish(job)

    assert job.state is JobState.DONE
    assert (SAID in bench.message) == replaced, bench.message


def test_the_same_array_once_more_is_no_other_one(bench):
    bench.click(6, 20, 20)
    job = bench.session.run()
    bench.image.data = bench.image.data  # as scripts do that wrote into it

    bench.finish(job)

    assert bench.values(bench.labels.data) == [[]] + [[1]] * 11
    assert "Propagated" in bench.message
    assert SAID not in bench.message


def test_a_propagation_stops_where_its_stack_is_another_one(bench):
    bench.click(6, 20, 20)
    job = bench.session.run()
    bench.desk.until(lambda: "SAM3 propagated preview labels" in bench.viewer.layers)
    before = np.array(bench.labels.data)

    bench.image.data = np.zeros_like(bench.image.data)
    bench.finish(job)

    assert job.state is JobState.CANCELLED
    assert CANT_GO_ON in bench.message
    assert not bench.model.can_continue
    assert np.array_equal(bench.labels.data, before)


def test_nor_does_it_go_on_with_another_one(bench):
    bench.click(6, 20, 20)
    bench.stop_after(3)
    bench.image.data = np.zeros_like(bench.image.data)

    with pytest.raises(ImageError, match=CANT_GO_ON):
        bench.propagation.go_on()
