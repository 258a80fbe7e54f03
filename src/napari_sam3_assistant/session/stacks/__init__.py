"""The verbs of the task 3D/video."""
