"""The sample images that napari offers."""

import os
import subprocess
import sys

import numpy as np

from napari_sam3_assistant.io.samples import cell_stack, coins, stained_tissue


def test_coins():
    ((data, options, kind),) = coins()
    assert (data.shape, data.dtype, kind, options["name"]) == (
        (303, 384), np.uint8, "image", "coins",
    )  # fmt: skip


def test_cell_stack_is_the_same_every_time_and_has_its_scale():
    ((first, options, _),), ((second, _, _),) = cell_stack(), cell_stack()
    np.testing.assert_array_equal(first, second)
    assert first.shape == (24, 256, 256)
    assert options["scale"] == (2.0, 0.5, 0.5)
    assert options["axis_labels"] == ("z", "y", "x")
    # Cells stand out of the background of 300.
    assert np.percentile(first, 99) > 1500 > 400 > np.median(first)


def test_stained_tissue():
    ((data, options, kind),) = stained_tissue()

    assert (data.shape, data.dtype, kind) == ((512, 512, 3), np.uint8, "image")
    assert options["rgb"]


FETCH = """
import time
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io import samples

time.sleep = lambda _: None  # pooch waits before it tries again
for fetch in (samples.nuclei, samples.cells_3d, samples.skin):
    try:
        fetch()
    except ImageError as error:
        print(error)
"""


def test_without_a_network_samples_that_are_fetched_say_which_are_there(tmp_path):
    # A proxy that nobody runs is a network that does not answer.
    nowhere = "http://127.0.0.1:9"
    ran = subprocess.run(
        [sys.executable, "-c", FETCH],
        env={
            **os.environ, "SKIMAGE_DATADIR": str(tmp_path), "no_proxy": "",
            "http_proxy": nowhere, "https_proxy": nowhere, "HTTPS_PROXY": nowhere,
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ran.stdout.count("The sample could not be downloaded") == 3, ran.stderr
    assert ran.stdout.count("coins, cells and stained tissue are there already") == 3
