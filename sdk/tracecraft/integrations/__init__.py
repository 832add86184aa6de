"""Adapters for agent frameworks, one module a framework; none is imported before it is asked for."""

from tracecraft.integrations.closing import flush

__all__ = ["flush"]
