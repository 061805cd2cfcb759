"""Buckets of rows with different directions: each bucket has one row of every group."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fl_platform.core import Updates, generator
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rule import rule


@rule(
    label="cosine bucketing",
    tolerates=lambda n: n,
    shardable="keeps the last model",
)
class CosineBucketing:
    r"""Rows sorted by similarity to a direction, cut into s groups, one of each in every bucket.

    .. math:: y_b = \operatorname{mean}\{g_i : i \text{ the } b\text{-th drawn of a group}\}

    Args:
        seed: of the stream that shuffles each group.
        s: rows per bucket, at least 1; if s does not divide n, buckets may have one row less.
        by: ``cosine`` sorts by the cosine to the direction, ``distance`` by the distance from
            it (L2 bucketing).
        toward: ``last``: the model's last step w_{t-1} - w_t, which requires ``model`` and an
            earlier round; ``median``: the coordinate-wise median of the rows, also used by
            ``last`` if there is no last step.

    A call receives ``model``. The rule after it assumes f, since each Byzantine row can be in
    another bucket.

    Returns:
        Of a call: ``(ceil(n / s), n)`` float64, rows sum to 1.

    Guarantees: none beyond bucketing's bound on the variance of the buckets.

    References:
        Ozfatura, Ozfatura, Kupcu, Gunduz, Byzantines Can Also Learn From History: Fall of
        Centered Clipping in Federated Learning, IEEE TIFS 2024 (sequential clipping and
        clustering); FL-Byzantine-Library's ``Bucketing``.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        s: Annotated[int, AtLeast(1)] = 2,
        by: Literal["cosine", "distance"] = "cosine",
        toward: Literal["last", "median"] = "last",
    ) -> None:
        if s < 1 or by not in ("cosine", "distance") or toward not in ("last", "median"):
            raise ValueError(
                "Expected s >= 1, by as cosine or distance and toward as last or median,"
                f" got {s}, {by!r} and {toward!r}."
            )
        self.seed, self.s, self.by, self.toward = seed, s, by, toward
        self.calls = 0
        self.model: Tensor | None = None

    def __call__(self, updates: Updates, num_byzantine: int, model: Tensor | None = None) -> Tensor:
        """``(ceil(n / s), n)`` float64, rows sum to 1."""
        direction = self._direction(updates, model)
        n = len(updates)
        if self.by == "distance":
            keys = updates.squared_distances_to(direction)
        else:
            inner, squares = updates.aligned(direction)
            keys = torch.where(squares > 0, inner / squares.sqrt(), 0.0)
        order = keys.argsort(stable=True).cpu()
        stream = generator(self.seed, "cosine_bucketing", self.calls)
        self.calls += 1
        buckets = math.ceil(n / self.s)
        mixing = torch.zeros(buckets, n, dtype=torch.float64)
        for group in order.split(buckets):
            mixing[torch.randperm(buckets, generator=stream)[: len(group)], group] = 1.0
        return (mixing / mixing.sum(1, keepdim=True)).to(updates.device)

    def _direction(self, updates: Updates, model: Tensor | None) -> Tensor:
        last, self.model = self.model, None if model is None else model.detach().clone()
        if self.toward == "median" or last is None or model is None:
            return updates.median()
        step = last.to(model) - model
        return step.to(updates.device, updates.dtype) if bool(step.any()) else updates.median()

    def num_byzantine_after(self, m: int, f: int) -> int:
        """Number of buckets of m rows that count as Byzantine."""
        return f

    def rows_after(self, m: int) -> int:
        """Number of buckets of m rows."""
        return math.ceil(m / self.s)

    def state_dict(self) -> dict[str, Any]:
        """The number of calls, which determines the next shuffle, and the last model."""
        return {"calls": self.calls, "model": self.model}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the number of calls and the last model."""
        self.calls, self.model = int(state["calls"]), state["model"]


cosine_bucketing = CosineBucketing
