"""The update matrix of a round, with the statistics that attack, defense and metrics share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

MedianKind = Literal["midpoint", "lower"]


class Updates:
    """The updates of one round: row i is client i's ``g_i = w - w_i`` (eq. 2).

    Args:
        matrix: ``(m, d)``, floating point; float32 and float64 are kept, lower precision is
            up-cast to float32. It is never written to.

    Raises:
        ValueError: the matrix is not a two-dimensional floating-point tensor with a row.
    """

    def __init__(self, matrix: Tensor) -> None:
        if matrix.ndim != 2 or matrix.shape[0] < 1 or not matrix.is_floating_point():
            raise ValueError(
                "Expected updates of shape (m, d) with m >= 1 rows of floating-point numbers,"
                f" got shape {tuple(matrix.shape)} of {matrix.dtype}."
            )
        keep = matrix.dtype in (torch.float32, torch.float64)
        self.matrix = matrix.detach() if keep else matrix.detach().float()

    def __len__(self) -> int:
        return self.matrix.shape[0]

    @property
    def dimension(self) -> int:
        """d, the number of coordinates."""
        return self.matrix.shape[1]

    def columns(self, size: int = 16384) -> Iterator[tuple[slice, Tensor]]:
        """Cache-sized ``(m, <= size)`` chunks of columns, each with its slice."""
        for start in range(0, self.dimension, size):
            part = slice(start, min(start + size, self.dimension))
            yield part, self.matrix[:, part]

    @cached_property
    def _mean(self) -> Tensor:
        return self.matrix.mean(0)

    def mean(self) -> Tensor:
        """``(d,)`` mean of the rows."""
        return self._mean

    @cached_property
    def _std(self) -> Tensor:
        return (self.matrix - self._mean).square().mean(0).sqrt()

    def std(self) -> Tensor:
        """``(d,)`` population standard deviation of the rows."""
        return self._std

    def median(self, kind: MedianKind = "midpoint") -> Tensor:
        """``(d,)`` coordinate-wise median; ``kind`` decides between two middle values."""
        ordered = self.matrix.sort(0).values
        lower = ordered[(len(self) - 1) // 2]
        if kind == "lower":
            return lower
        return (lower + ordered[len(self) // 2]) / 2

    @cached_property
    def _gram(self) -> Tensor:
        centred = (self.matrix - self.matrix[0]).double()
        return centred @ centred.T

    def gram(self) -> Tensor:
        """``(m, m)`` float64 inner products of the rows about a point no outlier can move."""
        return self._gram

    @cached_property
    def _squared_distances(self) -> Tensor:
        gram = self._gram
        norms = gram.diagonal()
        return (norms[:, None] + norms[None, :] - 2 * gram).clamp_min(0).fill_diagonal_(0)

    def squared_distances(self) -> Tensor:
        """``(m, m)`` float64 squared distances between rows; symmetric, zero diagonal."""
        return self._squared_distances

    def combine(self, weights: Tensor) -> Tensor:
        """``(d,)`` weighted sum of the rows, one pass over the matrix."""
        return weights.to(self.matrix.dtype) @ self.matrix

    def select(self, index: Tensor | slice) -> Updates:
        """The rows at ``index`` as updates of their own; a slice makes no copy."""
        return Updates(self.matrix[index])

    def mixed(self, mixing: Tensor) -> Updates:
        """The rows of ``mixing @ matrix`` for a mixing of shape ``(m', m)``."""
        return Updates(mixing.to(self.matrix.dtype) @ self.matrix)

    def extended(self, rows: Tensor) -> Updates:
        """These rows followed by ``rows`` of shape ``(f, d)``."""
        return Updates(torch.cat([self.matrix, rows.to(self.matrix.dtype)]))
