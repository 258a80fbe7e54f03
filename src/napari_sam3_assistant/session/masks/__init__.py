"""The session of the mask operations: its state and its verbs."""
