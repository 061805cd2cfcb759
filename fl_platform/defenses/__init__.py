"""Defenses: how the server estimates the honest mean, one file a rule."""

__all__: list[str] = []
