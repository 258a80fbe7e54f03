"""The napari side without widgets: layers become images and prompts, results become layers."""
