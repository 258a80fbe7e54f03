"""What happens to Meta's weights file while it is read, and after that."""

import shutil
import sys

import pytest

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines.sam3_meta import SPEC
from napari_sam3_assistant.engines.sam3_meta.engine import Sam3MetaEngine
from napari_sam3_assistant.errors import CheckpointInvalid


@pytest.fixture
def engine(builder, model_folder, tmp_path):
    engine = Sam3MetaEngine(SPEC, shutil.copytree(model_folder, tmp_path / "model"), "cpu")
    yield engine
    engine.close()


class CutsTheFile:
    """A reporter that cuts the weights short while the model is built."""

    def __init__(self, file):
        self._file = file

    def report(self, progress):
        if progress.message.startswith("Building"):
            with self._file.open("r+b") as opened:
                opened.truncate(1000)

    def check(self):
        """Go on."""


def test_a_file_that_is_cut_while_it_is_read_is_said(engine, tmp_path):
    with pytest.raises(CheckpointInvalid, match=r"sam3\.pt changed on the disk"):
        engine.load(CutsTheFile(tmp_path / "model" / "sam3.pt"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has mapped")
def test_no_weights_stay_mapped(engine, tmp_path):
    engine.load(NullReporter())
    with open("/proc/self/maps") as maps:
        assert str(tmp_path) not in maps.read()
