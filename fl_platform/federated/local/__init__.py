"""The ways to train a round's clients."""
