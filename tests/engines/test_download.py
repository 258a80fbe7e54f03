"""Fetching weights, from a stand-in for the hub that speaks real HTTP on this machine."""

import errno
import os
import shutil
import ssl
import sys
import threading
import time

import numpy as np
import pytest

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines import download
from napari_sam3_assistant.engines.download import download_model
from napari_sam3_assistant.errors import DownloadError, EngineNotInstalled, JobCancelled

SMALL = {
    "config.json": b'{"model_type": "sam3_video"}',
    "processor_config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}',
    "vocab.json": b'{"a": 0}',
    "merges.txt": b"#version: 0.2\n",
}
WEIGHTS = np.random.default_rng(0).bytes(5_000_000)
NOT_NEEDED = {"README.md": b"about", ".gitattributes": b"*"}
GATED = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted."}


@pytest.fixture
def filled(hub):
    """The stand-in, with the files of ``facebook/sam3``, small."""
    hub.files = {**NOT_NEEDED, **SMALL, "model.safetensors": WEIGHTS, "sam3.pt": WEIGHTS[::-1]}
    return hub


class StopAfter(NullReporter):
    """A user who stops the download after so many reports on the weights."""

    def __init__(self, number):
        self.left = number

    def report(self, progress):
        if "model.safetensors" in progress.message:
            self.left -= 1
            if self.left < 0:
                raise JobCancelled


class Notes(NullReporter):
    def __init__(self):
        self.steps = []

    def report(self, progress):
        self.steps.append(progress)


def fetch(folder, reporter=None, **choices):
    download_model(folder, reporter or NullReporter(), **choices)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_only_the_needed_files_are_fetched(filled, tmp_path):
    folder = tmp_path / "models" / "sam3"

    fetch(folder)

    assert names(folder) == sorted([*SMALL, "model.safetensors"])
    assert (folder / "config.json").read_bytes() == SMALL["config.json"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert filled.asked_for == [*SMALL, "model.safetensors"]
    assert filled.tokens == {""}


def test_the_weights_for_metas_package(filled, tmp_path):
    fetch(tmp_path / "sam3", meta=True)

    assert names(tmp_path / "sam3") == sorted([*SMALL, "sam3.pt"])
    assert (tmp_path / "sam3" / "sam3.pt").read_bytes() == WEIGHTS[::-1]


def test_what_is_there_is_not_fetched_again(filled, tmp_path):
    fetch(tmp_path)
    filled.asked.clear()

    fetch(tmp_path)

    assert filled.asked_for == []


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_nothing_of_another_model_is_replaced(filled, tmp_path, name):
    (tmp_path / name).write_bytes(b"of SAM 2.1")

    with pytest.raises(DownloadError, match=f"another {name} than facebook/sam3.*another folder"):
        fetch(tmp_path)

    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"of SAM 2.1"
    assert filled.asked_for == []


def test_other_weights_of_the_same_size_are_not_taken_for_those_of_the_hub(filled, tmp_path):
    fetch(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS[::-1])

    with pytest.raises(DownloadError, match=r"another model\.safetensors than facebook/sam3"):
        fetch(tmp_path)

    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS[::-1]


def test_a_stopped_download_goes_on_where_it_was(filled, tmp_path):
    with pytest.raises(JobCancelled):
        fetch(tmp_path, StopAfter(3))
    (part,) = tmp_path.glob("model.safetensors.*.part")
    arrived = part.stat().st_size
    assert 0 < arrived < len(WEIGHTS)
    assert not (tmp_path / "model.safetensors").exists()

    fetch(tmp_path)

    assert filled.asked[-1] == ("model.safetensors", f"bytes={arrived}-")
    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize("said", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_that_knows_no_locks_takes_a_model_all_the_same(filled, tmp_path, monkeypatch, said):
    fcntl = pytest.importorskip("fcntl", reason="Windows locks otherwise")

    def refuse(*_):
        raise OSError(said, os.strerror(said))

    monkeypatch.setattr(fcntl, "flock", refuse)
    fetch(tmp_path)
    assert names(tmp_path) == sorted([*SMALL, "model.safetensors"])


def test_a_second_download_into_a_folder_leaves_the_first_alone(filled, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT", 240.0)  # for the first, which is kept waiting
    filled.gate.clear()
    first = threading.Thread(target=fetch, args=(tmp_path,))
    first.start()
    until = time.monotonic() + 240
    while not filled.asked_for:
        assert time.monotonic() < until

    with pytest.raises(DownloadError, match=r"Another download into .* is going on"):
        fetch(tmp_path)

    filled.gate.set()
    first.join(240)
    assert names(tmp_path) == sorted([*SMALL, "model.safetensors"])
    fetch(tmp_path)


def test_a_part_of_another_version_is_not_continued(filled, tmp_path):
    with pytest.raises(JobCancelled):
        fetch(tmp_path, StopAfter(3))
    filled.files["model.safetensors"] = WEIGHTS[::-1]

    fetch(tmp_path)

    assert filled.asked[-1] == ("model.safetensors", "")
    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS[::-1]


def test_a_line_that_breaks_is_taken_up_again(filled, tmp_path):
    filled.files = {"config.json": b"{}", "model.safetensors": WEIGHTS}
    filled.cuts = [2, 1_500_000, 2_000_000]

    fetch(tmp_path)

    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS
    assert [name for name, wanted in filled.asked if wanted] == ["model.safetensors"] * 2
    # At each break a chunk that was not whole is lost.
    assert filled.served <= 2 + len(WEIGHTS) + 2 * 2**20


def test_a_line_that_brings_nothing_ends_with_a_sentence(filled, tmp_path):
    filled.files = {"model.safetensors": WEIGHTS}
    filled.cuts = [1_500_000, 0]

    with pytest.raises(DownloadError, match=r"There is no connection to http://127\.0\.0\.1"):
        fetch(tmp_path)

    assert next(tmp_path.glob("*.part")).stat().st_size > 0


def test_a_server_that_knows_no_ranges(filled, tmp_path):
    with pytest.raises(JobCancelled):
        fetch(tmp_path, StopAfter(3))
    filled.ranges = False

    fetch(tmp_path)

    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS


def test_damaged_weights_are_thrown_away(filled, tmp_path):
    filled.checksums["model.safetensors"] = "f" * 64

    with pytest.raises(DownloadError, match="arrived damaged"):
        fetch(tmp_path)

    assert names(tmp_path) == sorted(SMALL)


def test_progress_is_told_by_files_and_megabytes(filled, tmp_path):
    notes = Notes()

    fetch(tmp_path, notes)

    told = [step for step in notes.steps if step.total]
    assert [step.done for step in told] == sorted(step.done for step in told)
    assert (told[-1].done, told[-1].total) == (5, 5)
    assert told[-1].message == "Downloading model.safetensors (file 6 of 6): 5.0 of 5.0 MB"


@pytest.mark.parametrize(
    ("refusal", "token", "said"),
    [
        ((401, GATED), None, "needs a login on Hugging Face (error 401). No token was given."),
        ((401, GATED), "hf_wrong", "(error 401). The token was not accepted."),
        ((403, GATED), "hf_right", "Your account may not read facebook/sam3 yet (error 403)."),
        ((403, {}), "hf_right", "The hub refused facebook/sam3 (error 403)."),
        ((503, {}), None, "The hub answered with error 503 for facebook/sam3."),
    ],
)
def test_refusals_say_what_to_do(filled, tmp_path, refusal, token, said):
    filled.refusal = refusal

    with pytest.raises(DownloadError) as caught:
        fetch(tmp_path, token=token)

    assert said in caught.value.message
    assert caught.value.hint
    assert filled.tokens == {token or ""}
    assert "hf_" not in str(caught.value)


def test_the_token_of_the_environment_is_used(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    fetch(tmp_path)
    assert filled.tokens == {"hf_mine"}


def test_a_token_that_was_copied_with_the_space_around_it(filled, tmp_path):
    fetch(tmp_path, token=" hf_mine\n")
    assert filled.tokens == {"hf_mine"}


@pytest.mark.parametrize("token", ["hf_my\x7fsecret", "hf_my secret", "\u201chf_mysecret\u201d"])
@pytest.mark.parametrize("is_saved", [False, True])
def test_a_token_that_can_not_be_sent_is_told_to_nobody(filled, tmp_path, token, is_saved):
    given = {} if is_saved else {"token": token}
    if is_saved:
        (tmp_path / "no token").write_text(token, "utf-8")

    with pytest.raises(DownloadError) as caught:
        fetch(tmp_path / "sam3", **given)

    assert "holds a character that no token has" in caught.value.message
    assert "secret" not in str(caught.value)
    assert filled.tokens == set()


@pytest.mark.parametrize("page", ["<html>Log in to the Wi-Fi</html>", "[]", "null", '{"a": 1}'])
def test_a_page_in_place_of_the_hub(filled, tmp_path, page):
    filled.page = page.encode()
    with pytest.raises(DownloadError, match=r"does not answer as a hub.*Log in to the network"):
        fetch(tmp_path)


@pytest.mark.parametrize("address", ["hub.example", "ftp://hub.example", "http://[::1", "https://"])
def test_a_mirror_that_is_no_address(filled, tmp_path, monkeypatch, address):
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(DownloadError, match=r"HF_ENDPOINT is .* not the address of a hub"):
        fetch(tmp_path)


def test_a_network_that_puts_its_own_certificate_before_the_hub(filled, tmp_path, monkeypatch):
    pytest.importorskip("cryptography")
    own = pytest.importorskip("distributed").Security.temporary()
    (tmp_path / "own.pem").write_text(own.tls_client_cert + own.tls_client_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own.pem")
    filled.encrypt(context)
    monkeypatch.setenv("HF_ENDPOINT", filled.address)

    with pytest.raises(DownloadError, match=r"There is no connection to https:.*SSL_CERT_FILE"):
        fetch(tmp_path / "sam3")


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((401, {"X-Error-Code": "RepoNotFound"}), "There is no repository facebook/sam3, or"),
        ((404, {"X-Error-Code": "RepoNotFound"}), "There is no repository facebook/sam3."),
        (
            (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
            "needs a login on Hugging Face (error 401). The token was not accepted.",
        ),
    ],
)
def test_a_repository_that_is_refused(filled, tmp_path, refusal, said):
    filled.repository_refusal = refusal
    with pytest.raises(DownloadError) as caught:
        fetch(tmp_path, token="hf_wrong")
    assert said in caught.value.message


def test_other_names(filled, tmp_path):
    with pytest.raises(DownloadError, match="There is no repository facebook/sam4"):
        fetch(tmp_path, repository="facebook/sam4")
    with pytest.raises(DownloadError, match="'sam 3' is not a name on the hub"):
        fetch(tmp_path, repository="sam 3")


def test_a_repository_without_the_wanted_weights(filled, tmp_path):
    del filled.files["model.safetensors"]
    with pytest.raises(DownloadError, match=r"has no model\.safetensors. Fetch .* Meta"):
        fetch(tmp_path)


def test_no_network(filled, tmp_path, monkeypatch):
    # Port 9 (discard) of this machine: nobody listens.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"There is no connection to http://127\.0\.0\.1:9"):
        fetch(tmp_path)


def test_offline_means_that_nothing_is_tried(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set, so nothing was tried"):
        fetch(tmp_path / "sam3")
    assert filled.asked == []
    assert not (tmp_path / "sam3").exists()


def test_too_small_a_disk_is_told_before(filled, tmp_path, monkeypatch):
    # A small disk can't be had without root; what is asked of the system is its free space.
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"has 0\.0 GB free; 0\.0 GB are needed"):
        fetch(tmp_path)
    assert filled.asked_for == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_disk_that_gets_full(filled, tmp_path):
    with pytest.raises(JobCancelled):
        fetch(tmp_path, StopAfter(3))
    (part,) = tmp_path.glob("*.part")
    part.unlink()
    os.symlink("/dev/full", part)
    with pytest.raises(DownloadError, match="The disk is full"):
        fetch(tmp_path)


def test_a_folder_that_is_a_file(filled, tmp_path):
    (tmp_path / "sam3").touch()
    with pytest.raises(DownloadError, match="The files can't be written: File exists"):
        fetch(tmp_path / "sam3")


def test_without_the_hubs_library(filled, tmp_path, monkeypatch):
    # As in an environment without the extra; it can't be uninstalled for one test.
    monkeypatch.setattr(download, "find_spec", lambda _: None)
    with pytest.raises(EngineNotInstalled, match="huggingface_hub is not installed"):
        fetch(tmp_path)
