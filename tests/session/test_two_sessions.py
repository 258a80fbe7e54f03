"""Two viewers on one engine."""

from __future__ import annotations

import shutil
import threading

import pytest

from napari_sam3_assistant.jobs import JobState


@pytest.fixture
def loads(monkeypatch):
    """How often weights were read."""
    from napari_sam3_assistant.engines.sam3_transformers import engine

    counted = []
    real = engine.load_model
    monkeypatch.setattr(engine, "load_model", lambda *given: counted.append(1) or real(*given))
    return counted


@pytest.fixture
def two(make_bench):
    first, second = make_bench(seed=0), make_bench(seed=1)
    first.click()
    second.click()
    return first, second


def test_the_weights_are_read_once(two, loads):
    jobs = [bench.session.run() for bench in two]
    for bench, job in zip(two, jobs, strict=True):
        bench.finish(job)
    assert [job.state for job in jobs] == [JobState.DONE] * 2
    assert loads == [1]


def test_each_has_its_own_result(two):
    for bench in two:
        bench.run()
    one, other = (bench.model.preview.segmentation for bench in two)
    assert one.objects[0].score != other.objects[0].score


def test_one_closes_while_the_other_runs(two, loads):
    first, second = two
    first.run()
    inside, go_on = threading.Event(), threading.Event()

    def hold(module, _):
        if type(module).__name__ == "Sam3ViTLayer":
            inside.set()
            assert go_on.wait(240)

    import torch

    handle = torch.nn.modules.module.register_module_forward_pre_hook(hold)
    job = second.session.run()
    assert inside.wait(240)
    first.session.close()
    go_on.set()
    second.finish(job)
    handle.remove()
    assert job.state is JobState.DONE
    assert second.model.preview.segmentation.objects
    assert loads == [1]


def test_another_choice_leaves_the_engine_to_the_other(two, loads, tiny_checkpoint, tmp_path):
    first, second = two
    first.run()
    second.run()
    another = tmp_path / "weights"
    shutil.copytree(tiny_checkpoint, another)
    first.model.model_folder = str(another)
    first.run()
    assert second.run().state is JobState.DONE
    # The second one never lost its weights.
    assert loads == [1, 1]


def test_who_names_the_device_gets_the_engine_that_runs_on_it(two, loads, monkeypatch):
    from napari_sam3_assistant.engines import device

    monkeypatch.setattr(device, "read_devices", lambda _requested: device.Devices())
    first, second = two
    second.model.device = "cpu"
    for bench in two:
        bench.session.engine.take()
    first.run()
    second.run()
    assert second.model.preview.segmentation.objects
    assert loads == [1]


def test_the_engine_is_closed_with_the_last(two):
    from napari_sam3_assistant.engines.registry import acquire

    first, second = two
    first.run()
    engine = first.session.engine.loaded
    second.run()
    # Each closes its share in its own thread, whichever comes last.
    workers = [one.session._running.runner._thread for one in two]  # noqa: SLF001
    first.session.close()
    workers[0].join(240)
    assert engine.is_loaded
    second.session.close()
    workers[1].join(240)
    assert not engine.is_loaded
    again = acquire("sam3-transformers", None, "cpu")
    assert again.engine is not engine
    again.close()
