"""Partition of the images in the order of their class."""

from __future__ import annotations

from torch import Tensor

from fl_platform.data.partitions.partition import Partition, check_enough, in_order


def sorted_labels(labels: Tensor, num_clients: int, seed: int) -> Partition:
    """Partition of the images, sorted by class, in equal shares (sizes differ by at most one).

    The extreme of label skew: with as many clients as classes, a client has one or two classes.
    No random draws: images of a class keep their order.

    Args:
        labels: ``(N,)`` int64.
        num_clients: n, from 1 to N.
        seed: Not used.

    Raises:
        DataError: There are fewer images than clients.

    References:
        S. P. Karimireddy, L. He, M. Jaggi, ICLR 2022; "extreme" in Y. Allouah et al., AISTATS 2023.
    """
    check_enough(len(labels), num_clients)
    return in_order([*labels.argsort(stable=True).tensor_split(num_clients)])
