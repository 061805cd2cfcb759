"""The networks of the paper, and a perceptron for the embedded digits."""

from fl_platform.models.femnist_cnn import femnist_cnn
from fl_platform.models.mlp import mlp
from fl_platform.models.resnet18 import resnet18
from fl_platform.models.size import num_parameters
from fl_platform.models.small_alexnet import small_alexnet

__all__ = ["femnist_cnn", "mlp", "num_parameters", "resnet18", "small_alexnet"]
