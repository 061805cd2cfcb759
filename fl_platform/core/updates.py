"""The update matrix of a round, with the statistics that attack, defense and metrics share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from fl_platform.core import coordinatewise, geometry, products
from fl_platform.core.coordinatewise import MedianKind
from fl_platform.core.deferred import Number, number, on_device
from fl_platform.core.native import cuda_kernels

__all__ = ["MedianKind", "Updates"]


def _refuse_other_than_rows(matrix: object) -> None:
    """Raise unless ``matrix`` is a dense ``(m, d)`` tensor of real numbers with m, d >= 1."""
    if not isinstance(matrix, Tensor):
        raise TypeError(
            f"Expected updates as a torch tensor of shape (m, d), got {type(matrix).__name__};"
            " use torch.as_tensor(rows)."
        )
    shape, kind = tuple(matrix.shape), f"{matrix.layout} on {matrix.device.type}"
    if matrix.layout != torch.strided or matrix.device.type == "meta":
        raise ValueError(
            f"Expected updates as a dense tensor that holds numbers, got {kind} of shape {shape};"
            " use to_dense() for a sparse one."
        )
    if matrix.ndim != 2 or 0 in shape or not matrix.is_floating_point():
        raise ValueError(
            "Expected updates of shape (m, d) with m >= 1 rows of d >= 1 floating-point numbers,"
            f" got shape {shape} of {matrix.dtype}."
        )


class Updates:
    """The updates of one round: row i is client i's ``g_i = w - w_i`` (eq. 2).

    Every statistic is computed once and kept, and ``select``, ``mixed``, ``scaled`` and
    ``extended`` are views that reuse the known statistics. Attack, input check, mixing, rule and
    metrics together therefore read the matrix a few times, not once per statistic.

    Args:
        matrix: ``(m, d)``, floating point; float32 and float64 are kept, lower precision is
            up-cast to float32. It is not modified, and must not change while in use.

    Raises:
        TypeError: the matrix is not a tensor.
        ValueError: the matrix is not a dense two-dimensional floating-point tensor with memory of
            its own, at least one row and one column.

    Example:
        >>> import torch
        >>> from fl_platform.core import Updates
        >>> honest = Updates(torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]]))
        >>> len(honest), honest.dimension
        (4, 2)
        >>> honest.mean().tolist(), honest.median().tolist()
        ([2.0, 1.0], [1.0, 1.0])
        >>> honest.squared_distances()[0].tolist()
        [0.0, 1.0, 5.0, 40.0]
        >>> honest.select(torch.tensor([3, 0])).matrix.tolist()
        [[6.0, 2.0], [0.0, 0.0]]
    """

    def __init__(self, matrix: Tensor) -> None:
        _refuse_other_than_rows(matrix)
        keep = matrix.dtype in (torch.float32, torch.float64)
        matrix = matrix.detach().resolve_neg()
        self._source = matrix if keep else matrix.float()
        self._medians: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return self._source.shape[0]

    @property
    def dimension(self) -> int:
        """d, the number of coordinates."""
        return self._source.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self._source.dtype

    @property
    def device(self) -> torch.device:
        """The device of the rows."""
        return self._source.device

    @property
    def matrix(self) -> Tensor:
        """``(m, d)``; for a view a copy, made on first use: prefer the methods."""
        return self._source

    def summed(self, part: Tensor) -> Tensor:
        """The sum over all coordinates, from the sum over the local ones.

        If each process holds some of the coordinates (`ShardedUpdates`), it is the sum of their
        parts. Code that adds along a ``(d,)`` vector must use it for the total.
        """
        return part

    def largest(self, part: Tensor) -> Tensor:
        """The same for a maximum over coordinates; ``part`` must not contain NaN."""
        return part

    def dot(self, a: Tensor, b: Tensor) -> Number:
        """``<a, b>`` in float64 of two ``(d,)`` vectors with the rows' device and sharding."""
        return number(self.summed(a.double() @ b.double()))

    def length(self, vector: Tensor) -> Number:
        """Euclidean length in float64 of a ``(d,)`` vector with the rows' device and sharding."""
        own = torch.linalg.vector_norm(vector, dtype=torch.float64)
        return number(self.summed(own.square()).sqrt())

    def magnitudes(self) -> Tensor:
        """``(m,)`` float64 largest absolute coordinate of each row; infinite if one is NaN.

        One pass: minimum and maximum propagate NaN.
        """
        if on_device(self.device):
            return self.largest(self._largest().double().nan_to_num(nan=torch.inf))
        extremes = [torch.stack(row.aminmax()) for row in self.rows() or self.matrix]
        return self.largest(torch.stack(extremes).double().abs().amax(1).nan_to_num(nan=torch.inf))

    def _largest(self) -> Tensor:
        """``(m,)`` largest absolute coordinate of each row by one launch; NaN if one is NaN."""
        return torch.linalg.vector_norm(self._source, torch.inf, dim=1)

    def addresses(self) -> Tensor | None:
        """``(m,)`` int64 addresses of the rows on a GPU; ``None`` elsewhere or if not stored."""
        return cuda_kernels.addresses(self._source)

    def rows(self) -> list[Tensor] | None:
        """The m rows as ``(d,)`` tensors that share memory, or ``None`` if they are not stored."""
        return list(self._source.unbind(0))

    def columns(self, size: int = 16384) -> Iterator[tuple[slice, Tensor]]:
        """``(m, <= size)`` chunks of columns, each with its slice; valid until the next one.

        Their size fits a processor's cache; on a GPU it is at least 2^18 for a full load.
        """
        size = max(size, 1 << 18) if self.device.type == "cuda" else size
        for start in range(0, self.dimension, size):
            part = slice(start, min(start + size, self.dimension))
            yield part, self._source[:, part]

    def gathered(self, index: Tensor) -> Tensor:
        """``(m, b)`` columns at ``(b,)`` positions on the rows' device, in any order."""
        return self._source.index_select(1, index)

    @cached_property
    def _mean(self) -> Tensor:
        ones = torch.ones(len(self), dtype=torch.float64, device=self.device)
        return self.combine(ones) / len(self)

    def mean(self) -> Tensor:
        """``(d,)`` mean of the rows."""
        return self._mean

    @cached_property
    def _std(self) -> Tensor:
        return coordinatewise.deviation(self)

    def std(self) -> Tensor:
        """``(d,)`` population standard deviation of the rows."""
        return self._std

    def median(self, kind: MedianKind = "midpoint") -> Tensor:
        """``(d,)`` coordinate-wise median; ``kind`` selects between two middle values."""
        if kind not in self._medians:
            self._medians[kind] = coordinatewise.median(self, kind)
        return self._medians[kind]

    @cached_property
    def _centred(self) -> tuple[Tensor, Tensor]:
        return products.robust_gram(self)

    def gram(self) -> Tensor:
        """``(m, m)`` float64 inner products of the rows about ``centre()``.

        Squared distances between honest rows have a relative error of at most 1e-4 if their mean
        is 1e4 times their spread, also beside a minority of rows of any finite size.
        """
        return self._centred[0]

    def centre(self) -> Tensor:
        """``(d,)`` common point of ``gram()``: a received row that is near half of all rows.

        Not the mean, which one row can move: centred on the mean, with ten rows of size 100 beside
        forty of 0.01, the distances of the forty are wrong by 69 %.
        """
        return self._centred[1]

    @cached_property
    def _squared_distances(self) -> Tensor:
        return geometry.squared_distances(self.gram())

    def squared_distances(self) -> Tensor:
        """``(m, m)`` float64 squared distances between rows; symmetric, zero diagonal."""
        return self._squared_distances

    def project(self, direction: Tensor) -> Tensor:
        """``(m,)`` float64 inner products ``<g_i - centre(), direction>``, one pass.

        Differences of two entries are differences of the rows along ``direction``, accurate also
        if the rows' mean is much larger than their spread.
        """
        return self.summed(products.projections(self, self.centre(), direction))

    @cached_property
    def _squared_norms(self) -> Tensor:
        return self.summed(products.squared_norms(self))

    def squared_norms(self) -> Tensor:
        """``(m,)`` float64 ``||g_i||^2``, one pass; infinite beyond the range of float64."""
        return self._squared_norms

    def aligned(self, direction: Tensor) -> tuple[Tensor, Tensor]:
        """``(m,)`` float64 ``<g_i, direction>`` about the origin and ``||g_i||^2``, one pass."""
        inner, squares = products.aligned(self, direction)
        return self.summed(inner), self.summed(squares)

    def squared_distances_to(self, point: Tensor) -> Tensor:
        """``(m,)`` float64 ``||g_i - point||^2`` for any ``(d,)`` point.

        One pass that subtracts first, without cancellation.
        """
        return self.summed(products.squared_distances_to(self, point))

    def combine(self, weights: Tensor) -> Tensor:
        """``(d,)`` weighted sum ``weights @ matrix`` for ``(m,)`` weights, one pass at most.

        A row of weight zero is not read, so it may contain any values, even NaN.
        """
        return products.weighted_sum(self._source, weights.to(self._source))

    def select(self, index: Tensor | slice) -> Updates:
        """The rows at ``index`` (slice, positions or a mask) as a view, without a copy."""
        from fl_platform.core.views import Selected  # late: views are Updates

        return Selected(self, index)

    def mixed(self, mixing: Tensor) -> Updates:
        """The rows of ``mixing @ matrix`` as a view, for ``(m', m)`` rows that each sum to 1."""
        from fl_platform.core.views import Mixed

        return Mixed(self, mixing)

    def scaled(self, scales: Tensor) -> Updates:
        """The rows times ``(m,)`` finite factors >= 0 as a view, without a copy.

        .. math:: \\langle s_i g_i, s_j g_j\\rangle = s_i s_j \\langle g_i, g_j\\rangle

        so its Gram is the Gram of these rows scaled on both sides, about another centre.
        """
        from fl_platform.core.views import Scaled

        return Scaled(self, scales)

    def extended(self, rows: Tensor) -> Updates:
        """These rows followed by ``rows`` of shape ``(f, d)``, as a view; f may be 0.

        Equal rows in an expanded ``(f, d)`` view are read once.
        """
        from fl_platform.core.views import Extended

        return Extended(self, rows)
