"""Data sets as uint8 in memory, and who holds which part of them."""

from fl_platform.data.arrays import arrays
from fl_platform.data.cifar10 import cifar10
from fl_platform.data.dataset import DataError, Dataset, hold_out, set_aside, subset
from fl_platform.data.digits import digits
from fl_platform.data.femnist import femnist
from fl_platform.data.imagenet12 import imagenet12
from fl_platform.data.partition import (
    Partition,
    by_writer,
    classes_per_client,
    dirichlet,
    divide,
    iid,
)

__all__ = [
    "DataError",
    "Dataset",
    "Partition",
    "arrays",
    "by_writer",
    "cifar10",
    "classes_per_client",
    "digits",
    "dirichlet",
    "divide",
    "femnist",
    "hold_out",
    "iid",
    "imagenet12",
    "set_aside",
    "subset",
]
