"""Views of updates: selected, mixed, scaled or added rows, with the statistics of their base."""

# ruff: noqa: D102  (the methods are documented in Updates)

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from fl_platform.core import products
from fl_platform.core.deferred import assumed, number, on_device, sent
from fl_platform.core.native import cuda_kernels
from fl_platform.core.precision import tensor_float32
from fl_platform.core.updates import Updates


class _View(Updates):
    """Updates without a matrix of their own; columns are computed in chunks."""

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

    def gathered(self, index: Tensor) -> Tensor:
        raise NotImplementedError


class Selected(_View):
    """Some rows of other updates, in any order."""

    def __init__(self, base: Updates, index: Tensor | slice) -> None:
        run = index if isinstance(index, slice) and on_device(base.device) else None
        if isinstance(index, Tensor):
            index = sent(index, base.device)
        chosen = torch.arange(len(base), device=base.device)[index].reshape(-1)
        if not len(chosen):
            raise ValueError(
                f"Expected an index that selects at least one of {len(base)} rows, got none."
            )
        if isinstance(
            base, Selected
        ):  # refer to the stored rows directly, not to another selection
            chosen, run = base._index[chosen], None
            base = base._base
        super().__init__(base, len(chosen))
        self._index: Tensor = chosen
        self._run: slice | None
        if on_device(chosen):  # a slice is a run of rows; to read an index, the host would wait
            self._run = run if run is not None and run.step in (None, 1) else None
            return
        first = int(chosen[0])
        rising = torch.arange(first, first + len(chosen), device=base.device)
        self._run = slice(first, first + len(chosen)) if torch.equal(chosen, rising) else None

    @property
    def matrix(self) -> Tensor:
        if self._run is not None:
            return self._base.matrix[self._run]  # no copy if the base has a matrix
        return self._materialised

    def rows(self) -> list[Tensor] | None:
        rows = self._base.rows()
        return None if rows is None else [rows[i] for i in self._index.tolist()]

    def columns(self, size: int = 16384) -> Iterator[tuple[slice, Tensor]]:
        chosen = self._index if self._run is None else self._run
        for part, chunk in self._base.columns(size):
            yield part, chunk[chosen]

    def addresses(self) -> Tensor | None:
        places = self._base.addresses()
        return None if places is None else places[self._index]

    def _largest(self) -> Tensor:
        return self._base._largest()[self._index]

    def gathered(self, index: Tensor) -> Tensor:
        return self._base.gathered(index)[self._index]

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
    """Weighted means of the rows of other updates, computed as a matrix only on request."""

    def __init__(self, base: Updates, mixing: Tensor) -> None:
        if mixing.ndim != 2 or mixing.shape[1] != len(base) or not len(mixing):
            raise ValueError(
                f"Expected a mixing of shape (m', {len(base)}) with m' >= 1,"
                f" got {tuple(mixing.shape)}."
            )
        mixing = sent(mixing, base.device).double()
        worst = number((mixing.sum(1) - 1).abs().max())
        if not assumed(worst <= 1e-5):
            raise ValueError(
                "Expected a mixing whose rows each sum to 1, so that its rows are means of"
                f" updates, got a sum that differs from 1 by {worst:g}."
            )
        super().__init__(base, len(mixing))
        self._mixing = mixing / mixing.sum(1, keepdim=True)

    def rows(self) -> list[Tensor] | None:
        return None

    def addresses(self) -> Tensor | None:
        return None

    def _largest(self) -> Tensor:
        parts = [chunk.abs().amax(1) for _, chunk in self.columns(products.GPU_SLAB)]
        return torch.stack(parts).amax(0)

    def gathered(self, index: Tensor) -> Tensor:
        with tensor_float32(False):
            return self._mixing.to(self.dtype) @ self._base.gathered(index)

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
    """The rows of other updates, each times a factor."""

    def __init__(self, base: Updates, scales: Tensor) -> None:
        scales = sent(scales, base.device).double()
        legal = (scales.isfinite() & (scales >= 0)).all()
        if scales.shape != (len(base),) or not assumed(legal):
            raise ValueError(
                f"Expected scales of shape ({len(base)},), finite and at least 0,"
                f" got shape {tuple(scales.shape)} and {scales.flatten()[:5].tolist()}."
            )
        super().__init__(base, len(base))
        self._scales = scales
        # The centre of the base times a scale that a minority cannot choose.
        self._about = number(scales.sort().values[(len(scales) - 1) // 2])

    def centre(self) -> Tensor:
        return self._centre

    @cached_property
    def _centre(self) -> Tensor:
        return self._about * self._base.centre()

    def rows(self) -> list[Tensor] | None:
        return None

    def addresses(self) -> Tensor | None:
        return None

    def _largest(self) -> Tensor:
        return self._scales * self._base._largest()

    def gathered(self, index: Tensor) -> Tensor:
        return self._scales.to(self.dtype)[:, None] * self._base.gathered(index)

    def columns(self, size: int = 16384) -> Iterator[tuple[slice, Tensor]]:
        scales = self._scales.to(self.dtype)[:, None]
        for part, chunk in self._base.columns(size):
            yield part, scales * chunk

    @cached_property
    def _gram(self) -> Tensor:
        # s_i g_i - s c = s_i (g_i - c) + (s_i - s) c, c the base's centre and s its scale here.
        scales, shift, centre = self._scales, self._scales - self._about, self._base.centre()
        gram = scales[:, None] * self._base.gram() * scales
        if on_device(shift) or shift.any():
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
        return self._base.combine(sent(weights, self.device).to(self._scales) * self._scales)


class Extended(_View):
    """Rows of other updates followed by further rows."""

    def __init__(self, base: Updates, rows: Tensor) -> None:
        if rows.ndim != 2 or rows.shape[1] != base.dimension:
            raise ValueError(
                f"Expected rows of shape (f, {base.dimension}) to add, got {tuple(rows.shape)}."
            )
        super().__init__(base, len(base) + len(rows))
        equal = len(rows) > 1 and rows.stride(0) == 0
        distinct = (rows[:1] if equal else rows).detach().resolve_neg()
        self._distinct = distinct.to(dtype=base.dtype, device=base.device)
        self._added = self._distinct.expand(len(rows), -1) if equal else self._distinct
        # position of each row among the base's rows and the distinct added ones
        added = torch.arange(len(rows), device=base.device) * (not equal)
        known = torch.arange(len(base), device=base.device)
        self._places = torch.cat([known, len(base) + added])

    def rows(self) -> list[Tensor] | None:
        rows = self._base.rows()
        return None if rows is None else [*rows, *self._added.unbind(0)]

    def columns(self, size: int = 16384) -> Iterator[tuple[slice, Tensor]]:
        for part, chunk in self._base.columns(size):
            yield part, torch.cat([chunk, self._added[:, part]])

    def addresses(self) -> Tensor | None:
        known = self._base.addresses()
        added = cuda_kernels.addresses(self._distinct)
        if known is None or added is None:
            return None
        return torch.cat([known, added])[self._places]

    def _largest(self) -> Tensor:
        added = torch.linalg.vector_norm(self._distinct, torch.inf, dim=1)
        return torch.cat([self._base._largest(), added])[self._places]

    def gathered(self, index: Tensor) -> Tensor:
        added = self._distinct.index_select(1, index)
        return torch.cat([self._base.gathered(index), added])[self._places]

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
        weights = sent(weights, self.device)
        if on_device(weights):
            return self._combined_on_device(weights)
        old, new = weights[: len(self._base)], weights[len(self._base) :]
        if len(self._distinct) < len(new):
            new = new.sum(0, keepdim=True)
        if not new.any():
            return self._base.combine(old)
        return self._base.combine(old) + products.weighted_sum(self._distinct, new.to(self.dtype))

    def _combined_on_device(self, weights: Tensor) -> Tensor:
        """The same on a GPU: equal rows are read once, also with a weight of 0."""
        each = weights.new_zeros(len(self._base) + len(self._distinct))
        each = each.index_add_(0, self._places, weights)
        known, added = self._base.addresses(), cuda_kernels.addresses(self._distinct)
        if known is not None and added is not None:
            rows = torch.cat([known, added])
            total = cuda_kernels.weighted_sum(rows, each.to(self.dtype), self.dimension)
            if total is not None:
                return total
        old, new = each[: len(self._base)], each[len(self._base) :].to(self.dtype)
        return self._base.combine(old) + products.weighted_sum(self._distinct, new)
