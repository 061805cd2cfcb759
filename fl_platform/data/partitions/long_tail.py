"""Long-tailed partition: classes of decreasing size."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from fl_platform.core.constraints import Above, Between
from fl_platform.data.partitions.partition import Partition, check_enough, in_order


def long_tail(
    labels: Tensor,
    num_clients: int,
    seed: int,
    *,
    keep: Annotated[float, Above(0), Between(0, 1)] = 0.5,
    order: Literal["alike", "sorted"] = "alike",
) -> Partition:
    """Partition of the first ``keep ** k`` of the images of class k; the others are left out.

    The number per class is rounded down, at least one. No random draws.

    Args:
        labels: ``(N,)`` int64.
        num_clients: n, at least 1.
        seed: Not used.
        keep: Base of the shares, above 0 and at most 1; 1 keeps all images.
        order: "alike": images are assigned in turn, so that clients have the same classes.
            "sorted": each client has consecutive images of the sorted ones.

    Raises:
        DataError: Fewer images are kept than there are clients.

    References:
        S. P. Karimireddy, L. He, M. Jaggi, Byzantine-Robust Learning on Heterogeneous Datasets via
        Bucketing, ICLR 2022, whose code repeats images to make the shares equal; here sizes differ
        by at most one.
    """
    kept = []
    for place, label in enumerate(labels.unique()):
        members = torch.nonzero(labels == label).flatten()
        kept.append(members[: max(1, int(len(members) * keep**place))])
    chosen = torch.cat(kept)
    check_enough(len(chosen), num_clients, remedy="raise partition.keep")
    if order == "sorted":
        return in_order([*chosen.tensor_split(num_clients)])
    return in_order([chosen[client::num_clients] for client in range(num_clients)])
