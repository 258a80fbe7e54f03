"""When the chime is due: after a long job of any kind that is done, if the user wants it."""

import queue

import pytest

from napari_sam3_assistant.errors import EngineError
from napari_sam3_assistant.jobs import Job
from napari_sam3_assistant.session.jobs import Running
from napari_sam3_assistant.session.model import SessionModel
from napari_sam3_assistant.session.settings import MemorySettings, restore


class Clock:
    """A clock that stands still until a test moves it."""

    now = 1000.0

    def __call__(self):
        return self.now


class Bell:
    """Running jobs with a chime that counts, on a clock of its own."""

    def __init__(self):
        self.calls = queue.SimpleQueue()
        self.model = SessionModel(sound=True)
        self.clock, self.rings = Clock(), 0
        self.running = Running(self.model, self.calls.put, self.clock)
        self.running.chime.connect(self.ring)

    def ring(self):
        self.rings += 1

    def run(self, seconds, *, during=lambda job: None, fails=False):
        """Run a job that takes so many seconds of the clock."""

        def work(reporter):
            yield "half"
            if fails:
                raise EngineError("It broke.", "Mend it.")

        job = Job("A job", work)

        def take_time(_):
            self.clock.now += seconds
            during(job)

        job.yielded.connect(take_time)
        self.running.start(job)
        while not job.state.is_over:
            self.calls.get(timeout=240)()
        return job


@pytest.fixture
def bell():
    bell = Bell()
    yield bell
    bell.running.close(lambda: None)


@pytest.mark.parametrize(("seconds", "rings"), [(0, 0), (59.9, 0), (60, 0), (60.1, 1), (7200, 1)])
def test_only_after_more_than_a_minute(bell, seconds, rings):
    bell.run(seconds)
    assert bell.rings == rings


def test_each_job_counts_by_itself(bell):
    bell.run(40)
    bell.run(40)
    assert bell.rings == 0
    bell.run(61)
    bell.run(61)
    assert bell.rings == 2


def test_not_after_a_cancel_nor_a_failure(bell):
    bell.run(100, during=lambda job: job.cancel())
    bell.run(100, fails=True)
    assert bell.rings == 0


def test_a_job_that_takes_the_place_of_another_begins_anew(bell):
    first = Job("A long one", lambda reporter: iter(()))
    bell.running.start(first)
    bell.clock.now += 100
    bell.run(30)
    assert bell.rings == 0


def test_not_unless_it_is_wanted_and_that_is_remembered(bell):
    settings = MemorySettings()
    fresh = SessionModel()
    restore(fresh, settings)
    assert not fresh.sound
    fresh.sound = True
    again = SessionModel()
    restore(again, settings)
    assert again.sound

    bell.model.sound = False
    bell.run(100)
    assert bell.rings == 0


def test_what_became_of_a_job_is_told_before_nothing_runs(bell):
    told = []
    bell.model.events.running.connect(
        lambda running: running or told.append(bell.model.message.text)
    )
    bell.run(1, fails=True)
    bell.run(1, during=lambda job: job.cancel())

    assert told == ["It broke. Mend it.", "Cancelled."]
