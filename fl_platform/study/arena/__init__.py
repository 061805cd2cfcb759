"""The arena: the worst case of a defense over many attackers, tuned for it."""
