"""Stacks in the viewer: prompts on many slices, propagated labels, tracks."""
