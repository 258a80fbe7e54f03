"""A worker that is held back while its results wait."""

import threading

import pytest

from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.errors import JobCancelled
from napari_sam3_assistant.jobs import Handover


def test_so_many_may_be_on_their_way_and_no_more():
    handover, made = Handover(2), []

    def work():
        for number in range(4):
            handover.wait(NullReporter())
            made.append(number)
            reached[number].set()

    reached = [threading.Event() for _ in range(4)]
    worker = threading.Thread(target=work)
    worker.start()
    assert reached[1].wait(240)
    assert not reached[2].wait(0.2)
    handover.taken()
    assert reached[2].wait(240)
    assert not reached[3].is_set()
    handover.taken()
    worker.join(240)
    assert made == [0, 1, 2, 3]


def test_who_waits_can_be_stopped():
    class Reporter(NullReporter):
        def check(self):
            token.check()

    token, handover = CancelToken(), Handover(1)
    handover.wait(Reporter())
    timer = threading.Timer(0.1, token.cancel)
    timer.start()
    with pytest.raises(JobCancelled):
        handover.wait(Reporter())
    timer.join()
