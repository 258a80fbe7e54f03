"""The second window, SAM3 Mask Operations: cleaning, accepting, merging and exporting labels."""
