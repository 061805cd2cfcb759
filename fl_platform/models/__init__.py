"""The networks of the papers, each a function of the number of classes and the input's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.models.bag_of_words import bag_of_words
    from fl_platform.models.bucketing_cnn import bucketing_cnn
    from fl_platform.models.cnn_mnist import cnn_mnist, fc_mnist
    from fl_platform.models.femnist_cnn import femnist_cnn
    from fl_platform.models.lenet import lenet
    from fl_platform.models.logistic_regression import logistic_regression
    from fl_platform.models.mlp import mlp
    from fl_platform.models.resnet18 import resnet18
    from fl_platform.models.resnet20 import resnet20
    from fl_platform.models.size import num_parameters
    from fl_platform.models.small_alexnet import small_alexnet
    from fl_platform.models.vgg11 import vgg11

__all__ = [
    "bag_of_words",
    "bucketing_cnn",
    "cnn_mnist",
    "fc_mnist",
    "femnist_cnn",
    "lenet",
    "logistic_regression",
    "mlp",
    "num_parameters",
    "resnet18",
    "resnet20",
    "small_alexnet",
    "vgg11",
]

lazy(__name__)
