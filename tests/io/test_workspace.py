"""Workspaces of version 4.5: where their images are found."""

import json

import numpy as np
import pytest
from tifffile import imwrite

from napari_sam3_assistant.io.workspace import read_workspace


@pytest.mark.parametrize(
    "named", ["cells.tif", "./cells.tif", "/gone/cells.tif", r"C:\data\cells.tif", "gone/cells.tif"]
)
def test_an_image_that_was_moved_with_its_workspace_is_found_beside_it(tmp_path, named):
    imwrite(tmp_path / "cells.tif", np.zeros((4, 5), np.uint8))
    layers = [{"name": "cells", "type": "image", "path": named}]
    path = tmp_path / "work.sam3.json"
    for encoding in ("utf-8", "utf-8-sig"):  # as editors of Windows save it again
        path.write_text(
            json.dumps({"format": "napari-sam3-workspace", "layers": layers}), encoding=encoding
        )
        found = read_workspace(path).entries["pixels/0"]
        assert (found["kind"], found["path"]) == ("file", str(tmp_path / "cells.tif"))
