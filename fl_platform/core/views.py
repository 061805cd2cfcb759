"""Rows chosen, mixed, scaled or added: updates that answer from the updates they are made of."""

# ruff: noqa: D102  (the methods are documented where they are declared, in Updates)

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from fl_platform.core import products
from fl_platform.core.precision import tensor_float32
from fl_platform.core.updates import Updates


class _View(Updates):
    """Updates without a matrix of their own; the columns are formed a chunk at a time."""

    def __init__(self, base: Updates, length: int) -> None:
        self._base = base
        self._length = length
        self._medians = {}

    def __len__(self) -> int:
        return self._length

    @property
    def dimension(self) -> int:
        return self._base.dimension

    @property
    def dtype(self) -> torch.dtype:
        return self._base.dtype

    @property
    def device(self) -> torch.device:
        return self._base.device

    def summed(self, part: Tensor) -> Tensor:
        return self._base.summed(part)

    def largest(self, part: Tensor) -> Tensor:
        return self._base.largest(part)

    @property
    def matrix(self) -> Tensor:
        return self._materialised

    @cached_property
    def _materialised(self) -> Tensor:
        matrix = torch.empty(len(self), self.dimension, dtype=self.dtype, device=self.device)
        for part, chunk in self.columns():
            matrix[:, part] = chunk
        return matrix

    def gram(self) -> Tensor:
        return self._gram

    @cached_property
    def _gram(self) -> Tensor:
        raise NotImplementedError

    def centre(self) -> Tensor:
        return self._base.centre()


class Selected(_View):
    """Some rows of other updates, in any order."""

    def __init__(self, base: Updates, index: Tensor | slice) -> None:
        chosen = torch.arange(len(base), device=base.device)[index].reshape(-1)
        if not len(chosen):
            raise ValueError(
                f"Expected an index that selects at least one of {len(base)} rows, got none."
            )
        if isinstance(base, Selected):  # one step to the stored rows, however often re-ordered
            chosen = base._index[chosen]
            base = base._base
        super().__init__(base, len(chosen))
        self._index: Tensor = chosen
        first = int(chosen[0])
        run = torch.arange(first, first + len(chosen), device=base.device)
        self._run = slice(first, first + len(chosen)) if torch.equal(chosen, run) else None

    @property
    def matrix(self) -> Tensor:
        if self._run is not None:
            return self._base.matrix[self._run]  # no copy where the base has a matrix
        return self._materialised

    def rows(self) -> list[Tensor] | None:
        rows = self._base.rows()
        return None if rows is None else [rows[i] for i in self._index.tolist()]

    def columns(self, size: int = 16384) -> Iterator[tuple[slice, Tensor]]:
        chosen = self._index if self._run is None else self._run
        for part, chunk in self._base.columns(size):
            yield part, chunk[chosen]

    @cached_property
    def _gram(self) -> Tensor:
        return self._base.gram()[self._index][:, self._index]

    @cached_property
    def _squared_norms(self) -> Tensor:
        return self._base.squared_norms()[self._index]

    def project(self, direction: Tensor) -> Tensor:
        return self._base.project(direction)[self._index]

    def squared_distances_to(self, point: Tensor) -> Tensor:
        return self._base.squared_distances_to(point)[self._index]

    def combine(self, weights: Tensor) -> Tensor:
        spread = torch.zeros(len(self._base), dtype=weights.dtype, device=self.device)
        return self._base.combine(spread.index_add_(0, self._index, weights.to(self.device)))


class Mixed(_View):
    """Weighted means of the rows of other updates, never formed as a matrix unless asked for."""

    def __init__(self, base: Updates, mixing: Tensor) -> None:
        if mixing.ndim != 2 or mixing.shape[1] != len(base) or not len(mixing):
            raise ValueError(
                f"Expected a mixing of shape (m', {len(base)}) with m' >= 1,"
                f" got {tuple(mixing.shape)}."
            )
        mixing = mixing.to(dtype=torch.float64, device=base.device)
        worst = float((mixing.sum(1) - 1).abs().max())
        if not worst <= 1e-5:
            raise ValueError(
                "Expected a mixing whose rows each sum to 1, else its rows are no means of"
                f" updates, got a sum that is off by {worst:g}."
            )
        super().__init__(base, len(mixing))
        self._mixing = mixing / mixing.sum(1, keepdim=True)

    def rows(self) -> list[Tensor] | None:
        return None

    def columns(self, size: int = 16384) -> Iterator[tuple[slice, Tensor]]:
        mixing = self._mixing.to(self.dtype)
        for part, chunk in self._base.columns(size):
            with tensor_float32(False):
                yield part, mixing @ chunk

    @cached_property
    def _gram(self) -> Tensor:
        gram = self._mixing @ self._base.gram() @ self._mixing.T
        return (gram + gram.T) / 2

    def project(self, direction: Tensor) -> Tensor:
        return self._mixing @ self._base.project(direction)

    def combine(self, weights: Tensor) -> Tensor:
        return self._base.combine(weights.to(self._mixing) @ self._mixing)


class Scaled(_View):
    """The rows of other updates, each times a factor of its own."""

    def __init__(self, base: Updates, scales: Tensor) -> None:
        scales = scales.to(dtype=torch.float64, device=base.device)
        if scales.shape != (len(base),) or not bool((scales.isfinite() & (scales >= 0)).all()):
            raise ValueError(
                f"Expected scales of shape ({len(base)},), finite and none below 0,"
                f" got shape {tuple(scales.shape)} and {scales.flatten()[:5].tolist()}."
            )
        super().__init__(base, len(base))
        self._scales = scales
        # The centre of the base times a scale that a minority cannot choose.
        self._about = float(scales.sort().values[(len(scales) - 1) // 2])

    def centre(self) -> Tensor:
        return self._centre

    @cached_property
    def _centre(self) -> Tensor:
        return self._about * self._base.centre()

    def rows(self) -> list[Tensor] | None:
        return None

    def columns(self, size: int = 16384) -> Iterator[tuple[slice, Tensor]]:
        scales = self._scales.to(self.dtype)[:, None]
        for part, chunk in self._base.columns(size):
            yield part, scales * chunk

    @cached_property
    def _gram(self) -> Tensor:
        # s_i g_i - s c = s_i (g_i - c) + (s_i - s) c, c the base's centre and s its scale here.
        scales, shift, centre = self._scales, self._scales - self._about, self._base.centre()
        gram = scales[:, None] * self._base.gram() * scales
        if shift.any():
            along = scales * self._base.project(centre)
            length = self._base.dot(centre, centre)
            gram = gram + along[:, None] * shift + shift[:, None] * along
            gram = gram + length * shift[:, None] * shift
        return (gram + gram.T) / 2

    @cached_property
    def _squared_norms(self) -> Tensor:
        return self._scales.square() * self._base.squared_norms()

    def project(self, direction: Tensor) -> Tensor:
        shift, centre = self._scales - self._about, self._base.centre()
        along = self._base.dot(centre, direction.to(centre))
        return self._scales * self._base.project(direction) + shift * along

    def combine(self, weights: Tensor) -> Tensor:
        return self._base.combine(weights.to(self._scales) * self._scales)


class Extended(_View):
    """Rows of other updates followed by further rows."""

    def __init__(self, base: Updates, rows: Tensor) -> None:
        if rows.ndim != 2 or rows.shape[1] != base.dimension:
            raise ValueError(
                f"Expected rows of shape (f, {base.dimension}) to add, got {tuple(rows.shape)}."
            )
        super().__init__(base, len(base) + len(rows))
        equal = len(rows) > 1 and rows.stride(0) == 0
        distinct = (rows[:1] if equal else rows).detach()
        self._distinct = distinct.to(dtype=base.dtype, device=base.device)
        self._added = self._distinct.expand(len(rows), -1) if equal else self._distinct
        # position of each row among the base's rows and the distinct added ones
        added = torch.zeros(len(rows), dtype=torch.long) if equal else torch.arange(len(rows))
        places = torch.cat([torch.arange(len(base)), len(base) + added])
        self._places = places.to(base.device)

    def rows(self) -> list[Tensor] | None:
        rows = self._base.rows()
        return None if rows is None else [*rows, *self._added.unbind(0)]

    def columns(self, size: int = 16384) -> Iterator[tuple[slice, Tensor]]:
        for part, chunk in self._base.columns(size):
            yield part, torch.cat([chunk, self._added[:, part]])

    @cached_property
    def _gram(self) -> Tensor:
        gram = self._base.gram()
        if len(self._distinct):
            centre = self.centre()
            cross = self.summed(products.centred_products(self._base, centre, self._distinct))
            own = self.summed(products.centred_products(Updates(self._distinct), centre))
            gram = torch.cat([torch.cat([gram, cross.T], 1), torch.cat([cross, own], 1)])
        return gram[self._places][:, self._places]

    def project(self, direction: Tensor) -> Tensor:
        known = self._base.project(direction)
        if not len(self._distinct):
            return known
        own = products.projections(Updates(self._distinct), self.centre(), direction)
        added = self.summed(own)
        return torch.cat([known, added])[self._places]

    def combine(self, weights: Tensor) -> Tensor:
        weights = weights.to(self.device)
        old, new = weights[: len(self._base)], weights[len(self._base) :]
        if len(self._distinct) < len(new):
            new = new.sum(0, keepdim=True)
        if not new.any():
            return self._base.combine(old)
        return self._base.combine(old) + products.weighted_sum(self._distinct, new.to(self.dtype))
