"""Simple mode: a few fields, arranged for a first try."""
