"""
# An object through a stack

One click on one slice; the object is followed through the others. Time works the same.
"""

# %%
# A stack of blurred, noisy balls.
import tempfile

import matplotlib.pyplot as plt
import numpy as np

from napari_sam3_assistant import api

rng = np.random.default_rng(0)
z, y, x = np.ogrid[:16, :128, :128]
stack = rng.normal(300, 40, (16, 128, 128))
for cz, cy, cx in ((8, 40, 40), (7, 90, 50), (9, 60, 100)):
    distance = np.sqrt(((z - cz) / 5) ** 2 + ((y - cy) / 18) ** 2 + ((x - cx) / 18) ** 2)
    stack += 2000 / (1 + np.exp(12 * (distance - 1)))
stack = stack.astype(np.uint16)

# %%
# Frames come one at a time, so nothing grows with the length of the stack unless you keep it.
table = api.TrackTable()
volume = np.zeros(stack.shape, np.uint32)
for frame in api.track(stack, frame=8, points=[(40, 40)], axis_labels=("z", "y", "x")):
    volume[frame.frame] = frame.labels
    table.add(frame)

slices = np.flatnonzero(volume.any(axis=(1, 2)))
print(f"slices {slices[0]} to {slices[-1]}, {np.count_nonzero(volume)} voxels")

# %%
fig, axes = plt.subplots(1, 4, figsize=(10, 3))
for index, panel in zip((4, 7, 10, 13), axes, strict=True):
    panel.imshow(stack[index], cmap="gray", vmin=200, vmax=2500)
    if volume[index].any():
        panel.contour(volume[index], [0.5], colors="tab:orange")
    panel.set_title(f"z = {index}")
    panel.set_axis_off()
plt.show()

# %%
# One row for each slice and object, in pixels and in the unit that you give.
with tempfile.TemporaryDirectory() as folder:
    file = api.save_tracks(table, f"{folder}/tracks.csv", api.TrackScale(y=0.5, x=0.5, unit="µm"))
    print("\n".join(file.read_text().splitlines()[:4]))
