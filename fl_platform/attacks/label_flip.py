"""LabelFlip: a Byzantine client trains honestly on changed labels."""

from __future__ import annotations

import torch
from torch import Tensor

from fl_platform.core.rule import rule

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@rule(label="LabelFlip", shardable=True)
def label_flip(
    labels: Tensor, num_classes: int, *, source: int | None = None, target: int | None = None
) -> Tensor:
    """Labels mirrored, y -> C - 1 - y, or one class renamed to another.

    .. math:: y' = C - 1 - y \\qquad\\text{or}\\qquad y' = t \\text{ where } y = s

    Args:
        labels: any shape, integers from 0 to C - 1; not modified.
        num_classes: C >= 2 of the task, not of the labels at hand.
        source: s, the class to rename; ``None`` mirrors all classes.
        target: t, its new name; set together with ``source``, or neither.

    Returns:
        Labels of the same shape and dtype.

    Raises:
        ValueError: labels that are no integers or lie outside 0 ... C - 1, fewer than two
            classes, or only one of ``source`` and ``target``.

    Source: the mirror is V. Tolpegin et al., "Data Poisoning Attacks Against Federated
    Learning Systems" (2020) in the form of S. P. Karimireddy, L. He, M. Jaggi, "Byzantine-Robust
    Learning on Heterogeneous Datasets via Bucketing" (2022); renaming one class is Tolpegin's
    own. C is the task's number of classes: if it is too small, mirrored labels become negative,
    and a loss may accept them silently. Labels outside the range are therefore refused.

    Example:
        >>> import torch
        >>> from fl_platform.attacks import label_flip
        >>> label_flip(torch.tensor([0, 1, 9]), 10).tolist()
        [9, 8, 0]
    """
    if not isinstance(labels, Tensor) or labels.dtype not in INTEGERS:
        got = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(f"Expected labels as a tensor of integers, got {got}.")
    if num_classes < 2:
        raise ValueError(f"Expected num_classes >= 2, got {num_classes}.")
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"Expected labels from 0 to {num_classes - 1}, got {int(labels.min())} to"
            f" {int(labels.max())}; num_classes must be the task's number of classes."
        )
    if source is None and target is None:
        return num_classes - 1 - labels
    if source is None or target is None:
        raise ValueError(
            f"Expected source and target together, got source={source} and target={target};"
            " leave both out to mirror all labels."
        )
    for name, value in (("source", source), ("target", target)):
        if not 0 <= value < num_classes:
            raise ValueError(f"Expected {name} from 0 to {num_classes - 1}, got {value}.")
    return labels.masked_fill(labels == source, target)
