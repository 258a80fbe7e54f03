"""The keys: one table for the canvas, tooltips, Help, documentation and napari's commands."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import isgenerator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.layers import Image
from napari.utils.key_bindings import coerce_keybinding

from napari_sam3_assistant.viewer.roles import PROMPT_ROLES, RESULT_ROLES, role_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from napari.components import ViewerModel
    from napari.layers import Layer
    from napari.utils.key_bindings import KeyBinding

    from napari_sam3_assistant.viewer.actions import Actions


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A key and what it does.

    ``name``: of the command, and of the method of :class:`.actions.Actions` that does it.
    ``keys``: the keys, as napari writes them; any of them does.
    ``title``: what it does, for the user.
    """

    name: str
    keys: tuple[str, ...]
    title: str

    @property
    def shown(self) -> str:
        """The keys as the user reads them."""
        return " or ".join(key.replace("Control", "Ctrl").replace("-", "+") for key in self.keys)


SHORTCUTS = (
    Shortcut("choose_points", ("P",), "Prompt with points"),
    Shortcut("choose_box", ("B",), "Prompt with boxes"),
    Shortcut("choose_labels", ("L",), "Prompt with a painted mask"),
    Shortcut("choose_text", ("X",), "Type a phrase"),
    Shortcut("choose_example", ("E",), "Prompt with an example"),
    Shortcut("choose_everything", ("Shift-E",), "Look for all objects, without a prompt"),
    Shortcut("toggle_next", ("T",), "Make the next click or example positive or negative"),
    Shortcut("flip", ("Shift-T",), "Flip the selected points or examples, or the latest one"),
    Shortcut("smaller_candidate", (",",), "Take the next smaller mask that the click may mean"),
    Shortcut("larger_candidate", (".",), "Take the next larger mask that the click may mean"),
    Shortcut("follow", ("G",), "Go through the stack with a found or accepted object"),
    Shortcut("run", ("R",), "Run Preview, or start the 3D propagation"),
    Shortcut("accept", ("K", "Control-Enter"), "Accept the object and begin the next one"),
    Shortcut("discard", ("Escape",), "Discard the object; with none, cancel the run"),
    Shortcut("undo", ("Control-Z",), "Undo"),
    Shortcut("redo", ("Control-Shift-Z",), "Redo"),
    Shortcut("next_object", ("N",), "Go to the next object"),
    Shortcut("previous_object", ("Shift-N",), "Go to the previous object"),
    Shortcut("delete_object", ("Delete", "Backspace"), "Delete the marked object"),
    Shortcut("split", ("Shift-S",), "Split an object along a line that you draw next"),
    Shortcut("refine_object", ("Shift-R",), "Refine the marked object by clicks"),
    Shortcut("hold_bare_image", ("H",), "Show the bare image while the key is held"),
    Shortcut("toggle_results", ("Shift-H",), "Show or hide what was found and accepted"),
    Shortcut("toggle_outlines", ("O",), "Show outlines or filled objects"),
    Shortcut("toggle_class_colours", ("Shift-C",), "Colour objects by class, or one by one"),
    Shortcut("next_image", ("PageDown",), "Save, and go to the next image of the folder"),
    Shortcut("previous_image", ("PageUp",), "Save, and go to the previous image of the folder"),
)
"""On our prompt layers they go before napari's own keys; on the user's napari's go first.

On images, too, but for `ON_IMAGES`: where a task has no prompt layer an image is the selected one.
"""

GESTURES = (
    ("1 to 9", "With a class list: choose the class of the next objects, or of the marked one"),
    ("Ctrl+click", "Delete the object under the pointer"),
    (
        "Alt+click",
        "Merge: the first object gets the pixels of the second one; or drag from one to the other "
        "(Ctrl+Shift does the same)",
    ),
)
"""What the mouse does to objects, whichever layer is selected, and the keys of classes."""

TOOLS = ("choose_points", "choose_box", "choose_labels", "choose_text", "choose_example")
ON_RESULTS = ("discard", "undo", "redo", "delete_object", "refine_object", *TOOLS)
"""Those that go before napari's own on layers of results, too; of tools while nothing is painted.

To go to an object selects its layer, and what follows is a click that corrects it.
"""

ON_IMAGES = ("choose_text", "toggle_outlines")
"""Those that go before napari's own on images, too, which turn a plane in 3-D display."""

CLASS_KEYS = tuple("123456789")
"""With a class list they choose a class, on our layers and on images before napari's own, which
choose modes: one of them has the next drag move the image.
"""

_WITH_SHIFT = {",", ".", *CLASS_KEYS}
"""Keys that some keyboards, such as the French one, have only with Shift."""

HELD = "hold_bare_image"
"""The one that ends when its key is let go."""

_SHOWN = {shortcut.name: shortcut.shown for shortcut in SHORTCUTS}
_ALL = frozenset(_SHOWN)


def first_key(name: str) -> str:
    """Return the first key of a command, for its button."""
    return _SHOWN[name].partition(" or ")[0]


def with_key(text: str, name: str) -> str:
    """Return a text with the key of a command behind it."""
    return f"{text} ({_SHOWN[name]})"


class Keys:
    """The keys on a viewer and, before napari's own, on some layers.

    ``actions``: what they do.
    """

    def __init__(self, viewer: ViewerModel, actions: Actions) -> None:
        self._viewer = viewer
        self._actions = actions
        # By layer: the keys that are bound there, as they are typed, and what they do.
        self._bound: WeakKeyDictionary[Layer, dict[str, Callable[..., object]]]
        self._bound = WeakKeyDictionary()
        # What the user's own scripts, and other plugins, have the keys do on the viewer.
        self._before: dict[KeyBinding, Any] = {}
        self._on_viewer = dict(self._handlers(_ALL))
        for typed, handle in self._on_viewer.items():
            key = coerce_keybinding(typed)
            if key in viewer.keymap:
                self._before[key] = viewer.keymap[key]
            viewer.bind_key(typed, handle, overwrite=True)

    def close(self) -> None:
        """Let the keys do again what they did before, but for those bound anew meanwhile."""
        _unbind(self._viewer, self._on_viewer)
        for key, call in self._before.items():
            if key not in self._viewer.keymap:
                self._viewer.bind_key(key, call)

    def watch(self, layer: Layer) -> None:
        """Bind the keys that go before napari's own on a layer, unless the user has bound them."""
        role = role_of(layer)
        if role in PROMPT_ROLES:
            names: Collection[str] = _ALL
        elif role in RESULT_ROLES:
            names = ON_RESULTS
        elif isinstance(layer, Image):
            names = ON_IMAGES
        else:
            return
        bound = self._bound.setdefault(layer, {})
        for typed, handle in self._handlers(names):
            if coerce_keybinding(typed) not in layer.keymap:
                layer.bind_key(typed, handle)
                bound[typed] = handle

    def forget(self, layer: Layer) -> None:
        """Let the keys of a layer do again what they did before."""
        _unbind(layer, self._bound.pop(layer, {}))

    def _handlers(self, names: Collection[str]) -> Iterator[tuple[str, Callable[..., object]]]:
        """Yield the keys of commands and of classes, however they are typed, and what they do."""
        bindings = [
            (key, self._make_handler(shortcut.name, key))
            for shortcut in SHORTCUTS
            if shortcut.name in names
            for key in shortcut.keys
        ]
        bindings += [(key, self._make_class_handler(key)) for key in CLASS_KEYS]
        for key, handle in bindings:
            for typed in (key, f"Shift-{key}") if key in _WITH_SHIFT else (key,):
                yield typed, handle

    def _make_class_handler(self, key: str) -> Callable[[object], object]:
        def handle(owner: object) -> Iterator[object]:
            if not self._actions.choose_class(int(key)):
                yield from self._do_usual(owner, key)

        return handle

    def _make_handler(self, name: str, key: str) -> Callable[[object], object]:
        if name == HELD:

            def hold(_: object) -> Iterator[None]:
                with self._actions.bare_image():
                    yield

            return hold

        def handle(owner: object) -> Iterator[object]:
            if self._is_for_layer(name, owner):
                yield from self._do_usual(owner, key)
            else:
                self._actions.call(name)

        return handle

    def _is_for_layer(self, name: str, owner: object) -> bool:
        """Return whether a key has to do what napari has it do on a layer."""
        if isinstance(owner, Image):
            return bool(self._viewer.dims.ndisplay == 3)
        if name == "discard":  # it ends the drawing
            return _is_corner_by_corner(owner)
        if name in TOOLS:  # whoever paints on results changes between napari's own tools
            return (
                getattr(owner, "mode", "pan_zoom") != "pan_zoom" and role_of(owner) in RESULT_ROLES
            )
        return name == "delete_object" and bool(getattr(owner, "selected_data", ()))

    def _do_usual(self, owner: object, key: str) -> Iterable[object]:
        """Do what a key does where it is not ours; yields what waits for the key to be let go."""
        typed = coerce_keybinding(key)
        keymaps = [(vars(kind).get("class_keymap", {}), owner) for kind in type(owner).__mro__]
        whole = self._before if owner is self._viewer else self._viewer.keymap
        keymaps.append((whole, self._viewer))
        for keymap, whose in keymaps:
            if typed in keymap:
                done = keymap[typed](whose)
                return done if isgenerator(done) else ()
        return ()


def _unbind(owner: ViewerModel | Layer, bound: Mapping[str, Callable[..., object]]) -> None:
    """Take keys away that do still what they were bound to."""
    for typed, handle in bound.items():
        if owner.keymap.get(coerce_keybinding(typed)) is handle:
            owner.bind_key(typed, None)


def _is_corner_by_corner(owner: object) -> bool:
    """Return whether shapes or masks are drawn that take several clicks."""
    mode = str(getattr(owner, "mode", ""))
    return "poly" in mode or "path" in mode or "line" in mode
