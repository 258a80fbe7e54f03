"""Drive napari by mouse and keys and write the animation of the README.

    python tools/animation.py DATA [FILE]      (default: docs/images/flow.gif)

Click, keep, next, name the rest, filter, keep, save: a real session with the built-in engine, on
the nuclei of the kick-start page. Run it on a display with room for the window, such as
``xvfb-run -s "-screen 0 1600x1200x24"``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from kick_start import NUCLEI, find_deepest, open_user
from PIL import Image, ImageDraw, ImageFont
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QScrollArea, QWidget
from superqt import QDoubleRangeSlider

if TYPE_CHECKING:
    from user import User

_WIDE = 800
_COLOURS = 96
_LONG_MS, _SHORT_MS = 1600, 700


class Film:
    """The pictures of a window, each with the pointer and a line on what is done."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.pictures: list[Image.Image] = []
        self.lengths: list[int] = []

    def take(self, words: str, length: int, at: QPoint | None = None) -> None:
        """Take a picture, with the pointer at a place of the window."""
        QTest.qWait(250)
        pixels = self.user.viewer.window.screenshot(canvas_only=False, flash=False)
        picture = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
        draw = ImageDraw.Draw(picture)
        if at is not None:
            x, y = at.x(), at.y()
            arrow = ((0, 0), (0, 26), (7, 20), (12, 31), (17, 29), (12, 18), (20, 18))
            draw.polygon([(x + i, y + j) for i, j in arrow], fill="white", outline="black")
        font = ImageFont.load_default(size=30)
        box = draw.textbbox((0, 0), words, font=font)
        x = (self.user.canvas.width() - box[2]) // 2
        top = self.user.canvas.mapTo(self.user.window, QPoint(0, 0)).y() + 14
        x += self.user.canvas.mapTo(self.user.window, QPoint(0, 0)).x()
        draw.rounded_rectangle((x - 16, top, x + box[2] + 16, top + 46), 10, fill="#1f6feb")
        draw.text((x, top + 5), words, font=font, fill="white")
        self.pictures.append(
            picture.resize(
                (_WIDE, round(picture.height * _WIDE / picture.width)), Image.Resampling.LANCZOS
            )
        )
        self.lengths.append(length)

    def write(self, path: Path) -> None:
        """Write the animation, all pictures in the same colours, without dots that move."""
        sheet = Image.fromarray(np.concatenate([np.asarray(one) for one in self.pictures[::3]]))
        palette = sheet.quantize(_COLOURS, dither=Image.Dither.NONE)
        frames = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in self.pictures]
        frames[0].save(
            path,
            save_all=True,
            append_images=frames[1:],
            duration=self.lengths,
            loop=0,
            optimize=True,
        )


def play(user: User, film: Film, spots: list[tuple[int, int]]) -> None:
    """Use the window, and take pictures."""
    canvas, window = user.canvas, user.window
    layer = user.viewer.layers[0]
    film.take("Open an image, open SAM3 Assistant", _LONG_MS)
    for number, spot in enumerate(spots, 1):
        at = canvas.mapTo(window, user.spot(layer, spot))
        user.click_at(layer, spot)
        user.wait_for(lambda: user.model.preview is not None)
        film.take("Click: a mask" if number == 1 else "Click", _LONG_MS, at)
        user.press(Qt.Key.Key_K)
        count = number
        user.wait_for(lambda count=count: user.model.preview is None and count)
        film.take("K: keep, next" if number == 1 else "K", _SHORT_MS, at)
    user.type_phrase("bright objects")
    film.take("X, a phrase, Enter: all of them", _LONG_MS)
    next(
        one for one in user.widget.findChildren(QAbstractButton, "fold") if "Results" in one.text()
    ).click()
    QTest.qWait(500)
    slider = user.find(QDoubleRangeSlider, "filter_area")
    area = next(one for one in user.widget.findChildren(QScrollArea) if one.isAncestorOf(slider))
    area.ensureWidgetVisible(slider)
    low, high = slider.value()
    for step in (0.06, 0.12):
        slider.setValue((low + step * (high - low), high))
        QTest.qWait(300)
        knob = slider.mapTo(window, QPoint(round(slider.width() * step), slider.height() // 2))
        film.take("Filter by size, at once", _SHORT_MS, knob)
    film.take("Filter by size, at once", _LONG_MS, knob)
    area.verticalScrollBar().setValue(0)
    user.press(Qt.Key.Key_K)
    user.wait_for(lambda: user.model.preview is None)
    film.take("K: keep them", _LONG_MS)
    button: QWidget = user.find(QAbstractButton, "save_now")
    area.ensureWidgetVisible(button)
    user.click("save_now")
    user.wait_for(lambda: user.model.message.text.startswith("Saved"))
    middle = button.mapTo(window, button.rect().center())
    film.take("Save: one file beside the image", 2 * _LONG_MS, middle)


def main(data: Path, target: Path) -> None:
    """Write the animation."""
    with tempfile.TemporaryDirectory() as folder:
        user, truth = open_user(data, NUCLEI, Path(folder))
        sizes = np.bincount(truth.ravel())[1:]
        spots = [find_deepest(truth, int(number) + 1) for number in np.argsort(sizes)[-3:-1]]
        film = Film(user)
        play(user, film, spots)
        film.write(target)
        user.viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "docs/images/flow.gif"))
