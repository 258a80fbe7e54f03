"""A job's life: results, progress, cancel, and the two ways to fail."""

import logging
import threading

import pytest

from napari_sam3_assistant.core.progress import Progress, deliver_inline
from napari_sam3_assistant.errors import JobCancelled, PromptError
from napari_sam3_assistant.jobs import Job, JobProgress, JobState


def recorded(job):
    """Return the lists that a job's signals fill."""
    progress, results, ends = [], [], []
    job.progressed.connect(progress.append)
    job.yielded.connect(results.append)
    job.finished.connect(ends.append)
    return progress, results, ends


def test_results_and_progress_come_in_order():
    def work(reporter):
        reporter.report(Progress(0, 2, "first"))
        yield "a"
        reporter.report(Progress(1, 2, "second"))
        yield "b"

    job = Job("Work", work)
    progress, results, ends = recorded(job)
    job.run(deliver_inline)

    assert [told.step.message for told in progress] == ["first", "second"]
    assert results == ["a", "b"]
    assert ends == [JobState.DONE]
    assert job.wait(0)


def test_an_error_for_the_user_reaches_the_user_as_it_is():
    def work(reporter):
        raise PromptError("No prompts found.", "Add one.")
        yield

    job = Job("Work", work)
    _, _, ends = recorded(job)
    job.run(deliver_inline)

    assert ends == [JobState.FAILED]
    assert str(job.error) == "No prompts found. Add one."


def test_a_fault_becomes_one_sentence_and_its_traceback_goes_to_the_log(caplog):
    def work(reporter):
        yield 1 / 0

    job = Job("The run", work)
    with caplog.at_level(logging.ERROR):
        job.run(deliver_inline)

    assert job.state is JobState.FAILED
    assert "The run failed by a fault of the plugin (ZeroDivisionError" in str(job.error)
    assert "Traceback" in caplog.text


def test_partial_results_stay_and_late_ones_are_dropped_after_cancel():
    seen = []

    def work(reporter):
        yield 1
        job.cancel()
        yield 2

    job = Job("Work", work)
    job.yielded.connect(seen.append)
    job.run(deliver_inline)

    assert seen == [1]
    assert job.state is JobState.CANCELLED


def test_what_was_on_its_way_when_the_job_was_cancelled_never_arrives():
    """Deliveries that wait in the GUI thread's queue are dropped there."""
    queued = []

    def work(reporter):
        reporter.report(Progress(0, 1, "on its way"))
        yield 1

    job = Job("Work", work)
    progress, results, ends = recorded(job)
    job.run(queued.append)
    job.cancel()
    for call in queued:
        call()

    assert (progress, results, ends) == ([], [], [JobState.CANCELLED])


def test_a_cancelled_job_stops_at_the_next_report():
    reached = []

    def work(reporter):
        job.cancel()
        with pytest.raises(JobCancelled):
            reporter.check()
        reporter.report(Progress(1, 2, "too late"))
        reached.append(True)
        yield

    job = Job("Work", work)
    job.run(deliver_inline)

    assert reached == []


def test_a_job_cancelled_before_its_start_does_nothing():
    def work(reporter):
        pytest.fail("must not begin")
        yield

    job = Job("Work", work)
    job.cancel()
    job.run(deliver_inline)

    assert job.state is JobState.CANCELLED


@pytest.mark.parametrize(
    ("done", "total", "remaining"), [(0, 4, None), (1, 4, 6.0), (3, 4, 2.0 / 3), (1, 0, None)]
)
def test_time_left_follows_from_the_speed_so_far(done, total, remaining):
    told = JobProgress(Progress(done, total, ""), elapsed=2.0)
    assert told.remaining == (None if remaining is None else pytest.approx(remaining))


def test_cancel_from_another_thread_is_felt_while_the_work_waits():
    started, ended = threading.Event(), threading.Event()

    def work(reporter):
        started.set()
        while True:
            reporter.check()
            yield

    job = Job("Work", work)
    job.finished.connect(lambda _: ended.set())
    thread = threading.Thread(target=job.run, args=(deliver_inline,))
    thread.start()
    assert started.wait(240)
    job.cancel()
    thread.join(240)

    assert not thread.is_alive()
    assert ended.is_set()
