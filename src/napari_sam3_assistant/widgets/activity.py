"""Work and errors where napari shows its own: activity dock, question at closing, notifications."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari.utils.notifications import show_error
from napari.utils.progress import cancelable_progress
from qtpy.QtCore import QTimer

from napari_sam3_assistant.session.model import SessionModel
from napari_sam3_assistant.session.values import Level
from napari_sam3_assistant.viewer.lifetime import Bindings, RefCounted, get_or_make_binding

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_sam3_assistant.jobs import JobProgress
    from napari_sam3_assistant.mask_operations.model import MaskModel
    from napari_sam3_assistant.session.values import Message

try:
    from napari.utils.task_status import Status
except ImportError:  # napari before 0.6.5 keeps no list of what is going on
    Status = None

LONG_MS = 5000
"""Work that takes longer is told, in milliseconds: a bar for each click would be a nuisance.

As long as there is one, napari draws its window again for each picture of a turning wheel.
"""
_TICK_MS = 500
_CLOSING = "work is going on. Closing the window ends it."

_KNOWN: defaultdict[str, Bindings[Activity]] = defaultdict(WeakKeyDictionary)


def activity_of(
    viewer: ViewerModel, title: str, model: SessionModel | MaskModel, cancel: Callable[[], None]
) -> Activity:
    """Return what shows a session's work in napari: one for all widgets of it.

    ``viewer``: the viewer, or the proxy of it that napari hands to dock widgets.
    ``title``: the widgets' title.
    ``cancel``: stops the work.
    """
    return get_or_make_binding(
        viewer, _KNOWN[title], lambda real: Activity(real, title, model, cancel)
    )


class _Bar(cancelable_progress):
    """A bar in the activity dock, with a Cancel that stops the work at once."""

    def cancel(self) -> None:
        super().cancel()
        self.cancel_callback()

    def show(self, progress: JobProgress | None, title: str) -> None:
        """Show how far the work is."""
        if progress is None:
            return
        step = progress.step
        self.total = step.total
        if self.n != step.done:
            self.update(step.done - self.n)
        self.set_description(f"{title}: {step.message}")


class Activity(RefCounted):
    """Tells napari of the long work and the errors of one session; see :func:`activity_of`."""

    def __init__(
        self,
        viewer: ViewerModel,
        title: str,
        model: SessionModel | MaskModel,
        cancel: Callable[[], None],
    ) -> None:
        super().__init__()
        self._window = getattr(viewer, "window", None)
        self._title = title
        self._model = model
        self._cancel = cancel
        self._bar: _Bar | None = None
        self._task: object = None
        self._telling = False
        # napari's bars let Qt do all that is waiting whenever they change. By a timer that happens
        # where nothing of ours is half done.
        self._clock = QTimer()
        self._clock.timeout.connect(self._update_activity)
        self._told = [model.events.running]
        if isinstance(model, SessionModel):
            self._told.append(model.events.download)
        for emitter in self._told:
            emitter.connect(self._on_work)
        model.events.message.connect(self._on_message)
        self._on_work()

    def _disconnect(self) -> None:
        for emitter in self._told:
            emitter.disconnect(self._on_work)
        self._model.events.message.disconnect(self._on_message)
        self._clock.stop()
        self._update_activity()
        self._clock.deleteLater()

    def _on_message(self, message: Message) -> None:
        if message.level is Level.ERROR:
            show_error(message.text)

    @property
    def _download(self) -> str:
        """How far the fetching of weights is; empty while none is going."""
        return self._model.download if isinstance(self._model, SessionModel) else ""

    @property
    def _busy(self) -> bool:
        return self._model.running or bool(self._download)

    def _on_work(self) -> None:
        if self._busy and not self._clock.isActive():
            self._clock.start(LONG_MS)

    def _update_activity(self) -> None:
        if self._telling:
            return
        self._telling = True
        try:
            if self._busy and not self.closed:
                self._show()
            if self.closed or not self._busy:  # it may have ended meanwhile
                self._end()
        finally:
            self._telling = False

    def _show(self) -> None:
        self._clock.setInterval(_TICK_MS)
        if self._task is None and self._window is not None and Status is not None:
            # What napari's own workers do; it has no public name.
            self._task = self._window._register_task_status(  # noqa: SLF001
                self._title, Status.BUSY, _CLOSING
            )
        if self._bar is None:
            self._bar = _Bar(desc=self._title, total=0, cancel_callback=self._cancel)
        if self._model.running:
            self._bar.show(self._model.progress, self._title)
        else:
            self._bar.total = 0
            self._bar.set_description(f"{self._title}: {self._download}")

    def _end(self) -> None:
        if not self.closed:  # else Qt may have destroyed the clock while a bar let it work
            self._clock.stop()
        if self._task is not None and self._window is not None:
            self._window._update_task_status(self._task, Status.COMPLETED)  # noqa: SLF001
        if self._bar is not None:
            self._bar.close()
        self._task = self._bar = None
