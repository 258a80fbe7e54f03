"""Kill scans on a server at random moments, and compare what comes back with one process.

    python benchmarks/kill_scans.py 20

So many times a worker, the whole server or the client is ended by SIGKILL somewhere in a scan of 20
tiles on two workers. Then the same scan is started again, with or without the server; labels and
objects must be those of a scan that nobody has disturbed.
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil
import zarr

from napari_sam3_assistant import api

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from server_process import Server

SCAN = {"text": "bright spots", "tile": 256}
CLIENT = """
import sys
from napari_sam3_assistant import api
api.scan(sys.argv[1], output=sys.argv[2], compute=sys.argv[3], text="bright spots", tile=256)
"""


def make_image(path):
    rows, columns = np.ogrid[:1100, :900]
    spots = np.hypot(rows % 50 - 25, columns % 50 - 25) < 12
    noise = np.random.default_rng(0).normal(0, 4, spots.shape)
    np.save(path, (40 + 120 * spots + noise).clip(0, 255).astype(np.uint8))


def read(output):
    """Return the labels, and what the note beside them says of the objects."""
    note = json.loads(output.with_name(f"{output.name}.json").read_text("utf-8"))
    return zarr.open_group(str(output), mode="r")["0"][...], note["objects"]


def tiles_done(output):
    return len(list((output.with_name(f"{output.name}.scan") / "tiles").glob("*.npz")))


def wait(seconds):
    threading.Event().wait(seconds)


def kill(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def kill_once(folder, keys, victim, moment):
    """Kill somebody in a scan once so many tiles are done; returns the output to go on with."""
    output = folder / "labels.zarr"
    server = Server("--connection", str(keys), "--port", "0", "--workers", "2")
    children = psutil.Process(server.process.pid).children(recursive=True)
    command = [sys.executable, "-c", CLIENT, str(folder / "image.npy"), str(output), str(keys)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as client:
        while client.poll() is None and tiles_done(output) < int(moment):
            wait(0.01)
        wait(moment % 1 * 0.3)
        if victim == "client":
            kill(client)
        elif victim == "server":
            for process in (psutil.Process(server.process.pid), *children):
                kill(process)
        else:
            workers = [one for one in children if "spawn_main" in " ".join(one.cmdline())]
            kill(random.choice(workers))
        client.communicate()
    server.stop()
    return output


def go_on(folder, output, keys):
    """Start the scan again, with a server or without."""
    if random.random() < 0.5:
        api.scan(folder / "image.npy", output=output, **SCAN)
        return
    server = Server("--connection", str(keys), "--port", "0", "--workers", "2")
    try:
        api.scan(folder / "image.npy", output=output, compute=keys, **SCAN)
    finally:
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kills", type=int)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        make_image(top / "image.npy")
        api.scan(top / "image.npy", output=top / "whole.zarr", **SCAN)
        labels, objects = read(top / "whole.zarr")
        for number in range(chosen.kills):
            folder = top / str(number)
            folder.mkdir()
            (folder / "image.npy").symlink_to(top / "image.npy")
            victim = ("worker", "server", "client")[number % 3]
            moment = random.uniform(0, 19)
            output = kill_once(folder, top / "keys.json", victim, moment)
            # The tiles of a killed worker go to the other one, and the scan ends by itself.
            kept, ended = tiles_done(output), output.exists()
            if not ended:
                go_on(folder, output, top / "keys.json")
            labels_now, objects_now = read(output)
            equal = np.array_equal(labels_now, labels) and objects_now == objects
            said = "ended by itself" if ended else f"{kept} tiles kept"
            print(f"{number + 1}: {victim} at {moment:.2f}: {said}, equal: {equal}", flush=True)
            if not equal:
                raise SystemExit(1)


if __name__ == "__main__":
    main()
