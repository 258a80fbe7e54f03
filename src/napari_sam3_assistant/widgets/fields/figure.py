"""Figures as files: an image, outlines, a scale bar and a legend, drawn by Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QBuffer, QByteArray, QIODevice, QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QImage, QPainter, QPen, QPolygonF
from qtpy.QtSvg import QSvgGenerator
from qtpy.QtWidgets import QPushButton

from napari_sam3_assistant.qt.bind import bind_enabled, show_errors
from napari_sam3_assistant.qt.controls import ask_where

if TYPE_CHECKING:
    from qtpy.QtGui import QPaintDevice

    from napari_sam3_assistant.core.display import Figure
    from napari_sam3_assistant.session.session import Session


_LEAST_SIDE = 1200
"""Smaller images are enlarged, so that lines and letters are not as coarse as their pixels."""
_MOST_SIDE = 12_000
# Told apart by the colour-blind, too: Okabe and Ito's, the brightest first.
_COLOURS = ("#f0e442", "#56b4e9", "#e69f00", "#cc79a7", "#009e73", "#d55e00")
_BACK = QColor(0, 0, 0, 150)


def figure_button(session: Session) -> QPushButton:
    """Return the button that saves a figure of the plane on show."""
    made, model = QPushButton("Save Figure …"), session.model
    made.setObjectName("save_figure")
    made.setToolTip("Save the image with outlines, scale bar and legend, as PNG or SVG")

    def save() -> None:
        start = session.saving.propose_path("figure", ".png")
        kinds = ["PNG (*.png)", "SVG (*.svg)"]
        path, kind = ask_where(made, model, "Save a figure", start, kinds)
        if path is not None:
            ending = ".svg" if "svg" in kind else ".png"
            known = path.suffix.lower() in (".png", ".svg")
            file = path if known else path.with_name(path.name + ending)
            session.save_figure(file, draw_figure)

    made.clicked.connect(show_errors(model, save))
    bind_enabled(model, "figure", made)
    return made


def draw_figure(figure: Figure, ending: str) -> bytes:
    """Return a figure as a PNG or SVG file."""
    height, width = figure.pixels.shape[:2]
    longest = max(width, height * figure.aspect)
    scale = max(1.0, _LEAST_SIDE / longest)
    scale = min(scale, _MOST_SIDE / longest)
    size = QSize(max(1, round(width * scale)), max(1, round(height * scale * figure.aspect)))
    kept = QByteArray()
    buffer = QBuffer(kept)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    if ending == ".svg":
        vector = QSvgGenerator()
        vector.setOutputDevice(buffer)
        vector.setSize(size)
        vector.setViewBox(QRectF(0, 0, size.width(), size.height()))
        _paint(vector, figure, size)
    else:
        image = QImage(size, QImage.Format.Format_RGB32)
        _paint(image, figure, size)
        image.save(buffer, "PNG")
    buffer.close()
    return bytes(kept.data())


def _paint(device: QPaintDevice, figure: Figure, size: QSize) -> None:
    height, width = figure.pixels.shape[:2]
    x, y = size.width() / width, size.height() / height
    data = np.ascontiguousarray(figure.pixels).tobytes()
    shown = QImage(data, width, height, 3 * width, QImage.Format.Format_RGB888)
    unit = max(size.width(), size.height()) / _LEAST_SIDE  # what is a pixel of the smallest figure
    font = QFont()
    font.setPixelSize(max(1, round(22 * unit)))
    painter = QPainter(device)
    try:
        painter.drawImage(QRectF(0, 0, size.width(), size.height()), shown)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(font)
        for number, corners in figure.outlines:
            painter.setPen(QPen(QColor(_COLOURS[number % len(_COLOURS)]), 2.5 * unit))
            painter.drawPolygon(QPolygonF([QPointF(x * left, y * top) for left, top in corners]))
        _paint_bar(painter, figure.bar[0] * x, figure.bar[1], size, unit)
        _paint_legend(painter, figure.names, unit)
    finally:
        painter.end()


def _paint_bar(painter: QPainter, length: float, text: str, size: QSize, unit: float) -> None:
    """Draw the bar and its length at the lower right, on a dark ground that any image lets see."""
    metrics = QFontMetricsF(painter.font())
    wide, high = max(length, metrics.horizontalAdvance(text)), metrics.height()
    margin, thick = 12 * unit, 6 * unit
    ground = QRectF(0, 0, wide + 2 * margin, high + thick + 2 * margin)
    ground.moveBottomRight(QPointF(size.width() - margin, size.height() - margin))
    painter.fillRect(ground, _BACK)
    inner = ground.adjusted(margin, margin, -margin, -margin)
    painter.setPen(Qt.GlobalColor.white)
    painter.drawText(inner, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop, text)
    left = inner.center().x() - length / 2
    painter.fillRect(QRectF(left, inner.bottom() - thick, length, thick), Qt.GlobalColor.white)


def _paint_legend(painter: QPainter, names: tuple[str, ...], unit: float) -> None:
    """Draw what each colour is at the upper left."""
    if not names:
        return
    metrics = QFontMetricsF(painter.font())
    high, margin = metrics.height(), 12 * unit
    wide = max((metrics.horizontalAdvance(name) for name in names), default=0.0)
    ground = QRectF(margin, margin, wide + high + 3 * margin, high * len(names) + 2 * margin)
    painter.fillRect(ground, _BACK)
    for number, name in enumerate(names):
        top = ground.top() + margin + number * high
        square = QRectF(ground.left() + margin, top + 0.2 * high, 0.6 * high, 0.6 * high)
        painter.setPen(QPen(QColor(_COLOURS[number % len(_COLOURS)]), 2.5 * unit))
        painter.drawRect(square)
        painter.setPen(Qt.GlobalColor.white)
        where = QRectF(square.right() + margin, top, wide + margin, high)
        painter.drawText(where, Qt.AlignmentFlag.AlignVCenter, name)
