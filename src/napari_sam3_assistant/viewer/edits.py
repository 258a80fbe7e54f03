"""News of labels whose pixels were changed, for all who work on the same viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from psygnal import Signal

if TYPE_CHECKING:
    from napari.components import ViewerModel


class Edits:
    """Tells of changed pixels; napari's own event of new data would have all of them drawn again.

    Attributes
    ----------
    edited : Signal
        The mask operations have changed a box (a slice for each axis) of a layer.
    changed : Signal
        They have written changes, whole rows of pixels, to labels of a shape that may be in a file.
    rewritten : Signal
        A run has written other labels into a layer.
    """

    edited = Signal(object, tuple)
    changed = Signal(object, object, tuple)
    rewritten = Signal(object)


_KNOWN: WeakKeyDictionary[ViewerModel, Edits] = WeakKeyDictionary()


def edits_in(viewer: ViewerModel) -> Edits:
    """Return the news of a viewer.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer itself.
    """
    return _KNOWN.setdefault(viewer, Edits())
