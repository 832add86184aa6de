"""The ``tracecraft`` command: one module a command, nothing heavy imported until a command runs."""
