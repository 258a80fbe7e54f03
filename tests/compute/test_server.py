"""A real server by the command line, and clients of it: equal labels, keys, cancels and kills."""

import asyncio
import contextlib
import datetime
import gc
import importlib
import inspect
import json
import os
import shutil
import signal
import socket
import stat
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from skimage.data import coins

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import CancelToken, NullReporter, Progress
from napari_sam3_assistant.core.prompts import MaskPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.tracks import Direction, Span, TrackSeed
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.device import CudaDevice, Devices
from napari_sam3_assistant.errors import EngineError, ImageError, JobCancelled, PromptError
from napari_sam3_assistant.workflows.track import Tracking

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests are not a package
Server = importlib.import_module("server_process").Server
pytest.importorskip("cryptography")
distributed = pytest.importorskip("distributed")
hosting = pytest.importorskip("napari_sam3_assistant.compute.host")
wire = pytest.importorskip("napari_sam3_assistant.compute.wire")
remote_engine = pytest.importorskip("napari_sam3_assistant.compute.remote_engine")
connection_module = pytest.importorskip("napari_sam3_assistant.compute.connection")
Connection, connect = connection_module.Connection, connection_module.connect
find_connection = connection_module.find_connection

COINS = coins()[:160, :200]
POINT = (54, 45)


def test_each_worker_of_a_machine_has_a_gpu_of_its_own(monkeypatch):
    # No GPU is at hand: what is asked about them is given here.
    three = Devices(cuda=(CudaDevice("GPU", (9, 0)),) * 3)
    monkeypatch.setattr(hosting, "read_devices", lambda _tried: three)
    choice = hosting.EngineChoice("sam3-transformers")
    names = ("0", "1", "2", "3", "tls://gpu1:40000")
    devices = [choice.for_worker(name).device for name in names]
    assert devices == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "auto"]
    assert hosting.EngineChoice("sam3-transformers", device="cuda:2").for_worker("1").device == (
        "cuda:2"
    )
    # A worker of dask-cuda sees its own GPU first: the one that is taken by itself.
    monkeypatch.setitem(sys.modules, "dask_cuda", sys)
    assert [choice.for_worker(name).device for name in names] == ["auto"] * 5


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    return tmp_path_factory.mktemp("server") / "connection.json"


@pytest.fixture(scope="module")
def server(connection):
    made = Server("--connection", str(connection), "--port", "0")
    yield made
    made.stop()


@pytest.fixture
def remote(server, connection):
    del server
    return remote_engine.RemoteEngine(connection)


@pytest.fixture
def engine(remote):
    with CachingEngine(remote) as opened:
        yield opened


def test_a_server_says_what_to_type_and_its_file_is_for_its_owner_only(server, connection):
    said = "".join(server.said)
    assert "Serving Built-in" in said
    assert f"--compute {connection}" in said
    assert stat.S_IMODE(connection.stat().st_mode) == 0o600
    assert json.loads(connection.read_text())["address"].startswith("tls://127.0.0.1:")


@pytest.mark.parametrize(
    "prompts",
    [
        {"points": [POINT]},
        {"points": [POINT, (20, 20, False)]},
        {"boxes": [(30.4, 18.2, 78.9, 74.5), (28, 95, 70, 140)]},
        {"exemplars": [(30, 18, 78, 74)]},
        {"mask": np.arange(COINS.size).reshape(COINS.shape) % 200 < 60},
        {"text": "bright objects"},
        {"everything": True},
    ],
    ids=lambda prompts: next(iter(prompts)),
)
def test_labels_and_scores_are_those_of_this_process(engine, prompts):
    there = api.segment(COINS, engine=engine, **prompts)
    here = api.segment(COINS, engine="builtin", **prompts)
    np.testing.assert_array_equal(there.labels, here.labels)
    assert [(one.id, one.score, one.text) for one in there.objects] == [
        (one.id, one.score, one.text) for one in here.objects
    ]
    # Which engine made it is said as here, and where.
    assert (there.engine.engine, there.engine.title) == (here.engine.engine, here.engine.title)
    assert there.engine.device == "cpu on 127.0.0.1"


def test_a_picture_is_sent_once_and_not_again_for_other_prompts(engine, remote):
    api.segment(COINS, engine=engine, points=[POINT])
    sent = remote.bytes_sent
    assert 0 < sent <= COINS.nbytes + 100
    api.segment(COINS, engine=engine, points=[(47, 116)])
    api.segment(COINS, engine=engine, boxes=[(30, 18, 78, 74)])
    assert remote.bytes_sent == sent


def count_transitions(dask_scheduler):
    """How often a task of a scheduler has changed its state; itself it is none."""
    return dask_scheduler.transition_counter


def test_a_click_is_no_task_of_the_scheduler_and_its_masks_come_as_bits(engine, remote, connection):
    image = np.random.default_rng(0).integers(0, 256, (300, 400), np.uint8)
    api.segment(image, engine=engine, points=[POINT])
    with connect(connection) as watching:
        before = watching.run_on_scheduler(count_transitions)
        received = remote.bytes_received
        mask = np.random.default_rng(1).random(image.shape) < 0.5
        api.segment(image, engine=engine, mask=mask)
        assert watching.run_on_scheduler(count_transitions) == before
    assert remote.bytes_received - received < image.size / 8 + 2000


def test_what_the_server_has_forgotten_is_sent_again(engine, remote):
    first = api.segment(COINS, engine=engine, points=[POINT])
    for image in range(hosting.ENCODINGS + 1):
        api.segment(COINS + np.uint8(image), engine=engine, points=[POINT])
    sent = remote.bytes_sent
    again = api.segment(COINS, engine=engine, points=[POINT])
    np.testing.assert_array_equal(again.labels, first.labels)
    assert remote.bytes_sent > sent


def test_a_stack_is_followed_frame_by_frame(engine):
    stack = np.stack([np.roll(COINS, shift, axis=1) for shift in (0, 2, 4, 6)])
    there = api.track(stack, points=[(*POINT,)], frame=1, engine=engine)
    here = api.track(stack, points=[(*POINT,)], frame=1, engine="builtin")
    for one, other in zip(there, here, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.frame == other.frame


def test_commands_take_the_connection_file(connection, server, tmp_path, capsys):
    del server
    tifffile.imwrite(tmp_path / "coins.tif", COINS)
    common = ["--text", "bright objects"]
    image = str(tmp_path / "coins.tif")
    for name, more in (("there", ["--compute", str(connection)]), ("here", [])):
        assert main(["segment", image, "-o", str(tmp_path / f"{name}.tif"), *common, *more]) == 0
        output = str(tmp_path / f"{name}.zarr")
        assert main(["scan", image, "-o", output, "--tile", "256", *common, *more]) == 0
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "there.tif"), tifffile.imread(tmp_path / "here.tif")
    )
    scanned = [api.imread(tmp_path / f"{name}.zarr") for name in ("there", "here")]
    np.testing.assert_array_equal(*(np.asarray(one.data) for one in scanned))
    again = ["-o", str(tmp_path / "again.tif"), "--compute", str(connection)]
    assert main(["rerun", str(tmp_path / "here.tif.json"), *again]) == 0
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "again.tif"), tifffile.imread(tmp_path / "here.tif")
    )
    assert "It ran on cpu on 127.0.0.1" in capsys.readouterr().out


def test_every_function_that_takes_an_engine_takes_a_server():
    functions = [getattr(api, name) for name in api.__all__]
    signatures = [inspect.signature(one).parameters for one in functions if inspect.isfunction(one)]
    with_engines = [one for one in signatures if "engine" in one]
    assert len(with_engines) >= 7
    assert all("compute" in one for one in with_engines)


def test_functions_of_the_api_work_on_a_server(connection, server, tmp_path):
    del server
    source = tmp_path / "in"
    source.mkdir()
    tifffile.imwrite(source / "coins.tif", COINS)
    stack = np.stack([np.roll(COINS, shift, axis=1) for shift in (0, 2, 4)])
    made = {}
    for name, there in (("there", {"compute": connection}), ("here", {})):
        out = tmp_path / name
        labels = [api.segment(COINS, points=[POINT], **there).labels]
        (row,) = api.segment_folder(source, out, points=[POINT], **there)
        labels.append(tifffile.imread(out / row.labels))
        again = api.rerun(out / f"{row.labels}.json", **there)
        labels.append(tifffile.imread(again.path))
        found = api.scan(COINS, output=out / "coins.zarr", text="bright objects", **there)
        labels.append(np.asarray(api.imread(found.path).data))
        labels += [one.labels for one in api.track(stack, points=[POINT], **there)]
        made[name] = labels
        assert ("on 127.0.0.1" in found.engine.device) == (name == "there")
    for one, other in zip(made["there"], made["here"], strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_open_engine_and_a_server_are_one_too_many(engine, connection):
    with pytest.raises(EngineError, match="Leave out one of them"):
        api.segment(COINS, points=[POINT], engine=engine, compute=connection)
    with pytest.raises(EngineError, match="runs the engine 'builtin', not 'sam-transformers'"):
        list(
            api.track(
                np.stack([COINS] * 2), points=[POINT], engine="sam-transformers", compute=connection
            )
        )


def test_errors_of_the_engine_come_with_their_remedies(engine):
    with pytest.raises(PromptError, match="understands"):
        api.segment(COINS, engine=engine, text="mitochondria")


class CancelAtOnce(NullReporter):
    """Lets the model be loaded, and then stops."""

    def __init__(self):
        self.checks = 0

    def check(self):
        self.checks += 1
        if self.checks > 3:
            raise JobCancelled

    def report(self, progress: Progress):
        self.check()


def test_a_cancel_is_felt_here_and_the_engine_goes_on(engine):
    with pytest.raises(JobCancelled):
        api.segment(np.tile(COINS, (6, 6)), engine=engine, everything=True, reporter=CancelAtOnce())
    assert len(api.segment(COINS, engine=engine, points=[POINT]).objects) == 1


def test_two_clients_do_not_see_what_the_other_holds(engine, connection):
    with api.open_engine(compute=connection) as other:
        for shift in range(3):
            moved = np.roll(COINS, shift, axis=0)
            one = api.segment(COINS, engine=engine, points=[POINT])
            two = api.segment(moved, engine=other, points=[(POINT[0] + shift, POINT[1])])
            assert len(one.objects) == len(two.objects) == 1


def kill_workers(connection):
    with connect(connection) as client:
        for pid in client.run(os.getpid).values():
            os.kill(pid, signal.SIGKILL)


def test_a_killed_worker_costs_one_error_and_no_more(engine, connection):
    before = api.segment(COINS, engine=engine, points=[POINT])
    kill_workers(connection)
    with pytest.raises(EngineError, match=r"lost|started again|no workers"):
        api.segment(np.roll(COINS, 7), engine=engine, points=[POINT])
    again = None
    while again is None:
        with contextlib.suppress(EngineError):  # the new worker may not be there yet
            again = api.segment(COINS, engine=engine, points=[POINT])
    np.testing.assert_array_equal(again.labels, before.labels)


def test_a_killed_worker_in_the_middle_of_a_stack_and_it_goes_on_with_the_same_masks(
    engine, connection
):
    stack = np.stack([np.roll(COINS, shift, axis=1) for shift in range(0, 12, 2)])
    frames = FrameSource(view_of_array(stack, plane=0), 0)
    prompts = {0: PromptSet(points=(PointPrompt(*POINT),))}
    here = api.track(stack, points=[POINT], frame=0, engine="builtin")
    expected = {one.frame: one.labels for one in here}
    found = {}
    with Tracking(engine, frames) as tracking:
        tracking.add(prompts, NullReporter())
        going = tracking.propagate(Span(), NullReporter())
        for result in going:
            found[result.frame] = result.labels
            if result.frame == 2:
                break
        kill_workers(connection)
        with pytest.raises(EngineError, match=r"lost|started again|no workers"):
            list(going)
        told, until = Told(), time.monotonic() + 240
        while len(found) < len(stack):
            assert time.monotonic() < until
            with contextlib.suppress(EngineError):  # the new worker may not be there yet
                for result in tracking.propagate(Span(Direction.FORWARD, start=len(found)), told):
                    found[result.frame] = result.labels
    assert found.keys() == expected.keys()
    for frame, labels in found.items():
        np.testing.assert_array_equal(labels, expected[frame])
    assert "The server was lost: 3 of 3 frames again" in told.messages


class Told(NullReporter):
    """Remembers what it was told."""

    def __init__(self):
        self.messages = []

    def report(self, progress: Progress):
        self.messages.append(progress.message)


def test_a_frame_that_can_not_be_read_is_an_image_error_and_holds_nobody_up(engine):
    class Broken(FrameSource):
        def read(self, frame):
            if frame == 2:
                raise ImageError("Frame 2 can't be read.", "Look at the file.")
            return super().read(frame)

    stack = np.stack([COINS] * 4)
    with Tracking(engine, Broken(view_of_array(stack, plane=0), 0)) as tracking:
        tracking.add({0: PromptSet(points=(PointPrompt(*POINT),))}, NullReporter())
        with pytest.raises(ImageError, match="Frame 2 can't be read"):
            list(tracking.propagate(Span(), NullReporter()))
        # The engine does not wait for the frame any more.
        assert len(api.segment(COINS, engine=engine, points=[POINT]).objects) == 1


def test_the_way_to_the_server_is_measured(engine, remote):
    engine.load(NullReporter())
    link = remote.measure(NullReporter())
    assert link.round_trip > 0
    assert link.bytes_a_second > 0
    assert remote.card.machine == socket.gethostname()
    assert remote.card.hardware.startswith("CPU with")
    assert engine.traffic.received > 0


def expired(connection):
    """The keys of a server, with a certificate of yesterday that nobody has signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key = serialization.load_pem_private_key(connection.key.encode(), None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dask-internal")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now - datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    return Connection(connection.address, pem, connection.key)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("none", "it asks for keys, and the connection file has none. Copy the server's"),
        ("others", "it has other keys .* Copy the server's connection file anew"),
        ("expired", r"the keys have expired on 20\d\d-.* again with this file"),
        ("plain", "it does not answer as one, or asks for keys"),
    ],
)
def test_nobody_gets_in_without_the_right_keys(server, connection, keys, said, tmp_path):
    del server
    right = Connection.read(connection)
    wrong = {
        "none": Connection(right.address),
        "others": Connection.make(right.address),
        "expired": expired(right),
        "plain": Connection(right.address.replace("tls://", "tcp://")),
    }[keys]
    path = tmp_path / "wrong.json"
    wrong.write(path)
    with pytest.raises(EngineError, match=f"No server lets us in at .*: {said}"):
        connect(path)


def test_an_address_where_nobody_is_is_said_at_once_and_waiting_can_be_stopped(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(JobCancelled):
            connect(f"tcp://127.0.0.1:{port}", CancelAtOnce())
    with pytest.raises(EngineError, match=r"refused.* Start it with 'napari-sam3 serve'"):
        connect(f"localhost:{port}")
    with pytest.raises(EngineError, match=r"There is no connection file .*gone\.json"):
        connect(tmp_path / "gone.json")
    Connection("tls://[::1", "a", "b").write(tmp_path / "odd.json")
    with pytest.raises(EngineError, match="that is not an address"):
        connect(tmp_path / "odd.json")


class StopWaiting(NullReporter):
    """Stops at once where there is no worker to wait for."""

    def report(self, progress):
        if progress.message == "Waiting for a worker of the server":
            raise JobCancelled


def test_who_stopped_waiting_for_a_worker_has_one_the_next_time():
    here = {"host": "tcp://127.0.0.1", "protocol": "tcp", "processes": False}
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None, **here) as made,
        distributed.Client(made, set_as_default=False) as client,
    ):
        client.register_plugin(hosting.HostPlugin(hosting.EngineChoice("builtin")))
        remote = remote_engine.RemoteEngine(made.scheduler_address)
        with pytest.raises(JobCancelled):
            remote.load(StopWaiting())
        made.scale(1)
        client.wait_for_workers(1)
        remote.load(StopWaiting())
        assert remote.spec.name == "builtin"
        remote.close()


def test_a_server_makes_new_keys_where_those_of_its_file_have_expired(connection, server, tmp_path):
    del server
    serving = importlib.import_module("napari_sam3_assistant.compute.server")
    path = tmp_path / "old.json"
    old = expired(Connection.read(connection))
    old.write(path)
    new = serving.choose_keys(path)
    assert new.certificate != old.certificate
    assert new.expired is None
    new.write(path)
    assert serving.choose_keys(path) == new


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.5:8786", "tls://127.0.0.1:8786", "tcp://0.0.0.0:1", "ws://[::2]:1"]
)
def test_a_plain_address_beyond_this_machine_is_refused(address):
    with pytest.raises(EngineError, match=r"no keys\. Give the connection file .* SSH tunnel"):
        find_connection(address)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"address": 1}', '{"address": "a", "key": "b"}'])
def test_what_is_no_connection_file_is_said(tmp_path, text):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(EngineError, match="is not a connection file"):
        find_connection(tmp_path / "file.json")


def test_the_server_refuses_to_be_open_to_others_without_keys(capsys):
    assert main(["serve", "--host", "10.1.2.3"]) == 2
    assert "Give --connection FILE" in capsys.readouterr().err


def test_choices_that_are_the_servers_are_refused_here(connection, server, tmp_path):
    del server
    with pytest.raises(EngineError, match="are the server's"):
        api.open_engine(compute=connection, model_folder=tmp_path)
    with pytest.raises(EngineError, match="runs the engine 'builtin', not 'sam-transformers'"):
        api.open_engine("sam-transformers", compute=connection)


def test_a_client_whose_connecting_again_failed_by_anything_can_be_left(server, connection):
    """As tornado's ValueError where TLS is being set up as the server goes, which is met by chance:
    the task that Dask ends by it is put in here."""
    del server
    client = connect(connection)

    async def break_off():
        client._handle_report_task.cancel()  # noqa: SLF001
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(ValueError("IOStream is not idle"))
        client._handle_report_task = failed  # noqa: SLF001

    client.sync(break_off)
    connection_module.leave(client)
    assert client.status == "closed"


def test_a_client_that_was_not_heard_of_for_long_holds_nothing():
    now = [0.0]
    host = hosting.Host(hosting.EngineChoice("builtin"), clock=lambda: now[0])
    prompts = PromptSet(points=(PointPrompt(4, 4),))
    for client in ("one", "two"):
        host.describe(client, "load")
    picture = wire.PackedPicture.pack(np.zeros((9, 9, 3), np.uint8))
    host.embed("one", "encode", "encoding", picture)
    assert host.predict("one", "click", "encoding", prompts, PredictOptions()) is not None
    now[0] = hosting.IDLE_SECONDS + 1
    host.describe("two", "load")
    assert host.predict("one", "click", "encoding", prompts, PredictOptions()) is None


class LongWork:
    """A piece of work that takes longer than a client may be silent; another client is busy."""

    def __init__(self, meanwhile):
        self.meanwhile = meanwhile

    def can_read(self):
        return True

    def read(self, piece):
        return np.zeros((9, 9, 3), np.uint8)

    def run(self, engine, piece, pixels, reporter):
        self.meanwhile()
        reporter.check()
        return piece


def test_a_client_whose_work_goes_on_for_long_is_not_forgotten(monkeypatch):
    now = [0.0]
    host = hosting.Host(hosting.EngineChoice("builtin"), clock=lambda: now[0])

    def meanwhile():
        now[0] += hosting.IDLE_SECONDS + 1
        host.describe("two", "load")

    monkeypatch.setattr(hosting, "unpack", lambda packed: packed)
    host.begin_work("one", "begin", "work", LongWork(meanwhile))
    for number in range(2):
        done = host.do_piece("one", f"piece {number}", "work", number, None)
        assert done == (hosting.PieceState.DONE, number)
    now[0] += hosting.IDLE_SECONDS + 1
    host.describe("two", "load")
    assert host.do_piece("one", "late", "work", 2, None)[0] is hosting.PieceState.UNKNOWN


@pytest.mark.parametrize("is_late", [False, True])
def test_a_step_that_was_stopped_while_it_asked_leaves_no_answer_for_the_next(is_late):
    host = hosting.Host(hosting.EngineChoice("builtin"))
    host.describe("client", "load")
    about = (COINS.shape, 3, PredictOptions())
    host.open_track("client", "open", "track", *about, is_movie=False)
    picture = wire.PackedPicture.pack(np.dstack([COINS] * 3))
    painted = MaskPrompt.from_plane(COINS > 150)
    calls = iter(map(str, range(1000)))

    def step(method, *arguments):
        call = next(calls)
        kind, value = host.step_track("client", call, "track", method, *arguments)
        while kind == "frame":
            call = next(calls)
            kind, value = host.step_track("client", call, "track", "answer", picture)
        return kind, value

    step("add", TrackSeed(0, 1, mask=painted))
    step("propagate", range(3))
    kind, _ = host.step_track("client", "stopped", "track", "next")
    assert kind == "frame"
    if not is_late:
        host.stop("client", "stopped")
        # Nobody waits for who has left.
        host.embed("other", "encode", "encoding", picture)
        step("propagate", range(3))
    else:
        held = threading.Thread(target=step, args=("propagate", range(3)))
        held.start()
        host.stop("client", "stopped")
        held.join()
    found = [step("next") for _ in range(4)]
    assert [value and value.frame for _, value in found] == [0, 1, 2, None]
    assert {kind for kind, _ in found} == {"value"}


def test_a_stop_reaches_a_call_that_comes_after_it_and_leaves_nothing_of_one_that_is_over():
    host = hosting.Host(hosting.EngineChoice("builtin"))
    host.describe("client", "load")
    picture = wire.PackedPicture.pack(np.dstack([COINS] * 3))
    host.stop("client", "early")
    with pytest.raises(JobCancelled):
        host.embed("client", "early", "encoding", picture)

    def tokens():
        gc.collect()
        return sum(isinstance(held, CancelToken) for held in gc.get_objects())

    before = tokens()
    for number in range(100):
        host.describe("client", f"over {number}")
        host.stop("client", f"over {number}")
    assert tokens() == before


def test_a_frame_that_comes_too_late_ends_in_an_error_and_not_as_if_it_was_cancelled(monkeypatch):
    monkeypatch.setattr(hosting, "_ANSWER_SECONDS", 0.0)
    host = hosting.Host(hosting.EngineChoice("builtin"))
    host.describe("client", "load")
    about = (COINS.shape, 3, PredictOptions())
    host.open_track("client", "open", "track", *about, is_movie=False)
    seed = TrackSeed(0, 1, mask=MaskPrompt.from_plane(COINS > 150))
    host.step_track("client", "add", "track", "add", seed)
    host.step_track("client", "propagate", "track", "propagate", range(3))
    assert host.step_track("client", "next", "track", "next") == ("frame", 0)
    picture = wire.PackedPicture.pack(np.dstack([COINS] * 3))
    with pytest.raises(EngineError, match="Start it again; what was found stays"):
        host.step_track("client", "answer", "track", "answer", picture)


def test_other_weights_in_a_file_of_the_same_name_are_another_model(sam_folder, tmp_path):
    folder = sam_folder("sam2_video")
    torch = pytest.importorskip("safetensors.torch")
    shutil.copytree(folder, tmp_path / "other")
    weights = torch.load_file(folder / "model.safetensors")
    name = next(name for name, value in weights.items() if value.is_floating_point())
    weights[name] = weights[name] + 1
    torch.save_file(weights, tmp_path / "other" / "model.safetensors", {"format": "pt"})

    def card(folder):
        choice = hosting.EngineChoice("sam-transformers", folder, "cpu")
        return hosting.Host(choice).describe("client", "load")

    first = card(folder)
    assert first.weights == "model.safetensors"
    assert card(folder).model == first.model
    assert card(tmp_path / "other").model != first.model


@pytest.mark.parametrize("grey", [True, False])
def test_pictures_arrive_as_they_were(grey):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (33, 21, 3), np.uint8)
    if grey:
        image[...] = image[..., :1]
    packed = wire.PackedPicture.pack(image)
    np.testing.assert_array_equal(packed.unpack(), image)
    assert packed.grey == grey


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7,), (5, 9), (3, 4, 5), ()])
def test_masks_of_any_shape_and_order_arrive_as_they_were_and_can_be_written(shape):
    mask = np.random.default_rng(2).random(shape) < 0.5
    for one in (np.asarray(mask), np.asfortranarray(mask), np.asarray(mask).T):
        (found, again), other = wire.unpack(wire.pack(((one, one), one.astype(np.uint8))))
        np.testing.assert_array_equal(found, one)
        assert (found.dtype, found.shape) == (np.dtype(bool), one.shape)
        assert found is again
        assert found.flags.writeable
        assert other.dtype == np.uint8


class ForeignPath(type(Path())):
    """A path of another system: made again here as itself it is refused."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise NotImplementedError("cannot instantiate 'WindowsPath' on your system")


def test_paths_of_another_system_arrive_as_those_of_this_one():
    found, named = wire.unpack(wire.pack((ForeignPath("images/a.tif"), {"in": Path("out")})))
    assert (found, type(found)) == (Path("images/a.tif"), type(Path()))
    assert named == {"in": Path("out")}


@pytest.mark.parametrize("host", ["::1", "127.0.0.1", "localhost"])
def test_a_server_starts_under_any_way_to_write_this_machine(monkeypatch, host):
    serving = importlib.import_module("napari_sam3_assistant.compute.server")
    addresses = []

    def start(**choices):
        addresses.append(choices["host"])
        raise RuntimeError("started")

    monkeypatch.setattr(serving, "LocalCluster", start)
    choice = hosting.EngineChoice("builtin")
    with pytest.raises(EngineError, match="started"), serving.serve(choice, host=host):
        pass
    (address,) = addresses
    # As Dask reads it.
    addressing = importlib.import_module("distributed.comm.addressing")
    assert addressing.parse_host_port(address.partition("://")[2], 8786) == (host, 8786)


@pytest.fixture(scope="module")
def sam_server(tiny_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("sam_server") / "connection.json"
    options = ("--model-folder", tiny_checkpoint, "--device", "cpu", "--connection", path)
    made = Server(*map(str, options), "--port", "0")
    yield path
    made.stop()


def test_sam_3_on_a_server_gives_the_same_bits_and_tells_its_stages(sam_server, tiny_checkpoint):
    stack = np.stack([np.roll(COINS[:96, :96], shift, axis=1) for shift in (0, 2, 4)])
    prompts = ({"points": [POINT]}, {"boxes": [(30.4, 18.2, 78.9, 74.5)]}, {"text": "coin"})
    told = Told()

    def run(engine):
        masks, scores = [], []
        for one in prompts:
            found = api.segment(stack[0], engine=engine, threshold=0.1, reporter=told, **one)
            masks.append(found.labels)
            scores += [record.score for record in found.objects]
            masks += [record.soft.values for record in found.objects if record.soft is not None]
        for found in api.track(stack, points=[POINT], frame=1, engine=engine):
            masks.append(found.labels)
            scores += [record.score for record in found.objects]
        return masks, scores

    with api.open_engine(model_folder=tiny_checkpoint, device="cpu") as engine:
        masks_here, scores_here = run(engine)
    with api.open_engine(compute=sam_server) as engine:
        masks_there, scores_there = run(engine)
        assert engine.spec.title == "SAM 3 (transformers)"
        # What the server says of its work comes over the wire: here while it loads again.
        kill_workers(sam_server)
        told = Told()
        for _ in range(9):
            with contextlib.suppress(EngineError):  # the new worker may not be there yet
                api.segment(stack[0], points=[POINT], engine=engine, reporter=told)
                break
    assert scores_there == scores_here
    for one, other in zip(masks_there, masks_here, strict=True):
        np.testing.assert_array_equal(one, other)
    assert "Checking the model folder" in told.messages


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")
def test_a_scan_whose_scheduler_is_killed_goes_on_without_it(tmp_path):
    image = np.tile(COINS, (2, 3))
    scan = {"text": "bright objects", "tile": 256, "output": tmp_path / "labels.zarr"}
    server = Server("--connection", str(tmp_path / "keys.json"), "--port", "0")
    processes = [psutil.Process(server.process.pid)]
    processes += processes[0].children(recursive=True)

    def kill(step):
        if step.done == 2:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    with (
        api.open_engine(compute=tmp_path / "keys.json") as engine,
        api.open_engine(compute=tmp_path / "keys.json") as idle,
    ):
        api.segment(COINS, engine=idle, points=[POINT])
        with pytest.raises(EngineError, match="connection to the server was lost"):
            api.scan(image, engine=engine, on_step=kill, **scan)
        server.stop()
        client, until = idle._engine._client, time.monotonic() + 240  # noqa: SLF001
        while client.status == "running":
            assert time.monotonic() < until
        # It is told in the same words where nothing was on its way.
        with pytest.raises(EngineError, match="connection to the server was lost"):
            api.segment(COINS, engine=idle, points=[POINT])
    steps = []
    found = api.scan(image, on_step=steps.append, **scan)
    assert steps[0].kept >= 2
    wanted = api.scan(image, **{**scan, "output": tmp_path / "whole.zarr"})
    assert found.objects == wanted.objects
    np.testing.assert_array_equal(
        *(np.asarray(api.imread(one.path).data) for one in (found, wanted))
    )
