"""Coordinate-wise median, trimmed mean and standard deviation, per chunk of columns.

Ranks come from a sorting network. The network in torch is the reference; a compiled one replaces
it if there is a compiler. Both add the selected values in ascending order and divide once, so
their bits equal those of a sort; so do those of the generated kernel on a GPU. Rows must not
contain NaN, for which minimum and maximum are not unique. Standard deviations add the rows in
order, in torch and in compiled code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from fl_platform.core.deferred import on_device
from fl_platform.core.native import cuda_kernels, kernels
from fl_platform.core.sorting_network import network

if TYPE_CHECKING:
    from fl_platform.core.updates import Updates

CHUNK = 8192  # columns; the wires of the network in torch then fit the second-level cache


GPU_CHUNK = 1 << 20  # columns of mixed rows that a GPU computes at a time

MedianKind = Literal["midpoint", "lower", "upper"]


def median(updates: Updates, kind: MedianKind = "midpoint") -> Tensor:
    """``(d,)`` median of each coordinate; of two middle values their mean, or one of them.

    Equal to the definition to the last bit, except that a zero is always +0.

    Raises:
        ValueError: another ``kind``.
    """
    if kind not in ("midpoint", "lower", "upper"):
        raise ValueError(f"Expected kind 'midpoint', 'lower' or 'upper', got {kind!r}.")
    low, high = (len(updates) - 1) // 2, len(updates) // 2
    first, last = {"midpoint": (low, high), "lower": (low, low), "upper": (high, high)}[kind]
    return mean_of_ranks(updates, first, last + 1)


def trimmed_mean(updates: Updates, trim: int) -> Tensor:
    """``(d,)`` mean of each coordinate without its ``trim`` smallest and ``trim`` largest values.

    Raises:
        ValueError: ``trim`` is negative or leaves no value.
    """
    m = len(updates)
    if not 0 <= 2 * trim < m:
        raise ValueError(
            f"Expected 0 <= trim < {m} / 2, so that values remain of {m} rows, got trim={trim}."
        )
    return mean_of_ranks(updates, trim, m - trim)


def deviation(updates: Updates) -> Tensor:
    """``(d,)`` population standard deviation of each coordinate."""
    out = torch.empty(updates.dimension, dtype=updates.dtype, device=updates.device)
    if on_device(out):
        return _deviation_on_device(updates, out)
    rows = updates.rows()
    if rows is not None and kernels.variances(rows, out):
        return out.sqrt_()
    for part, chunk in updates.columns(CHUNK):
        values = list(chunk.unbind(0))
        if rows is None and kernels.variances(values, out[part]):
            continue
        mean = _sum(values).div_(len(values))
        squares = _sum((value - mean).square_() for value in values)
        torch.div(squares, len(values), out=out[part])
    return out.sqrt_()  # by torch in both cases: its square root is not correctly rounded


def _deviation_on_device(updates: Updates, out: Tensor) -> Tensor:
    rows = updates.addresses()
    if rows is not None and cuda_kernels.variances(rows, out):
        return out.sqrt_()
    for part, chunk in updates.columns(GPU_CHUNK):
        places = cuda_kernels.addresses(chunk) if rows is None else None
        if places is None or not cuda_kernels.variances(places, out[part]):
            torch.var(chunk, 0, correction=0, out=out[part])
    return out.sqrt_()


def mean_of_ranks(updates: Updates, first: int, stop: int) -> Tensor:
    """``(d,)`` mean of the values of ranks ``first`` .. ``stop - 1``, added in ascending order."""
    out = torch.empty(updates.dimension, dtype=updates.dtype, device=updates.device)
    if on_device(out):
        return _ranks_on_device(updates, first, stop, out)
    rows, entries = updates.rows(), len(updates) * updates.dimension
    if rows is not None and kernels.mean_of_ranks(rows, first, stop, out):
        return out
    for part, chunk in updates.columns(CHUNK):
        values = None if rows is not None else list(chunk.unbind(0))
        if values and kernels.mean_of_ranks(values, first, stop, out[part], entries):
            continue
        _ranks_by_torch(chunk, first, stop, out[part])
    return out


def _ranks_by_torch(chunk: Tensor, first: int, stop: int, out: Tensor) -> None:
    plain = len(chunk) > kernels.MOST_WIRES
    values = chunk.sort(0).values if plain else chunk
    ordered = list(values.unbind(0))
    ordered = ordered if plain else _ordered(ordered, first, stop)
    mean = _sum(ordered[first:stop]).div_(stop - first)
    torch.add(mean, 0.0, out=out)  # -0 becomes +0


def middle_of(chunk: Tensor, entries: int) -> Tensor:
    """``(w,)`` midpoint median of each column of ``(m, w)`` values out of ``entries`` in all."""
    first, stop = (len(chunk) - 1) // 2, len(chunk) // 2 + 1
    out = torch.empty_like(chunk[0])
    if on_device(chunk):
        ordered = chunk.sort(0).values
        return ordered[first] + (ordered[stop - 1] - ordered[first]) / 2
    if not kernels.mean_of_ranks(list(chunk.unbind(0)), first, stop, out, entries):
        _ranks_by_torch(chunk, first, stop, out)
    return out


Middle = Literal["midpoint", "lower", "upper", "trimmed"]


def mean_nearest(updates: Updates, count: int, middle: Middle) -> Tensor:
    """``(d,)`` mean of each coordinate's ``count`` values nearest to its middle, ties to the lower.

    Args:
        updates: m rows.
        count: from 1 to m; for ``trimmed`` above m / 2.
        middle: a median, or the mean without the m - count lowest and highest values.
    """
    out = torch.empty(updates.dimension, dtype=updates.dtype, device=updates.device)
    rows = None if on_device(out) else updates.rows()
    if rows is not None and kernels.mean_nearest(rows, count, middle, out):
        return out
    drop, entries = len(updates) - count, len(updates) * updates.dimension
    for part, chunk in updates.columns(2048):
        values = None if rows is not None or on_device(out) else list(chunk.unbind(0))
        if values and kernels.mean_nearest(values, count, middle, out[part], entries):
            continue
        ordered = chunk.sort(0).values
        if middle == "trimmed":
            centre = ordered[drop:count].double().mean(0).to(ordered)
        else:
            centre = middle_row(ordered, middle)
        out[part] = nearest_run(ordered, centre, count).mean(0)
    return out


def sign_sums(updates: Updates, weights: Tensor) -> Tensor:
    """``(d,)`` sum of ``(m,)`` weights times the sign of each coordinate of the rows; one pass."""
    weights = weights.to(device=updates.device, dtype=updates.dtype)
    out = torch.empty(updates.dimension, dtype=updates.dtype, device=updates.device)
    rows = None if on_device(out) else updates.rows()
    if rows is not None and kernels.sign_sums(rows, weights, out):
        return out
    for part, chunk in updates.columns():
        torch.sum(weights[:, None] * chunk.sign(), 0, out=out[part])
    return out


def _ranks_on_device(updates: Updates, first: int, stop: int, out: Tensor) -> Tensor:
    rows = updates.addresses()
    if rows is not None and cuda_kernels.mean_of_ranks(rows, first, stop, out):
        return out
    for part, chunk in updates.columns(GPU_CHUNK):
        places = cuda_kernels.addresses(chunk) if rows is None else None
        if places is None or not cuda_kernels.mean_of_ranks(places, first, stop, out[part]):
            wanted = chunk.sort(0).values[first:stop].unbind(0)
            # A GPU multiplies by the reciprocal of a Python number, which rounds twice.
            count = out.new_full((), stop - first)
            torch.add(_sum(wanted).div_(count), 0.0, out=out[part])
    return out


def _sum(values: Iterable[Tensor]) -> Tensor:
    """The sum in the given order, one addition after the other."""
    rest = iter(values)
    total = next(rest).clone()
    for value in rest:
        total += value
    return total


def _ordered(wires: list[Tensor], first: int, stop: int) -> list[Tensor]:
    """The wires after the network, with the selected ranks in place. The inputs are kept."""
    spare: list[Tensor] = []
    wires, ours = list(wires), [False] * len(wires)
    for low, high, needs_low, needs_high in network(len(wires), first, stop):
        a, b = wires[low], wires[high]
        before = [wire for wire, own in ((a, ours[low]), (b, ours[high])) if own]
        if needs_low:
            wires[low] = torch.minimum(a, b, out=spare.pop() if spare else torch.empty_like(a))
        if needs_high:
            wires[high] = torch.maximum(a, b, out=spare.pop() if spare else torch.empty_like(a))
        ours[low], ours[high] = needs_low, needs_high
        spare += before
    return wires


def middle_row(values: Tensor, kind: MedianKind) -> Tensor:
    """``(d,)`` median of each column of ``(m, d)`` ascending values."""
    low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
    return {"lower": low, "upper": high, "midpoint": low + (high - low) / 2}[kind]


def nearest_run(values: Tensor, middle: Tensor, count: int) -> Tensor:
    """``(count, d)`` values nearest ``middle`` of each column of ascending values: adjacent ones.

    The k-th lowest is left out if the (count + k)-th is nearer. If that is false for one k, it is
    false for all larger ones, so a count gives the first kept value. Of equally near values the
    lower ones are kept.
    """
    drop = len(values) - count
    too_low = middle - values[:drop] > values[count:] - middle
    start = too_low.sum(0, keepdim=True)
    return values.gather(0, start + torch.arange(count, device=values.device)[:, None])
