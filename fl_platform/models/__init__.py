"""The networks of the paper, and a perceptron for the embedded digits."""

from fl_platform.models.mlp import mlp
from fl_platform.models.size import num_parameters

__all__ = ["mlp", "num_parameters"]
