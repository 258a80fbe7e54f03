"""
# A folder of images, and the same mask again

Each image gets a labels file and, beside it, a note that says how it was made. From the note the
labels can be made again.
"""

# %%
import tempfile
from pathlib import Path

import numpy as np
import tifffile
from skimage.data import coins

from napari_sam3_assistant import api

folder = tempfile.TemporaryDirectory()
images, masks = Path(folder.name, "images"), Path(folder.name, "masks")
images.mkdir()
for row, part in enumerate(np.array_split(coins(), 3)):
    tifffile.imwrite(images / f"row_{row}.tif", part)

for done in api.segment_folder(images, masks, texts=["bright objects"]):
    print(done.image, done.status, done.objects, "objects")

print(sorted(path.name for path in masks.iterdir()))

# %%
# Image, prompts, engine and settings come from the note.
first = sorted(masks.glob("*.tif"))[0]
again = api.rerun(f"{first}.json")
same = np.array_equal(tifffile.imread(first), tifffile.imread(again.path))
print(f"{again.path.name}: {'the same labels' if same else 'other labels'}")
folder.cleanup()
