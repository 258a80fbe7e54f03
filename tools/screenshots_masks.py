"""Drive the mask operations and write the pictures of their documentation.

    python tools/screenshots_masks.py [FOLDER]      (default: docs/images)

Run it on a display with room for the window, such as ``xvfb-run -s "-screen 0 1600x1200x24"``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtTest import QTest
from skimage import data, measure
from user import MaskOperations

_TABS = ("accepted", "merge", "cleanup", "final")
_NARROW = 420


class Demo(MaskOperations):
    """The coins with a rough threshold as the preview to curate."""

    def __init__(self) -> None:
        self.viewer = napari.Viewer()
        coins = data.coins()
        self.viewer.add_image(coins, name="coins")
        rough = measure.label(coins > 110).astype(np.uint16)
        self.viewer.add_labels(rough, name="SAM3 preview labels")
        super().__init__(self.viewer)

    def shoot(self, path: Path, *, whole: bool = False) -> None:
        """Write a picture of the window of the mask operations, or of all of napari's."""
        if whole:
            self.widget.window().hide()
            pixels = self.viewer.window.screenshot(canvas_only=False, flash=False)
            picture = Image.fromarray(pixels[..., :3])
            self.widget.window().show()
        else:
            self.widget.window().grab().save(str(path))
            picture = Image.open(path).convert("RGB")
        picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def play(demo: Demo) -> None:
    """Save two objects, tick them, analyse, and look at what would go."""
    demo.save_accepted("coins", "coin", 1)
    demo.save_accepted("shine", "reflection", 2)
    demo.tab(1)
    demo.tick("merge_layers", 2)
    demo.tab(3)
    demo.tick("final_layers", 2)
    demo.tab(2)
    demo.click("analyze")
    demo.type_in("minimum", "300")
    demo.click("preview_remove_small")


def main(folder: Path) -> None:
    """Shoot every tab in both themes, Mask Cleanup also narrow, and the preview in the viewer."""
    folder.mkdir(parents=True, exist_ok=True)
    demo = Demo()
    play(demo)
    for theme in ("dark", "light"):
        demo.viewer.theme = theme
        for index, name in enumerate(_TABS):
            demo.tab(index)
            demo.shoot(folder / f"masks-{name}-{theme}.png")
    demo.tab(2)
    demo.shoot(folder / "masks-preview.png", whole=True)
    demo.widget.window().resize(_NARROW, demo.widget.window().height())
    QTest.qWait(100)
    demo.shoot(folder / "masks-cleanup-narrow.png")
    demo.viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
