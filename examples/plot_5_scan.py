"""
# A large image, tile by tile

`scan` reads one tile after another and writes labels into OME-Zarr, so the image may be larger
than the memory. A scan that was stopped goes on where it was.
"""

# %%
# A dask array stands for a large file; a path to a TIFF or an OME-Zarr works, too.
import tempfile
from pathlib import Path

import dask.array as da
import matplotlib.pyplot as plt
import zarr
from skimage.color import label2rgb
from skimage.data import coins

from napari_sam3_assistant import api

image = da.tile(da.from_array(coins(), chunks=(256, 256)), (2, 2))

with tempfile.TemporaryDirectory() as folder:
    result = api.scan(
        image, output=Path(folder) / "labels.zarr", text="bright objects", tile=512, overlap=0.2
    )
    labels = zarr.open_array(result.path / "0", mode="r")[:]

print(f"{len(result.objects)} objects in {image.shape[1]} x {image.shape[0]} pixels")

# %%
# Objects that a tile's border cuts are one object in the result.
plt.figure(figsize=(8, 6))
plt.imshow(label2rgb(labels, image.compute(), alpha=0.4, bg_label=0))
plt.axis("off")
plt.show()
