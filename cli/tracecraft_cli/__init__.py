"""tracecraft."""
