"""Adapters for agent frameworks, one module a framework."""
