"""Opening the window of the mask operations from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari import Viewer

    from napari_sam3_assistant.widgets.mask_operations_widget import MaskOperationsWidget


TITLE = "SAM3 Mask Operations"
_PLUGIN = "napari-sam3-assistant"
_SIZE = (780, 720)
_PLACED = "sam3_placed"


def open_mask_operations(viewer: Viewer) -> MaskOperationsWidget:
    """Open the window of the mask operations, floating, with Mask Cleanup in front.

    A window that is there already is shown again, where the user has put it.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer; it has a window.

    Returns
    -------
    MaskOperationsWidget
        The widget in the window.
    """
    # Through the manifest, as the plugin menu does: napari then knows it as the same window.
    widget: MaskOperationsWidget
    dock, widget = viewer.window.add_plugin_dock_widget(_PLUGIN, TITLE)
    if not dock.property(_PLACED):
        dock.setProperty(_PLACED, True)
        dock.setFloating(True)
        dock.resize(*_SIZE)
    dock.show()
    dock.raise_()
    widget.show_cleanup()
    return widget
