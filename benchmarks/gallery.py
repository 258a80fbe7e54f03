"""How long the gallery, the filter and the histogram halt the window with many objects.

``python benchmarks/gallery.py [--objects 10000]``; without a screen under ``xvfb-run``. What is
counted is the time of the window's thread on the processor, so that other work does not count.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from qtpy.QtWidgets import QAbstractButton, QApplication, QListView, QWidget
from superqt import QDoubleRangeSlider

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, Provenance, Segmentation, paint_labels
from napari_sam3_assistant.session.values import Preview
from napari_sam3_assistant.widgets.main_widget import MainWidget

SIDE = 20


def turn() -> float:
    """Let Qt do what is due, and return the seconds that it took."""
    began = time.thread_time()
    QApplication.processEvents()
    return time.thread_time() - began


def wait(seconds: float) -> float:
    """Go on as a window that nobody touches; return the longest turn in seconds."""
    until, longest = time.perf_counter() + seconds, 0.0
    while time.perf_counter() < until:
        longest = max(longest, turn())
    return longest


def timed(title: str, call: object) -> None:
    """Run and print how long it took, with what Qt does at once, and the longest turn after."""
    began = time.thread_time()
    call()  # type: ignore[operator]
    QApplication.processEvents()
    first = 1000 * (time.thread_time() - began)
    print(f"{title:<44} {first:8.1f} ms, later turns up to {1000 * wait(1.5):6.1f} ms")


def main() -> None:
    """Show many objects, scroll over them, hide some."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    count = parser.parse_args().objects
    import napari

    viewer = napari.Viewer(show=True)
    columns = int(np.sqrt(count))
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (SIDE * -(-count // columns), SIDE * columns), np.uint8)
    viewer.add_image(image, name="cells")
    widget = MainWidget(viewer)
    viewer.window.add_dock_widget(widget, area="right")
    widget.findChild(QAbstractButton, "mode_advanced").click()
    panel = widget.findChild(QWidget, "advanced_panel")
    binding = widget.binding
    target = binding.adapter.displayed(binding.model.image).target
    region = Region.whole(image.shape)
    objects = tuple(
        ObjectRecord(
            number + 1,
            np.ones((edge := 6 + number % 9, edge), bool),
            Region(
                y := SIDE * (number // columns), x := SIDE * (number % columns), y + edge, x + edge
            ),
            0.35 + number % 97 / 150,
            "cells",
        )
        for number in range(count)
    )
    found = Segmentation(
        paint_labels(objects, region), objects, region, Provenance("builtin", "B", "1", "cpu", 0.3)
    )
    wait(2)
    print(f"{count} objects in {image.shape[0]} x {image.shape[1]} pixels")
    timed(
        "the result comes in",
        lambda: setattr(binding.model, "previews", (Preview(target, found, 1),)),
    )
    timed(
        "first paint of the gallery",
        panel.findChild(QAbstractButton, "results_gallery_button").click,
    )
    gallery = panel.findChild(QListView, "gallery")
    bar = gallery.verticalScrollBar()
    longest = 0.0
    for place in np.linspace(bar.minimum(), bar.maximum(), 60).astype(int):
        began = time.thread_time()
        bar.setValue(int(place))
        QApplication.processEvents()
        longest = max(longest, time.thread_time() - began, wait(0.02))
    print(f"{'scrolling from end to end, longest turn':<44} {1000 * longest:8.1f} ms")
    rows = gallery.model()
    timed("sort by score", lambda: rows.sort(4))
    fold = [one for one in panel.findChildren(QAbstractButton, "fold") if "Histogram" in one.text()]
    timed("the histogram opens", fold[0].click)
    slider = panel.findChild(QDoubleRangeSlider, "filter_area")
    low, high = slider.value()
    timed("half is hidden", lambda: slider.setValue(((low + high) / 2, high)))
    timed("all comes back", panel.findChild(QAbstractButton, "show_all").click)
    viewer.close()


if __name__ == "__main__":
    main()
