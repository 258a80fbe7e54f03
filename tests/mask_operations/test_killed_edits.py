"""An edit that was killed half-way, as the person sees it who opens the labels again."""

import numpy as np
import zarr
from qtpy.QtWidgets import QLabel, QWidget

from napari_sam3_assistant.core.masks.cleanup import merge_values
from napari_sam3_assistant.io.edit_journal import JournaledEdit


def test_the_person_finishes_what_was_killed(curator, tmp_path):
    labels = zarr.create_array(
        str(tmp_path / "labels.zarr"), shape=(60, 80), dtype="u2", chunks=(30, 40)
    )
    labels[10:50, 10:70] = 3
    edit = merge_values(labels, [3], 5)
    JournaledEdit(tmp_path / "labels.zarr", edit, True, (), "00000000-1-00000000").write()
    labels[:30] = np.where(labels[:30] == 3, 5, 0)

    curator.tab("Mask Cleanup")
    shown = curator.widget.findChild(QWidget, "unfinished")
    assert shown.isHidden()
    curator.viewer.add_labels(labels, name="stored")
    curator.choose("target", "stored")
    assert not shown.isHidden()
    assert shown.findChild(QLabel).text() == (
        "“relabel values” was stopped half-way in these labels. Finish it or take it back first."
    )
    curator.click("finish_edit")
    curator.qtbot.waitUntil(lambda: "Finished" in curator.status, timeout=240_000)

    assert curator.status == "✓ Finished: relabel values on “stored”."
    assert shown.isHidden()
    assert set(np.unique(labels[:])) == {0, 5}
