"""Benchmarks: the machine and versions, and ratios against a peer or the raw operation in the same run."""
