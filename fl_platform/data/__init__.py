"""Data sets as uint8 in memory, and who holds which part of them."""

from fl_platform.data.arrays import arrays
from fl_platform.data.cifar10 import cifar10
from fl_platform.data.dataset import DataError, Dataset, hold_out, subset
from fl_platform.data.digits import digits
from fl_platform.data.femnist import femnist
from fl_platform.data.imagenet12 import imagenet12
from fl_platform.data.partitions import by_writer, dirichlet, iid
from fl_platform.data.partitions.base import Partition, classes_per_client
from fl_platform.data.partitions.deal import deal, divide

__all__ = [
    "DataError",
    "Dataset",
    "Partition",
    "arrays",
    "by_writer",
    "cifar10",
    "classes_per_client",
    "deal",
    "digits",
    "dirichlet",
    "divide",
    "femnist",
    "hold_out",
    "iid",
    "imagenet12",
    "subset",
]
