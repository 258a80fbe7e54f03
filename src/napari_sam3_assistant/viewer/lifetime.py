"""What is shared by all views of a viewer, and ends with the last of them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, TypeVar
from weakref import ReferenceType, WeakKeyDictionary, ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel


class RefCounted:
    """A binding that closes when the last view lets go of it.

    ``closed``: whether it is closed; then the next view gets a new one.
    """

    def __init__(self) -> None:
        self.closed = False
        self._holders = 0

    def acquire(self) -> None:
        """Record one more view; each calls :meth:`release` when it goes."""
        self._holders += 1

    def release(self) -> None:
        """Record that a view has gone; with the last one, close."""
        self._holders -= 1
        if self._holders <= 0:
            self.close()

    def close(self) -> None:
        """Stop the work and let go of the viewer; only the first call does anything."""
        if not self.closed:
            self.closed = True
            self._disconnect()

    def _disconnect(self) -> None:
        """Undo what the subclass has connected."""


Kind = TypeVar("Kind", bound=RefCounted)
Bindings = WeakKeyDictionary["ViewerModel", ReferenceType[Kind]]


def get_or_make_binding(
    viewer: ViewerModel, known: Bindings[Kind], make: Callable[[ViewerModel], Kind]
) -> Kind:
    """Return the binding of a viewer: the same one for all who ask while somebody holds it.

    ``viewer``: the viewer, or the proxy of it that napari hands to dock widgets.
    ``known``: the bindings of this kind that there are.
    ``make``: makes one for a viewer that has none.
    """
    real = inspect.unwrap(viewer)  # napari's proxies are new objects each time
    reference = known.get(real)
    binding = reference() if reference is not None else None
    if binding is None or binding.closed:
        binding = make(real)
        known[real] = ref(binding)
    return binding
