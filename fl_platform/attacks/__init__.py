"""Attacks: what the Byzantine clients send, one file a rule."""

__all__: list[str] = []
