"""Hostile command lines: what a person, a script or a stranger's file may give each command.

``python tests/hostile_lines.py COUNT SEED`` runs so many in a temporary folder and prints each
that ended otherwise than by work done or by one sentence.
"""

import contextlib
import io
import json
import os
import random
import socket
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tifffile
import zarr

from napari_sam3_assistant.cli import main

NUMBERS = (
    *("0", "1", "2", "3", "7", "-1", "-7", "30", "20", "0.5", "1e5", "1e308", "1e400", "5e-324"),
    *("nan", "inf", "-inf", "", " ", "99999999999999999999", "-99999999999999999999", "²", "٣"),
    *("1_0", "0x10", "-0", "+", "-", "1e-400", "2147483648", "4294967296", "x", "\0", "\udcff"),
)
TEXTS = (
    *("bright objects", "dark spots", "", " ", "\0", "\udcff", "ä" * 300, "../../x", "/", "a\nb"),
    *("#", "*", "💥", "x" * 5000, "-", "none", "\x1b[31m"),
)
_AXES = ("0", "1", "2", "-1", "z", "t", "y", "x", "", "9", "²", "٣", "-0", "\0", "9" * 5000)
_PATTERNS = ("*", "**/*", "*.tif", "../*", "/x", "", "[", "**", "\0", "*.zarr", "./*", "a/../*")
_PATTERNS += ("*/../*", "bad*", "s*", "..", "good*", "x" * 300, "\udcff*", "good.tif")
_DEVICES = ("cpu", "auto", "cuda", "cuda:99", "cuda:-1", "cuda:x", "mps", "", "gpu", "\0", "cpu:0")
_ENGINES = ("builtin", "sam3", "sam3_meta", "", "nobody", "\0", "../x", "builtin ", "sam3-meta")
_STEPS = ("remove-small", "fill-holes", "smooth", "split", "expand", "shrink", "keep-largest")
_STEPS += ("renumber", "smooth=2", "remove-small=5", "", "x")
_FLAGS = ("--apart=slices", "--apart=nothing", "--apart=", "--corners", "--physical")
_MORE = ("Perimeter", "Solidity,Extent", "Perimeter,", "Weight", "Highest intensity")
_LISTS = {
    "classes.csv": b"id,name,color\n1,axon,#f00\n2,myelin\n",
    "data.yaml": b"names: [axon, myelin]\n",
    "cut.csv": b"id,name\n1",
    "odd.yaml": b"names: {a: b, 3: [1], ? [x] : y}\n",
    "deep.json": b'{"categories":' + b"[" * 9999,
    "odd.json": b'{"categories": [{"id": 1e400, "name": "a"}]}',
}
_LISTS["coco.json"] = json.dumps({
    "images": [{"id": 1, "file_name": "../a", "height": 40, "width": 60}],
    "categories": [{"id": 0, "name": "axon"}],
    "annotations": [{"image_id": 1, "category_id": 0, "segmentation": [[1, 1, 9, 1, 9, 9]]}],
}).encode()  # fmt: skip
_FORMATS = ("coco_rle", "coco_polygons", "yolo", "geojson", "imagej_rois", "png", "ome_zarr")
_FORMATS += ("ome_zarr_0.5", "ctc", "geff")


def fill(folder):
    """Make the files that the lines speak of; returns the names of images, notes and others."""
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[:40, :60]
    disc = np.where((rows - 20) ** 2 + (columns - 20) ** 2 <= 80, 200, 30).astype(np.uint8)
    stack = np.stack([disc] * 4)
    images = {
        "good.tif": disc,
        "sixteen.tif": disc.astype(np.uint16) * 200,
        "stack.tif": stack,
        "six.npy": np.zeros((1, 2, 1, 2, 8, 9), np.uint8),
        "rgb.png": np.stack([disc] * 3, -1),
        "nan.npy": np.full((9, 9), np.nan, np.float32),
        "inf.npy": np.where(disc > 99, np.inf, -np.inf),
        "huge.npy": disc * 1e300,
        "bool.npy": disc > 99,
        "complex.npy": disc * 1j,
        "text.npy": np.array([["a", "b"], ["c", "d"]]),
        "date.npy": np.zeros((9, 9), "datetime64[s]"),
        "record.npy": np.zeros((9, 9), [("a", "u1"), ("b", "f4")]),
        "none.npy": np.zeros((0, 9)),
        "scalar.npy": np.array(3.0),
        "line.npy": np.arange(9),
        "pixel.npy": np.ones((1, 1)),
        "thin.npy": np.arange(500).reshape(1, 500),
        "half.npy": disc.astype(np.float16),
        "signed.npy": disc.astype(np.int64) * -(2**50),
        "unsigned.npy": np.full((30, 30), 2**64 - 1, np.uint64),
    }
    for name, pixels in images.items():
        if name.endswith(".tif"):
            tifffile.imwrite(folder / name, pixels, photometric="minisblack")
        else:
            (np.save if name.endswith(".npy") else iio.imwrite)(folder / name, pixels)
    np.save(folder / "object.npy", np.array([[1, None]], object), allow_pickle=True)
    for name in ("good.tif", "rgb.png", "six.npy", "stack.tif"):
        whole = (folder / name).read_bytes()
        for share in (4, 2):
            (folder / f"bad{share}{name}").write_bytes(whole[: -len(whole) // share])
        noisy = bytearray(whole)
        for place in rng.integers(0, min(len(noisy), 400), 12):
            noisy[place] = rng.integers(256)
        (folder / f"noisy{name}").write_bytes(noisy)
    tifffile.imwrite(folder / "zip.tif", stack, photometric="minisblack", compression="zlib")
    whole = bytearray((folder / "zip.tif").read_bytes())
    whole[300:420] = bytes(120)
    (folder / "badzip.tif").write_bytes(whole)
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (%s, 9), }"
    (folder / "claims.npy").write_bytes((header % (b"9" * 12)).ljust(127) + b"\n")
    (folder / "text.tif").write_text("no image")
    (folder / "empty.tif").write_bytes(b"")
    (folder / "dir.tif").mkdir()
    (folder / "dir.npy").mkdir()
    _zarrs(folder, disc, stack)
    names = [path.name for path in folder.iterdir()]
    (folder / "loop.tif").symlink_to("loop.tif")
    (folder / "nowhere.tif").symlink_to("gone.tif")
    (folder / os.fsdecode(b"caf\xe9.tif")).write_bytes((folder / "good.tif").read_bytes())
    names += ["loop.tif", "nowhere.tif", os.fsdecode(b"caf\xe9.tif"), "gone.tif"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.tif")
        os.mkfifo(folder / "pipe.json")
        names += ["pipe.tif", "pipe.json"]
    if os.path.exists("/dev/zero"):
        (folder / "zero.npy").symlink_to("/dev/zero")
        names.append("zero.npy")
    if hasattr(socket, "AF_UNIX") and len(str(folder)) < 90:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(folder / "socket.tif"))
        names.append("socket.tif")
    for name, content in _LISTS.items():
        (folder / name).write_bytes(content)
    (folder / "phrases.txt").write_text("bright objects\n# a comment\n")
    (folder / "latin.txt").write_bytes(b"caf\xe9\n")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "model.safetensors").write_bytes(b"\xff" * 20)
    return sorted(names)


def _zarrs(folder, disc, stack):
    for name, format_ in (("two.zarr", 2), ("three.zarr", 3)):
        zarr.save_array(str(folder / name), stack, zarr_format=format_)
    group = zarr.open_group(str(folder / "ome.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=disc, chunks=(20, 30))
    axes = [{"name": name, "type": "space"} for name in "yx"]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]}
    told = {"version": "0.4", "axes": axes, "datasets": [level]}
    group.attrs["multiscales"] = [told]
    zarr.open_group(str(folder / "nothing.zarr"), mode="w", zarr_format=2)
    (folder / "void.zarr").mkdir()
    odd = (None, 3, [], {}, "x", [None], [[]], [{}], [{"datasets": 3}], [{"datasets": []}])
    odd += (
        [{**told, "axes": 3}],
        [{**told, "axes": [None, None]}],
        [{**told, "axes": [{"name": []}, {"name": 3}]}],
        [{**told, "axes": axes[:1]}],
        [{**told, "datasets": [{"path": "../good.tif"}]}],
        [{**told, "datasets": [{"path": 0}]}],
        [{**told, "datasets": [{**level, "coordinateTransformations": [{"type": "scale"}]}]}],
        [{**told, "datasets": [{**level, "coordinateTransformations": 3}]}],
        [
            {
                **told,
                "datasets": [
                    {**level, "coordinateTransformations": [{"type": "scale", "scale": "ab"}]}
                ],
            }
        ],
        [
            {
                **told,
                "datasets": [
                    {
                        **level,
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [0, float("inf")]}
                        ],
                    }
                ],
            }
        ],
    )
    for number, value in enumerate(odd):
        path = folder / f"odd{number}.zarr"
        group = zarr.open_group(str(path), mode="w", zarr_format=2)
        group.create_array("0", data=disc, chunks=(20, 30))
        (path / ".zattrs").write_text(json.dumps({"multiscales": value}))
    for number, (file, content) in enumerate(
        [
            (".zarray", b"{"),
            (".zarray", b"[]"),
            (".zarray", b"\xff"),
            (".zarray", b'{"zarr_format": 2}'),
            ("0.0.0", b"no chunk"),
            ("0.0.0", b""),
        ]
    ):
        path = folder / f"bad{number}.zarr"
        zarr.save_array(str(path), stack, zarr_format=2)
        (path / file).write_bytes(content)
    path = folder / "claims.zarr"
    zarr.save_array(str(path), stack, zarr_format=2)
    claims = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps({**claims, "shape": [10**9] * 3}))


def spoil(note, random_):
    """Return a note with some of its values replaced by odd ones."""
    note = json.loads(json.dumps(note))
    for _ in range(random_.randint(1, 2)):
        places = list(_places(note))
        holder, key = random_.choice(places)
        odd = (None, 0, -1, 1e400, float("nan"), 10**30, "", "x", "\udcff", "//host/share/a.tif")
        odd += ([], {}, [[]], [1, 2, 3], [10**5] * 4, [0, 0, 10**5, 10**5], True, {"a": 1}, "\0")
        if isinstance(holder, dict) and random_.random() < 0.2:
            del holder[key]
        else:
            holder[key] = random_.choice(odd)
    return note


def _places(value):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


class Lines:
    """Random command lines about the files of a folder.

    Parameters
    ----------
    folder : Path
        An empty folder.
    random_ : random.Random
        Where they come from.
    """

    def __init__(self, folder, random_):
        self.folder = folder
        self.random = random_
        self.names = fill(folder)
        self.notes = []
        self._count = 0

    def learn(self, *notes):
        """Take notes that the program has written, to spoil them."""
        self.notes += [json.loads(path.read_text("utf-8")) for path in notes]

    def line(self):
        """Return one."""
        # Most lines have few odd parts, so that they come far; some have many.
        self.odd = self.random.choice((0.02, 0.05, 0.1, 0.3, 0.7))
        command, weight = zip(
            *((self.segment, 8), (self.track, 7), (self.scan, 4), (self.batch, 3),
              (self.rerun, 7), (self.labels, 4), (self.other, 2)),
            strict=True,
        )  # fmt: skip
        return [str(part) for part in self.random.choices(command, weight)[0]()]

    def segment(self):
        output = self._output("tif", "png", "npy", "zarr")
        return ["segment", self._image(), *output, *self._prompts(), *self._look(),
                *self._maybe(0.3, "--table", self._place), *self._json(),
                *self._engine(), *self._maybe(0.1, "--mask", self._image)]  # fmt: skip

    def track(self):
        image, output = self._image(("stack.tif", "two.zarr")), self._output("tif", "zarr")
        return ["track", image, *output, *self._prompts(frames=True),
                *self._look(), *self._engine(), *self._maybe(0.2, "--mask", self._mask),
                *self._maybe(self.odd, "--axis", lambda: self._one(_AXES)),
                *self._maybe(0.3, "--frame", lambda: self._count_of("1")),
                *self._maybe(self.odd, "--frames", lambda: self._numbers(2)),
                *self._maybe(self.odd, "--stop-after-lost", self._number),
                *self._maybe(self.odd, "--direction", lambda: self._one(("both", "x", "forward"))),
                *self._maybe(0.3, "--csv", self._place)]  # fmt: skip

    def scan(self):
        image, output = self._image(), self._output("zarr")
        return ["scan", image, *output, *self._prompts(scan=True), *self._look(),
                *self._engine(), *self._maybe(0.3, "--tile", lambda: self._count_of("256")),
                *self._maybe(0.3, "--overlap", lambda: self._count_of("0.2")),
                *self._maybe(0.3, "--table", self._place),
                *(["--overwrite"] if self.random.random() < 0.3 else [])]  # fmt: skip

    def batch(self):
        source = self._one((self.folder, self.folder, self._image(), "", "gone", "\0"))
        output = self._one((self.folder / "out", self.folder / "out", source, self._place()))
        return ["batch", source, output, *self._prompts(batch=True), *self._engine(),
                *self._maybe(0.9, "--pattern", lambda: self._one((*_PATTERNS, *self.names))),
                *self._maybe(0.3, "--format", lambda: self._one(("tif", "png", "zarr", "x"))),
                *self._maybe(self.odd / 2, "--channel", self._number),
                *self._maybe(self.odd / 2, "--channel-axis", self._number),
                *self._maybe(self.odd / 2, "--contrast", lambda: self._numbers(2)),
                *self._maybe(0.2, "--texts", self._phrases)]  # fmt: skip

    def rerun(self):
        return ["rerun", self._note(), *self._maybe(0.9, "-o", self._place),
                *self._maybe(0.2, "--image", self._image),
                *self._maybe(0.1, "--model-folder", self._image),
                *self._maybe(0.1, "--device", lambda: self._one(_DEVICES))]  # fmt: skip

    def labels(self):
        labels = self._image(("good.tif", "two.zarr", "stack.tif", "bool.npy"))
        flags = [one for one in ("--overwrite",) if self.random.random() < 0.3]
        if self.random.random() < 0.5:
            steps = [self._step() for _ in range(self.random.randint(1, 3))]
            flags += [one for one in _FLAGS if self.random.random() < 0.2]
            return ["clean", labels, *steps, *self._output("tif", "npy", "zarr"), *flags]
        if self.random.random() < 0.4:
            return ["measure", labels, *self._maybe(0.5, "--image", self._image),
                    *(self._output("csv") if self.random.random() < 0.5 else ()),
                    *self._maybe(0.3, "--more", lambda: self._one((*_MORE, *TEXTS))),
                    *self._maybe(self.odd, "--plane", lambda: self._numbers(1)),
                    *self._maybe(self.odd, "--channel-axis", self._number),
                    *self._maybe(self.odd, "--series", self._number),
                    *self._json(), *flags]  # fmt: skip
        if self.random.random() < 0.2:
            return [
                "import",
                self.folder / self._one((*_LISTS, *["coco.json"] * 4)),
                "-o",
                self._place(),
                *self._json(),
                *flags,
            ]
        return ["export", labels, *self._output("json", "geojson", "txt", "zip", "tif", "zarr"),
                *self._maybe(self.odd, "--format", lambda: self._one((*_FORMATS, "", "x"))),
                *self._maybe(0.2, "--image", lambda: self._one(TEXTS)),
                *self._maybe(0.2, "--class", lambda: f"{self._number()}={self._one(TEXTS)}"),
                *self._maybe(0.4, "--classes", self._classes),
                *self._maybe(0.3, "--object-class", lambda: self._one(("axon", *TEXTS))),
                *self._json(), *flags]  # fmt: skip

    def _classes(self):
        odd = self.random.random() < 2 * self.odd
        return self._image() if odd else self.folder / self._one(tuple(_LISTS))

    def _json(self):
        return ["--json"] if self.random.random() < 0.3 else []

    def _step(self):
        name = self._one(_STEPS)
        odd = self.random.random() < self.odd
        return f"{name}={self._number()}" if odd else name

    def other(self):
        model = self._one((self.folder / "model", self._image()))
        return self._one(
            (
                ["doctor"],
                ["doctor", "--compare-devices", model],
                ["demo", "-o", self._place()],
                ["download", self._place(), "--repo", self._one((*TEXTS, "a/b"))],
                ["download", self._place(), "--ask-token"],
                [self._one(TEXTS)],
                [],
                [self._one(("--help", "--version", "segment", "--x"))],
            )
        )

    def _one(self, choices):
        return self.random.choice(choices)

    def _maybe(self, share, option, make):
        if self.random.random() >= share:
            return []
        value = make()
        return [f"{option}={value}"] if option.startswith("--") else [option, value]

    def _number(self):
        return self._one(NUMBERS)

    def _count_of(self, likely):
        return self._number() if self.random.random() < self.odd else likely

    def _numbers(self, count):
        if self.random.random() < self.odd:
            count = self._one((0, 1, count + 1))
        likely = ("5", "10", "20", "25", "30")
        return ",".join(
            self._one(likely) if self.random.random() > self.odd else self._number()
            for _ in range(count)
        )

    def _image(self, good=("good.tif", "ome.zarr", "rgb.png", "half.npy")):
        if self.random.random() < self.odd / 4:
            return self._one((f"{self.folder}/\0", "", "~nobody/a.tif", "//host/share/a.tif"))
        odd = self.random.random() < 2 * self.odd
        return self.folder / self._one(self.names if odd else good)

    def _place(self, endings=("tif", "npy", "zarr", "png", "ome.tif")):
        self._count += 1
        ending = self._one(endings)
        name = f"made{self._count}.{ending}"
        odd = (".", "", "/", "\0.tif", "x" * 300 + ".tif", "gone/a.tif", "good.tif/a.tif", "\udcff")
        odd += ("dir.tif", "good.tif", "ome.zarr", "loop.tif", "nowhere.tif", "..", "pipe.tif")
        return self.folder / (self._one(odd) if self.random.random() < self.odd else name)

    def _output(self, *endings):
        return ["-o", self._place(endings)]

    def _mask(self):
        frame = self._one(("", "0:", "1:", "9:", "x:", ":", f"{'9' * 5000}:", "٣:"))
        return f"{frame}{self._image()}"

    def _phrases(self):
        return self.folder / self._one(("phrases.txt", "latin.txt", "dir.tif", "gone.txt"))

    def _prompts(self, *, frames=False, scan=False, batch=False):
        made = []
        if self.random.random() < (0.9 if batch or scan else 0.5):
            odd = self.random.random() < self.odd
            made.append(f"--text={self._one(TEXTS) if odd else 'bright objects'}")
        for option, count in (("--point", 2), ("--box", 4), ("--exemplar", 4)):
            if scan and option != "--exemplar":
                continue
            while self.random.random() < (0.6 if option == "--point" and not batch else 0.15):
                places = ("", "0:", "1:", "9:", "-1:", "nan:")
                frame = self._one(places) if frames and self.random.random() < self.odd else ""
                signs = ("", ",+", ",-", ",3", ",+,4", ",-,", ",x")
                sign = self._one(signs) if self.random.random() < self.odd else ""
                made.append(f"{option}={frame}{self._numbers(count)}{sign}")
        return made

    def _look(self):
        return [*self._maybe(self.odd, "--plane", lambda: self._numbers(self._one((1, 2, 3)))),
                *self._maybe(self.odd / 2, "--channel", self._number),
                *self._maybe(self.odd / 2, "--channel-axis", self._number),
                *self._maybe(self.odd / 2, "--contrast", lambda: self._numbers(2))]  # fmt: skip

    def _engine(self):
        models = (self.folder / "model", self._image(), "", "gone")
        return [*self._maybe(0.1, "--threshold", self._number),
                *self._maybe(0.05, "--device", lambda: self._one(_DEVICES)),
                *self._maybe(0.05, "--engine", lambda: self._one(_ENGINES)),
                *self._maybe(0.05, "--model-folder", lambda: self._one(models))]  # fmt: skip

    def _note(self):
        self._count += 1
        path = self.folder / f"note{self._count}.json"
        kind = self.random.random()
        if kind < 0.1 or not self.notes:
            return self._image()
        if kind < 0.2:
            odd = (b"", b"{", b"[" * 10**5, b'{"a":' * 10**5, b"\xff", b"null", b"9" * 10**5)
            path.write_bytes(self._one(odd))
        else:
            path.write_text(json.dumps(spoil(self._one(self.notes), self.random)), "utf-8")
        return path


def spoken(line):
    """Run a command line in this process; returns its exit status and what it said of an error."""
    errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with (
        contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="ascii")),
        contextlib.redirect_stderr(errors),
        warnings.catch_warnings(),
    ):
        # What NumPy says of infinite pixels is no part of it.
        warnings.simplefilter("ignore")
        try:
            status = main(line)
        except SystemExit as stopped:
            # The parser's own: how a command is written.
            return stopped.code, ""
    errors.flush()
    return status, errors.buffer.getvalue().decode()


def wrong(line, status, said):
    """Return what is wrong with how a line ended; empty if it ended as it should."""
    if status not in {0, 1, 2}:
        return f"it ended with {status}"
    said = said.removeprefix("Warning: Password input may be echoed.\n").partition(
        "Token of your account on huggingface.co: "
    )
    text = said[2] or said[0]
    if status == 2 and text and (text.count("\n") != 1 or not text.startswith("napari-sam3: ")):
        return f"it said {text!r}"
    return ""


def made(folder):
    """Fill a folder and have the program make notes of each kind; returns the folder of those."""
    first = folder / "first"
    first.mkdir()
    image, stack = folder / "good.tif", folder / "stack.tif"
    for line in (
        ("segment", image, "--text=bright objects", "-o", first / "a.tif"),
        ("batch", folder, first, "--text=bright objects", "--pattern=good.tif"),
        ("track", stack, "--point=1:20,20", "-o", first / "point.tif"),
        ("track", stack, f"--mask=1:{image}", "-o", first / "mask.tif"),
        ("scan", image, "--text=bright objects", "-o", first / "scan.zarr"),
    ):
        assert spoken([str(part) for part in line])[0] == 0, line
    return sorted(first.glob("*.json"))


def run(folder, count, seed):
    """Run so many lines on the files of a folder; returns those that ended wrongly, and why."""
    lines = Lines(folder, random.Random(seed))
    lines.learn(*made(folder))
    statuses, found = Counter(), []
    for _ in range(count):
        line = lines.line()
        try:
            status, said = spoken(line)
        except Exception as error:  # noqa: BLE001
            # Each is what we look for; all of them are told at the end.
            why = "".join(traceback.format_exception(error)[-3:])
        else:
            statuses[status] += 1
            why = wrong(line, status, said)
        if why:
            found.append((line, why))
    return found, statuses


if __name__ == "__main__":
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    sys.stdin = open(os.devnull)  # noqa: SIM115
    with tempfile.TemporaryDirectory() as place:
        inside = Path(place) / "work"
        inside.mkdir()
        os.chdir(inside)
        failed, ended = run(inside, int(sys.argv[1]), int(sys.argv[2]))
        beside = sorted(Path(place).iterdir())
        os.chdir("/")
    for one, reason in failed:
        sys.stdout.write(f"{one}\n{reason}\n\n")
    sys.stdout.write(
        f"{len(failed)} lines ended wrongly; the others by exit status: {dict(ended)}\n"
        f"beside the folder: {[path.name for path in beside if path != inside]}\n"
    )
