"""Field: labels of other tools, from a layer or a file, and what to do with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.qt.bind import show_errors, watch
from napari_sam3_assistant.qt.controls import DecimalBox, ElidedCombo, hint_label, push_button

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.session.session import Session

_KINDS = (
    "Labels (*.tif *.tiff *.png *.npy *.npz *.h5 *.hdf5 *.zarr *.ome.zarr *.geojson *.json "
    "*.mat *.roi *.zip)"
    ";;All files (*)"
)
_ABOUT = (
    "Labels of Cellpose, StarDist, ilastik, QuPath (GeoJSON), ImageJ (regions) or by hand: accept "
    "them as they are, "
    "let the engine refine each object of the plane on show by its mask, or follow them from "
    "this slice."
)
_ELSEWHERE = (
    "They have as many pixels as the image, but another pixel size or place, as labels do that "
    "were saved without their scale. As they are, what is seen on the image counts."
)


def use_labels_button(session: Session) -> QPushButton:
    """Return the button that opens the dialog."""
    model = session.model

    def use() -> None:
        dialog = UseLabelsDialog(session, widget)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    tip = "Take labels of another tool, of a layer or a file: accept, refine or follow them"
    widget = push_button(model, "Use Labels …", "use_labels", use, tip)
    return widget


class UseLabelsDialog(QDialog):
    """Which labels, and what to do with them."""

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("use_labels_dialog")
        self.setWindowTitle("Use labels of another tool")
        self._session, self._model = session, session.model
        self._layer = ElidedCombo()
        self._layer.setObjectName("other_labels")
        self._layer.setAccessibleName("Labels layer")
        self._below = DecimalBox()
        self._below.setObjectName("refine_below")
        self._below.setRange(0.0, 1.0)
        self._below.setSingleStep(0.05)
        self._below.setSpecialValueText("(all)")
        self._below.setToolTip("Refine only objects whose score is lower; the others stay")
        source = QHBoxLayout()
        source.addWidget(self._layer, 1)
        open_ = QPushButton("Open a file")
        open_.setObjectName("open_labels")
        open_.setAutoDefault(False)
        open_.clicked.connect(show_errors(self._model, self._open))
        source.addWidget(open_)
        form = QFormLayout()
        form.addRow("Labels", source)
        form.addRow("Refine below a score of", self._below)
        layout = QVBoxLayout(self)
        layout.addWidget(hint_label(_ABOUT))
        layout.addLayout(form)
        verbs = session.use_labels
        self._buttons = []
        for text, name, verb, tip in (
            (
                "Accept as they are",
                "accept_labels",
                verbs.accept,
                "All slices, as the next objects of the accepted labels",
            ),
            (
                "Refine each",
                "refine_labels",
                self._refine,
                "Each object of the plane on show is a mask prompt; the result is a preview",
            ),
            (
                "Follow through the stack",
                "follow_labels",
                verbs.follow,
                "The objects of the slice on show, with their numbers",
            ),
        ):
            button = QPushButton(text)
            button.setObjectName(name)
            button.setToolTip(tip)
            button.setAutoDefault(False)
            button.clicked.connect(show_errors(self._model, self._make_verb(verb)))
            layout.addWidget(button)
            self._buttons.append(button)
        self._elsewhere = self._make_elsewhere()
        layout.insertWidget(2, self._elsewhere)
        self._layer.activated.connect(self._show_place)
        watch(self._model, "prompt_layers", self, self._show)

    def _make_elsewhere(self) -> QWidget:
        """Return what is said and offered where labels do not lie on the image."""
        shown = QWidget()
        layout = QVBoxLayout(shown)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(hint_label(_ELSEWHERE))
        lay = QPushButton("Lay on the image")
        lay.setObjectName("lay_on_image")
        lay.setToolTip("Give the layer the pixel size and the place of the image")
        lay.setAutoDefault(False)
        lay.clicked.connect(show_errors(self._model, self._lay_on_image))
        layout.addWidget(lay)
        return shown

    def _make_verb(self, verb: Callable[[str], object]) -> Callable[[], None]:
        def do() -> None:
            layer = self._layer.value
            self.accept()
            verb(layer)

        return do

    def _refine(self, layer: str) -> None:
        below = self._below.value()
        self._session.use_labels.refine(layer, below or None)

    def _open(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Labels", self._model.save_folder, _KINDS)
        if file:
            self._session.use_labels.open_file(Path(file))

    def _show(self) -> None:
        """Offer the labels that there are, the topmost first; one that was opened is chosen."""
        before = self._layer.count()
        layers = self._session.use_labels.layers()
        self._layer.offer(layers)
        if len(layers) > before or self._layer.value is None:
            self._layer.setCurrentIndex(0 if layers else -1)
        for button in self._buttons:
            button.setEnabled(bool(layers))
        self._show_place()

    def _lay_on_image(self) -> None:
        self._session.use_labels.lay_on_image(self._layer.value)
        self._show_place()

    def _show_place(self) -> None:
        """Offer to lay the chosen labels on the image where they fit and are not there."""
        chosen = self._layer.value
        self._elsewhere.setVisible(
            chosen is not None and self._session.use_labels.lies_elsewhere(chosen)
        )
