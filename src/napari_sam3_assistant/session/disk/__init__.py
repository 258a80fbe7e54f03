"""Work on whole folders, and results too large for memory: scans, batches, merged regions."""
