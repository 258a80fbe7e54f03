"""Work on all workers of a cluster: the labels of one process, whoever dies in the middle."""

import contextlib
import errno
import json
import os
import signal
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import dask.array
import numcodecs
import numpy as np
import pytest
import tifffile
import zarr
from napari.components import ViewerModel
from napari.layers._source import layer_source
from zarr.core.sync import sync

from napari_sam3_assistant import api
from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.progress import CancelToken, NullReporter, deliver_inline
from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.engines.piecework import work_through
from napari_sam3_assistant.errors import EngineError, ImageError, JobCancelled, PromptError
from napari_sam3_assistant.io.ome_zarr_labels import save_ome_zarr
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.workflows.folder_work import FolderImages, SharedView

distributed = pytest.importorskip("distributed")
hosting = pytest.importorskip("napari_sam3_assistant.compute.host")
wire = pytest.importorskip("napari_sam3_assistant.compute.wire")
workers_module = pytest.importorskip("napari_sam3_assistant.compute.workers")

SCAN = {"text": "bright spots", "tile": 256, "overlap": 0.2}


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes, each with the built-in engine, as of a cluster that runs already."""
    environment = {"OMP_NUM_THREADS": "1"}
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=8,
            memory_limit=0,
            dashboard_address=":0",
            env=environment,
        ) as made,
        distributed.Client(made, set_as_default=False) as client,
    ):
        client.register_plugin(hosting.HostPlugin(hosting.EngineChoice("builtin")))
        yield made


@pytest.fixture
def engine(cluster):
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=240)  # a test before may have killed one
    with api.open_engine(compute=cluster.scheduler_address) as opened:
        yield opened


@pytest.fixture(scope="module")
def image():
    rows, columns = np.mgrid[:450, :650]
    spots = np.hypot(rows % 50 - 25, columns % 50 - 25) < 12
    noise = np.random.default_rng(0).normal(0, 4, spots.shape)
    return (40 + 120 * spots + noise).clip(0, 255).astype(np.uint16) * 13


@pytest.fixture(scope="module")
def one_process(image, tmp_path_factory):
    """The scan of one process."""
    output = tmp_path_factory.mktemp("one") / "labels.zarr"
    return api.scan(image, output=output, **SCAN)


def labels_of(result):
    return zarr.open_group(str(result.path), mode="r")["0"][...]


def assert_same(result, one_process):
    np.testing.assert_array_equal(labels_of(result), labels_of(one_process))
    assert result.objects == one_process.objects
    assert not result.path.with_name(f"{result.path.name}.scan").exists()


def test_a_scan_gives_the_labels_of_one_process(engine, image, one_process, tmp_path):
    shown = tmp_path / "image.tif"
    tifffile.imwrite(shown, image, tile=(64, 64))
    steps = []
    result = api.scan(
        shown, output=tmp_path / "labels.zarr", engine=engine, on_step=steps.append, **SCAN
    )
    assert_same(result, one_process)
    assert [step.done for step in steps] == list(range(result.tiles + 1))
    assert steps[-1].workers == 2
    assert steps[-1].rate > 0
    assert result.engine.device == "cpu on 127.0.0.1"


def test_a_worker_does_not_take_a_file_of_another_image(image, tmp_path):
    """As where a path leads elsewhere on that machine: what the client has is sent."""
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, image[::-1])
    view = api.view_of_array(image)
    tokens = {channel.source.token: path for channel in view.channels}
    there = wire.unpack(wire.pack(SharedView(view, tokens)))
    assert not there.can_read()
    tifffile.imwrite(path, image)
    there = wire.unpack(wire.pack(SharedView(view, tokens)))
    assert there.can_read()
    np.testing.assert_array_equal(there.view.rgb(), view.rgb())


@contextlib.contextmanager
def serving(handler, folder):
    """Serve a folder on this machine, and give its address."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


@pytest.fixture
def web(image, tmp_path):
    """The image as OME-Zarr on a web server, and what it was asked for."""
    pytest.importorskip("aiohttp", reason="needs the extra remote")
    folder = tmp_path / "web"
    folder.mkdir()
    save_ome_zarr(image, folder / "image.zarr", make_axes(image.shape))
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    with serving(Handler, folder) as address:
        yield f"{address}/image.zarr", asked


@pytest.fixture
def nothing_is_sent(monkeypatch):
    """Fail where the client sends the pixels of a piece: workers are to read them."""

    def send(_):
        raise AssertionError("pixels were sent")

    monkeypatch.setattr(workers_module, "pack_pixels", send)


def test_workers_read_an_image_on_a_web_server_themselves(
    web, engine, image, one_process, tmp_path, nothing_is_sent
):
    del nothing_is_sent
    address, asked = web
    view = api.view_of_array(api.imread(address).data)
    # An array of zarr says itself where it is.
    shared = wire.pack(SharedView(view, {}))
    there = wire.unpack(shared)
    assert there.can_read()
    asked.clear()
    np.testing.assert_array_equal(there.view.rgb(), api.view_of_array(image).rgb())
    assert any("/0/0/0" in one for one in asked)
    # One where another image is now, or none: the pixels are sent.
    stored = zarr.open_group(str(tmp_path / "web" / "image.zarr"), mode="r+")["0"]
    stored[:] = image[::-1]
    assert not wire.unpack(shared).can_read()
    stored[:] = image
    result = api.scan(address, output=tmp_path / "labels.zarr", engine=engine, **SCAN)
    assert_same(result, one_process)


def test_the_window_has_workers_read_an_image_that_was_opened_from_an_address(
    web, cluster, one_process, tmp_path, nothing_is_sent
):
    del nothing_is_sent
    address, _ = web
    viewer = ViewerModel()
    with layer_source(path=address):  # as napari does for what a plugin has read, as dask here
        viewer.add_image(dask.array.from_zarr(address, component="0"), name="cells")
    binding = binding_for(viewer, deliver_inline, MemorySettings())
    session, model, scan = binding.session, binding.model, binding.session.scan_model
    try:
        assert session.computing.use_server(cluster.scheduler_address).wait(240)
        model.task, model.text = Task.TEXT, SCAN["text"]
        scan.scan_tile, scan.scan_overlap, scan.scan_folder = 256, 20, str(tmp_path)
        job = session.scanning.run()
        assert job.wait(240)
        assert job.error is None
        assert "on 127.0.0.1" in model.message.text
        (output,) = tmp_path.glob("*_scan.zarr")
        labels = zarr.open_group(str(output), mode="r")["0"][...]
        assert len(np.unique(labels)) - 1 == len(one_process.objects)
        # An address is no file of this computer: none is named, nor is anything put beside it.
        assert json.loads(Path(f"{output}.json").read_text())["channels"][0]["path"] is None
        assert binding.adapter.file_of(model.image) is None
    finally:
        binding.close()


class Bucket(SimpleHTTPRequestHandler):
    """A stand-in for a bucket, which a test has none of: reads, for who shows the right key."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(with_content=True)

    def do_HEAD(self):
        self.answer(with_content=False)

    def answer(self, *, with_content):
        path = Path(self.translate_path(self.path))
        if "Credential=OUR-KEY/" not in self.headers.get("Authorization", ""):
            self.send_error(403)
        elif "list-type=2" in self.path:
            self.reply(b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>")
        elif path.is_file():
            self.reply(path.read_bytes() if with_content else b"", path.stat().st_size)
        else:
            self.send_error(404)

    def reply(self, content, length=None):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def bucket(image, tmp_path, monkeypatch):
    """The address of the image in a bucket that this process has the key of."""
    files = pytest.importorskip("s3fs", reason="needs the extra remote").S3FileSystem
    save_ome_zarr(image, tmp_path / "image.zarr", make_axes(image.shape))
    with serving(Bucket, tmp_path.parent) as address:
        keys = {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "OUR-KEY",
            "AWS_SECRET_ACCESS_KEY": "OUR-SECRET",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        yield f"s3://{tmp_path.name}/image.zarr"
        for one in files._cache.values():  # noqa: SLF001 - nobody closes those of zarr
            sync(one._s3.close())  # noqa: SLF001
        files.clear_instance_cache()


def test_workers_read_a_bucket_with_keys_of_their_own(bucket, image, monkeypatch):
    address = bucket
    view = api.view_of_array(api.imread(address).data)
    shared = wire.pack(SharedView(view, {}))
    sent = numcodecs.Zstd().decode(shared)
    # The address goes over the wire, and no key.
    assert address.encode() in sent
    assert b"OUR-" not in sent
    there = wire.unpack(shared)
    assert there.can_read()
    np.testing.assert_array_equal(there.view.rgb(), api.view_of_array(image).rgb())
    # A worker without a key does not read, and says so: the pixels are sent.
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert not wire.unpack(shared).can_read()


def kill_a_worker(cluster):
    pid = next(iter(cluster.workers.values())).pid
    os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")
def test_a_killed_worker_costs_what_was_in_flight(cluster, engine, image, one_process, tmp_path):
    done = []

    def kill(step):
        done.append(step.done)
        if step.done == 3:
            kill_a_worker(cluster)

    output = tmp_path / "labels.zarr"
    result = api.scan(image, output=output, engine=engine, on_step=kill, **SCAN)
    assert_same(result, one_process)
    assert done == list(range(result.tiles + 1))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")
def test_a_killed_client_goes_on_without_the_cluster(cluster, image, one_process, tmp_path, killed):
    np.save(tmp_path / "image.npy", image)
    code = (
        "import os, signal, sys\n"
        "import numpy as np\n"
        "from napari_sam3_assistant import api\n"
        "def at(step):\n"
        "    if step.done == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "with api.open_engine(compute=sys.argv[3]) as engine:\n"
        "    api.scan(np.load(sys.argv[1]), output=sys.argv[2], engine=engine, on_step=at,\n"
        f"             **{SCAN})\n"
    )
    output = tmp_path / "labels.zarr"
    killed.run_and_kill(code, tmp_path / "image.npy", output, cluster.scheduler_address)
    assert not output.exists()
    steps = []
    assert_same(api.scan(image, output=output, on_step=steps.append, **SCAN), one_process)
    assert steps[0].kept >= 3


def test_a_tile_that_can_not_be_read_anywhere_is_reported_and_the_others_are_kept(
    engine, image, tmp_path
):
    path = tmp_path / "image.zarr"
    stored = zarr.create_array(
        str(path), shape=image.shape, chunks=(64, 64), dtype=image.dtype, compressors=None
    )
    stored[...] = image
    broken = path / "c" / "1" / "1"  # of the first tile alone
    content = broken.read_bytes()
    broken.write_bytes(content[:100])
    output = tmp_path / "labels.zarr"
    with pytest.raises(ImageError, match=r"1 of \d+ tiles failed.*All that was found is kept"):
        api.scan(path, output=output, engine=engine, contrast=(0, 3400), **SCAN)
    broken.write_bytes(content)
    steps = []
    result = api.scan(
        path, output=output, engine=engine, contrast=(0, 3400), on_step=steps.append, **SCAN
    )
    assert steps[0].kept == result.tiles - 1
    here = api.scan(path, output=tmp_path / "here.zarr", contrast=(0, 3400), **SCAN)
    assert_same(result, here)


def test_a_folder_gives_the_labels_of_one_process(engine, image, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    (source / "a broken one.tif").write_bytes(b"no image")
    tifffile.imwrite(source / "one.tif", image)
    stack = np.stack([image[:200, :200], image[100:300, 37:237], image[:200, :200] * 0])
    tifffile.imwrite(source / "stack.ome.tif", stack, metadata={"axes": "ZYX"})
    texts = ["bright spots", "mitochondria", "bright round objects"]
    there = api.segment_folder(source, tmp_path / "there", texts=texts, engine=engine)
    here = api.segment_folder(source, tmp_path / "here", texts=texts)
    assert [replace(row, seconds=0) for row in there] == [replace(row, seconds=0) for row in here]
    assert [row.status for row in there] == ["failed"] * 3 + ["done", "failed", "done"] * 2
    assert sum(row.objects or 0 for row in there) > 100
    for row in there:
        if row.labels:
            found, wanted = (
                tifffile.imread(tmp_path / name / row.labels) for name in ("there", "here")
            )
            np.testing.assert_array_equal(found, wanted)
    again = api.segment_folder(source, tmp_path / "there", texts=texts)
    assert [row.status for row in again] == ["failed"] * 3 + ["skipped", "failed", "skipped"] * 2


def test_a_folder_is_scanned_tile_by_tile_as_in_one_process(engine, image, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    tifffile.imwrite(source / "one.tif", image, tile=(64, 64))
    stack = np.stack([image[:300, :300], image[100:400, 37:337], image[:300, :300] * 0])
    tifffile.imwrite(source / "stack.ome.tif", stack, metadata={"axes": "ZYX"})
    asked = {"texts": "bright spots", "tile": 256, "overlap": 0.2}

    class StopInTheStack(NullReporter):
        def report(self, progress):
            if "stack" in progress.message:
                raise JobCancelled

    with pytest.raises(JobCancelled):
        api.segment_folder(
            source, tmp_path / "there", engine=engine, reporter=StopInTheStack(), **asked
        )
    there = api.segment_folder(source, tmp_path / "there", engine=engine, **asked)
    here = api.segment_folder(source, tmp_path / "here", **asked)

    assert [row.status for row in there] == ["skipped", "done"]
    assert [row.objects for row in there][1:] == [row.objects for row in here][1:]
    for row in here:
        found, wanted = (
            zarr.open_group(str(tmp_path / name / row.labels), mode="r")["0"][...]
            for name in ("there", "here")
        )
        np.testing.assert_array_equal(found, wanted)
    assert found.shape == stack.shape
    assert found[:2].any((1, 2)).all()
    assert not found[2].any()


@pytest.mark.parametrize("reached", [True, False])
def test_stacks_of_a_folder_give_the_labels_of_one_process(
    engine, image, tmp_path, reached, monkeypatch
):
    source = tmp_path / "in"
    source.mkdir()
    (source / "a broken one.tif").write_bytes(b"no image")
    tifffile.imwrite(source / "plane.tif", image[:100, :100])
    for name, first in (("one", 0), ("two", 40)):
        frames = [image[first : first + 200, shift : shift + 210] for shift in (0, 3, 5, 9)]
        tifffile.imwrite(source / f"{name}.ome.tif", np.stack(frames), metadata={"axes": "TYX"})
    if not reached:
        monkeypatch.setattr(FolderImages, "take_sample", lambda *_: None)
    follow = {"points": [(25, 25), (75, 75, True, 2)], "frame": 1}
    there = api.track_folder(source, tmp_path / "there", engine=engine, **follow)
    here = api.track_folder(source, tmp_path / "here", **follow)
    assert [replace(row, seconds=0) for row in there] == [replace(row, seconds=0) for row in here]
    assert [(row.status, row.objects) for row in there] == [
        ("failed", None), ("done", 2), ("failed", None), ("done", 2),
    ]  # fmt: skip
    for row in there:
        if row.labels:
            found, wanted = (
                tifffile.imread(tmp_path / name / row.labels) for name in ("there", "here")
            )
            np.testing.assert_array_equal(found, wanted)
            assert found.shape == (4, 200, 210)
            remade = api.rerun(tmp_path / "there" / f"{row.labels}.json")
            np.testing.assert_array_equal(tifffile.imread(remade.path), found)
    again = api.track_folder(source, tmp_path / "there", **follow)
    assert [row.status for row in again] == ["failed", "skipped", "failed", "skipped"]


def test_what_no_worker_can_do_is_said_at_once(engine, image, tmp_path):
    with pytest.raises(PromptError, match="understands"):
        api.scan(image, output=tmp_path / "labels.zarr", engine=engine, text="mitochondria")
    assert list(tmp_path.iterdir()) == []


class Squares:
    """Work without an engine's answer: squares numbers, and fails where it is told to."""

    # Workers that are threads of this process share them.
    fails: ClassVar = {}  # how often which number fails
    seen: ClassVar = []

    def __init__(self, *, reads=True):
        self.reads = reads
        self.here = True

    def __getstate__(self):
        return {"reads": self.reads, "here": False}

    def can_read(self):
        return self.reads

    def read(self, number):
        if number == -1 or not (self.here or self.reads):
            raise ImageError("It is not there.")
        return np.full((2, 2, 3), number % 256, np.uint8)

    def run(self, engine, number, pixels, reporter):
        reporter.check()
        self.seen.append(number)
        left = self.fails.get(number, 0)
        if left:
            self.fails[number] = left - 1
            raise EngineError("It failed.")
        return int(pixels[0, 0, 0]) ** 2


@pytest.fixture(scope="module")
def threads():
    """A cluster whose workers are threads of this process, which know the work above."""
    with (
        distributed.LocalCluster(
            n_workers=3, threads_per_worker=4, processes=False, dashboard_address=":0"
        ) as made,
        distributed.Client(made, set_as_default=False) as client,
    ):
        client.register_plugin(hosting.HostPlugin(hosting.EngineChoice("builtin")))
        with api.open_engine(compute=client) as engine:
            engine.load(NullReporter())
            yield engine


@pytest.fixture
def squares():
    Squares.fails.clear()
    Squares.seen.clear()
    return Squares


@pytest.mark.parametrize("reads", [True, False])
def test_outcomes_come_in_the_order_of_the_pieces(threads, squares, reads):
    found = list(work_through(threads, squares(reads=reads), iter(range(60)), NullReporter()))
    assert [one.value for one in found] == [number**2 for number in range(60)]
    assert sorted(squares.seen) == list(range(60))
    assert found[-1].workers == 3


def test_pieces_are_taken_as_there_is_room(threads, squares):
    taken = []
    pieces = (taken.append(number) or number for number in range(10_000))
    with contextlib.closing(work_through(threads, squares(), pieces, NullReporter())) as outcomes:
        for done, _ in enumerate(outcomes):
            assert len(taken) - done <= 4 * 3 + 1
            if done == 30:
                break


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_piece_fails_twice_elsewhere_before_it_counts(threads, squares, times):
    squares.fails.update({5: times, 9: times})
    found = list(work_through(threads, squares(), range(12), NullReporter()))
    failed = {5, 9} if times == 3 else set()
    for number, one in enumerate(found):
        assert (one.value, bool(one.error)) == (
            (None, True) if number in failed else (number**2, False)
        )
    assert squares.seen.count(5) == min(times + 1, 3)


class PathWork(Squares):
    """Work whose pieces are files, and so are its answers."""

    def read(self, piece):
        del piece
        return np.zeros((2, 2, 3), np.uint8)

    def run(self, engine, piece, pixels, reporter):
        return type(piece) is type(Path()), piece


class ForeignPath(type(Path())):
    """A path of another system, such as of a client on Windows."""


def test_workers_get_pieces_of_a_client_of_another_system(threads):
    (found,) = work_through(threads, PathWork(), [ForeignPath("a.tif")], NullReporter())
    assert found.value == (True, Path("a.tif"))


def test_pixels_that_nobody_can_read_cost_their_piece(threads, squares):
    found = list(work_through(threads, squares(), [1, -1, 2], NullReporter()))
    assert [one.value for one in found] == [1, None, 4]
    assert "not there" in str(found[1].error)


def test_a_fault_of_the_work_is_raised_as_it_is(threads, squares):
    with pytest.raises(TypeError):
        list(work_through(threads, squares(), ["no number"], NullReporter()))


def test_a_full_disk_of_a_worker_is_no_lost_worker(threads, squares, monkeypatch):
    def run(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(squares, "run", run)
    (found,) = work_through(threads, squares(), [1], NullReporter())
    assert os.strerror(errno.ENOSPC) in str(found.error)
    assert "server's worker" in str(found.error)


def test_a_cancel_ends_it(threads, squares):
    token = CancelToken()

    class Watching(NullReporter):
        def check(self):
            token.check()

    outcomes = work_through(threads, squares(), range(10_000), Watching())
    next(outcomes)
    token.cancel()
    with pytest.raises(JobCancelled):
        list(outcomes)


@pytest.fixture(scope="module")
def sam3(tiny_checkpoint):
    """Two workers with a small SAM 3, as threads of this process."""
    pytest.importorskip("torch")
    choice = hosting.EngineChoice("sam3-transformers", tiny_checkpoint)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=4, processes=False, dashboard_address=":0"
        ) as made,
        distributed.Client(made, set_as_default=False) as client,
    ):
        client.register_plugin(hosting.HostPlugin(choice))
        with api.open_engine(compute=client) as engine:
            yield engine


def test_sam_3_on_workers_gives_the_labels_of_one_process(sam3, tiny_checkpoint, image, tmp_path):
    scan = {"text": "cell", "tile": 256, "overlap": 0.2, "threshold": 0.0}
    part = image[:300, :400]
    there = api.scan(part, output=tmp_path / "there.zarr", engine=sam3, **scan)
    here = api.scan(part, output=tmp_path / "here.zarr", model_folder=tiny_checkpoint, **scan)
    assert len(here.objects) > 0
    assert_same(there, here)


def test_workers_encode_ahead_for_clicks_here(
    sam3, tiny_checkpoint, image, tmp_path, model_calls, monkeypatch
):
    source = tmp_path / "in"
    source.mkdir()
    tifffile.imwrite(source / "a.tif", image)
    tifffile.imwrite(source / "b.tif", image[::-1])
    # Workers that see the folder write there; others, as these are made to be, send.
    rows = api.precompute(source, tmp_path / "shared", engine=sam3)
    assert [(row.status, row.planes) for row in rows] == [("done", 1)] * 2
    monkeypatch.setattr(
        "pathlib.Path.exists",
        lambda path: path.is_dir() or (path.is_file() and not path.name.startswith("writer-")),
    )
    api.precompute(source, tmp_path / "sent", engine=sam3)
    names = [
        sorted(one.name for one in (tmp_path / name).glob("*.safetensors"))
        for name in ("shared", "sent")
    ]
    assert names[0] == names[1]
    encoded = model_calls["encode"]
    with api.open_engine(
        "sam3-transformers", model_folder=tiny_checkpoint, encodings_folder=tmp_path / "sent"
    ) as engine:
        for path in sorted(source.iterdir()):
            api.segment(path, points=[(25, 25)], engine=engine)
    assert model_calls["encode"] == encoded
