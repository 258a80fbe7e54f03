"""The folder and the device in a session without a window."""

import pytest

from napari_sam3_assistant.core.progress import deliver_inline
from napari_sam3_assistant.errors import DownloadError
from napari_sam3_assistant.session.messages import explain_engine, format_engine
from napari_sam3_assistant.session.model import SessionModel
from napari_sam3_assistant.session.model_setup import ModelSetup
from napari_sam3_assistant.session.settings import MemorySettings, restore
from napari_sam3_assistant.session.values import DeviceInUse, Level

OVERRIDE = "NAPARI_SAM3_ENABLE_DEVICE_OVERRIDE"


@pytest.fixture
def model():
    return SessionModel()


def set_up(model):
    def start(job):
        job.run(deliver_inline)
        return job

    return ModelSetup(model, start, deliver_inline)


@pytest.mark.parametrize(
    ("switch", "device"),
    [("1", "mps"), ("TRUE", "mps"), ("on", "mps"), ("0", "auto"), ("", "auto")],
)
def test_a_remembered_device_counts_only_where_the_choice_is_free(
    monkeypatch, model, switch, device
):
    monkeypatch.setenv(OVERRIDE, switch)
    settings = MemorySettings()
    settings.set("device", "mps")
    restore(model, settings)

    setup = set_up(model)

    assert model.device == device
    assert setup.may_choose_device == (device == "mps")
    assert settings.get("device") == "mps"  # for when it is free again


@pytest.mark.parametrize("field", ["engine", "model_folder", "device", "precision"])
def test_where_it_runs_is_forgotten_when_the_choice_changes(model, field):
    setup = set_up(model)
    model.device_in_use = DeviceInUse("cpu", "There is no GPU that PyTorch can use.")

    setattr(model, field, "other")

    assert model.device_in_use is None
    setup.close()


def test_validate_without_a_folder(model):
    job = set_up(model).validate()

    assert job.error is None
    assert [found.level for found in model.findings] == [Level.ERROR]
    assert model.message.text == "Model directory is empty. Choose a folder."


def test_what_one_engine_lacks_is_a_warning_where_another_can_load(model, tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("sam3")
    names = ("detector.backbone.weight", "tracker.mask_decoder.weight")
    torch.save({name: torch.zeros(2) for name in names}, tmp_path / "sam3.pt")

    set_up(model).validate(str(tmp_path))

    assert [found.level for found in model.findings] == [
        Level.SUCCESS,
        Level.WARNING,
        Level.WARNING,
    ]
    assert model.message.level is Level.SUCCESS


def test_one_download_at_a_time(hub, model, tmp_path):
    hub.files = {"model.safetensors": b"weights"}
    hub.gate.clear()
    setup = set_up(model)
    job = setup.download(str(tmp_path / "sam3"))

    with pytest.raises(DownloadError, match="A download is going on"):
        setup.download(str(tmp_path / "other"))

    setup.stop_download()
    assert job.wait(240)
    assert model.download == ""
    setup.close()


def test_the_line_and_its_reason(model):
    from napari_sam3_assistant.engines import registry

    built_in = registry.find_entry("builtin").spec
    assert format_engine(model, built_in) == f"Engine: {built_in.title}"
    assert explain_engine(model, built_in) == (
        "It needs no weights. It understands 'bright ...' and 'dark ...', such as 'bright cells' "
        "or 'bright cells 30 px' as phrases."
    )
    sam3 = registry.find_entry("sam3-transformers").spec
    assert format_engine(model, sam3).splitlines()[1] == "device: automatic"
    assert explain_engine(model, sam3).splitlines() == [
        "No model folder yet.",
        "The device is chosen when the model is loaded.",
    ]
    model.device, model.model_folder, model.sam_version = "cuda:1", "/models/sam3", "SAM 3.0"
    assert format_engine(model, sam3).splitlines()[1] == "SAM 3.0, device: cuda:1"
    model.device_in_use = DeviceInUse("cuda:1", "NVIDIA L4 was asked for.")
    assert explain_engine(model, sam3).splitlines() == [
        "Its weights: /models/sam3",
        "NVIDIA L4 was asked for.",
    ]
