"""A worker that is held back while its results wait."""

import threading

import pytest

from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.errors import JobCancelled
from napari_sam3_assistant.jobs import Backpressure


def test_so_many_may_be_on_their_way_and_no_more():
    backpressure, made = Backpressure(2), []

    def work():
        for number in range(4):
            backpressure.wait(NullReporter())
            made.append(number)
            reached[number].set()

    reached = [threading.Event() for _ in range(4)]
    worker = threading.Thread(target=work)
    worker.start()
    assert reached[1].wait(240)
    assert not reached[2].wait(0.2)
    backpressure.free_slot()
    assert reached[2].wait(240)
    assert not reached[3].is_set()
    backpressure.free_slot()
    worker.join(240)
    assert made == [0, 1, 2, 3]


def test_who_waits_can_be_stopped():
    class Reporter(NullReporter):
        def check(self):
            token.check()

    token, backpressure = CancelToken(), Backpressure(1)
    backpressure.wait(Reporter())
    timer = threading.Timer(0.1, token.cancel)
    timer.start()
    with pytest.raises(JobCancelled):
        backpressure.wait(Reporter())
    timer.join()
