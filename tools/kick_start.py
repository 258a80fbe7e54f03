"""Drive napari through the three uses of the kick-start page, and write its pictures and figures.

    python tools/kick_start.py DATA [FOLDER]      (default: docs/images)

DATA holds real images with truth, one ``.npz`` each: ``image`` and ``labels``; docs/kick-start.md
says which and where they come from. The built-in engine is used, by mouse and keys. Run it on a
display with room for the window, such as ``xvfb-run -s "-screen 0 1600x1200x24"``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from demo_gui import open_demo
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from scipy import ndimage
from screenshots import shoot
from skimage.metrics import contingency_table
from user import MaskOperations, User

if TYPE_CHECKING:
    import numpy.typing as npt

    Labels = npt.NDArray[np.integer]

NUCLEI, AXONS, STACK = "dsb-fluo-520x696-a7a581", "myelin-tem-train0", "stack-plant-nuclei"
_SIZE = {"dock_width": 340, "width": 1180, "height": 860}
_PREVIEW, _STACK = "SAM3 preview labels", "SAM3 propagated preview labels"
_THICKNESS = 6


def f1_score(truth: Labels, found: Labels) -> float:
    """Return F1 of objects that overlap by an IoU of one half or more."""
    shared = contingency_table(truth, found).toarray()
    sizes, sizes_found = shared.sum(axis=1)[1:], shared.sum(axis=0)[1:]
    shared = shared[1:, 1:]
    iou = shared / (sizes[:, None] + sizes_found[None] - shared)
    return float(2 * (iou >= 0.5).sum() / sum(iou.shape))


def find_deepest(labels: Labels, number: int) -> tuple[int, int]:
    """Return the point of an object that is farthest from its outline."""
    depth = ndimage.distance_transform_edt(np.pad(labels == number, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return int(y), int(x)


def open_user(data: Path, name: str, folder: Path) -> tuple[User, Labels]:
    """Open an image from a file, and return who looks at it and its truth."""
    with np.load(data / f"{name}.npz") as file:
        image, truth = file["image"], file["labels"]
    path = folder / f"{name}.tif"
    tifffile.imwrite(path, image)
    return User(open_demo(path), **_SIZE), truth


def nuclei(data: Path, folder: Path, pictures: Path) -> None:
    """Name what is to be found, keep it, and save it."""
    user, truth = open_user(data, NUCLEI, folder)
    user.type_phrase("bright objects")
    shoot(user.demo, pictures / "kick-nuclei.png")
    found = user.viewer.layers[_PREVIEW].data
    print(f"nuclei: F1 {f1_score(truth, found):.2f}, {found.max()} found of {truth.max()}")
    user.press(Qt.Key.Key_K)
    user.click("save_now")
    user.wait_for(lambda: user.model.message.text.startswith("Saved"))
    user.viewer.close()


def rings(data: Path, folder: Path, pictures: Path) -> None:
    """Box one axon, keep all that are like it, and make rings of them."""
    user, truth = open_user(data, AXONS, folder)
    image = user.viewer.layers[0]
    user.press(Qt.Key.Key_E)
    third = int(np.bincount(truth.ravel())[1:].argsort()[-3])
    rows, columns = ndimage.find_objects(truth)[third]
    corners = (rows.start - 1, columns.start - 1), (rows.stop, columns.stop)
    user.drag(image, corners[0], find_deepest(truth, third + 1), corners[1])
    user.wait_for(lambda: user.model.preview is not None)
    found = user.viewer.layers[_PREVIEW].data
    print(f"axons: F1 {f1_score(truth, found):.2f}, {found.max()} found of {truth.max()}")
    shoot(user.demo, pictures / "kick-axons.png")
    user.press(Qt.Key.Key_K)
    user.wait_for(lambda: user.model.preview is None)
    operations = MaskOperations(user.viewer)
    operations.save_accepted("fibre", "fibre", 1)
    operations.tab(2)
    operations.choose("target", "fibre_fibre")
    operations.type_in("distance", str(_THICKNESS))
    operations.click("apply_expand")
    operations.save_accepted("axon", "axon", 2)
    operations.tab(1)
    operations.tick("merge_layers")
    operations.click("merge_accepted")
    operations.widget.window().hide()
    for layer in user.viewer.layers[1:-1]:
        layer.visible = False
    QTest.qWait(300)
    shoot(user.demo, pictures / "kick-rings.png")
    user.viewer.close()


def cells(data: Path, folder: Path, pictures: Path) -> None:
    """Click on three nuclei of a slice, and follow them through the stack."""
    user, truth = open_user(data, STACK, folder)
    middle = len(truth) // 2
    image = user.viewer.layers[0]
    user.viewer.dims.set_current_step(0, middle)
    user.click("task_3d_video_propagation")
    user.press(Qt.Key.Key_P)
    largest = np.bincount(truth[middle].ravel())[1:].argsort()[::-1][:3] + 1
    for place, number in enumerate(largest.tolist()):
        if place:
            user.click("new_object")
        user.click_at(image, (middle, *find_deepest(truth[middle], number)))
    user.press(Qt.Key.Key_R)
    user.wait_for(lambda: user.model.message.text.startswith("Propagated"))
    found = user.viewer.layers[_STACK].data
    for place, number in enumerate(largest.tolist(), 1):
        both, either = (
            np.count_nonzero(join(truth == number, found == place))
            for join in (np.logical_and, np.logical_or)
        )
        print(f"nucleus {place} of the stack: IoU over all slices {both / either:.2f}")
    shoot(user.demo, pictures / "kick-stack.png")
    user.viewer.close()


def main(data: Path, pictures: Path) -> None:
    """Write all pictures and print all figures."""
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for use in (nuclei, rings, cells):
            use(data, Path(folder), pictures)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "docs/images"))
