"""One class list for all windows on a viewer, and its colours on labels."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari.utils import DirectLabelColormap
from psygnal import Signal

from napari_sam3_assistant.core.classes import ClassList
from napari_sam3_assistant.session.class_list import MOST_CHANGES
from napari_sam3_assistant.session.messages import CLASS, NOTHING
from napari_sam3_assistant.viewer.accepted_objects import as_label
from napari_sam3_assistant.viewer.label_pixels import default_colours, kept_colours
from napari_sam3_assistant.viewer.roles import Role, role_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_sam3_assistant.mask_operations.model import MaskModel
    from napari_sam3_assistant.session.class_list import ClassFile, ListChange
    from napari_sam3_assistant.session.model import SessionModel


class _Shared:
    """The list, the file that it is of, and its changes that can be taken back."""

    changed = Signal()
    renamed = Signal(object)

    def __init__(self) -> None:
        self.value: tuple[ClassList, str] = (ClassList(), "")
        self.changes: deque[ListChange] = deque(maxlen=MOST_CHANGES)

    def put(self, value: tuple[ClassList, str]) -> None:
        """Take another list, and emit it."""
        if value != self.value:
            self.value = value
            self.changed.emit()


_SHARED: WeakKeyDictionary[ViewerModel, _Shared] = WeakKeyDictionary()


def share_classes(
    viewer: ViewerModel,
    model: SessionModel | MaskModel,
    file: ClassFile,
    rename: Callable[[Mapping[str, str]], object] | None = None,
) -> Callable[[], None]:
    """Keep the class list of a model the same as in all others on a viewer.

    ``rename``: lets objects follow, whichever window has given their classes other names.
    Returns what ends that.
    """
    shared = _SHARED.setdefault(viewer, _Shared())
    file.tell_renamed, file.changes = shared.renamed.emit, shared.changes
    if rename is not None:
        shared.renamed.connect(rename)

    def give() -> None:
        shared.put((model.class_list, model.class_file))

    def take() -> None:
        model.class_list, model.class_file = shared.value

    if shared.value[0]:
        take()
    else:
        give()
    events = (model.events.class_list, model.events.class_file)
    for event in events:
        event.connect(give, max_args=0)
    shared.changed.connect(take)

    def end() -> None:
        if rename is not None:
            shared.renamed.disconnect(rename)
        shared.changed.disconnect(take)
        if not len(shared.changed):
            _SHARED.pop(viewer, None)  # with the last window: the next one reads the file again
        for event in events:
            event.disconnect(give)

    return end


_NO_CLASS = (0.6, 0.6, 0.6, 1.0)
# By what each layer is coloured: it is not done again, and undone where it was done.
_COLOURED: WeakKeyDictionary[Labels, object] = WeakKeyDictionary()


def class_names(layer: Labels) -> dict[int, str]:
    """Return the class of each object of a layer, by its features; empty for none."""
    features = layer.features
    if CLASS not in features or "index" not in features:
        return {}
    pairs = zip(map(as_label, features["index"]), features[CLASS], strict=True)
    return {id_: "" if name == NOTHING else str(name) for id_, name in pairs if id_}


def colour_by_class(layer: Labels, listed: ClassList, names: Mapping[int, str]) -> None:
    """Give objects the colours of their classes, and grey to those that have none."""
    known = {entry.name: listed.colour(entry.id + listed.first) for entry in listed}
    by_object = {id_: known[name] for id_, name in names.items() if name in known}
    if _COLOURED.get(layer) == by_object:
        return
    _COLOURED[layer] = by_object
    colours: dict[int | None, tuple[float, ...]] = {None: _NO_CLASS, 0: (0.0, 0.0, 0.0, 0.0)}
    for id_, (red, green, blue) in by_object.items():
        colours[id_] = (red / 255, green / 255, blue / 255, 1.0)
    layer.colormap = DirectLabelColormap(color_dict=colours)


def colour_by_object(layer: Labels) -> None:
    """Give objects colours of their own again, where they had those of their classes."""
    if _COLOURED.pop(layer, None) is not None:
        kept = role_of(layer) in (Role.ACCEPTED, Role.PREVIEW_LABELS)
        layer.colormap = kept_colours() if kept else default_colours()
