"""The window of the mask operations: one file a tab. Arrangements of fields, no logic."""
