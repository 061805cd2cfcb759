"""Calls of the C++ kernels for the passes over the matrix; ``None`` means: use torch.

Of every column: the mean of consecutive ranks and of the values nearest to a middle (generated
sorting networks), the variance, the weighted sum of signs; and inner products of centred rows. All
take row pointers, so selected, repeated and added rows need no copy.
"""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from fl_platform.core.native import compiler as native
from fl_platform.core.sorting_network import network

MOST_WIRES = 128  # a larger network takes minutes to compile; use a sort instead
WORTH_BUILDING = 1 << 20  # entries; for fewer, a build costs more than it saves
NAMES = {torch.float32: "float", torch.float64: "double"}


def source(name: str, dtype: torch.dtype, **definitions: object) -> str:
    """The C++ of the file ``name`` for entries of ``dtype``, after its ``#define`` lines."""
    return native.source(f"{name}.cpp", NUMBER=NAMES[dtype], **definitions)


@functools.lru_cache(maxsize=64)
def ranks_source(n: int, first: int, stop: int, dtype: torch.dtype) -> str:
    """The C++ that averages the ranks ``first`` .. ``stop - 1`` of n values, column by column."""
    lines, names = _sorted_lines(n, first, stop)
    lines.append(f"vec total = {names[first]};")
    lines += [f"total = add(total, {names[rank]});" for rank in range(first + 1, stop)]
    lines.append(f"store(out, add(over(total, T({stop - first})), zero()));")
    return _columns_source(n, lines, dtype)


@functools.lru_cache(maxsize=64)
def nearest_source(n: int, count: int, middle: str, dtype: torch.dtype) -> str:
    """The C++ that averages the ``count`` of n values nearest to a middle, column by column.

    Of ascending values v the k-th lowest is left out where v[count + k] is nearer; where that
    holds for a k it holds for every lower one.
    """
    drop = n - count
    lines, v = _sorted_lines(n, 0, n)
    low, high = v[(n - 1) // 2], v[n // 2]
    if middle == "trimmed":  # the sum of v[drop] .. v[count - 1] and its rounding errors
        lines.append(f"vec sum = {v[drop]}, lost = zero();")
        for rank in range(drop + 1, count):
            lines.append(f"vec t{rank} = add(sum, {v[rank]}), u{rank} = less(t{rank}, sum);")
            errors = f"add(less(sum, less(t{rank}, u{rank})), less({v[rank]}, u{rank}))"
            lines.append(f"lost = add(lost, {errors});")
            lines.append(f"sum = t{rank};")
        lines.append(f"vec middle = over(add(sum, lost), T({count - drop}));")
    else:
        half = f"add({low}, over(less({high}, {low}), T(2)))"
        medians = {"lower": low, "upper": high, "midpoint": half}
        lines.append(f"vec middle = {medians[middle]};")
    for k in range(drop):
        far = f"above(less(middle, {v[k]}), less({v[count + k]}, middle))"
        lines.append(f"mask m{k} = {far};")
    lines.append("vec total = zero();")
    for rank in range(n):
        value = v[rank]
        if rank < drop:
            value = f"either(m{rank}, zero(), {value})"
        if rank >= count:
            value = f"either(m{rank - count}, {value}, zero())"
        lines.append(f"total = add(total, {value});")
    lines.append(f"store(out, add(over(total, T({count})), zero()));")
    return _columns_source(n, lines, dtype)


def _sorted_lines(n: int, first: int, stop: int) -> tuple[list[str], list[str]]:
    """Lines that load n values and sort the ranks, and the variable of each rank."""
    lines = [f"vec x{i} = load(rows[{i}] + k);" for i in range(n)]
    names = [f"x{i}" for i in range(n)]
    for count, (low, high, needs_low, needs_high) in enumerate(network(n, first, stop)):
        a, b = names[low], names[high]
        if needs_low:
            names[low] = f"a{count}"
            lines.append(f"vec a{count} = lesser({a}, {b});")
        if needs_high:
            names[high] = f"b{count}"
            lines.append(f"vec b{count} = larger({a}, {b});")
    return lines, names


def _columns_source(n: int, lines: list[str], dtype: torch.dtype) -> str:
    single = dtype == torch.float32
    return source(
        "ranks",
        dtype,
        SUFFIX="ps" if single else "pd",
        VECTOR_512="__m512" if single else "__m512d",
        VECTOR_256="__m256" if single else "__m256d",
        MASK="__mmask16" if single else "__mmask8",
        ROWS=n,
        BODY=" ".join(lines),
    )


def mean_of_ranks(rows: list[Tensor], first: int, stop: int, out: Tensor, entries: int = 0) -> bool:
    """Write the mean of the ranks ``first`` .. ``stop - 1`` to ``out``; False if not possible.

    Args:
        entries: of all calls for chunks of one matrix, which decide whether a build pays.
    """
    if len(rows) > MOST_WIRES or not native.usable([*rows, out]):
        return False
    return _of_columns(ranks_source(len(rows), first, stop, out.dtype), rows, out, entries)


def mean_nearest(
    rows: list[Tensor], count: int, middle: str, out: Tensor, entries: int = 0
) -> bool:
    """Write the mean of each column's ``count`` values nearest to its middle; or False.

    Args:
        middle: ``lower``, ``upper`` or ``midpoint`` median, or the ``trimmed`` mean.
        entries: as in `mean_of_ranks`.
    """
    if len(rows) > MOST_WIRES or not native.usable([*rows, out]):
        return False
    return _of_columns(nearest_source(len(rows), count, middle, out.dtype), rows, out, entries)


def _of_columns(text: str, rows: list[Tensor], out: Tensor, entries: int = 0) -> bool:
    entries = max(entries, len(rows) * out.numel())
    library = native.library(text, native.SAME_BITS, build=entries >= WORTH_BUILDING)
    if library is None:
        return False
    library.of_columns(
        native.pointers(rows), ctypes.c_long(out.numel()), ctypes.c_void_p(out.data_ptr())
    )
    return True


def variances(rows: list[Tensor], out: Tensor) -> bool:
    """Write the population variance of each column to ``out``; False if not possible."""
    if not native.usable([*rows, out]):
        return False
    library = native.library(source("sums", out.dtype), native.SAME_BITS)
    if library is None:
        return False
    spare = out.new_empty(len(rows), 64)  # the largest block
    library.variances(
        native.pointers(rows),
        ctypes.c_long(len(rows)),
        ctypes.c_long(out.numel()),
        ctypes.c_void_p(out.data_ptr()),
        ctypes.c_void_p(spare.data_ptr()),
        native.pointers(rows),
    )
    return True


def sign_sums(rows: list[Tensor], weights: Tensor, out: Tensor) -> bool:
    """Write each column's sum of ``weights`` times signs to ``out``; False if not possible."""
    if not native.usable([*rows, weights, out]):
        return False
    library = native.library(source("sums", out.dtype), native.SAME_BITS)
    if library is None:
        return False
    library.sign_sums(
        native.pointers(rows),
        ctypes.c_long(len(rows)),
        ctypes.c_void_p(weights.data_ptr()),
        ctypes.c_long(out.numel()),
        ctypes.c_void_p(out.data_ptr()),
    )
    return True


def products(rows: list[Tensor], centre: Tensor, left: Tensor | None = None) -> Tensor | None:
    """Float64 inner products of rows minus ``centre`` with ``left`` or with each other.

    Returns:
        ``(k, m)``, or the symmetric ``(m, m)``, or ``None`` if not possible.
    """
    others = rows if left is None else list(left.unbind(0))
    library = _product_library([*rows, *others], centre)
    if library is None:
        return None
    out = torch.zeros(len(others), len(rows), dtype=torch.float64)
    failed = library.products(
        native.pointers(rows),
        ctypes.c_long(len(rows)),
        None if left is None else native.pointers(others),
        ctypes.c_long(len(others)),
        ctypes.c_void_p(centre.data_ptr()),
        ctypes.c_long(centre.numel()),
        ctypes.c_void_p(out.data_ptr()),
    )
    if failed:
        return None
    return out if left is not None else out.triu() + out.triu(1).T


def offsets(rows: list[Tensor], point: Tensor | None, along: Tensor | None = None) -> Tensor | None:
    """``(m,)`` float64 ``<g_i - point, along>``, or squared distances to the point; or ``None``.

    Without a point it is the origin.
    """
    given = [*rows, *(vector for vector in (point, along) if vector is not None)]
    library = _product_library(given, rows[0])
    if library is None:
        return None
    out = torch.zeros(len(rows), dtype=torch.float64)
    library.offsets(
        native.pointers(rows),
        ctypes.c_long(len(rows)),
        None if point is None else ctypes.c_void_p(point.data_ptr()),
        None if along is None else ctypes.c_void_p(along.data_ptr()),
        ctypes.c_long(rows[0].numel()),
        ctypes.c_void_p(out.data_ptr()),
    )
    return out


def aligned(rows: list[Tensor], along: Tensor) -> tuple[Tensor, Tensor] | None:
    """``(m,)`` float64 ``<g_i, along>`` and ``||g_i||^2`` in one pass; or ``None``."""
    library = _product_library(rows, along)
    if library is None:
        return None
    inner, squares = torch.zeros(2, len(rows), dtype=torch.float64)
    library.aligned(
        native.pointers(rows),
        ctypes.c_long(len(rows)),
        ctypes.c_void_p(along.data_ptr()),
        ctypes.c_long(along.numel()),
        ctypes.c_void_p(inner.data_ptr()),
        ctypes.c_void_p(squares.data_ptr()),
    )
    return inner, squares


def decide_bits(dtype: torch.dtype) -> bool:
    """True if inner products of ``dtype`` are compiled; only these kernels round differently
    from torch.
    """
    return native.library(source("products", dtype), native.FUSED) is not None


def _product_library(rows: list[Tensor], point: Tensor) -> ctypes.CDLL | None:
    if not native.usable([*rows, point]):
        return None
    return native.library(source("products", point.dtype), native.FUSED)
