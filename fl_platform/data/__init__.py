"""Data sets as uint8 in memory, and who holds which part of them."""

from fl_platform.data.dataset import DataError, Dataset, hold_out
from fl_platform.data.digits import digits
from fl_platform.data.partition import Partition, by_writer, classes_per_client, dirichlet, iid

__all__ = [
    "DataError",
    "Dataset",
    "Partition",
    "by_writer",
    "classes_per_client",
    "digits",
    "dirichlet",
    "hold_out",
    "iid",
]
