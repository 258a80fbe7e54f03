"""What every test shares: a guarded napari, and a viewer that knows this plugin."""

import os
import sys

import pytest

# An empty NAPARI_CONFIG keeps napari's settings in memory: the tests neither read nor
# change those of the person who runs them. napari reads it when its settings are imported.
os.environ["NAPARI_CONFIG"] = ""


def pytest_collection_modifyitems(items):
    """Skip what opens a window where there is no display; Qt would end the whole run."""
    on_x11_or_wayland = sys.platform.startswith("linux")
    display = any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")))
    if not on_x11_or_wayland or display:
        return
    skip = pytest.mark.skip(reason="no display: run `make test` or `xvfb-run -a pytest`")
    for item in items:
        if "qapp" in item.fixturenames:
            item.add_marker(skip)


@pytest.fixture
def plugin_manager(npe2pm):
    """Npe2's plugin manager, with this plugin's installed manifest and no other."""
    with npe2pm.tmp_plugin(package="napari-sam3-assistant"):
        yield npe2pm


@pytest.fixture
def settings_file(monkeypatch, tmp_path):
    """Keep the widgets' settings in a file of this test, not where the user's are."""
    from qtpy.QtCore import QSettings

    from napari_sam3_assistant.widgets import settings_store

    file = tmp_path / "settings.ini"
    ini = QSettings.Format.IniFormat
    monkeypatch.setattr(settings_store, "QSettings", lambda *_: QSettings(str(file), ini))
    return file


@pytest.fixture
def viewer(plugin_manager, settings_file, make_napari_viewer):
    """A real napari viewer, not shown, that offers this plugin's widgets."""
    return make_napari_viewer()
