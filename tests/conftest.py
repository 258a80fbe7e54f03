"""What every test shares: a guarded napari, and a viewer that knows this plugin."""

import gc
import importlib.util
import math
import os
import sys
import tempfile
import time
from collections import Counter
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# An empty NAPARI_CONFIG keeps napari's settings in memory: the tests neither read nor
# change those of the person who runs them. napari reads it when its settings are imported.
os.environ["NAPARI_CONFIG"] = ""

# What `auto` stands for, so that masks are the same on processors with and without bfloat16.
os.environ["NAPARI_SAM3_PRECISION"] = "float32"

# Journals of sessions go where no other test, and no user, finds them.
_STATE = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
os.environ["XDG_STATE_HOME"] = _STATE.name

# Few random examples, the same in every run; `make test-thorough` tries many, and others each time.
# What fails is printed with a decorator that repeats it. Slow examples fail no test.
settings.register_profile(
    "quick",
    max_examples=25,
    derandomize=True,
    print_blob=True,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
settings.register_profile(
    "thorough", settings.get_profile("quick"), max_examples=300, derandomize=False
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_configure(config):
    """Have another machine where the environment asks for it: see chaos.py, windows_files.py."""
    seed = os.environ.get("NAPARI_SAM3_CHAOS")
    if seed is not None:
        config.pluginmanager.register(load_beside("chaos.py").Chaos(seed))
    if os.environ.get("NAPARI_SAM3_WINDOWS_FILES"):
        config.pluginmanager.register(load_beside("windows_files.py").WindowsFiles())


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist, which reads the group
def pytest_collection_modifyitems(config, items):
    """Leave out what repeats itself, and keep what opens a window to one process.

    Without a display that is skipped: Qt would end all.
    """
    if os.environ.get("HYPOTHESIS_PROFILE") != "thorough":
        repeats = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=repeats)
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]
    on_x11_or_wayland = sys.platform.startswith("linux")
    display = any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")))
    for item in items:
        if "qapp" not in item.fixturenames:
            continue
        if on_x11_or_wayland and not display:
            reason = "no display: run `make test` or `xvfb-run -a pytest`"
            item.add_marker(pytest.mark.skip(reason=reason))
        elif config.pluginmanager.hasplugin("xdist"):
            # Only one window of a display has the keyboard. It counts with --dist=loadgroup.
            item.add_marker(pytest.mark.xdist_group("windows"))


class _TritonApart(MetaPathFinder):
    """Lets any test import PyTorch, whose Triton would crash where one before it has drawn."""

    is_asked = False

    def find_spec(self, name, path, target=None):
        if name == "triton" and not self.is_asked:
            from napari_sam3_assistant.engines.device import keep_triton_apart

            self.is_asked = True  # it looks for Triton itself
            keep_triton_apart()
            self.is_asked = False


sys.meta_path.insert(0, _TritonApart())


imported = 0


@pytest.fixture(autouse=True)
def _spare_the_collector_what_was_imported():
    """Keep modules out of garbage collections: napari makes one wherever layers are cleared."""
    global imported
    if len(sys.modules) > imported + 100:
        imported = len(sys.modules)
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _no_machine_is_too_slow():
    """Give everything its time where ours would run out: on a busy machine, and for nobody else."""
    from napari_sam3_assistant.compute import connection
    from napari_sam3_assistant.session import runs
    from napari_sam3_assistant.workflows import batch

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runs, "QUICK_S", math.inf)  # after a run that took longer Live waits
        patched.setattr(batch, "_SECONDS", math.inf)
        patched.setattr(connection, "_CONNECT_SECONDS", 240)
        yield


@pytest.fixture(scope="session")
def when_collected():
    """Wait for what comes of garbage collection: workers let go when they have told the end."""

    def wait(is_so):
        until = time.monotonic() + 240
        while not is_so():
            assert time.monotonic() < until
            gc.collect()

    return wait


@pytest.fixture
def plugin_manager(npe2pm):
    """Npe2's plugin manager, with this plugin's installed manifest and no other."""
    with npe2pm.tmp_plugin(package="napari-sam3-assistant"):
        yield npe2pm


@pytest.fixture
def journals(monkeypatch, tmp_path_factory):
    """The folder of the journals of this test: what an earlier one has left is not offered."""
    from napari_sam3_assistant.widgets.fields import session

    folder = tmp_path_factory.mktemp("state") / "journals"
    monkeypatch.setattr(session, "default_root", lambda: folder)
    return folder


@pytest.fixture
def settings_file(monkeypatch, tmp_path, journals):
    """Keep the widgets' settings in a file of this test, not where the user's are."""
    import napari.settings
    from qtpy.QtCore import QSettings

    from napari_sam3_assistant.qt import dock

    # napari 0.9 keeps those of plugins in memory, like its own.
    getattr(napari.settings, "_clear_plugin_settings_cache", lambda: None)()
    file = tmp_path / "settings.ini"
    ini = QSettings.Format.IniFormat
    monkeypatch.setattr(dock, "QSettings", lambda *_: QSettings(str(file), ini))
    return file


@pytest.fixture
def viewer(plugin_manager, settings_file, make_napari_viewer):
    """A real napari viewer, not shown, that offers this plugin's widgets."""
    return make_napari_viewer()


def load_beside(name):
    """Import a module of parts that lies beside this file; the tests are not a package."""
    path = Path(__file__).parent / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def napari_reads(plugin_manager):
    """The reader that comes with napari: layers know the file that they are of."""
    with plugin_manager.tmp_plugin(package="napari"):
        yield


@pytest.fixture
def bench():
    """A viewer without a window with the mask operations on it."""
    made = load_beside("mask_bench.py").MaskBench()
    yield made
    made.binding.close()


@pytest.fixture(scope="session")
def specked_cells():
    """Faint cells of 30 pixels with a bright speck each: which are meant, their size tells."""
    import numpy as np
    from scipy import ndimage as ndi

    rows, columns = np.indices((150, 180))
    rng = np.random.default_rng(3)
    grey = np.zeros(rows.shape)
    for y in (30, 75, 120):
        for x in (30, 90, 150):
            grey[np.hypot(rows - y, columns - x) < 15] = 25
            off = rng.uniform(-6, 6, 2)
            grey += 120 * (np.hypot(rows - y - off[0], columns - x - off[1]) < 2.5)
    grey = ndi.gaussian_filter(grey, 1) + 40 + rng.normal(0, 2, rows.shape)
    return grey.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """Return the folder of a small real SAM 3 checkpoint; treat it as read-only."""
    for package in ("torch", "torchvision", "transformers"):
        pytest.importorskip(package)
    builder = load_beside("engines/tiny_checkpoint.py")
    return builder.write_tiny_checkpoint(tmp_path_factory.mktemp("tiny_sam3"))


@pytest.fixture(scope="session")
def sam_folder(tmp_path_factory):
    """Return a function that gives the folder of a small real SAM of a kind; for reading only."""
    builder = load_beside("engines/tiny_sam.py")
    made = {}

    def folder(kind) -> Path:
        for package in ("torch", "torchvision", "transformers"):
            pytest.importorskip(package)
        if kind.startswith("edgetam"):
            pytest.importorskip("timm")
        if kind not in made:
            made[kind] = builder.write_tiny_sam(tmp_path_factory.mktemp(f"tiny_{kind}"), kind)
        return made[kind]

    return folder


@pytest.fixture(scope="session")
def segment_anything(tmp_path_factory):
    """A small SAM 1 of Meta's package, and its folder as micro-sam has it; for reading only."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("segment_anything")
    folder = tmp_path_factory.mktemp("micro_sam")
    model = load_beside("engines/tiny_sam.py").make_segment_anything()
    torch.save(model.state_dict(), folder / "vit_b_lm.pt")
    return model, folder


@pytest.fixture
def model_calls():
    """Counts of what runs in models by transformers, whoever holds them: encode, text, ..."""
    torch = pytest.importorskip("torch")
    parts = {
        "Sam3ViTModel": "encode",
        "CLIPTextModelWithProjection": "text",
        "Sam3DetrDecoder": "find",
        "Sam3TrackerVideoMaskDecoder": "click",
    }
    calls = Counter()

    def count(module, *_):
        part = parts.get(type(module).__name__)
        if part is not None:
            calls[part] += 1

    handle = torch.nn.modules.module.register_module_forward_hook(count)
    yield calls
    handle.remove()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in for the Hugging Face Hub, on this machine, and a user without a token."""
    constants = pytest.importorskip("huggingface_hub.constants")
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    with load_beside("stand_in_hub.py").StandInHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


@pytest.fixture(scope="session")
def killed():
    """Functions that run Python which is killed on the spot."""
    return load_beside("killed_process.py")


@pytest.fixture(scope="session")
def disks():
    """Functions that give a test a full disk, or a folder that nobody may write to."""
    return load_beside("faulty_disks.py")


@pytest.fixture(scope="session")
def hostile_lines():
    """Return the maker of hostile command lines, and what runs them."""
    return load_beside("hostile_lines.py")


@pytest.fixture(scope="session")
def write_plate():
    """Return the writer of OME-Zarr plates."""
    return load_beside("plates.py").write_plate


@pytest.fixture
def windows_files(monkeypatch):
    """Have files behave as those of Windows: what is open stays where it is."""
    if not sys.platform.startswith("linux"):
        yield
        return
    with load_beside("windows_files.py").files_of_windows():
        yield
        # What a test has put in the place of one of its functions goes first: put back later, it
        # would have files behave so in all tests that follow.
        monkeypatch.undo()


@pytest.fixture
def sam2_hub(hub, sam_folder, tmp_path, monkeypatch):
    """The stand-in with a small SAM 2.1, and a user whose home is this test's."""
    hub.repository = "facebook/sam2.1-hiera-tiny"
    hub.files = {path.name: path.read_bytes() for path in sam_folder("sam2_video").iterdir()}
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    return hub
