"""What of the window can't act now says why."""

from qtpy.QtWidgets import QAbstractButton, QComboBox


def test_why_it_is_greyed_out(curator):
    on, off = {}, {}

    def look():
        for kind in (QAbstractButton, QComboBox):
            for control in curator.widget.findChildren(kind):
                if control.objectName() and not control.objectName().startswith("Scroll"):
                    seen = on if control.isEnabled() else off
                    seen.setdefault(control.objectName(), set()).add(control.toolTip())

    look()
    curator.tab("Accepted Objects")
    curator.click("save_accepted")
    curator.choose("save_mode", "Append to existing accepted layer")
    look()
    curator.click("undo_accepted")
    look()
    curator.tab("Mask Cleanup")
    curator.click("analyze")
    curator.table.selectRow(0)
    look()
    curator.click("delete_components")
    look()
    curator.click("mask_undo")
    look()
    curator.viewer.layers.clear()
    look()

    assert set(off) >= {"accepted_target", "analyze", "delete_components", "mask_undo", "mask_redo"}
    said = {name: tips & (on.get(name, set()) | {""}) for name, tips in off.items()}
    assert not any(said.values()), said
