"""The plane on show is encoded while the user draws, and every run comes before that."""

from __future__ import annotations

import threading

import pytest
import tifffile

from napari_sam3_assistant import api
from napari_sam3_assistant.errors import EngineError
from napari_sam3_assistant.jobs import JobState
from napari_sam3_assistant.session.saved import CHOICES
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.session.values import DeviceInUse, EncodeAhead


@pytest.fixture
def ready(bench):
    """A session that has loaded the model on plane 0, and is now on plane 1."""
    bench.click()
    assert bench.run().state is JobState.DONE
    bench.model.encode_ahead = EncodeAhead.ON
    bench.show_plane(1)
    return bench


def test_clicks_use_a_folder_of_encodings_that_was_chosen(
    make_bench, model_calls, tmp_path, tiny_checkpoint
):
    settings = MemorySettings()
    first = make_bench(seed=7, settings=settings)
    for plane in range(3):
        tifffile.imwrite(tmp_path / f"{plane}.tif", first.scene.stack[plane])
    api.precompute(tmp_path, tmp_path / "encodings", model_folder=tiny_checkpoint, pattern="*.tif")
    first.model.encodings_folder = str(tmp_path / "gone")
    first.click()
    with pytest.raises(EngineError, match=r"no folder of encodings .*gone\. Choose one in Step 1"):
        first.run()
    first.model.encodings_folder = str(tmp_path / "encodings")
    first.session.close()

    bench = make_bench(seed=7, settings=settings)  # it is remembered, on this computer alone
    assert bench.model.encodings_folder == str(tmp_path / "encodings")
    assert "encodings_folder" not in CHOICES
    before = model_calls["encode"]
    for plane in range(3):
        bench.show_plane(plane)
        bench.click()
        assert bench.run().state is JobState.DONE
    assert model_calls["encode"] == before
    assert not (tmp_path / "gone").exists()


class Gate:
    """Holds the image encoder at its next layers until it is opened."""

    def __init__(self):
        import torch

        self.reached = threading.Event()
        self.opened = threading.Event()
        self.handle = torch.nn.modules.module.register_module_forward_pre_hook(self._hold)

    def _hold(self, module, _):
        if type(module).__name__ == "Sam3ViTLayer" and not self.opened.is_set():
            self.reached.set()
            assert self.opened.wait(240)


@pytest.fixture
def gate(tiny_checkpoint):
    gate = Gate()
    gate.opened.set()
    yield gate
    gate.opened.set()
    gate.handle.remove()


def shut(gate):
    gate.reached.clear()
    gate.opened.clear()


def ahead_job(bench):
    return bench.session.prefetch._job  # noqa: SLF001 - the job is nobody's business but the test's


def test_a_click_encodes_the_plane_and_a_run_finds_it(ready, model_calls):
    ready.click()
    job = ahead_job(ready)
    assert not ready.model.running
    ready.finish(job)
    assert job.state is JobState.DONE
    assert model_calls == {"encode": 1}
    ready.click()
    assert ready.run().state is JobState.DONE
    assert model_calls == {"encode": 1, "click": 1}


def test_weights_are_never_loaded_unasked(bench, model_calls):
    bench.model.encode_ahead = EncodeAhead.ON
    bench.click()
    bench.model.text = "cell"
    assert ahead_job(bench) is None
    assert model_calls == {}


def test_a_changed_choice_is_not_loaded_unasked(ready):
    ready.model.device = "cpu"
    ready.click()
    assert ahead_job(ready) is None


@pytest.mark.parametrize(
    ("choice", "device", "enabled"),
    [
        (EncodeAhead.AUTO, "cuda:0", True),
        (EncodeAhead.AUTO, "mps", True),
        (EncodeAhead.AUTO, "cpu", False),
        (EncodeAhead.AUTO, None, False),
        (EncodeAhead.ON, "cpu", True),
        (EncodeAhead.OFF, "cuda:0", False),
    ],
)
def test_on_by_default_on_a_gpu(bench, choice, device, enabled):
    bench.model.encode_ahead = choice
    bench.model.device_in_use = None if device is None else DeviceInUse(device, "")
    assert bench.session.prefetch.is_enabled is enabled


def test_off_means_off(ready):
    ready.model.encode_ahead = EncodeAhead.OFF
    ready.click()
    assert ahead_job(ready) is None


def test_the_choice_is_remembered(make_bench):
    settings = MemorySettings()
    make_bench(settings=settings).model.encode_ahead = EncodeAhead.OFF
    assert make_bench(settings=settings).model.encode_ahead is EncodeAhead.OFF


def test_typing_a_phrase_encodes(ready, model_calls):
    ready.model.text = "cell"
    ready.finish(ahead_job(ready))
    assert model_calls == {"encode": 1}


def test_a_plane_is_tried_once(ready):
    ready.click()
    ready.finish(ahead_job(ready))
    ready.click()
    assert ahead_job(ready) is None


def test_another_slice_cancels_it(ready, gate, model_calls):
    shut(gate)
    ready.click()
    job = ahead_job(ready)
    assert gate.reached.wait(240)
    ready.show_plane(2)
    assert job.state is JobState.CANCELLED
    gate.opened.set()
    # Back on the plane it begins anew: nothing half-made was kept.
    ready.show_plane(1)
    ready.click()
    ready.finish(ahead_job(ready))
    assert model_calls == {"encode": 1}


def test_the_same_slice_does_not_cancel_it(ready, gate):
    shut(gate)
    ready.click()
    job = ahead_job(ready)
    ready.show_plane(1)
    assert not job.state.is_over
    gate.opened.set()
    ready.finish(job)
    assert job.state is JobState.DONE


def test_a_run_of_the_same_plane_waits_for_it(ready, gate, model_calls):
    shut(gate)
    ready.click()
    ahead = ahead_job(ready)
    assert gate.reached.wait(240)
    run = ready.session.run()
    # A slider that moves now stops neither.
    ready.show_plane(2)
    assert not ahead.state.is_over
    gate.opened.set()
    ready.finish(run)
    assert (ahead.state, run.state) == (JobState.DONE, JobState.DONE)
    assert model_calls == {"encode": 1, "click": 1}
    assert ready.model.preview.target.plane.leading == (1,)


def test_a_run_that_waits_shows_its_progress(ready, gate):
    shut(gate)
    ready.click()
    assert gate.reached.wait(240)
    run = ready.session.run()
    told = []
    ready.model.events.message.connect(lambda message: told.append(message.text))
    gate.opened.set()
    ready.finish(run)
    assert "Encoding the image …" in told


def test_a_run_of_another_plane_cancels_it(ready, gate, model_calls):
    shut(gate)
    ready.click()
    ahead = ahead_job(ready)
    assert gate.reached.wait(240)
    ready.scene.plane = 2
    run = ready.session.run()
    assert ahead.state is JobState.CANCELLED
    gate.opened.set()
    ready.finish(run)
    assert run.state is JobState.DONE
    assert model_calls == {"encode": 1, "click": 1}


def test_cancelling_the_run_cancels_what_it_waits_for(ready, gate, model_calls):
    shut(gate)
    ready.click()
    ahead = ahead_job(ready)
    assert gate.reached.wait(240)
    run = ready.session.run()
    ready.session.cancel()
    assert (ahead.state, run.state) == (JobState.CANCELLED, JobState.CANCELLED)
    gate.opened.set()
    assert ready.run().state is JobState.DONE
    assert model_calls["encode"] == 1


def test_nothing_is_said_of_a_failure(ready, gate, monkeypatch, caplog):
    import torch

    def full(module, _):
        if type(module).__name__ == "Sam3ViTLayer":
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = torch.nn.modules.module.register_module_forward_pre_hook(full)
    before = ready.model.message
    caplog.set_level("INFO")
    ready.click()
    job = ahead_job(ready)
    ready.finish(job)
    handle.remove()
    assert job.state is JobState.FAILED
    assert ready.model.message is before
    assert "Encoding ahead ended" in caplog.text
    ready.click()
    assert ahead_job(ready) is None
    assert ready.run().state is JobState.DONE


def test_an_image_that_is_gone_ends_it(ready, gate):
    shut(gate)
    ready.click()
    job = ahead_job(ready)
    ready.model.image = ""
    assert job.state is JobState.CANCELLED
    gate.opened.set()


def test_closing_the_session_ends_it(ready, gate):
    shut(gate)
    ready.click()
    job = ahead_job(ready)
    ready.session.close()
    assert job.state is JobState.CANCELLED
    gate.opened.set()
