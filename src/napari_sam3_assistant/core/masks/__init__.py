"""Labels as a mathematician sees them: runs, components, edits. No files, no layers."""
