"""Bytes between this machine and the artifact store: HTTP by the standard library, in threads, block by block."""
