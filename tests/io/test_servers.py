"""OME-Zarr on a server: read piece by piece, over HTTP from this machine."""

import functools
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.images import list_series, read_image

pytest.importorskip("fsspec", reason="needs the extra remote")
pytest.importorskip("aiohttp", reason="needs the extra remote")


@pytest.fixture(scope="module")
def server(tmp_path_factory, write_plate):
    folder = tmp_path_factory.mktemp("served")
    rows, columns = np.ogrid[:32, :48]
    disc = np.where((rows - 15) ** 2 + (columns - 20) ** 2 < 60, 200, 20).astype(np.uint8)
    write_plate(folder / "old.zarr", "0.4", value_of=lambda value: disc)
    write_plate(folder / "new.zarr", "0.5", shards=True, value_of=lambda value: disc)
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *told):
            asked.append(self.path)

        def do_GET(self):
            """Give the part that is asked for, as servers do: Python's own gives all."""
            path, part = Path(self.translate_path(self.path)), self.headers.get("Range")
            if part is None or not path.is_file():
                return super().do_GET()
            content = path.read_bytes()
            first, last = part.removeprefix("bytes=").split("-")
            start = int(first) if first else max(0, len(content) - int(last))
            end = min(int(last) + 1, len(content)) if first and last else len(content)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
            self.send_header("Content-Length", str(end - start))
            self.end_headers()
            return self.wfile.write(content[start:end])

        def do_PUT(self):
            raise AssertionError("nothing is written to a server")

    made = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    made.asked, made.disc = asked, disc
    made.address = f"http://127.0.0.1:{made.server_port}"
    yield made
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize("name", ["old.zarr", "new.zarr"])
def test_an_image_is_read_piece_by_piece(server, name):
    server.asked.clear()
    loaded = read_image(f"{server.address}/{name}/B/12/0")

    chunks = [path for path in server.asked if "/c/" in path or path[-1].isdigit()]
    assert not chunks
    np.testing.assert_array_equal(np.asarray(loaded.data[...]), server.disc)
    assert [axis.scale for axis in loaded.axes] == [0.5, 0.25]
    assert [level.shape for level in loaded.levels] == [(32, 48), (16, 24)]
    assert loaded.data.read_only


def test_a_plate_and_what_else_takes_an_address(server, tmp_path, capsys):
    plate = f"{server.address}/new.zarr"
    assert [one.name for one in list_series(plate)] == ["A/1/0", "A/1/1", "B/12/0", "B/12/1"]

    result = api.segment(plate, series=2, points=[(15, 20)])
    assert len(result.objects) == 1
    scanned = api.scan(plate, output=tmp_path / "labels.zarr", text="bright objects")
    assert len(scanned.objects) == 1
    output = tmp_path / "labels.tif"
    assert main(["segment", plate, "--point", "15,20,+", "-o", str(output)]) == 0
    np.testing.assert_array_equal(read_image(output).data, result.labels)
    assert main(["info", plate, "--series", "1"]) == 0
    assert "series 1: 'A/1/1' (taken)" in capsys.readouterr().out


def test_what_is_not_there_is_one_sentence(server, monkeypatch):
    for address, said in [
        (f"{server.address}/none.zarr", "holds no zarr image"),
        ("http://127.0.0.1:1/a.zarr", "can't be read: Cannot connect"),
        ("ftp://127.0.0.1/a.zarr", "no address that can be read"),
    ]:
        with pytest.raises(ImageError, match=said) as caught:
            read_image(address)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "{user}{host}/none.zarr",
        "{user}{host}/new.zarr/A/1/0/none?X-Amz-Signature=hunter2&x=1",
        "https://me:hunter2@127.0.0.1:1/a.zarr?sig=hunter2",
        "ftp://me:hunter2@127.0.0.1/a.zarr",
    ],
)
def test_no_password_of_an_address_is_said(server, address):
    host = server.address.removeprefix("http://")
    with pytest.raises(ImageError) as caught:
        read_image(address.format(user="http://me:hunter2@", host=host))
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
    assert "127.0.0.1" in str(caught.value)


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore.session", None)

    with pytest.raises(ImageError) as caught:
        read_image("s3://bucket/a.zarr")

    assert 'pip install "napari-sam3-assistant[remote]"' in caught.value.hint
