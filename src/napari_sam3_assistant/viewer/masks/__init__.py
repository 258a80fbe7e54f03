"""The mask operations in the viewer."""
