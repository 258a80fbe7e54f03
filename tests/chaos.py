"""Chaos: a machine that is slow at random moments, and has everything in another order.

Nothing is replaced but time and what has no order: threads of ours nap before and after all that
they hand over, our timers fire late, the window looks and acts late; sets of layers, listings of
folders and the tests of a file come in any order, and garbage is collected at any moment. What
fails under it has counted on speed or on order.
"""

# ruff: noqa: SLF001 - it gets in between where nobody else does

import gc
import os
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import wraps
from weakref import WeakKeyDictionary

PACKAGE = "napari_sam3_assistant"
OURS = ("sam3-", "read-ahead", "write-labels", "fetch", "builtin-engine")  # names of threads
BUDGET_S = 4.0
"""A test is not slowed down by more than this in each of its threads."""


class Chaos:
    """A plugin for pytest that slows everything down, and shuffles it, by chance.

    Parameters
    ----------
    seed : str
        What the naps and the order follow from, together with the name of the test.
    """

    def __init__(self, seed):
        self._seed = seed
        self._begin("")
        self._slow_down_threads()
        self._slow_down_sessions()
        self._slow_down_qt()
        self._shuffle_folders()
        self._shuffle_sets_of_layers()

    def pytest_report_header(self):
        return f"chaos: seed {self._seed}"

    def pytest_collection_modifyitems(self, items):
        """Let files stay together, as what their tests share is made once for each."""
        order = random.Random(self._seed)  # the same in all processes of one run
        files = defaultdict(list)
        for item in sorted(items, key=lambda item: item.nodeid):
            files[item.path].append(item)
        for tests in files.values():
            order.shuffle(tests)
        paths = list(files)
        order.shuffle(paths)
        items[:] = [item for path in paths for item in files[path]]

    def pytest_runtest_setup(self, item):
        self._begin(item.nodeid)

    def _begin(self, name):
        self._random = random.Random(f"{self._seed}/{name}")
        self._spent = Counter()  # seconds, by thread

    def _shuffled(self, things):
        things = list(things)
        self._random.shuffle(things)
        return things

    def _nap(self, longest=0.06):
        """Sleep: mostly hardly at all, now and then for long; and throw away what nobody holds."""
        if self._random.random() < 0.01:
            gc.collect()
        thread = threading.get_ident()
        if self._spent[thread] < BUDGET_S:
            seconds = longest * self._random.random() ** 3
            self._spent[thread] += seconds
            time.sleep(seconds)  # noqa: TID251 - nobody waits for this

    def _between_naps(self, call):
        @wraps(call)
        def late(*arguments, **named):
            self._nap()
            try:
                return call(*arguments, **named)
            finally:
                self._nap()

        return late

    def _slow_down_threads(self):
        """The one place where jobs hand over what they tell, threads that begin, and pools."""
        from napari_sam3_assistant.jobs import Job, _JobReporter

        run_job, check = Job.run, _JobReporter.check
        run_thread, submit = threading.Thread.run, ThreadPoolExecutor.submit

        def run_job_late(job, deliver):
            self._between_naps(run_job)(job, self._between_naps(deliver))

        def check_late(reporter):
            if self._random.random() < 0.1:  # some work checks thousands of times
                self._nap()
            check(reporter)

        def run_thread_late(thread):
            if thread.name.startswith(OURS):
                self._nap()
            run_thread(thread)

        def submit_late(pool, work, /, *arguments, **named):
            if pool._thread_name_prefix.startswith(OURS):
                work = self._between_naps(work)
            return submit(pool, work, *arguments, **named)

        Job.run, _JobReporter.check = run_job_late, check_late
        threading.Thread.run, ThreadPoolExecutor.submit = run_thread_late, submit_late

    def _slow_down_sessions(self):
        """The journal's thread, and workers that change a model themselves, as without Qt."""
        from napari_sam3_assistant.session.journaling import _Writer
        from napari_sam3_assistant.session.session import Session

        begin = Session.__init__

        def linger(_):
            if threading.current_thread() is not threading.main_thread():
                self._nap()

        def begin_and_listen(session, model, *arguments):
            begin(session, model, *arguments)
            model.events.connect(linger)  # last: the order of those who listen stays

        Session.__init__ = begin_and_listen
        _Writer._write = self._between_naps(_Writer._write)

    def _slow_down_qt(self):
        """Timers of ours, and the person at the window, who sees only some of what passes by."""
        try:
            from pytestqt.qtbot import QtBot
            from qtpy.QtCore import QTimer
        except ImportError:  # then no test has a window
            return
        wait_until, start, intervals = QtBot.waitUntil, QTimer.start, WeakKeyDictionary()

        def wait_until_late(bot, condition, *, timeout=5000):
            def look():
                self._nap(0.1)  # the threads go on, and what they tell piles up
                return condition()

            wait_until(bot, look, timeout=timeout)
            self._nap(0.15)

        def start_late(timer, *interval):
            if not sys._getframe(1).f_globals.get("__name__", "").startswith(PACKAGE):
                return start(timer, *interval)
            known, late = intervals.get(timer, (0, None))
            asked = interval[0] if interval else timer.interval()
            asked = known if asked == late and not interval else asked
            intervals[timer] = asked, asked + int(60 * self._random.random() ** 3)
            return start(timer, intervals[timer][1])

        QtBot.waitUntil, QTimer.start = wait_until_late, start_late

    def _shuffle_folders(self):
        """What `Path.iterdir`, `glob`, `os.walk` and `shutil` go through, too."""
        list_folder, scan_folder = os.listdir, os.scandir
        os.listdir = lambda path=".": self._shuffled(list_folder(path))
        os.scandir = lambda path=".": _Entries(self._shuffled(scan_folder(path)))

    def _shuffle_sets_of_layers(self):
        """Of layers the hash is the address, by which Python orders a set."""
        from napari.layers import Layer

        Layer.__hash__ = lambda layer: vars(layer).setdefault(
            "_chaos_hash", self._random.getrandbits(32)
        )


class _Entries(ExitStack):
    """What `os.scandir` returns: entries to go through, and nothing to close any more."""

    def __init__(self, entries):
        super().__init__()
        self._entries = iter(entries)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._entries)
