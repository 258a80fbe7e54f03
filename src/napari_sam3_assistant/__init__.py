"""SAM3 Assistant: segment images with Segment Anything Model 3, in napari or headless.

The headless entry points are in :mod:`napari_sam3_assistant.api`. Importing this package
loads neither Qt nor napari nor torch.
"""

from importlib.metadata import version

__version__ = version("napari-sam3-assistant")
