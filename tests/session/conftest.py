"""A session without a window: arrays in place of a viewer, and a desk for what comes back."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from desk import Desk
from napari_sam3_assistant.core.display import ViewChannel, view_of_array
from napari_sam3_assistant.core.prompts import PointPrompt, PromptSet
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.model import SessionModel
from napari_sam3_assistant.session.session import Session
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.session.snapshots import ImageSnapshot
from napari_sam3_assistant.session.values import (
    AxesUse,
    ImageChoice,
    PlaneTarget,
    PromptCounts,
)


@dataclass
class ArrayScene:
    """A stack of planes, one of them on show; one click on each."""

    stack: np.ndarray
    plane: int = 0
    # Where a session looks for what it saves; nothing is saved by these tests.
    saved: object = field(
        default_factory=lambda: SimpleNamespace(view_as_json=list, prompts_as_json=list)
    )
    # Its image is of no file that could tell anything of its axes.
    layer_axes: object = field(
        default_factory=lambda: SimpleNamespace(
            source_of=lambda _image: None, find_offered=lambda *_: (AxesUse.NOTHING, False)
        )
    )
    clicks: int = 0
    _view: object = field(init=False)

    def __post_init__(self):
        self._view = view_of_array(self.stack, plane=0)

    def take_view(self, image):
        if image != "image":
            raise ImageError("The image is gone.")
        (channel,) = self._view.channels
        plane = type(channel.plane)((self.plane,), channel.plane.channel)
        shown = ViewChannel(channel.source, plane, channel.display)
        return type(self._view)((shown,))

    def take_snapshot(self, image, kind):
        view = self.take_view(image)
        (channel,) = view.channels
        target = PlaneTarget(
            "image", "image", channel.source.axes, channel.plane, channel.source.shape
        )
        return ImageSnapshot(target, view, PromptSet(points=(PointPrompt(20.0, 30.0),)))

    def edits(self):
        return ()

    def prompt_state(self):
        return self.clicks

    def set_prompt_state(self, state):
        self.clicks = state

    def clear_prompts(self, image):
        self.clicks = 0

    def drop_prompts(self, *_):
        return False  # all runs here are of clicks, and none takes another kind's away


@dataclass(eq=False)
class Bench:
    """A session and what stands around it."""

    model: SessionModel
    scene: ArrayScene
    desk: Desk
    session: Session

    def click(self):
        """Place a point."""
        self.scene.clicks += 1
        self.model.prompts = PromptCounts(positive=self.scene.clicks)
        self.session.note_prompts()

    def show_plane(self, number):
        """Move the slider."""
        self.scene.plane = number
        self.session.prefetch.stop_if_stale()

    def run(self):
        """Run to the end and return the job."""
        job = self.session.run()
        self.finish(job)
        return job

    def finish(self, job):
        self.desk.until(lambda: job.state.is_over)


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def make_bench(tiny_checkpoint):
    """Return a function that makes sessions on the small checkpoint, closed after the test."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    benches, earlier = [], set(threading.enumerate())

    def make(planes=3, seed=0, settings=None):
        stack = np.random.default_rng(seed).integers(0, 256, (planes, 60, 80), np.uint8)
        model, scene, desk = SessionModel(), ArrayScene(stack), Desk()
        bench = Bench(model, scene, desk, Session(model, scene, desk, settings or MemorySettings()))
        model.engine, model.model_folder = "sam3-transformers", str(tiny_checkpoint)
        model.images = (ImageChoice("image", "image", ""),)
        model.image = "image"
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        bench.session.close()
    # The workers close the engine last: the next test shall not find it still loaded.
    for worker in set(threading.enumerate()) - earlier:
        if worker.name == "sam3-jobs":
            worker.join(240)
    torch.set_num_threads(threads)


@pytest.fixture
def bench(make_bench):
    return make_bench()


@pytest.fixture
def balls():
    """Two bright balls on slices 1 to 11 of 12, dark elsewhere: (12, 60, 70) uint8."""
    import stack_bench  # napari is imported for its tests only

    return stack_bench.balls()


@pytest.fixture
def open_bench(balls):
    """Return a function that opens a viewer with a stack, and closes it after the test."""
    import stack_bench

    benches = []

    def open_it(image=None, **layer):
        benches.append(stack_bench.Bench(balls if image is None else image, **layer))
        return benches[-1]

    yield open_it
    for one in benches:
        one.binding.close()
