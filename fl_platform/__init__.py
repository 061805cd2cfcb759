"""Byzantine-robust federated learning: attacks, defenses and honest comparisons."""

__version__ = "0.1.0"
