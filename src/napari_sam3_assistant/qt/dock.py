"""What both dock widgets have in common: viewer, end, GUI thread, and kept choices."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from napari import current_viewer  # noqa: TID251 (the one place that may ask, see design)
from napari.utils.events import EventedModel
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QObject, QSettings, Qt, Signal
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_sam3_assistant.qt.bind import call_when_destroyed, release_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel


# napari's themes don't show which control has the keyboard. An outline needs no room, but Qt draws
# one round buttons only.
_FOCUS = """
QAbstractButton:focus {{ outline: 1px solid {colour}; }}
QComboBox:focus, QLineEdit:focus, QAbstractSpinBox:focus, QAbstractItemView:focus,
QPlainTextEdit:focus {{ border: 1px solid {colour}; }}
"""
# What versions before 5 called the same, kept in the same place. It counts until something is kept
# under the name of today.
_NAMES_BEFORE_5 = {
    "model_folder": ("simple_model_dir", "model_dir"),
    "output_folder": ("quick_mask_output_dir",),
    "sound": ("task_complete_sound_enabled_v2",),
    "threshold": ("confidence_threshold",),
}


class Dock(QWidget):
    """A widget that napari docks.

    ``viewer``: the viewer, or the proxy of it that napari hands to dock widgets.
    ``narrowest``: its least width in pixels.
    """

    def __init__(self, viewer: ViewerModel, name: str, narrowest: int) -> None:
        super().__init__()
        self.setObjectName(name)
        self._narrowest = narrowest
        self.setMinimumWidth(narrowest)
        me = weakref.ref(self)

        def show_focus() -> None:
            dock = me()
            if dock is not None:
                dock.setStyleSheet(_FOCUS.format(colour=get_theme(viewer.theme).text.as_hex()))

        show_focus()
        viewer.events.theme.connect(show_focus)

        def free_in_own_context() -> None:
            dock = me()
            if dock is not None:
                dock.make_canvas_current()

        viewer.layers.events.removing.connect(free_in_own_context)
        self._stop_following = (
            release_of(viewer, show_focus, lambda known: known.events.theme.disconnect),
            release_of(
                viewer,
                free_in_own_context,
                lambda known: known.layers.events.removing.disconnect,
            ),
        )

    def make_canvas_current(self) -> None:
        """Have napari free what a layer has in OpenGL in the canvas's own context.

        napari 0.9 does so at once, outside of a draw, in whichever context is current. In another
        one, such as Qt's of the whole window, the canvas still refers to the buffers that are
        gone, and Mesa's software renderer ends the process at the next draw
        (napari/napari#8471).
        """
        holder: QWidget | None = self
        while holder is not None and not isinstance(holder, QMainWindow):
            holder = holder.parentWidget()
        canvas = None if holder is None else holder.findChild(QOpenGLWidget)
        if canvas is not None and canvas.isValid():
            canvas.makeCurrent()

    def end_with(self, *releases: Callable[[], None]) -> None:
        """Call functions once, in order, whichever way the widget goes.

        ``*releases``: called when it is taken out of its dock, destroyed by Qt, or forgotten.
        """
        stop_following = self._stop_following

        def release() -> None:
            for release in (*stop_following, *releases):
                release()

        self._leave = leave = weakref.finalize(self, release)
        leave.atexit = False
        call_when_destroyed(self, leave)

    def event(self, event: QEvent | None) -> bool:
        """Be as wide as the content asks for, at least."""
        done = super().event(event)
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            width = max(self._narrowest, self.minimumSizeHint().width())
            if width != self.minimumWidth():
                self.setMinimumWidth(width)
                holder = self.parentWidget()
                if isinstance(holder, QDockWidget):
                    # Qt lets it grow with its content, and never shrink.
                    holder.setMinimumWidth(width)
        return done

    def changeEvent(self, event: QEvent | None) -> None:
        """Close for good when napari takes the widget out of its dock.

        That is how it closes a dock; it leaves the widget to Python's garbage collection, which
        may come late, and on another thread.
        """
        super().changeEvent(event)
        taken_out = event is not None and event.type() == QEvent.Type.ParentChange
        if taken_out and self.parent() is None:
            self._leave()
            self.deleteLater()


def chosen_viewer(*viewers: ViewerModel | None) -> ViewerModel:
    """Return the first viewer that was given, or else napari's current one."""
    return next((viewer for viewer in viewers if viewer is not None), None) or current_viewer()


class QtDispatcher(QObject):
    """Runs what it is given on the thread that it was made on, in order, by Qt's event loop."""

    _asked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._asked.connect(self._run, Qt.ConnectionType.QueuedConnection)

    def __call__(self, call: Callable[[], None]) -> None:
        """Have ``call`` run on the GUI thread; returns at once."""
        self._asked.emit(call)

    def _run(self, call: Callable[[], None]) -> None:
        call()


class QtSettingsStore:
    """Settings of the widget; see :class:`napari_sam3_assistant.session.settings.SettingsStore`.

    From napari 0.9 on a choice that the manifest lists under ``configurations`` has its place
    there. What Qt kept of it before is taken over once: napari writes no value that equals its
    default, so a value of Qt's would come back each time.
    """

    def __init__(self) -> None:
        self._settings = QSettings("napari-sam3-assistant", "sam3-assistant")

    def get(self, name: str) -> str | None:
        """Return what was kept, or None."""
        preferences = _preferences().get(name)
        if preferences is None:
            return self._kept_by_qt(name)
        if not self._settings.contains(taken := f"in_preferences/{name}"):
            kept = self._kept_by_qt(name)
            self._settings.setValue(taken, "true")
            if kept is not None:
                try:
                    setattr(preferences, name, kept)
                except ValueError:  # another version's: whoever reads it decides
                    return kept
        return str(getattr(preferences, name))

    def _kept_by_qt(self, name: str) -> str | None:
        kept = self._settings.value(name)
        if kept is not None:
            return str(kept)
        before = map(self._settings.value, _NAMES_BEFORE_5.get(name, ()))
        return next((str(value) for value in before if value), None)

    def set(self, name: str, value: str) -> None:
        """Keep a value."""
        preferences = _preferences().get(name)
        if preferences is None:
            self._settings.setValue(name, value)
        else:
            setattr(preferences, name, value)

    def watch(self, name: str, owner: object, changed: Callable[[str], None]) -> None:
        """Call ``changed`` with each value that napari sets, while ``owner`` lives."""
        preferences = _preferences().get(name)
        if preferences is None:
            return

        def tell() -> None:
            changed(str(getattr(preferences, name)))

        emitter = getattr(preferences.events, name)
        emitter.connect(tell)
        weakref.finalize(owner, emitter.disconnect, tell).atexit = False


def _preferences() -> dict[str, EventedModel]:
    """Return for each choice of ours in napari's Preferences the group that it stands in."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:  # before napari 0.9
        return {}
    # Asked each time: napari makes them anew when a plugin is switched on or off.
    ours = get_plugin_settings().get("napari-sam3-assistant")
    if ours is None:
        return {}
    parts = (getattr(ours, name) for name in type(ours).model_fields)
    groups = (part for part in parts if isinstance(part, EventedModel))
    return {name: group for group in groups for name in type(group).model_fields}
