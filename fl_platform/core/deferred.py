"""Numbers that stay on a GPU until the end of a round, and conditions checked only then.

To read a number from a GPU, the host waits for all earlier work. Inside `deferring` nothing is
read: a number is a tensor without dimensions, and a condition that almost always holds (all rows
are finite, the guessed centre is central) is assumed and recorded. `Deferral.settle` reads numbers
and conditions in one copy. If a condition does not hold, the caller computes again outside
`deferring`, where every condition is checked. On a CPU, and outside `deferring`, numbers are
floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Number = float | Tensor  # a Tensor only inside `deferring`
Condition = bool | Tensor

_open: ContextVar[Deferral | None] = ContextVar("deferral", default=None)


@dataclass
class Deferral:
    """The conditions assumed so far.

    Attributes:
        everywhere: treat CPU tensors like those of a GPU, to test the same steps without a GPU.
        assumptions: conditions, each a tensor without dimensions.
    """

    everywhere: bool = False
    assumptions: list[Tensor] = field(default_factory=list)

    def settle(self, numbers: Mapping[str, Number]) -> tuple[bool, dict[str, float | list[float]]]:
        """True if all assumptions hold, and the numbers, read in one copy.

        Args:
            numbers: floats, tensors without dimensions, or vectors, which become lists.
        """
        kept = {name: value for name, value in numbers.items() if isinstance(value, Tensor)}
        parts = [one.reshape(-1) for one in (*self.assumptions, *kept.values())]
        read = torch.cat([part.double() for part in parts]).tolist() if parts else []
        values: dict[str, float | list[float]] = {
            name: value for name, value in numbers.items() if not isinstance(value, Tensor)
        }
        at = len(self.assumptions)
        for name, tensor in kept.items():
            part = read[at : at + tensor.numel()]
            values[name] = part if tensor.ndim else part[0]
            at += tensor.numel()
        held = all(value != 0 for value in read[: len(self.assumptions)])
        return held, {name: values[name] for name in numbers}


@contextmanager
def deferring(*, everywhere: bool = False) -> Iterator[Deferral]:
    """Read no number from a GPU in this block.

    Args:
        everywhere: treat CPU tensors in the same way.
    """
    deferral = Deferral(everywhere)
    token = _open.set(deferral)
    try:
        yield deferral
    finally:
        _open.reset(token)


def on_device(where: Tensor | torch.device) -> bool:
    """True if the code for a GPU applies: few launches, no value read by the host."""
    device = where.device if isinstance(where, Tensor) else where
    deferral = _open.get()
    return device.type == "cuda" or (deferral is not None and deferral.everywhere)


def waits(where: Tensor) -> bool:
    """True if a value of this tensor must not be read now."""
    return _open.get() is not None and on_device(where)


def number(value: Tensor) -> Number:
    """A tensor of one entry as a float; inside `deferring` it stays a (float64) tensor."""
    return value.reshape(()).double() if waits(value) else float(value)


def listed(values: Tensor) -> tuple[float, ...] | Tensor:
    """The entries of a vector as floats; inside `deferring` it stays a tensor."""
    return values if waits(values) else tuple(values.tolist())


def assumed(condition: Condition) -> bool:
    """True if a condition holds; inside `deferring` it is recorded and assumed to be true."""
    if isinstance(condition, Tensor) and waits(condition):
        deferral = _open.get()
        assert deferral is not None
        deferral.assumptions.append(condition)
        return True
    return bool(condition)


def finite(value: Number) -> Condition:
    """True if a number is finite."""
    return value.isfinite() if isinstance(value, Tensor) else math.isfinite(value)


def sqrt(value: Number) -> Number:
    """The square root of a number >= 0."""
    return value.sqrt() if isinstance(value, Tensor) else math.sqrt(value)


def chosen(condition: Condition, value: Callable[[], Any], default: Any) -> Any:
    """``value()`` where the condition holds, else ``default``: numbers or tensors of any shape.

    A condition that is a tensor is not read: both values are computed.
    """
    if isinstance(condition, Tensor):
        return torch.where(condition, value(), default)
    return value() if condition else default


def over(part: Number, whole: Number) -> Number:
    """part / whole if the whole is above 0, else 0."""
    if isinstance(whole, Tensor):
        return torch.where(whole > 0, part / whole, 0.0)
    return part / whole if whole > 0 else 0.0


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on ``device``; to a GPU an asynchronous copy from page-locked memory."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
