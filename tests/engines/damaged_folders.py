"""Model folders as downloads, disks, editors and hostile people leave them.

Every function takes the folder of a whole checkpoint and a random generator, and damages it.
"""

import json
import os
import pickle
import zipfile

META_NAMES = ("detector.backbone.weight", "tracker.mask_decoder.weight")
MULTIPLEX_NAMES = ("detector.backbone.weight", "tracker.model.mask_decoder.weight")
WEIGHTS = "model.safetensors"
SETTINGS = ("config.json", "processor_config.json", "tokenizer_config.json", "tokenizer.json")
ODD = (
    None, True, -1, 0, 1, 3, 10**6, 10**12, 10**30, 1e308, 0.5, float("nan"), float("inf"),
    "", "seven", "../../etc", [], [[]], [1, 2], {}, {"a": 1}, "\x00", "relu", "sam3_video",
)  # fmt: skip


DAMAGES = []


def damage(function):
    """List a function among the damages."""
    DAMAGES.append(function)
    return function


# -- any file ------------------------------------------------------------------------------


def a_file(folder, rng):
    return folder / rng.choice([*SETTINGS, WEIGHTS, "vocab.json", "merges.txt"])


@damage
def cut_short(folder, rng):
    file = a_file(folder, rng)
    data = file.read_bytes()
    file.write_bytes(data[: rng.randrange(len(data))])


@damage
def emptied(folder, rng):
    a_file(folder, rng).write_bytes(b"")


@damage
def garbled(folder, rng):
    file = a_file(folder, rng)
    data = bytearray(file.read_bytes())
    # Where the settings and the header are, and not only in the numbers of the weights.
    for _ in range(rng.choice([1, 3, 40])):
        data[rng.randrange(min(len(data), 60_000))] = rng.randrange(256)
    file.write_bytes(data)


@damage
def filled_with_noise(folder, rng):
    a_file(folder, rng).write_bytes(rng.randbytes(rng.choice([1, 9, 300, 100_000])))


@damage
def a_web_page(folder, rng):
    a_file(folder, rng).write_text("<!DOCTYPE html><html>Access to facebook/sam3 is restricted")


@damage
def gone(folder, rng):
    a_file(folder, rng).unlink()


@damage
def a_folder_in_its_place(folder, rng):
    file = a_file(folder, rng)
    file.unlink()
    file.mkdir()


@damage
def a_pipe_in_its_place(folder, rng):
    file = a_file(folder, rng)
    file.unlink()
    os.mkfifo(file)


@damage
def a_link_to_itself(folder, rng):
    file = a_file(folder, rng)
    file.unlink()
    file.symlink_to(file.name)


@damage
def a_link_to_nothing(folder, rng):
    file = a_file(folder, rng)
    file.unlink()
    file.symlink_to("/nowhere/at all")


@damage
def another_files_content(folder, rng):
    source, target = a_file(folder, rng), a_file(folder, rng)
    target.write_bytes(source.read_bytes())


# -- settings ------------------------------------------------------------------------------


def _places(value, found):
    """List each dict and list in JSON that holds something."""
    if isinstance(value, dict | list) and value:
        found.append(value)
        for one in value.values() if isinstance(value, dict) else value:
            _places(one, found)
    return found


def _edit(file, change):
    settings = json.loads(file.read_text("utf-8"))
    change(settings)
    file.write_text(json.dumps(settings), "utf-8")


@damage
def odd_setting(folder, rng, file=None):
    def change(settings):
        place = rng.choice(_places(settings, []))
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        place[key] = rng.choice(ODD)

    _edit(folder / (file or rng.choice(SETTINGS)), change)


@damage
def odd_setting_of_the_model(folder, rng):
    odd_setting(folder, rng, "config.json")


@damage
def odd_setting_of_the_processor(folder, rng):
    odd_setting(folder, rng, "processor_config.json")


@damage
def several_odd_settings(folder, rng):
    for _ in range(rng.randrange(2, 6)):
        odd_setting_of_the_model(folder, rng)


@damage
def setting_gone(folder, rng):
    def change(settings):
        place = rng.choice([one for one in _places(settings, []) if isinstance(one, dict)])
        del place[rng.choice(list(place))]

    _edit(folder / rng.choice(SETTINGS), change)


@damage
def another_top(folder, rng):
    (folder / rng.choice(SETTINGS)).write_text(json.dumps(rng.choice(ODD)))


@damage
def nested(folder, rng):
    depth = rng.choice([500, 100_000])
    (folder / rng.choice(SETTINGS)).write_text('{"a":' + "[" * depth + "]" * depth + "}")


@damage
def not_utf8(folder, rng):
    file = folder / rng.choice(SETTINGS)
    file.write_bytes(file.read_text("utf-8").encode(rng.choice(["utf-16", "utf-32"])))


@damage
def code_to_run(folder, rng):
    """Name code in the folder; who runs it leaves a file."""
    (folder / "evil.py").write_text(
        f"open({str(folder / 'RAN')!r}, 'w')\nclass Evil:\n    pass\n"
        "from transformers import CLIPTokenizer\nclass EvilTokenizer(CLIPTokenizer):\n    pass\n"
    )
    names = ("AutoConfig", "AutoModel", "AutoProcessor", "AutoImageProcessor", "AutoVideoProcessor")
    asked = {"auto_map": dict.fromkeys(names, "evil.Evil")}
    asked["auto_map"]["AutoTokenizer"] = ["evil.EvilTokenizer", None]
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        _edit(folder / name, lambda settings: settings.update(asked))
    for name in ("image_processor", "video_processor"):
        _edit(folder / "processor_config.json", lambda all_, name=name: all_[name].update(asked))
    if rng.random() < 0.5:
        _edit(
            folder / "tokenizer_config.json",
            lambda settings: settings.update(tokenizer_class="EvilTokenizer"),
        )


@damage
def something_of_a_hub(folder, rng, which=None):
    """Ask for a part that is not in the folder."""
    part = {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": "somebody/else"}
    which = rng.randrange(3) if which is None else which
    if which == 0:
        _edit(folder / "processor_config.json", lambda all_: all_.update(audio_tokenizer=part))
    elif which == 1:
        (folder / "adapter_config.json").write_text(
            json.dumps({"base_model_name_or_path": "somebody/else", "peft_type": "LORA"})
        )
    else:
        _edit(folder / "config.json", lambda all_: all_.update(_name_or_path="somebody/else"))


# -- weights -------------------------------------------------------------------------------


def _header(file):
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _write(file, header, data=b"", claimed=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if claimed is None else claimed
    file.write_bytes(length.to_bytes(8, "little") + text + data)


@damage
def header_length(folder, rng):
    file = folder / WEIGHTS
    header, data = _header(file)
    _write(file, header, data, rng.choice([0, 1, 10, 10**9, 2**63, 2**64 - 1]))


@damage
def header_entry(folder, rng):
    file = folder / WEIGHTS
    header, data = _header(file)
    name = rng.choice([name for name in header if name != "__metadata__"])
    change = rng.randrange(6)
    if change == 0:
        header[name] = rng.choice(ODD)
    elif change == 1:
        header[name][rng.choice(["dtype", "shape", "data_offsets"])] = rng.choice(ODD)
    elif change == 2:
        header[name]["dtype"] = rng.choice(["F16", "I32", "I64", "BOOL", "F8_E4M3", "C64", "f32"])
    elif change == 3:
        header[name]["shape"] = rng.choice([[10**12], [10**6, 10**6], [0], [-1], [1.5], []])
    elif change == 4:
        header[name]["data_offsets"] = rng.choice([[0, 10**15], [-8, 8], [9, 3], [0], "ab"])
    else:
        del header[name]
    _write(file, header, data)


@damage
def header_of_one_huge_tensor(folder, rng):
    """A sparse file that is as large as its header says, and takes no room."""
    file = folder / WEIGHTS
    header, _ = _header(file)
    size = rng.choice([10**12, 4 * 10**11])
    name = rng.choice([name for name in header if name != "__metadata__"])
    header[name] = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    text = json.dumps(header).encode()
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        opened.truncate(8 + len(text) + size)


@damage
def header_of_another_top(folder, rng):
    _write(folder / WEIGHTS, json.dumps(rng.choice(ODD)).encode(), b"1234")


@damage
def nested_header(folder, rng):
    depth = rng.choice([900, 200_000])
    _write(folder / WEIGHTS, b'{"a":' + b"[" * depth + b"]" * depth + b"}")


@damage
def weights_of_another_type(folder, rng):
    import torch
    from safetensors.torch import load_file, save_file

    kind = rng.choice([torch.int32, torch.float16, torch.float64, torch.bool, torch.uint8])
    weights = {name: one.to(kind) for name, one in load_file(folder / WEIGHTS).items()}
    save_file(weights, folder / WEIGHTS)


@damage
def some_weights_changed(folder, rng):
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / WEIGHTS)
    names = rng.sample(sorted(weights), rng.choice([1, 5, 200]))
    change = rng.randrange(4)
    for name in names:
        if change == 0:
            del weights[name]
        elif change == 1:
            weights[name] = weights[name].reshape(-1)
        elif change == 2:
            weights[name] = torch.zeros(0)
        else:
            weights[f"{name}.more"] = weights.pop(name)
    save_file(weights, folder / WEIGHTS)


# -- Meta's layout -------------------------------------------------------------------------


def only_meta(folder):
    for file in folder.iterdir():
        file.unlink()
    return folder / "sam3.pt"


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, victim):
        self._victim = str(victim)

    def __reduce__(self):
        return (open, (self._victim, "w"))


@damage
def pickle_with_code(folder, rng):
    import torch

    file = only_meta(folder)
    attack = Attack(folder / "RAN")
    content = {**dict.fromkeys(META_NAMES, torch.zeros(3)), "x": attack}
    torch.save(rng.choice([content, {"model": content}, attack]), file)


@damage
def pickle_alone(folder, rng):
    content = {**dict.fromkeys(META_NAMES, 0), "x": Attack(folder / "RAN")}
    only_meta(folder).write_bytes(pickle.dumps(content, protocol=rng.choice([0, 2, 4])))


@damage
def archive_of_other_things(folder, rng):
    import torch

    odd = [None, 3, "text", [torch.zeros(2)], {1: torch.zeros(2)}, {META_NAMES[0]: "text"}]
    odd += [dict.fromkeys(META_NAMES, torch.zeros(3)), {"model": dict.fromkeys(META_NAMES, None)}]
    odd += [dict.fromkeys(MULTIPLEX_NAMES, torch.zeros(3))]
    file = only_meta(folder)
    torch.save(rng.choice(odd), file.with_name(rng.choice(["sam3.pt", "sam3.1_multiplex.pt"])))


@damage
def archive_damaged(folder, rng):
    import torch

    file = only_meta(folder)
    torch.save({"model": {name: torch.rand(2000) for name in META_NAMES}}, file)
    data = bytearray(file.read_bytes())
    if rng.random() < 0.3:
        data = data[: rng.randrange(len(data))]
    for _ in range(rng.choice([1, 10, 500])):
        at = rng.choice([rng.randrange(len(data)), rng.randrange(min(400, len(data)))])
        data[at if rng.random() < 0.6 else -1 - at % 500] = rng.randrange(256)
    file.write_bytes(data)


@damage
def archive_that_unpacks_to_very_much(folder, rng):
    import torch

    file = only_meta(folder)
    torch.save({name: torch.zeros(2000) for name in META_NAMES}, file)
    with zipfile.ZipFile(file) as source:
        parts = {item.filename: source.read(item) for item in source.infolist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in parts.items():
            much = name.endswith(rng.choice(["/0", "data.pkl"]))
            target.writestr(name, bytes(200 * 2**20) if much else data)


@damage
def archive_that_claims_very_much(folder, rng):
    """Tensors of 10^12 numbers, in a file of a few thousand bytes."""
    import torch

    file = only_meta(folder)
    torch.save({name: torch.zeros(2000) for name in META_NAMES}, file)
    data = file.read_bytes()
    few, many = (2000).to_bytes(2, "little"), rng.choice([60_000, 65_535]).to_bytes(2, "little")
    file.write_bytes(data.replace(b"M" + few, b"M" + many))


@damage
def vocabulary_that_unpacks_to_very_much(folder, rng):
    import gzip

    import torch

    file = only_meta(folder)
    torch.save(dict.fromkeys(META_NAMES, torch.zeros(3)), file)
    (folder / "merges.txt.gz").write_bytes(gzip.compress(bytes(rng.choice([1, 300]) * 2**20)))


@damage
def a_pipe_with_any_name(folder, rng):
    only_meta(folder)
    os.mkfifo(folder / rng.choice(["sam3.pt", "a.safetensors", "b.pt", "merges.txt"]))
    if rng.random() < 0.5:
        (folder / "sam3.1_multiplex.pt").write_bytes(b"cut off")
