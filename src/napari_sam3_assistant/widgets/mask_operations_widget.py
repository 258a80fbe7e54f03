"""The dock widget that napari lists as ``SAM3 Mask Operations``."""

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

if TYPE_CHECKING:
    import napari

COMING = (
    "This panel will clean, merge and save the masks of a Labels layer. "
    "It is not in this version yet. Until then, use the tools of napari's Labels layer "
    "and File > Save Selected Layers."
)


class MaskOperationsWidget(QWidget):
    """The panel that cleans, merges and saves masks; for now it says what is coming.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer, optional
        The viewer that the panel works on; napari fills it in by this name.
    viewer : napari.viewer.Viewer, optional
        The same, under the name that scripts use.
    """

    def __init__(
        self,
        napari_viewer: "napari.viewer.Viewer | None" = None,
        viewer: "napari.viewer.Viewer | None" = None,
    ) -> None:
        super().__init__()
        self.viewer = napari_viewer if napari_viewer is not None else viewer
        message = QLabel(COMING)
        message.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(message)
        layout.addStretch()
