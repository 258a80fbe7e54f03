"""Of a choice, exactly one is chosen, whatever else the window lets one choose."""

from qtpy.QtWidgets import QRadioButton

PAIRS = (("mode_simple", "mode_advanced"), ("results_table_button", "results_gallery_button"))


def test_the_mode_that_is_chosen_stays_chosen_when_it_is_clicked(user):
    for again in ("mode_simple", "mode_advanced"):
        user.widget.findChild(QRadioButton, "mode_advanced").click()
        user.widget.findChild(QRadioButton, "results_gallery_button").click()
        for name in (again, again, "mode_simple", "mode_simple", again):
            user.widget.findChild(QRadioButton, name).click()
            buttons = {pair: [user.button(one) for one in pair] for pair in PAIRS}
            assert user.button(name).isChecked()
            assert all(sum(one.isChecked() for one in pair) == 1 for pair in buttons.values())
            assert user.button("results_gallery_button").isChecked()
