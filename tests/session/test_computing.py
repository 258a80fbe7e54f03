"""A session that works on a server: what is known of it, said of it, kept and freed."""

import re
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from napari_sam3_assistant.errors import EngineError
from napari_sam3_assistant.jobs import JobState
from napari_sam3_assistant.session.saved import CHOICES
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.session.values import Level

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests are not a package
Server = import_module("server_process").Server
pytest.importorskip("cryptography")
connection_module = pytest.importorskip("napari_sam3_assistant.compute.connection")
HELD = "len(__import__('distributed').get_worker().plugins['napari-sam3-assistant'].host._sessions)"


@pytest.fixture
def keys(tmp_path):
    return tmp_path / "lab.json"


@pytest.fixture
def start(keys):
    """Start servers of the built-in engine with the same file, and stop them in the end."""
    made = []

    def start():
        made.append(Server("--connection", str(keys), "--port", "0"))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.stop()


def test_what_is_no_server_changes_nothing(make_bench, tmp_path):
    bench = make_bench()
    computing, model = bench.session.computing, bench.model
    for wrong in (tmp_path / "gone.json", "tcp://10.0.0.5:8786", "tls://127.0.0.1:1", "nonsense"):
        with pytest.raises(EngineError):
            computing.use_server(str(wrong))
        with pytest.raises(EngineError):
            computing.test(str(wrong))
    assert (model.compute, model.servers, model.testing) == ("", "", False)
    assert computing.use_this_computer() is None


def test_servers_are_remembered_here_and_never_part_of_a_saved_session(make_bench):
    settings = MemorySettings()
    bench = make_bench(settings=settings)
    for port in range(1, 8):
        job = bench.session.computing.use_server(f"localhost:{port}")
    bench.finish(job)
    assert job.state is JobState.FAILED  # nobody is there; it stays chosen, and a run tries again
    assert bench.model.message.level is Level.ERROR
    assert "No server lets us in at tcp://localhost:7" in bench.model.message.text
    assert bench.session.computing.recent == tuple(f"localhost:{port}" for port in range(7, 2, -1))
    again = make_bench(settings=settings)
    assert again.model.compute == "localhost:7"
    assert again.session.computing.recent[0] == "localhost:7"
    # What it takes is not known yet, so everything may be tried.
    assert again.session.engine.spec.title == "The server's engine"
    assert not {"compute", "servers"} & {*CHOICES}


def test_a_run_on_a_server_is_said_to_be_its_engines_and_a_lost_one_keeps_all(
    make_bench, start, keys
):
    bench, first = make_bench(), start()
    model = bench.model  # the folder of SAM 3 on this computer is chosen, too
    bench.finish(bench.session.computing.use_server(str(keys)))
    assert (model.server_spec.name, model.device_in_use.name) == ("builtin", "cpu on 127.0.0.1")
    bench.click()
    bench.run()
    preview = model.preview
    made = preview.segmentation.engine
    assert (made.engine, made.device) == ("builtin", "cpu on 127.0.0.1")
    assert preview.provenance.model_folder is None
    assert "on 127.0.0.1" in model.message.text
    # Of a grey picture one channel goes over the wire, compressed.
    assert 0 < model.traffic.sent <= 60 * 80 + 100
    assert model.traffic.received > 0

    first.kill()
    bench.click()
    job = bench.run()
    assert job.state is JobState.FAILED
    assert re.search(r"The connection to the server was lost|refused", model.message.text)
    assert "napari-sam3 serve" in model.message.text
    assert model.previews == (preview,)
    assert model.prompts.positive == 2

    start()
    job = bench.run()
    assert job.state is JobState.DONE
    np.testing.assert_array_equal(model.preview.segmentation.labels, preview.segmentation.labels)

    # Who closes the window frees what it held there.
    bench.session.close()
    with connection_module.connect(keys) as client:
        while client.submit(eval, HELD, pure=False).result() > 1:  # its own
            pass


def test_a_test_says_who_answers_and_can_be_stopped(make_bench, start, keys):
    start()
    bench = make_bench()
    computing, model = bench.session.computing, bench.model
    computing.test(str(keys))
    assert model.testing
    computing.stop_test()
    bench.desk.until(lambda: not model.testing)
    assert model.server_test.text == "The test was stopped."
    computing.test(str(keys))
    bench.desk.until(lambda: not model.testing)
    assert model.server_test.level is Level.SUCCESS
    said = model.server_test.text
    assert "answers (release" in said
    assert "Built-in (no SAM 3 weights), CPU with" in said
    assert "MB/s" in said
    assert not model.compute  # a test chooses nothing
