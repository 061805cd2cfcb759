"""The images sorted by class and dealt out in that order."""

from __future__ import annotations

from torch import Tensor

from fl_platform.data.partitions.base import Partition, check_enough, in_order


def sorted_labels(labels: Tensor, num_clients: int, seed: int) -> Partition:
    """Deals the images out in the order of their class, in equal shares (sizes differ by one).

    The extreme of label skew: with as many clients as classes, a client has one or two classes.
    Nothing is drawn: images of a class keep their order.

    Args:
        labels: ``(N,)`` int64.
        num_clients: n, at least 1 and at most N.
        seed: not used.

    Raises:
        DataError: there are fewer images than clients.

    References:
        S. P. Karimireddy, L. He, M. Jaggi, ICLR 2022; "extreme" in Y. Allouah et al., AISTATS 2023.
    """
    check_enough(len(labels), num_clients, minimum=1)
    return in_order([*labels.argsort(stable=True).tensor_split(num_clients)])
