"""Partitions: one file each, a function of labels, number of clients and seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.data.partitions.dirichlet import dirichlet
    from fl_platform.data.partitions.fang_q import fang_q
    from fl_platform.data.partitions.gamma_similarity import gamma_similarity
    from fl_platform.data.partitions.iid import iid
    from fl_platform.data.partitions.k_classes import k_classes
    from fl_platform.data.partitions.long_tail import long_tail
    from fl_platform.data.partitions.quantity_skew import quantity_skew
    from fl_platform.data.partitions.shards import shards
    from fl_platform.data.partitions.sorted_labels import sorted_labels
    from fl_platform.data.partitions.writer import by_writer

__all__ = [
    "by_writer",
    "dirichlet",
    "fang_q",
    "gamma_similarity",
    "iid",
    "k_classes",
    "long_tail",
    "quantity_skew",
    "shards",
    "sorted_labels",
]

lazy(__name__)
