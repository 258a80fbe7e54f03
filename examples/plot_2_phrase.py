"""
# A phrase, and measurements

A phrase finds everything that it names. The built-in engine understands bright and dark; SAM 3
any short phrase.
"""

# %%
import matplotlib.pyplot as plt
from skimage.color import label2rgb
from skimage.data import coins
from skimage.measure import regionprops_table

from napari_sam3_assistant import api

image = coins()
result = api.segment(image, text="bright objects")
print(f"{len(result.objects)} objects")

# %%
# Anything that takes a label image can go on from here, such as scikit-image's measurements.
table = regionprops_table(result.labels, image, properties=("label", "area", "mean_intensity"))
for label, area, mean in list(zip(*table.values(), strict=True))[:5]:
    print(f"{label:3d} {area:8.0f} px {mean:8.1f}")

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), width_ratios=(3, 2))
left.imshow(label2rgb(result.labels, image, alpha=0.4, bg_label=0))
left.set_axis_off()
right.hist(table["area"], bins=12)
right.set(xlabel="area (pixels)", ylabel="objects")
plt.show()
