"""Data sets in memory, images as uint8, and their partitions over clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.data.arrays import arrays
    from fl_platform.data.cifar10 import cifar10
    from fl_platform.data.cifar100 import cifar100
    from fl_platform.data.dataset import DataError, Dataset, hold_out, set_aside, subset
    from fl_platform.data.digits import digits
    from fl_platform.data.femnist import femnist
    from fl_platform.data.idx import emnist, fashion_mnist, mnist
    from fl_platform.data.imagenet12 import imagenet12
    from fl_platform.data.partitions import by_writer, dirichlet, iid
    from fl_platform.data.partitions.deal import deal, divide
    from fl_platform.data.partitions.partition import Partition, classes_per_client
    from fl_platform.data.svhn import svhn
    from fl_platform.data.tables import tabular, tokens

__all__ = [
    "DataError",
    "Dataset",
    "Partition",
    "arrays",
    "by_writer",
    "cifar10",
    "cifar100",
    "classes_per_client",
    "deal",
    "digits",
    "dirichlet",
    "divide",
    "emnist",
    "fashion_mnist",
    "femnist",
    "hold_out",
    "iid",
    "imagenet12",
    "mnist",
    "set_aside",
    "subset",
    "svhn",
    "tabular",
    "tokens",
]

lazy(__name__)
