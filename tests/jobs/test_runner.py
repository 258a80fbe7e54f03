"""One thread, one job at a time."""

import subprocess
import sys
import threading
import weakref

from napari_sam3_assistant.core.progress import deliver_inline
from napari_sam3_assistant.jobs import Job, JobRunner, JobState


def test_jobs_run_one_after_the_other_on_a_thread_of_their_own():
    runner = JobRunner(deliver_inline)
    threads = []

    def work(reporter):
        threads.append(threading.current_thread())
        yield

    for _ in range(2):
        job = Job("Work", work)
        runner.start(job)
        assert job.wait(240)
    runner.close(lambda: None)

    assert threads[0] is threads[1]
    assert threads[0] is not threading.current_thread()


def test_a_new_job_cancels_the_running_one_and_waits_for_it():
    runner = JobRunner(deliver_inline)
    inside, gate, overlaps = threading.Event(), threading.Event(), []

    def first(reporter):
        inside.set()
        gate.wait(240)
        overlaps.append("first ends")
        yield "late"

    def second(reporter):
        overlaps.append("second begins")
        yield "result"

    old, new, results = Job("Old", first), Job("New", second), []
    old.yielded.connect(results.append)
    new.yielded.connect(results.append)
    runner.start(old)
    assert inside.wait(240)
    runner.start(new)
    assert old.state is JobState.CANCELLED
    gate.set()
    assert new.wait(240)
    runner.close(lambda: None)

    assert overlaps == ["first ends", "second begins"]
    assert results == ["result"]


def test_a_job_that_is_over_is_not_kept(when_collected):
    class Pixels:
        """What a job works on."""

    runner, pixels = JobRunner(deliver_inline), Pixels()
    kept = weakref.ref(pixels)

    def work(reporter, pixels=pixels):
        yield pixels

    job = Job("Work", work)
    runner.start(job)
    assert job.wait(240)
    del job, work, pixels

    when_collected(lambda: kept() is None)
    runner.close()


def test_farewell_is_said_last_and_on_the_worker_thread():
    runner, said = JobRunner(deliver_inline), threading.Event()
    where = []

    def farewell():
        where.append(threading.current_thread().name)
        said.set()

    job = Job("Work", lambda reporter: iter(()))
    runner.start(job)
    assert job.wait(240)
    runner.close(farewell)

    assert said.wait(240)
    assert where == ["sam3-jobs"]


def test_farewell_is_said_at_once_where_no_job_ever_ran():
    said = []
    JobRunner(deliver_inline).close(lambda: said.append(True))
    assert said == [True]


def test_python_waits_for_the_worker_before_it_goes(tmp_path):
    written = tmp_path / "written"
    script = f"""
import gc
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from napari_sam3_assistant.core.progress import deliver_inline
from napari_sam3_assistant.jobs import Job
from napari_sam3_assistant.jobs import JobRunner

begun = threading.Event()

def work(reporter):
    begun.set()
    threading.Event().wait(0.5)  # compiled code that can't be stopped
    yield Path({str(written)!r}).touch()

runner = JobRunner(deliver_inline)
runner.start(Job("Work", work))
begun.wait()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, b"")
    assert written.exists()
