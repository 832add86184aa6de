"""Bundles, and the state at a sequence, from the rows of the log (docs/explanation/replay.md)."""
