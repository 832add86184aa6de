"""Putting tracecraft into coding agents; docs/how-to/install-into-coding-agents.md tells what and why."""
