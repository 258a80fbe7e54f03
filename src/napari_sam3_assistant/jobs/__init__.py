"""Work off the caller's thread: one job at a time, with progress, cancel and one way to fail."""
