"""Checks of an attack's inputs, and its output of f equal rows."""

from __future__ import annotations

from torch import Tensor

from fl_platform.core.updates import Updates


def check_inputs(honest: Updates, num_byzantine: int) -> None:
    """Refuse anything but honest updates and a count.

    Raises:
        TypeError: ``honest`` is not ``Updates`` or ``num_byzantine`` is not an int.
        ValueError: ``num_byzantine`` is negative.
    """
    if not isinstance(honest, Updates):
        raise TypeError(
            f"Expected honest as Updates or an (h, d) tensor, got {type(honest).__name__}."
        )
    if isinstance(num_byzantine, bool) or not isinstance(num_byzantine, int):
        raise TypeError(
            f"Expected num_byzantine as an int, got {type(num_byzantine).__name__};"
            " it counts the Byzantine rows of this round."
        )
    if num_byzantine < 0:
        raise ValueError(f"Expected num_byzantine >= 0, got {num_byzantine}.")


def equal_rows(vector: Tensor, num_byzantine: int) -> Tensor:
    """``(f, d)``: the same ``(d,)`` vector sent by all f clients, a stride-0 view.

    The stride shows later passes over the matrix that the rows are equal, and the f rows take the
    memory of one.

    Example:
        >>> import torch
        >>> from fl_platform.attacks.rows import equal_rows
        >>> equal_rows(torch.tensor([1.0, 2.0]), 3).stride()  # one row in memory
        (0, 1)
    """
    return vector.expand(num_byzantine, -1)


def check_vector(update: Tensor) -> None:
    """Refuse anything but one client's update.

    Raises:
        ValueError: ``update`` is not a one-dimensional floating-point tensor.
    """
    if not isinstance(update, Tensor) or update.ndim != 1 or not update.is_floating_point():
        told = isinstance(update, Tensor)
        got = f"shape {tuple(update.shape)} of {update.dtype}" if told else type(update).__name__
        raise ValueError(
            f"Expected an update of shape (d,) of floating-point numbers, got {got};"
            " an agnostic attack receives the update of its own client only."
        )
