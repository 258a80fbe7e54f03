"""The tokenizer's vocabulary: what is accepted, what is made, where it is put."""

from __future__ import annotations

import gzip

import pytest

from napari_sam3_assistant.engines.sam3_meta import loading
from napari_sam3_assistant.errors import CheckpointInvalid, CheckpointNotFound, EngineError

HEADER = "#version: 0.2"
TAIL = '"bpe_simple_vocab_16e6.txt#version: 0.2'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, and no vocabulary in the installed package."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(loading.platformdirs, "user_cache_path", lambda name: folder / name)
    monkeypatch.setattr(loading, "_find_packaged_bpe", tuple)
    return folder


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    return path


def _write_gzip(path, lines):
    path.write_bytes(gzip.compress("\n".join(lines).encode("utf-8")))


def _merges_of(path):
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    return lines[1 : loading.MERGE_COUNT + 1]


def test_the_file_of_openai_is_used_as_it_is(folder, merges):
    _write_gzip(folder / loading.BPE_NAME, [TAIL, *merges, "left over", "not a pair at all"])

    assert loading.find_bpe(folder) == folder / loading.BPE_NAME


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_is_made_from_merges_txt_in_the_model_folder(folder, merges, ending):
    (folder / "merges.txt").write_bytes(ending.join([HEADER, *merges, ""]).encode())
    made = loading.find_bpe(folder)

    assert made == folder / loading.BPE_NAME
    assert _merges_of(made) == merges
    assert [path.name for path in sorted(folder.iterdir())] == [loading.BPE_NAME, "merges.txt"]
    assert loading.find_bpe(folder) == made


def test_a_file_without_a_header_would_lose_a_merge_and_is_rewritten(folder, merges, cache):
    _write_gzip(folder / loading.BPE_NAME, merges)
    original = (folder / loading.BPE_NAME).read_bytes()
    made = loading.find_bpe(folder)

    assert made.is_relative_to(cache)
    assert _merges_of(made) == merges
    assert (folder / loading.BPE_NAME).read_bytes() == original


def test_goes_to_the_cache_where_the_folder_is_read_only(folder, merges, cache, monkeypatch):
    (folder / "merges.txt").write_text("\n".join([HEADER, *merges]), "utf-8")
    write = loading._write_whole  # noqa: SLF001 - root may write to read-only folders

    def guarded(path, data):
        if path.parent == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return write(path, data)

    monkeypatch.setattr(loading, "_write_whole", guarded)
    made = loading.find_bpe(folder)

    assert made.is_relative_to(cache)
    assert _merges_of(made) == merges
    changed = made.stat().st_mtime_ns
    assert loading.find_bpe(folder) == made
    assert made.stat().st_mtime_ns == changed


def test_where_neither_can_be_written_it_is_told(folder, merges, cache):
    text = "\n".join([HEADER, *merges])
    (folder / "merges.txt").write_text(text, "utf-8")
    (folder / loading.BPE_NAME).mkdir()
    cache.write_text("no folder")

    with pytest.raises(EngineError, match="can be written neither to"):
        loading.find_bpe(folder)


def test_a_damaged_gzip_file_gives_way_to_merges_txt(folder, merges, cache):
    _write_gzip(folder / loading.BPE_NAME, [TAIL, *merges])
    whole = (folder / loading.BPE_NAME).read_bytes()
    (folder / loading.BPE_NAME).write_bytes(whole[: len(whole) // 2])
    (folder / "merges.txt").write_text("\n".join([HEADER, *merges]), "utf-8")

    assert _merges_of(loading.find_bpe(folder)) == merges


def test_a_text_file_renamed_to_gz_is_told(folder, merges):
    (folder / loading.BPE_NAME).write_text("\n".join([HEADER, *merges]), "utf-8")

    with pytest.raises(CheckpointInvalid, match="not a whole gzip text file"):
        loading.find_bpe(folder)


def test_too_few_merges_are_told(folder, merges):
    (folder / "merges.txt").write_text("\n".join([HEADER, *merges[:-1]]), "utf-8")

    with pytest.raises(CheckpointInvalid, match=r"merges\.txt has 48893 merges, 48894 are needed"):
        loading.find_bpe(folder)


def test_a_line_that_is_no_pair_is_told(folder, merges):
    spoiled = [*merges[:6], "one two three", *merges[7:]]
    (folder / "merges.txt").write_text("\n".join([HEADER, *spoiled]), "utf-8")

    with pytest.raises(CheckpointInvalid, match=r"Merge 7 of merges\.txt is not a pair"):
        loading.find_bpe(folder)


def test_nothing_there(folder):
    with pytest.raises(CheckpointNotFound, match=r"Put merges\.txt"):
        loading.find_bpe(folder)


def test_the_tokenizer_reads_what_was_made(folder, merges, builder):
    (folder / "merges.txt").write_text("\n".join([HEADER, *merges]), "utf-8")
    tokenizer = builder.SimpleTokenizer(bpe_path=str(loading.find_bpe(folder)))

    assert tokenizer.vocab_size == 49408
    first = "".join(merges[0].split())
    # 256 bytes, each also at the end of a word, come before the merges.
    assert tokenizer.encoder[first] == 512
    assert tokenizer.encoder["".join(merges[-1].split())] == 512 + 48894 - 1
